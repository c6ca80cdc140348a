//! Statistics of the HTTP/1 codec (`http1.`, downstream; `cluster.<name>.http1.`, upstream).

use crate::observe::metrics::stats;

stats! {
    kind "codec_http1";
    counters {
        DROPPED_HEADERS_WITH_UNDERSCORES = "dropped_headers_with_underscores",
        METADATA_NOT_SUPPORTED_ERROR = "metadata_not_supported_error",
        REQUESTS_REJECTED_WITH_UNDERSCORES_IN_HEADERS = "requests_rejected_with_underscores_in_headers",
        RESPONSE_FLOOD = "response_flood",
    }
    gauges {}
    histograms {}
    codes None;
}
