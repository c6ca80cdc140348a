//! Statistics of TLS settings (`weir.tls.`).

use crate::observe::metrics::stats;

stats! {
    kind "tls";
    counters {
        CIPHER_SUITES_LEFT_OUT = "cipher_suites_left_out",
        NOT_AVAILABLE = "not_available",
    }
    gauges {}
    histograms {}
    codes None;
}
