//! Statistics of the PROXY protocol filter (`proxy_proto.[<prefix>.]`), and the one that it counts without a prefix.

use crate::observe::metrics::stats;

stats! {
    kind "proxy_proto";
    counters {
        NOT_FOUND_ALLOWED = "not_found_allowed",
        NOT_FOUND_DISALLOWED = "not_found_disallowed",
        V1_DISALLOWED = "versions.v1.disallowed",
        V1_ERROR = "versions.v1.error",
        V1_FOUND = "versions.v1.found",
        V2_DISALLOWED = "versions.v2.disallowed",
        V2_ERROR = "versions.v2.error",
        V2_FOUND = "versions.v2.found",
    }
    gauges {}
    histograms {}
    codes None;
}

/// Every refusal, whatever the listener.
pub mod errors {
    use crate::observe::metrics::stats;

    stats! {
        kind "proxy_proto_errors";
        counters {
            DOWNSTREAM_CX_PROXY_PROTO_ERROR = "downstream_cx_proxy_proto_error",
        }
        gauges {}
        histograms {}
        codes None;
    }
}
