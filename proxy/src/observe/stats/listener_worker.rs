//! Statistics of one worker on a listener (`listener.<address>.worker_<n>.`).

use crate::observe::metrics::stats;

stats! {
    kind "listener_worker";
    counters {
        DOWNSTREAM_CX_TOTAL = "downstream_cx_total",
    }
    gauges {
        DOWNSTREAM_CX_ACTIVE = "downstream_cx_active",
    }
    histograms {}
    codes None;
}
