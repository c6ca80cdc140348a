//! Statistics of a compressor: what clients accept.

use crate::observe::metrics::stats;

stats! {
    kind "compressor_accept";
    counters {
        HEADER_COMPRESSOR_OVERSHADOWED = "header_compressor_overshadowed",
        HEADER_COMPRESSOR_USED = "header_compressor_used",
        HEADER_IDENTITY = "header_identity",
        HEADER_NOT_VALID = "header_not_valid",
        HEADER_WILDCARD = "header_wildcard",
        NO_ACCEPT_HEADER = "no_accept_header",
        NOT_COMPRESSED_ETAG = "not_compressed_etag",
    }
    gauges {}
    histograms {}
    codes None;
}
