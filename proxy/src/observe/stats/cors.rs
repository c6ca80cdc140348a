//! Statistics of the CORS filter (`http.<prefix>.cors.`).

use crate::observe::metrics::stats;

stats! {
    kind "cors";
    counters {
        ORIGIN_INVALID = "origin_invalid",
        ORIGIN_VALID = "origin_valid",
    }
    gauges {}
    histograms {}
    codes None;
}
