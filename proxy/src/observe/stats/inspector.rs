//! Statistics of the listener filters that look at the first bytes (`tls_inspector.`, `http_inspector.`).

/// Of the TLS inspector.
pub mod tls {
    use crate::observe::metrics::stats;

    stats! {
        kind "tls_inspector";
        counters {
            ALPN_FOUND = "alpn_found",
            ALPN_NOT_FOUND = "alpn_not_found",
            CLIENT_HELLO_TOO_BIG = "client_hello_too_big",
            SNI_FOUND = "sni_found",
            SNI_NOT_FOUND = "sni_not_found",
            TLS_FOUND = "tls_found",
            TLS_NOT_FOUND = "tls_not_found",
        }
        gauges {}
        histograms {}
        codes None;
    }
}

/// Of the HTTP inspector.
pub mod http {
    use crate::observe::metrics::stats;

    stats! {
        kind "http_inspector";
        counters {
            HTTP10_FOUND = "http10_found",
            HTTP11_FOUND = "http11_found",
            HTTP2_FOUND = "http2_found",
            HTTP_NOT_FOUND = "http_not_found",
        }
        gauges {}
        histograms {}
        codes None;
    }
}
