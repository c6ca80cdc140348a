//! Statistics of a cluster that the request path writes (`cluster.<name>.`).

use crate::observe::metrics::{CodeTable, stats};

/// Scope of [`crate::observe::metrics::Cells::response_code_in`] for requests with `x-envoy-internal: true`.
pub const INTERNAL: usize = 1;
/// Scope for requests from outside.
pub const EXTERNAL: usize = 2;
/// Scope for responses of canary hosts.
pub const CANARY: usize = 3;
/// Scope for responses that were retried.
pub const RETRY: usize = 4;

stats! {
    kind "cluster";
    counters {
        BIND_ERRORS = "bind_errors",
        DEFAULT_TOTAL_MATCH_COUNT = "default.total_match_count",
        ORIGINAL_DST_HOST_INVALID = "original_dst_host_invalid",
        RETRY_OR_SHADOW_ABANDONED = "retry_or_shadow_abandoned",
        UPSTREAM_CX_CLOSE_NOTIFY = "upstream_cx_close_notify",
        UPSTREAM_CX_CONNECT_ATTEMPTS_EXCEEDED = "upstream_cx_connect_attempts_exceeded",
        UPSTREAM_CX_CONNECT_FAIL = "upstream_cx_connect_fail",
        UPSTREAM_CX_CONNECT_TIMEOUT = "upstream_cx_connect_timeout",
        UPSTREAM_CX_CONNECT_WITH_0_RTT = "upstream_cx_connect_with_0_rtt",
        UPSTREAM_CX_DESTROY = "upstream_cx_destroy",
        UPSTREAM_CX_DESTROY_LOCAL = "upstream_cx_destroy_local",
        UPSTREAM_CX_DESTROY_LOCAL_WITH_ACTIVE_RQ = "upstream_cx_destroy_local_with_active_rq",
        UPSTREAM_CX_DESTROY_REMOTE = "upstream_cx_destroy_remote",
        UPSTREAM_CX_DESTROY_REMOTE_WITH_ACTIVE_RQ = "upstream_cx_destroy_remote_with_active_rq",
        UPSTREAM_CX_DESTROY_WITH_ACTIVE_RQ = "upstream_cx_destroy_with_active_rq",
        UPSTREAM_CX_HTTP1_TOTAL = "upstream_cx_http1_total",
        UPSTREAM_CX_HTTP2_TOTAL = "upstream_cx_http2_total",
        UPSTREAM_CX_HTTP3_TOTAL = "upstream_cx_http3_total",
        UPSTREAM_CX_IDLE_TIMEOUT = "upstream_cx_idle_timeout",
        UPSTREAM_CX_MAX_DURATION_REACHED = "upstream_cx_max_duration_reached",
        UPSTREAM_CX_MAX_REQUESTS = "upstream_cx_max_requests",
        UPSTREAM_CX_NONE_HEALTHY = "upstream_cx_none_healthy",
        UPSTREAM_CX_OVERFLOW = "upstream_cx_overflow",
        UPSTREAM_CX_POOL_OVERFLOW = "upstream_cx_pool_overflow",
        UPSTREAM_CX_PRECONNECT_SKIPPED = "upstream_cx_preconnect_skipped",
        UPSTREAM_CX_PROTOCOL_ERROR = "upstream_cx_protocol_error",
        UPSTREAM_CX_RX_BYTES_TOTAL = "upstream_cx_rx_bytes_total",
        UPSTREAM_CX_TOTAL = "upstream_cx_total",
        UPSTREAM_CX_TX_BYTES_TOTAL = "upstream_cx_tx_bytes_total",
        UPSTREAM_FLOW_CONTROL_BACKED_UP_TOTAL = "upstream_flow_control_backed_up_total",
        UPSTREAM_FLOW_CONTROL_DRAINED_TOTAL = "upstream_flow_control_drained_total",
        UPSTREAM_FLOW_CONTROL_PAUSED_READING_TOTAL = "upstream_flow_control_paused_reading_total",
        UPSTREAM_FLOW_CONTROL_RESUMED_READING_TOTAL = "upstream_flow_control_resumed_reading_total",
        UPSTREAM_INTERNAL_REDIRECT_FAILED_TOTAL = "upstream_internal_redirect_failed_total",
        UPSTREAM_INTERNAL_REDIRECT_SUCCEEDED_TOTAL = "upstream_internal_redirect_succeeded_total",
        UPSTREAM_RQ_0RTT = "upstream_rq_0rtt",
        UPSTREAM_RQ_ACTIVE_OVERFLOW = "upstream_rq_active_overflow",
        UPSTREAM_RQ_CANCELLED = "upstream_rq_cancelled",
        UPSTREAM_RQ_DROP_OVERLOAD = "upstream_rq_drop_overload",
        UPSTREAM_RQ_MAINTENANCE_MODE = "upstream_rq_maintenance_mode",
        UPSTREAM_RQ_MAX_DURATION_REACHED = "upstream_rq_max_duration_reached",
        UPSTREAM_RQ_PENDING_FAILURE_EJECT = "upstream_rq_pending_failure_eject",
        UPSTREAM_RQ_PENDING_OVERFLOW = "upstream_rq_pending_overflow",
        UPSTREAM_RQ_PENDING_TOTAL = "upstream_rq_pending_total",
        UPSTREAM_RQ_PER_TRY_IDLE_TIMEOUT = "upstream_rq_per_try_idle_timeout",
        UPSTREAM_RQ_PER_TRY_TIMEOUT = "upstream_rq_per_try_timeout",
        UPSTREAM_RQ_RETRY = "upstream_rq_retry",
        UPSTREAM_RQ_RETRY_BACKOFF_EXPONENTIAL = "upstream_rq_retry_backoff_exponential",
        UPSTREAM_RQ_RETRY_BACKOFF_RATELIMITED = "upstream_rq_retry_backoff_ratelimited",
        UPSTREAM_RQ_RETRY_LIMIT_EXCEEDED = "upstream_rq_retry_limit_exceeded",
        UPSTREAM_RQ_RETRY_OVERFLOW = "upstream_rq_retry_overflow",
        UPSTREAM_RQ_RETRY_SUCCESS = "upstream_rq_retry_success",
        UPSTREAM_RQ_RX_RESET = "upstream_rq_rx_reset",
        UPSTREAM_RQ_RX_RESET_NO_ERROR = "upstream_rq_rx_reset_no_error",
        UPSTREAM_RQ_TIMEOUT = "upstream_rq_timeout",
        UPSTREAM_RQ_TOTAL = "upstream_rq_total",
        UPSTREAM_RQ_TX_RESET = "upstream_rq_tx_reset",
        LB_HEALTHY_PANIC = "lb_healthy_panic",
        LB_LOCAL_CLUSTER_NOT_OK = "lb_local_cluster_not_ok",
        LB_RECALCULATE_ZONE_STRUCTURES = "lb_recalculate_zone_structures",
        LB_SUBSETS_CREATED = "lb_subsets_created",
        LB_SUBSETS_FALLBACK = "lb_subsets_fallback",
        LB_SUBSETS_FALLBACK_PANIC = "lb_subsets_fallback_panic",
        LB_SUBSETS_REMOVED = "lb_subsets_removed",
        LB_SUBSETS_SELECTED = "lb_subsets_selected",
        LB_ZONE_CLUSTER_TOO_SMALL = "lb_zone_cluster_too_small",
        LB_ZONE_NO_CAPACITY_LEFT = "lb_zone_no_capacity_left",
        LB_ZONE_NUMBER_DIFFERS = "lb_zone_number_differs",
        LB_ZONE_ROUTING_ALL_DIRECTLY = "lb_zone_routing_all_directly",
        LB_ZONE_ROUTING_CROSS_ZONE = "lb_zone_routing_cross_zone",
        LB_ZONE_ROUTING_SAMPLED = "lb_zone_routing_sampled",
        WEIR_REPLAYS = "weir.replays",
        WEIR_REPLAY_SUCCESS = "weir.replay_success",
        WEIR_MIRROR_TOTAL = "weir.mirror_total",
        WEIR_MIRROR_DROPPED = "weir.mirror_dropped",
    }
    gauges {
        UPSTREAM_QUEUE_OVERLOADED = "upstream_queue_overloaded",
        UPSTREAM_CX_ACTIVE = "upstream_cx_active",
        UPSTREAM_CX_RX_BYTES_BUFFERED = "upstream_cx_rx_bytes_buffered",
        UPSTREAM_CX_TX_BYTES_BUFFERED = "upstream_cx_tx_bytes_buffered",
        UPSTREAM_RQ_ACTIVE = "upstream_rq_active",
        UPSTREAM_RQ_PENDING_ACTIVE = "upstream_rq_pending_active",
        LB_SUBSETS_ACTIVE = "lb_subsets_active",
    }
    histograms {
        UPSTREAM_CX_CONNECT_MS = "upstream_cx_connect_ms",
        UPSTREAM_CX_LENGTH_MS = "upstream_cx_length_ms",
        UPSTREAM_RQ_PER_CX = "upstream_rq_per_cx",
        UPSTREAM_RQ_TIME = "upstream_rq_time",
        INTERNAL_UPSTREAM_RQ_TIME = "internal.upstream_rq_time",
        EXTERNAL_UPSTREAM_RQ_TIME = "external.upstream_rq_time",
        CANARY_UPSTREAM_RQ_TIME = "canary.upstream_rq_time",
    }
    codes Some(CodeTable {
        stem: "upstream_rq_",
        each: true,
        fixed: false,
        scopes: &["", "internal.", "external.", "canary.", "retry."],
    });
}
