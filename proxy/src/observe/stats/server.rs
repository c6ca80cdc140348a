//! Statistics of the process (`server.`).

use crate::observe::metrics::stats;

stats! {
    kind "server";
    counters {
        DEBUG_ASSERTION_FAILURES = "debug_assertion_failures",
        DROPPED_STAT_FLUSHES = "dropped_stat_flushes",
        DYNAMIC_UNKNOWN_FIELDS = "dynamic_unknown_fields",
        ENVOY_BUG_FAILURES = "envoy_bug_failures",
        ENVOY_NOTIFICATIONS = "envoy_notifications",
        MAIN_THREAD_WATCHDOG_MEGA_MISS = "main_thread.watchdog_mega_miss",
        MAIN_THREAD_WATCHDOG_MISS = "main_thread.watchdog_miss",
        STATIC_UNKNOWN_FIELDS = "static_unknown_fields",
        WATCHDOG_MEGA_MISS = "watchdog_mega_miss",
        WATCHDOG_MISS = "watchdog_miss",
        WEIR_PANICS = "weir.panics",
        WIP_PROTOS = "wip_protos",
    }
    gauges {
        CONCURRENCY = "concurrency",
        DAYS_UNTIL_FIRST_CERT_EXPIRING = "days_until_first_cert_expiring",
        HOT_RESTART_EPOCH = "hot_restart_epoch",
        HOT_RESTART_GENERATION = "hot_restart_generation",
        LIVE = "live",
        MEMORY_ALLOCATED = "memory_allocated",
        MEMORY_HEAP_SIZE = "memory_heap_size",
        MEMORY_PHYSICAL_SIZE = "memory_physical_size",
        PARENT_CONNECTIONS = "parent_connections",
        SECONDS_UNTIL_FIRST_OCSP_RESPONSE_EXPIRING = "seconds_until_first_ocsp_response_expiring",
        STATE = "state",
        STATS_RECENT_LOOKUPS = "stats_recent_lookups",
        TOTAL_CONNECTIONS = "total_connections",
        UPTIME = "uptime",
        VERSION = "version",
    }
    histograms {
        INITIALIZATION_TIME_MS = "initialization_time_ms",
    }
    codes None;
}
