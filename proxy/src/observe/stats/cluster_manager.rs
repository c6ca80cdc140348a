//! Statistics of the clusters' set (`cluster_manager.`).

use crate::observe::metrics::stats;

stats! {
    kind "cluster_manager";
    counters {
        CLUSTER_ADDED = "cluster_added",
        CLUSTER_MODIFIED = "cluster_modified",
        CLUSTER_REMOVED = "cluster_removed",
        CLUSTER_UPDATED = "cluster_updated",
        CLUSTER_UPDATED_VIA_MERGE = "cluster_updated_via_merge",
        UPDATE_MERGE_CANCELLED = "update_merge_cancelled",
        UPDATE_OUT_OF_MERGE_WINDOW = "update_out_of_merge_window",
    }
    gauges {
        ACTIVE_CLUSTERS = "active_clusters",
        WARMING_CLUSTERS = "warming_clusters",
    }
    histograms {}
    codes None;
}
