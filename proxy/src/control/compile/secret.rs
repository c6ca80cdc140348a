//! `Secret`: judged when it comes, so that a mistake is told to whoever sent it. No text that is told holds any of it.

use super::action_parts;
use crate::base::ledger::At;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use weir_proto::envoy::config::core::v3::DataSource;
use weir_proto::envoy::extensions::transport_sockets::tls::v3 as proto;
use weir_proto::envoy::extensions::transport_sockets::tls::v3::secret::Type;

/// Largest certificate chain, key or bundle of authorities, in bytes.
const MAX_SECRET: usize = 4 << 20;

/// Length of a session ticket key, in bytes (Envoy's `TlsSessionTicketKeys`).
const TICKET_KEY: usize = 80;

/// What a secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// A certificate and its key.
    Certificate,
    /// Authorities and what they vouch for.
    Authorities,
    /// Keys of session tickets.
    TicketKeys,
    /// Anything else.
    Generic,
}

/// What it is, if it can be used.
pub fn secret(at: &At<'_>, message: &proto::Secret) -> Option<Secret> {
    crate::ledger!(at, message => proto::Secret { name, r#type });
    at.non_empty("name", name);
    Some(match at.required("type", r#type.as_ref())? {
        Type::TlsCertificate(message) => {
            certificate(&at.field("tls_certificate"), message);
            Secret::Certificate
        }
        Type::ValidationContext(message) => {
            // Names that must match are compiled with the context that takes it.
            if let Some(source) = &message.trusted_ca {
                certificates(&at.field("validation_context").field("trusted_ca"), source);
            }
            Secret::Authorities
        }
        Type::SessionTicketKeys(message) => {
            let at = at.field("session_ticket_keys");
            crate::ledger!(at, message => proto::TlsSessionTicketKeys { keys });
            for (i, source) in keys.iter().enumerate() {
                let here = at.item("keys", i);
                let found = action_parts::data(&here, source, MAX_SECRET);
                if found.is_some_and(|key| key.len() != TICKET_KEY) {
                    here.error(format!("must have {TICKET_KEY} bytes"));
                }
            }
            Secret::TicketKeys
        }
        Type::GenericSecret(_) => Secret::Generic,
    })
}

fn certificate(at: &At<'_>, message: &proto::TlsCertificate) {
    crate::ledger!(at, message => proto::TlsCertificate { certificate_chain, private_key, pkcs12 }
        refuse { private_key_provider, password, tls_params }
        ignore { watched_directory, ocsp_staple, signed_certificate_timestamp });
    at.refuse("pkcs12", pkcs12.is_some());
    if let Some(source) = at.required("certificate_chain", certificate_chain.as_ref()) {
        certificates(&at.field("certificate_chain"), source);
    }
    if let Some(source) = at.required("private_key", private_key.as_ref()) {
        let here = at.field("private_key");
        let found = action_parts::data(&here, source, MAX_SECRET);
        if found.is_some_and(|bytes| PrivateKeyDer::from_pem_slice(&bytes).is_err()) {
            here.error("Failed to load private key: it is no PEM of a private key");
        }
    }
}

fn certificates(at: &At<'_>, source: &DataSource) {
    let Some(bytes) = action_parts::data(at, source, MAX_SECRET) else { return };
    let mut found = CertificateDer::pem_slice_iter(&bytes);
    let first = found.next();
    if !matches!(first, Some(Ok(_))) || found.any(|one| one.is_err()) {
        at.error("Failed to load certificates: it is no PEM of certificates");
    }
}
