//! Statistics of the listeners' set (`listener_manager.`).

use crate::observe::metrics::stats;

stats! {
    kind "listener_manager";
    counters {
        LISTENER_ADDED = "listener_added",
        LISTENER_CREATE_FAILURE = "listener_create_failure",
        LISTENER_CREATE_SUCCESS = "listener_create_success",
        LISTENER_IN_PLACE_UPDATED = "listener_in_place_updated",
        LISTENER_MODIFIED = "listener_modified",
        LISTENER_REMOVED = "listener_removed",
        LISTENER_STOPPED = "listener_stopped",
    }
    gauges {
        TOTAL_FILTER_CHAINS_DRAINING = "total_filter_chains_draining",
        TOTAL_LISTENERS_ACTIVE = "total_listeners_active",
        TOTAL_LISTENERS_DRAINING = "total_listeners_draining",
        TOTAL_LISTENERS_WARMING = "total_listeners_warming",
        WORKERS_STARTED = "workers_started",
    }
    histograms {}
    codes None;
}
