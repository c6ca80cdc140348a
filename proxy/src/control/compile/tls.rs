//! TLS contexts: read and judged whole, so that a mistake is told when it is made. This release makes no TLS.

use super::{Cx, matcher, source, wkt};
use crate::base::ledger::At;
use crate::model::matcher::StringMatch;
use crate::model::pushed::{Pushed, Source};
use crate::model::transport::Tls;
use crate::observe::metrics::Registry;
use crate::observe::stats::tls as stat;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use weir_proto::envoy::extensions::transport_sockets::tls::v3 as proto;
use weir_proto::envoy::extensions::transport_sockets::tls::v3::certificate_validation_context::TrustChainVerification;
use weir_proto::envoy::extensions::transport_sockets::tls::v3::common_tls_context as common;
use weir_proto::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use weir_proto::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;

/// Cipher suites of TLS 1.2 that rustls has, under OpenSSL's names.
const SUITES: [&str; 6] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
];

/// Those that BoringSSL has besides: without forward secrecy, or CBC.
const WEAK: [&str; 11] = [
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-PSK-AES128-CBC-SHA",
    "ECDHE-PSK-AES256-CBC-SHA",
];

/// Longest ALPN protocol (RFC 7301 section 3.1).
const MAX_PROTOCOL: usize = 255;

/// What a filter chain asks of its clients.
pub fn downstream(cx: &Cx<'_>, at: &At<'_>, message: &proto::DownstreamTlsContext) -> Option<Tls> {
    crate::ledger!(at, message => proto::DownstreamTlsContext { common_tls_context, require_client_certificate }
        refuse { require_sni, full_scan_certs_on_sni_mismatch, session_ticket_keys_type, ocsp_staple_policy }
        ignore { disable_stateful_session_resumption, session_timeout, prefer_client_ciphers });
    let here = at.field("common_tls_context");
    let message = at.required("common_tls_context", common_tls_context.as_ref())?;
    let tls = common(cx, &here, message)?;
    if message.tls_certificates.is_empty() && tls.certificates.is_empty() {
        here.error("no TLS certificates found for server context");
    }
    Some(Tls { require_client_certificate: wkt::flag(require_client_certificate, false), ..tls })
}

/// How a cluster connects.
pub fn upstream(cx: &Cx<'_>, at: &At<'_>, message: &proto::UpstreamTlsContext) -> Option<Tls> {
    crate::ledger!(at, message => proto::UpstreamTlsContext { common_tls_context, sni }
        refuse { auto_host_sni, auto_sni_san_validation, allow_renegotiation }
        ignore { max_session_keys, enforce_rsa_key_usage });
    let none = proto::CommonTlsContext::default();
    let message = common_tls_context.as_ref().unwrap_or(&none);
    let tls = common(cx, &at.field("common_tls_context"), message)?;
    if sni.len() > MAX_PROTOCOL {
        at.bad("sni", format!("is longer than {MAX_PROTOCOL} bytes"));
    }
    Some(Tls { server_name: sni.as_str().into(), ..tls })
}

fn common(cx: &Cx<'_>, at: &At<'_>, message: &proto::CommonTlsContext) -> Option<Tls> {
    crate::ledger!(at, message => proto::CommonTlsContext { tls_params, tls_certificates,
        tls_certificate_sds_secret_configs, alpn_protocols, validation_context_type }
        refuse { tls_certificate_provider_instance, custom_tls_certificate_selector,
            tls_certificate_certificate_provider, tls_certificate_certificate_provider_instance,
            custom_handshaker, key_log });
    for (i, message) in tls_certificates.iter().enumerate() {
        certificate(&at.item("tls_certificates", i), message);
    }
    let secrets = tls_certificate_sds_secret_configs.iter().enumerate();
    let secrets = secrets
        .filter_map(|(i, m)| secret(cx, &at.item("tls_certificate_sds_secret_configs", i), m))
        .collect();
    let mut tls = Tls { versions: (2, 3), certificates: secrets, ..Tls::default() };
    tls.alpn = alpn(at, alpn_protocols);
    if let Some(message) = tls_params {
        let here = at.field("tls_params");
        (tls.versions, tls.suites) = parameters(&here, message)?;
    }
    match validation_context_type {
        None => {}
        Some(ValidationContextType::ValidationContext(message)) => {
            (tls.peers, tls.untrusted_peers) = validation(cx, &at.field("validation_context"), message);
        }
        Some(ValidationContextType::ValidationContextSdsSecretConfig(message)) => {
            tls.authorities = secret(cx, &at.field("validation_context_sds_secret_config"), message);
        }
        Some(ValidationContextType::CombinedValidationContext(message)) => {
            let here = at.field("combined_validation_context");
            crate::ledger!(here, message => common::CombinedCertificateValidationContext {
                default_validation_context, validation_context_sds_secret_config }
                refuse { validation_context_certificate_provider, validation_context_certificate_provider_instance });
            let own = here.required("default_validation_context", default_validation_context.as_ref())?;
            (tls.peers, tls.untrusted_peers) = validation(cx, &here.field("default_validation_context"), own);
            let sds = validation_context_sds_secret_config.as_ref();
            let sds = here.required("validation_context_sds_secret_config", sds)?;
            tls.authorities = secret(cx, &here.field("validation_context_sds_secret_config"), sds);
        }
        Some(_) => at.unsupported("a certificate provider"),
    }
    Some(tls)
}

