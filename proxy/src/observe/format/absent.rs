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
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "ROUNDTRIP_DURATION",
    "SPAN_ID",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
    "UPSTREAM_HOST_NAMES_ATTEMPTED",
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_SERVER_NAME",
    "VIRTUAL_CLUSTER_NAME",
];

/// TLS: the side, and what of its certificate can be printed.
const CERTIFICATES: &[(&str, &[&str])] = &[
    (
        "DOWNSTREAM_PEER_",
        &[
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
        ],
    ),
    ("DOWNSTREAM_LOCAL_", &["DNS_SAN", "EMAIL_SAN", "IP_SAN", "OTHERNAME_SAN", "SUBJECT", "URI_SAN"]),
    (
        "UPSTREAM_PEER_",
        &["CERT", "CERT_V_END", "CERT_V_START", "DNS_SAN", "IP_SAN", "ISSUER", "SUBJECT", "URI_SAN"],
    ),
    ("UPSTREAM_LOCAL_", &["DNS_SAN", "IP_SAN", "URI_SAN"]),
    ("DOWNSTREAM_TLS_", SESSION),
    ("UPSTREAM_TLS_", SESSION),
];

/// TLS: of the session.
const SESSION: &[&str] = &["CIPHER", "SESSION_ID", "VERSION"];

/// The rule of a known operator that is absent here.
pub(super) fn find(name: &str) -> Option<Rule> {
    if WITH_ARGUMENTS.contains(&name) {
        return Some(Rule::absent(true));
    }
    let tls =
        CERTIFICATES.iter().any(|(side, what)| name.strip_prefix(side).is_some_and(|w| what.contains(&w)));
    // Some of them take arguments in newer releases (`CERT_V_START(format)`).
    (tls || WITHOUT.contains(&name)).then(|| Rule::absent(tls))
}
