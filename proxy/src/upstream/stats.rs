//! Statistics that the live clusters keep themselves: what limits leave, outlier detection, shown under
//! `cluster.<name>.` when somebody looks. (Members and open breakers are told by the admin interface's view.)

use crate::live::ClusterLive;
use crate::live::permit::{Breakers, Kind};
use crate::model::cluster::{Cluster, Thresholds};
use crate::model::snapshot::Snapshot as Config;
use crate::observe::metrics::{Snapshot, Source, sanitized};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The source; `current` gives the configuration in force. To be held as long as the process lives and given to
/// [`crate::observe::metrics::Registry::add_source`].
pub struct LiveStats<F> {
    current: F,
}

impl<F: Fn() -> Arc<Config> + Send + Sync> LiveStats<F> {
    /// Asks `current` at every look.
    pub fn new(current: F) -> Arc<Self> {
        Arc::new(LiveStats { current })
    }
}

impl<F: Fn() -> Arc<Config> + Send + Sync> Source for LiveStats<F> {
    fn collect(&self, into: &mut Snapshot) {
        for cluster in (self.current)().clusters.values().filter(|cluster| cluster.live.is_touched()) {
            let prefix = format!("cluster.{}.", sanitized(&cluster.stat_name));
            breakers(cluster, &prefix, into);
            if cluster.outlier.is_some() {
                outlier(&cluster.live, &format!("{prefix}outlier_detection."), into);
            }
            // As in Envoy, each priority's table is told under the same names: the last one stands.
            let hosts = cluster.live.hosts();
            let last = hosts.as_ref().and_then(|set| set.priorities.last());
            for (name, size) in last.map_or(&[][..], |priority| priority.all.balancer.sizes()) {
                into.gauge(&format!("{prefix}{name}"), *size);
            }
        }
    }

    fn reset(&self) {
        (self.current)().clusters.values().for_each(|cluster| cluster.live.outlier.reset());
    }
}

fn breakers(cluster: &Cluster, prefix: &str, into: &mut Snapshot) {
    for ((live, limits), name) in cluster.live.breakers.iter().zip(&cluster.breakers).zip(["default", "high"])
    {
        priority(live, limits, &format!("{prefix}circuit_breakers.{name}."), into);
    }
}

fn priority(live: &Breakers, limits: &Thresholds, prefix: &str, into: &mut Snapshot) {
    const NAMES: [(Kind, &str); 4] = [
        (Kind::Connections, "remaining_cx"),
        (Kind::Pending, "remaining_pending"),
        (Kind::Requests, "remaining_rq"),
        (Kind::Retries, "remaining_retries"),
    ];
    for (kind, name) in NAMES.into_iter().filter(|_| limits.track_remaining) {
        // A retry budget has no fixed number left; Envoy shows 0.
        let budget = kind == Kind::Retries && limits.retry_budget.is_some();
        into.gauge(&format!("{prefix}{name}"), if budget { 0 } else { live.remaining(kind) });
    }
}

fn outlier(live: &ClusterLive, prefix: &str, into: &mut Snapshot) {
    let seen = &live.outlier;
    into.gauge(&format!("{prefix}ejections_active"), u64::from(live.ejected.load(Relaxed)));
    let rows: [(&str, &AtomicU64); 10] = [
        ("detected_consecutive_5xx", &seen.detected_5xx),
        ("detected_consecutive_gateway_failure", &seen.detected_gateway),
        ("detected_consecutive_local_origin_failure", &seen.detected_local),
        ("enforced_consecutive_5xx", &seen.enforced_5xx),
        ("enforced_consecutive_gateway_failure", &seen.enforced_gateway),
        ("enforced_consecutive_local_origin_failure", &seen.enforced_local),
        ("enforced_total", &seen.enforced_total),
        ("overflow", &seen.overflow),
        // Older names that Envoy still counts.
        ("consecutive_5xx", &seen.detected_5xx),
        ("total", &seen.enforced_total),
    ];
    for (name, value) in rows {
        into.counter(&format!("{prefix}ejections_{name}"), value.load(Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::permit::Lender;
    use crate::model::cluster::LbPolicy;
    use crate::observe::metrics::Registry;
    use crate::upstream::{hosts, lb::bench};

    #[test]
    fn live_numbers_are_shown_under_the_clusters_name() {
        let mut cluster = bench::cluster("live-stats", LbPolicy::RoundRobin);
        cluster.breakers[0] = Thresholds { max_requests: 1, track_remaining: true, ..Thresholds::default() };
        hosts::publish(&cluster, &cluster.assignment, &hosts::unresolved);
        let lender = Lender::new(cluster.live.breakers[0].clone());
        let _held = lender.take(Kind::Requests).unwrap();
        let cluster = Arc::new(cluster);
        let clusters = [(cluster.name.clone(), cluster.clone())].into_iter().collect();
        let config = Arc::new(Config { clusters, ..Config::default() });
        let registry = Registry::default();
        let source = LiveStats::new(move || config.clone());
        let weak: std::sync::Weak<dyn Source> = Arc::downgrade(&(source.clone() as Arc<dyn Source>));
        registry.add_source(weak);
        let seen = registry.snapshot();
        let gauge = |name: &str| seen.gauges.get(&format!("cluster.live-stats.{name}")).map(|g| g.value);
        assert_eq!(gauge("circuit_breakers.default.remaining_rq"), Some(0));
        assert_eq!(gauge("circuit_breakers.default.remaining_cx"), Some(1024));
        assert_eq!(gauge("circuit_breakers.high.remaining_cx"), None);
        assert_eq!(gauge("outlier_detection.ejections_active"), None);
    }
}