fn alpn(at: &At<'_>, list: &[String]) -> Box<[Box<str>]> {
    for (i, protocol) in list.iter().enumerate() {
        if protocol.is_empty() || protocol.len() > MAX_PROTOCOL {
            at.item("alpn_protocols", i).error(format!("must have 1 to {MAX_PROTOCOL} bytes"));
        }
    }
    list.iter().map(|protocol| protocol.as_str().into()).collect()
}

/// A secret by its name: from a source, or of the bootstrap.
fn secret(cx: &Cx<'_>, at: &At<'_>, message: &proto::SdsSecretConfig) -> Option<Pushed> {
    crate::ledger!(at, message => proto::SdsSecretConfig { name, sds_config });
    let name = at.non_empty("name", name)?;
    let (source, fetch) = match sds_config {
        Some(_) => source::pushed(&at.field("sds_config"), sds_config.as_ref()),
        None => {
            if !(cx.known_secret)(name) {
                at.bad("name", format!("Unknown static secret: {name}"));
            }
            (Source::Bootstrap, None)
        }
    };
    Some(Pushed { name: name.into(), source, fetch })
}

fn certificate(at: &At<'_>, message: &proto::TlsCertificate) {
    crate::ledger!(at, message => proto::TlsCertificate { certificate_chain, private_key, pkcs12 }
        refuse { private_key_provider, password, tls_params }
        ignore { watched_directory, ocsp_staple, signed_certificate_timestamp });
    at.refuse("pkcs12", pkcs12.is_some());
    at.required("certificate_chain", certificate_chain.as_ref());
    at.required("private_key", private_key.as_ref());
}

/// Names that a peer's certificate must have one of, and whether a peer that nobody vouches for is taken.
fn validation(
    cx: &Cx<'_>,
    at: &At<'_>,
    message: &proto::CertificateValidationContext,
) -> (Box<[StringMatch]>, bool) {
    crate::ledger!(at, message => proto::CertificateValidationContext { match_typed_subject_alt_names,
        match_subject_alt_names, trust_chain_verification }
        refuse { ca_certificate_provider_instance, verify_certificate_spki, verify_certificate_hash,
            require_signed_certificate_timestamp, allow_expired_certificate, custom_validator_config }
        ignore { trusted_ca, system_root_certs, watched_directory, crl, only_verify_leaf_cert_crl, max_verify_depth,
            suppress_client_ca_list });
    let plain = match_subject_alt_names.iter().enumerate();
    let plain = plain.filter_map(|(i, m)| matcher::string(cx, &at.item("match_subject_alt_names", i), m));
    let typed = match_typed_subject_alt_names.iter().enumerate().filter_map(|(i, message)| {
        let here = at.item("match_typed_subject_alt_names", i);
        crate::ledger!(here, message => proto::SubjectAltNameMatcher { san_type, matcher } refuse { oid });
        if *san_type == 0 {
            here.bad("san_type", "must be set");
        }
        let message = here.required("matcher", matcher.as_ref())?;
        matcher::string(cx, &here.field("matcher"), message)
    });
    let names = plain.chain(typed).collect();
    let trust = wkt::enumeration(at, "trust_chain_verification", *trust_chain_verification);
    (names, trust == Some(TrustChainVerification::AcceptUntrusted))
}

type Parameters = ((u8, u8), Box<[&'static str]>);

fn parameters(at: &At<'_>, message: &proto::TlsParameters) -> Option<Parameters> {
    crate::ledger!(at, message => proto::TlsParameters { tls_minimum_protocol_version, tls_maximum_protocol_version,
        cipher_suites } refuse { signature_algorithms, compliance_policies } ignore { ecdh_curves });
    let of = |field: &str, value: i32, default: u8| -> Option<u8> {
        Some(match wkt::enumeration(at, field, value)? {
            TlsProtocol::TlsAuto => default,
            TlsProtocol::TlSv10 | TlsProtocol::TlSv11 => 1,
            TlsProtocol::TlSv12 => 2,
            TlsProtocol::TlSv13 => 3,
        })
    };
    let least = of("tls_minimum_protocol_version", *tls_minimum_protocol_version, 2)?.max(2);
    let most = of("tls_maximum_protocol_version", *tls_maximum_protocol_version, 3)?;
    if most < least {
        at.bad("tls_maximum_protocol_version", "leaves no version: TLS 1.2 and 1.3 are supported");
    }
    Some(((least, most), suites(at, cipher_suites)))
}

/// The suites that rustls has; others that BoringSSL knows are left out with one warning each. `[A|B]` stands for
/// two of equal rank.
fn suites(at: &At<'_>, list: &[String]) -> Box<[&'static str]> {
    let mut found = Vec::new();
    for (i, entry) in list.iter().enumerate() {
        for name in entry.trim_matches(['[', ']']).split('|') {
            if let Some(known) = SUITES.iter().find(|known| **known == name) {
                found.push(*known);
            } else if WEAK.contains(&name) {
                left_out(name);
            } else {
                at.item("cipher_suites", i).error(format!("'{name}' is no cipher suite of TLS 1.2"));
            }
        }
    }
    if found.is_empty() && !list.is_empty() {
        at.bad("cipher_suites", format!("none of them is supported; supported: {}", SUITES.join(", ")));
    }
    found.into()
}

/// Counted each time, told once for each suite.
fn left_out(name: &str) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    Registry::global().cells(&stat::SCHEMA, "weir.tls.").inc(stat::CIPHER_SUITES_LEFT_OUT);
    if TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned()) {
        tracing::warn!(
            suite = name,
            "a cipher suite without forward secrecy or authenticated encryption is left out"
        );
    }
}
