//! Statistics of a compressor, for requests (`request.`) and for responses (`response.`, or nothing where the
//! configuration has no `response_direction_config`).

use crate::observe::metrics::stats;

stats! {
    kind "compressor";
    counters {
        COMPRESSED = "compressed",
        CONTENT_LENGTH_TOO_SMALL = "content_length_too_small",
        NOT_COMPRESSED = "not_compressed",
        TOTAL_COMPRESSED_BYTES = "total_compressed_bytes",
        TOTAL_UNCOMPRESSED_BYTES = "total_uncompressed_bytes",
        WEIR_OVER_BUDGET = "weir_over_budget",
    }
    gauges {}
    histograms {}
    codes None;
}
