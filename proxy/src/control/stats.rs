//! Statistics of the sets of clusters and listeners.

use super::update::{Kind, Outcome, Verdict};
use crate::observe::metrics::{Cells, Registry};
use crate::observe::stats::{cluster_manager, listener_manager};

/// The control thread's counts.
pub(super) struct Stats {
    clusters: Cells,
    listeners: Cells,
}

impl Stats {
    pub(super) fn new() -> Self {
        let registry = Registry::global();
        Stats {
            clusters: registry.cells(&cluster_manager::SCHEMA, "cluster_manager."),
            listeners: registry.cells(&listener_manager::SCHEMA, "listener_manager."),
        }
    }

    /// Counts an update that left this many clusters and listeners in force, the latter on each of the workers.
    pub(super) fn count(&self, verdicts: &[Verdict], clusters: usize, listeners: usize, workers: usize) {
        use cluster_manager as cm;
        use listener_manager as lm;
        for verdict in verdicts {
            match (verdict.kind, &verdict.result) {
                (Kind::Cluster, Ok(Outcome::Added)) => self.clusters.inc(cm::CLUSTER_ADDED),
                (Kind::Cluster, Ok(Outcome::Changed)) => self.clusters.inc(cm::CLUSTER_MODIFIED),
                (Kind::Cluster, Ok(Outcome::Removed)) => self.clusters.inc(cm::CLUSTER_REMOVED),
                (Kind::Listener, Ok(Outcome::Added)) => {
                    self.listeners.inc(lm::LISTENER_ADDED);
                    self.listeners.add(lm::LISTENER_CREATE_SUCCESS, workers as u64);
                }
                (Kind::Listener, Ok(Outcome::Changed)) => self.listeners.inc(lm::LISTENER_MODIFIED),
                (Kind::Listener, Ok(Outcome::Removed)) => self.listeners.inc(lm::LISTENER_REMOVED),
                (Kind::Cluster | Kind::Listener, Ok(Outcome::Unchanged) | Err(_)) => {}
                (Kind::Endpoints | Kind::Route, _) => {}
            }
        }
        self.clusters.gauge_set(cm::ACTIVE_CLUSTERS, clusters as u64);
        self.clusters.gauge_set(cm::WARMING_CLUSTERS, 0);
        self.listeners.gauge_set(lm::TOTAL_LISTENERS_ACTIVE, listeners as u64);
        self.listeners.gauge_set(lm::WORKERS_STARTED, 1);
    }
}
