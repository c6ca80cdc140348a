//! Statistics of the exchange of metadata between proxies (`metadata_exchange.`).

use crate::observe::metrics::stats;

stats! {
    kind "metadata_exchange";
    counters {
        ALPN_PROTOCOL_FOUND = "alpn_protocol_found",
        ALPN_PROTOCOL_NOT_FOUND = "alpn_protocol_not_found",
    }
    gauges {}
    histograms {}
    codes None;
}
