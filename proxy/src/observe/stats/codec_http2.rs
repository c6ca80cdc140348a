//! Statistics of the HTTP/2 codec (`http2.`, downstream; `cluster.<name>.http2.`, upstream).

use crate::observe::metrics::stats;

stats! {
    kind "codec_http2";
    counters {
        DROPPED_HEADERS_WITH_UNDERSCORES = "dropped_headers_with_underscores",
        GOAWAY_SENT = "goaway_sent",
        HEADER_OVERFLOW = "header_overflow",
        HEADERS_CB_NO_STREAM = "headers_cb_no_stream",
        INBOUND_EMPTY_FRAMES_FLOOD = "inbound_empty_frames_flood",
        INBOUND_PRIORITY_FRAMES_FLOOD = "inbound_priority_frames_flood",
        INBOUND_WINDOW_UPDATE_FRAMES_FLOOD = "inbound_window_update_frames_flood",
        KEEPALIVE_TIMEOUT = "keepalive_timeout",
        METADATA_EMPTY_FRAMES = "metadata_empty_frames",
        OUTBOUND_CONTROL_FLOOD = "outbound_control_flood",
        OUTBOUND_FLOOD = "outbound_flood",
        REQUESTS_REJECTED_WITH_UNDERSCORES_IN_HEADERS = "requests_rejected_with_underscores_in_headers",
        RX_MESSAGING_ERROR = "rx_messaging_error",
        RX_RESET = "rx_reset",
        STREAM_REFUSED_ERRORS = "stream_refused_errors",
        TRAILERS = "trailers",
        TX_FLUSH_TIMEOUT = "tx_flush_timeout",
        TX_RESET = "tx_reset",
    }
    gauges {
        DEFERRED_STREAM_CLOSE = "deferred_stream_close",
        OUTBOUND_CONTROL_FRAMES_ACTIVE = "outbound_control_frames_active",
        OUTBOUND_FRAMES_ACTIVE = "outbound_frames_active",
        PENDING_SEND_BYTES = "pending_send_bytes",
        STREAMS_ACTIVE = "streams_active",
    }
    histograms {}
    codes None;
}
