//! Statistics of the TCP proxy (`tcp.<prefix>.`).

use crate::observe::metrics::stats;

stats! {
    kind "tcp";
    counters {
        DOWNSTREAM_CX_NO_ROUTE = "downstream_cx_no_route",
        DOWNSTREAM_CX_RX_BYTES_TOTAL = "downstream_cx_rx_bytes_total",
        DOWNSTREAM_CX_TOTAL = "downstream_cx_total",
        DOWNSTREAM_CX_TX_BYTES_TOTAL = "downstream_cx_tx_bytes_total",
        DOWNSTREAM_FLOW_CONTROL_PAUSED_READING_TOTAL = "downstream_flow_control_paused_reading_total",
        DOWNSTREAM_FLOW_CONTROL_RESUMED_READING_TOTAL = "downstream_flow_control_resumed_reading_total",
        IDLE_TIMEOUT = "idle_timeout",
        MAX_DOWNSTREAM_CONNECTION_DURATION = "max_downstream_connection_duration",
        UPSTREAM_FLUSH_TOTAL = "upstream_flush_total",
    }
    gauges {
        DOWNSTREAM_CX_RX_BYTES_BUFFERED = "downstream_cx_rx_bytes_buffered",
        DOWNSTREAM_CX_TX_BYTES_BUFFERED = "downstream_cx_tx_bytes_buffered",
        UPSTREAM_FLUSH_ACTIVE = "upstream_flush_active",
    }
    histograms {}
    codes None;
}
