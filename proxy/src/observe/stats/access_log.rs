//! Statistics of access logs (`access_log_file.`): ours; Envoy has none for lines dropped.

use crate::observe::metrics::stats;

stats! {
    kind "access_log";
    counters {
        LINES_WRITTEN = "lines_written",
        LINES_DROPPED = "lines_dropped",
        LINES_TOO_LONG = "lines_too_long",
    }
    gauges {}
    histograms {}
    codes None;
}
