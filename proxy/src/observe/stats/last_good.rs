//! Statistics of the state that is kept on disk (`weir.last_good.`).

use crate::observe::metrics::stats;

stats! {
    kind "last_good";
    counters {
        IGNORED = "ignored",
        RESTORED = "restored",
        WRITE_FAILED = "write_failed",
        WRITTEN = "written",
    }
    gauges {
        FILE_BYTES = "file_bytes",
        IN_FORCE = "in_force",
        LEFT_OUT = "left_out",
    }
    histograms {}
    codes None;
}
