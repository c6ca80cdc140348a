//! What time does to live clusters: lists are rebuilt after ejections, ejected hosts return, unused original
//! destinations go. One task, off the workers.

use super::{lb::original_dst, outlier};
use crate::base::Name;
use crate::base::clock::{self, Instant};
use crate::live::registry;
use crate::model::cluster::{Cluster, Discovery};
use crate::model::snapshot::{ByName, Snapshot};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Between two looks at what is due; far below any useful interval of outlier detection.
const TICK: Duration = Duration::from_millis(100);

/// The same while no cluster needs it.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// Runs for ever; `current` gives the snapshot in force. A task of the control thread, or a thread of its own.
pub async fn run(current: impl Fn() -> Arc<Snapshot>) {
    let mut watch = Watch::default();
    loop {
        let pause = if watch.clusters.is_empty() { IDLE_TICK } else { TICK };
        tokio::select! {
            changed = registry::changed() => changed.iter().for_each(|live| live.rebuild()),
            () = tokio::time::sleep(pause) => watch.tick(&current(), clock::now()),
        }
    }
}

#[derive(Default)]
struct Watch {
    /// Version of the snapshot that `clusters` was taken from, and the clusters that it had.
    version: Option<u64>,
    seen: ByName<Cluster>,
    clusters: HashMap<Name, (Arc<Cluster>, Instant)>,
}

/// The interval of what a cluster needs; none when it needs nothing.
fn interval(cluster: &Cluster) -> Option<Duration> {
    let needs = match (&cluster.outlier, &cluster.discovery) {
        (Some(outlier), _) => Some(outlier.interval),
        (None, Discovery::OriginalDst { cleanup, .. }) => Some(*cleanup),
        (None, _) => None,
    };
    needs.map(|interval| interval.max(TICK))
}

impl Watch {
    /// Takes over what is new in a snapshot. A cluster that was watched stays while it is there, so that ejections made
    /// under an earlier version are undone.
    fn adopt(&mut self, snapshot: &Snapshot, now: Instant) {
        for name in snapshot.clusters.suspects(&self.seen) {
            let due = self.clusters.remove(name).map(|(_, due)| due);
            let Some(cluster) = snapshot.clusters.get(name) else { continue };
            let left_over = due.is_some() || cluster.live.ejected.load(Relaxed) > 0;
            if let Some(every) = interval(cluster).or(left_over.then_some(TICK)) {
                let latest = now.checked_add(every).unwrap_or(now);
                self.clusters.insert(name.clone(), (cluster.clone(), due.unwrap_or(latest).min(latest)));
            }
        }
        self.seen = snapshot.clusters.clone();
        self.version = Some(snapshot.version);
    }

