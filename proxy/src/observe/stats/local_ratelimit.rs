//! Statistics of the local rate limit (`<prefix>.http_local_rate_limit.`).

use crate::observe::metrics::stats;

stats! {
    kind "local_ratelimit";
    counters {
        ENABLED = "enabled",
        ENFORCED = "enforced",
        OK = "ok",
        RATE_LIMITED = "rate_limited",
    }
    gauges {}
    histograms {}
    codes None;
}
