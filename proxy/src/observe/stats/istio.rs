//! Istio's metrics (`istiocustom.<labels>`).

/// Of exchanges.
pub mod http {
    use crate::observe::metrics::stats;

    stats! {
        kind "istio_http";
        counters {
            REQUESTS = "istio_requests_total",
        }
        gauges {}
        histograms {
            DURATION = "istio_request_duration_milliseconds",
            REQUEST_BYTES = "istio_request_bytes",
            RESPONSE_BYTES = "istio_response_bytes",
        }
        codes None;
    }
}

/// Of gRPC messages.
pub mod grpc {
    use crate::observe::metrics::stats;

    stats! {
        kind "istio_grpc";
        counters {
            REQUEST_MESSAGES = "istio_request_messages_total",
            RESPONSE_MESSAGES = "istio_response_messages_total",
        }
        gauges {}
        histograms {}
        codes None;
    }
}

/// Of raw connections.
pub mod tcp {
    use crate::observe::metrics::stats;

    stats! {
        kind "istio_tcp";
        counters {
            CLOSED = "istio_tcp_connections_closed_total",
            OPENED = "istio_tcp_connections_opened_total",
            RECEIVED = "istio_tcp_received_bytes_total",
            SENT = "istio_tcp_sent_bytes_total",
        }
        gauges {}
        histograms {}
        codes None;
    }
}