    fn tick(&mut self, snapshot: &Snapshot, now: Instant) {
        if self.version != Some(snapshot.version) {
            self.adopt(snapshot, now);
        }
        for (cluster, due) in self.clusters.values_mut().filter(|(_, due)| now >= *due) {
            *due = now.checked_add(interval(cluster).unwrap_or(TICK)).unwrap_or(now);
            outlier::sweep(&cluster.live, cluster.outlier.as_ref(), now);
            if matches!(cluster.discovery, Discovery::OriginalDst { .. }) {
                original_dst::clean(&cluster.live);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::addr::Address;
    use crate::base::rng::Rng;
    use crate::live::host::flag;
    use crate::model::cluster::{
        Assignment, Endpoint, EndpointHealth, EndpointTarget, LbPolicy, LocalityEndpoints, Outlier,
    };
    use crate::upstream::hosts;
    use crate::upstream::lb::bench;
    use crate::upstream::outlier::{Outcome, report};

    fn outlier(base: Duration) -> Outlier {
        Outlier {
            consecutive_5xx: 1,
            consecutive_gateway: 5,
            consecutive_local: 5,
            interval: Duration::from_millis(100),
            base_ejection: base,
            max_ejection: base,
            max_ejection_jitter: Duration::ZERO,
            max_ejection_percent: 50,
            always_eject_one: false,
            enforce_5xx: 100,
            enforce_gateway: 0,
            enforce_local: 100,
            split: false,
        }
    }

    fn endpoint(n: u8) -> Endpoint {
        Endpoint {
            target: EndpointTarget::Address(Address::Ip(([127, 0, 0, n], 80).into())),
            weight: 1,
            health: EndpointHealth::Healthy,
            hostname: None,
            metadata: None,
            canary: false,
            hash_key: None,
        }
    }

    fn cluster(name: &str, outlier: Option<Outlier>) -> Arc<Cluster> {
        let mut cluster = bench::cluster(name, LbPolicy::RoundRobin);
        cluster.outlier = outlier;
        let locality = LocalityEndpoints {
            locality: bench::empty(),
            weight: 0,
            priority: 0,
            endpoints: [endpoint(1), endpoint(2)].into(),
        };
        cluster.assignment = Assignment { localities: [locality].into(), ..Assignment::default() };
        hosts::publish(&cluster, &cluster.assignment, &hosts::unresolved);
        Arc::new(cluster)
    }

    fn snapshot(version: u64, cluster: &Arc<Cluster>) -> Arc<Snapshot> {
        let clusters = [(cluster.name.clone(), cluster.clone())].into_iter().collect();
        Arc::new(Snapshot { version, clusters, ..Snapshot::default() })
    }

    fn healthy(cluster: &Cluster) -> usize {
        cluster.live.hosts().unwrap().priorities[0].healthy.hosts.len()
    }

    async fn until(cluster: &Cluster, want: usize) {
        for _ in 0..1000 {
            if healthy(cluster) == want {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{} healthy hosts instead of {want}", healthy(cluster));
    }

    #[tokio::test]
    async fn an_ejected_host_leaves_the_lists_at_once_and_returns() {
        let cluster = cluster("watch-eject", Some(outlier(Duration::from_millis(300))));
        let current = snapshot(1, &cluster);
        let watch =
            async { tokio::time::timeout(Duration::from_secs(20), run(move || current.clone())).await };
        let story = async {
            let host = cluster.live.hosts().unwrap().members.hosts().next().unwrap().clone();
            // Let the watcher see its first snapshot.
            tokio::time::sleep(IDLE_TICK + TICK).await;
            report(&cluster, &host, Outcome::Status(500), &Rng::seeded(1));
            until(&cluster, 1).await;
            assert_eq!(cluster.live.ejected.load(Relaxed), 1);
            until(&cluster, 2).await;
            assert_eq!((cluster.live.ejected.load(Relaxed), host.flags()), (0, 0));
        };
        tokio::select! { _ = watch => panic!("the watch ended"), () = story => {} }
    }

    #[test]
    fn ejections_end_when_outlier_detection_is_taken_away() {
        let with = cluster("watch-away", Some(outlier(Duration::from_secs(3600))));
        let mut watch = Watch::default();
        let start = clock::now();
        watch.tick(&snapshot(1, &with), start);
        let host = with.live.hosts().unwrap().members.hosts().next().unwrap().clone();
        report(&with, &host, Outcome::Status(500), &Rng::seeded(1));
        assert_eq!(host.flags(), flag::FAILED_OUTLIER);
        let without = cluster("watch-away", None);
        watch.tick(&snapshot(2, &without), start + TICK);
        watch.tick(&snapshot(2, &without), start + TICK * 3);
        assert_eq!((host.flags(), healthy(&without)), (0, 2));
        watch.tick(&snapshot(3, &without), start + TICK * 4);
        watch.tick(&snapshot(4, &Arc::new(bench::cluster("other", LbPolicy::Random))), start + TICK * 5);
        assert!(watch.clusters.is_empty());
    }

    #[test]
    fn unused_original_destinations_go() {
        let mut cluster = bench::cluster("watch-dst", LbPolicy::ClusterProvided);
        let cleanup = Duration::from_secs(5);
        cluster.discovery = Discovery::OriginalDst { header: None, port: None, cleanup };
        let cluster = Arc::new(cluster);
        let host = original_dst::host(&cluster.live, "127.0.0.1:80".parse().unwrap()).unwrap();
        let mut watch = Watch::default();
        let start = clock::now();
        for seconds in [0, 5] {
            watch.tick(&snapshot(1, &cluster), start + Duration::from_secs(seconds));
            assert!(!host.is_removed());
        }
        watch.tick(&snapshot(1, &cluster), start + Duration::from_secs(10));
        assert!(host.is_removed());
    }
}
