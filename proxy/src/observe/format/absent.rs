//! Operators that are known but have nothing to print yet: what each waits for.

use super::operator::Rule;

/// Operators with arguments: filter state, metadata.
const WITH_ARGUMENTS: &[&str] = &[
    "CLUSTER_METADATA",
    "DYNAMIC_METADATA",
    "FILTER_STATE",
    "METADATA",
    "UPSTREAM_FILTER_STATE",
    "UPSTREAM_METADATA",
];

/// Operators without arguments: kernel counters, tracing, virtual clusters, attempts' details.
const WITHOUT: &[&str] = &[
    "BYTES_RETRANSMITTED",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_CX_RTT",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "PACKETS_RETRANSMITTED",
    "ROUNDTRIP_DURATION",
    "SPAN_ID",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
    "UPSTREAM_HOST_NAMES_ATTEMPTED",
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_SERVER_NAME",
    "VIRTUAL_CLUSTER_NAME",
];

/// TLS: `DOWNSTREAM_` or `UPSTREAM_`, `LOCAL_` or `PEER_`, and one of these.
const CERTIFICATE: &[&str] = &[
    "CERT",
    "CERT_V_END",
    "CERT_V_START",
    "CHAIN_FINGERPRINTS_1",
    "CHAIN_FINGERPRINTS_256",
    "CHAIN_SERIALS",
    "DNS_SAN",
    "EMAIL_SAN",
    "FINGERPRINT_1",
    "FINGERPRINT_256",
    "IP_SAN",
    "ISSUER",
    "OTHERNAME_SAN",
    "SERIAL",
    "SUBJECT",
    "URI_SAN",
];

/// TLS: `DOWNSTREAM_TLS_` or `UPSTREAM_TLS_` and one of these.
const SESSION: &[&str] = &["CIPHER", "SESSION_ID", "VERSION"];

/// The rule of a known operator that is absent here.
pub(super) fn find(name: &str) -> Option<Rule> {
    if WITH_ARGUMENTS.contains(&name) {
        return Some(Rule::absent(true));
    }
    let side = name.strip_prefix("DOWNSTREAM_").or_else(|| name.strip_prefix("UPSTREAM_"));
    let tls = side.is_some_and(|rest| {
        let certificate = rest.strip_prefix("PEER_").or_else(|| rest.strip_prefix("LOCAL_"));
        certificate.is_some_and(|c| CERTIFICATE.contains(&c))
            || rest.strip_prefix("TLS_").is_some_and(|s| SESSION.contains(&s))
    });
    // Some of them take arguments in newer releases (`CERT_V_START(format)`).
    (tls || WITHOUT.contains(&name)).then(|| Rule::absent(tls))
}
