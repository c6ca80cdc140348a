//! Statistics of subscriptions, under Envoy's names: `cluster_manager.cds.`, `listener_manager.lds.`,
//! `cluster.<name>.` (EDS), `http.<prefix>.rds.<name>.`, `sds.<name>.`,
//! `extension_config_discovery.<place>.<name>.`, `runtime.`, and `control_plane.` of each stream.

use crate::model::pushed::Place;
use crate::observe::metrics::{Registry, Snapshot, Source, sanitized};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use xxhash_rust::xxh64::xxh64;

/// Prefix of CDS.
pub(super) const CDS: &str = "cluster_manager.cds.";
/// Prefix of LDS.
pub(super) const LDS: &str = "listener_manager.lds.";

/// Prefix of the endpoints of a cluster.
pub(super) fn eds(cluster: &str) -> String {
    format!("cluster.{}.", sanitized(cluster))
}

/// Prefix of a route configuration.
pub(super) fn rds(manager: &str, name: &str) -> String {
    format!("http.{}.rds.{}.", sanitized(manager), sanitized(name))
}

fn is_rds(prefix: &str) -> bool {
    prefix.starts_with("http.") && prefix.contains(".rds.")
}

/// Prefix of a secret.
pub(super) fn sds(name: &str) -> String {
    format!("sds.{}.", sanitized(name))
}

/// Prefix of the configurations of filters.
const ECDS: &str = "extension_config_discovery.";

/// Prefix of the configuration of a filter.
pub(super) fn ecds(place: Place, name: &str) -> String {
    let place = match place {
        Place::Http => "http_filter",
        Place::Network => "network_filter",
        Place::Listener => "tcp_listener_filter",
    };
    format!("{ECDS}{place}.{}.", sanitized(name))
}

/// Prefix of runtime layers: all share it.
pub(super) const RTDS: &str = "runtime.";

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// A response was asked for.
    Attempt,
    /// Accepted.
    Success,
    /// The stream failed.
    Failure,
    /// Refused, wholly or in part.
    Rejected,
    /// The source says that there is none.
    Empty,
    /// Not there in time.
    Timeout,
}

/// What an update of a subscription came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged<'a> {
    pub(super) version: &'a str,
    pub(super) ended: Counted,
    /// Was it another one than before?
    pub(super) changed: bool,
}

/// Of one subscription.
#[derive(Debug, Default)]
struct Counts {
    by_kind: [u64; 6],
    /// Accepted ones that changed something.
    reloads: u64,
    /// Milliseconds since 1970.
    updated: u64,
    /// When something was changed.
    reloaded: u64,
    version: u64,
    /// Of clusters, listeners and routes; of others, which may be many, only the hash is kept.
    text: Box<str>,
}

impl Counts {
    fn of(&self, what: Counted) -> u64 {
        self.by_kind.get(what as usize).copied().unwrap_or_default()
    }

    fn add(&mut self, what: Counted) {
        if let Some(count) = self.by_kind.get_mut(what as usize) {
            *count = count.wrapping_add(1);
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    subscriptions: HashMap<Box<str>, Counts, foldhash::fast::RandomState>,
    /// Is the stream with this prefix open?
    planes: BTreeMap<Box<str>, bool>,
}

/// All of them; told when somebody looks.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(Mutex<Inner>);

const NAMES: [(Counted, &str); 6] = [
    (Counted::Attempt, "update_attempt"),
    (Counted::Success, "update_success"),
    (Counted::Failure, "update_failure"),
    (Counted::Rejected, "update_rejected"),
    (Counted::Empty, "update_empty"),
    (Counted::Timeout, "init_fetch_timeout"),
];

impl Subscriptions {
    /// None yet; told by the process's registry as long as it is held.
    pub(super) fn new() -> Arc<Self> {
        let all = Arc::new(Self::default());
        let source: Arc<dyn Source> = all.clone();
        Registry::global().add_source(Arc::downgrade(&source));
        all
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts for the subscription with this prefix.
    pub(super) fn count(&self, prefix: &str, what: Counted) {
        self.with(prefix, |counts| counts.add(what));
    }

    /// An attempt that ended so without an update.
    pub(super) fn attempted(&self, prefix: &str, ended: Counted) {
        self.with(prefix, |counts| {
            counts.add(Counted::Attempt);
            counts.add(ended);
        });
    }

    /// An update was attempted, and judged.
    pub(super) fn judged(&self, prefix: &str, Judged { version, ended, changed }: Judged<'_>) {
        self.with(prefix, |counts| {
            counts.add(Counted::Attempt);
            counts.add(ended);
            if ended != Counted::Success {
                return;
            }
            counts.updated = now();
            counts.version = xxh64(version.as_bytes(), 0);
            if changed {
                counts.reloads = counts.reloads.wrapping_add(1);
                counts.reloaded = counts.updated;
            }
            if matches!(prefix, CDS | LDS) || is_rds(prefix) {
                counts.text = version.into();
            }
        });
    }

    fn with(&self, prefix: &str, work: impl FnOnce(&mut Counts)) {
        let mut inner = self.inner();
        if !inner.subscriptions.contains_key(prefix) {
            inner.subscriptions.insert(prefix.into(), Counts::default());
        }
        if let Some(counts) = inner.subscriptions.get_mut(prefix) {
            work(counts);
        }
    }

    /// Forgets a subscription that is no more.
    pub(super) fn forget(&self, prefix: &str) {
        self.inner().subscriptions.remove(prefix);
    }

    /// The state of a stream.
    pub(super) fn connected(&self, prefix: &str, connected: bool) {
        self.inner().planes.insert(prefix.into(), connected);
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Source for Subscriptions {
    fn collect(&self, into: &mut Snapshot) {
        let inner = self.inner();
        for (prefix, counts) in &inner.subscriptions {
            for ((_, name), count) in NAMES.iter().zip(counts.by_kind) {
                into.counter(&format!("{prefix}{name}"), count);
            }
            if prefix.starts_with(ECDS) {
                into.counter(&format!("{prefix}config_fail"), counts.of(Counted::Rejected));
            }
            if prefix.starts_with(ECDS) || is_rds(prefix) {
                into.counter(&format!("{prefix}config_reload"), counts.reloads);
            }
            if is_rds(prefix) && counts.reloaded > 0 {
                into.gauge(&format!("{prefix}config_reload_time_ms"), counts.reloaded);
            }
            if counts.updated > 0 {
                into.gauge(&format!("{prefix}update_time"), counts.updated);
                into.gauge(&format!("{prefix}version"), counts.version);
            }
            if !counts.text.is_empty() {
                into.text(&format!("{prefix}version_text"), &*counts.text);
            }
        }
        for (prefix, connected) in &inner.planes {
            into.gauge(&format!("{prefix}connected_state"), u64::from(*connected));
            into.gauge(&format!("{prefix}pending_requests"), 0);
            into.counter(&format!("{prefix}rate_limit_enforced"), 0);
        }
    }

    fn reset(&self) {
        for counts in self.inner().subscriptions.values_mut() {
            (counts.by_kind, counts.reloads) = ([0; 6], 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_envoys() {
        let all = Subscriptions::default();
        all.count(CDS, Counted::Attempt);
        let judged = |changed| Judged { version: "7", ended: Counted::Success, changed };
        all.judged(CDS, judged(true));
        all.judged(&eds("a:b"), judged(true));
        let routes = rds("edge", "routes");
        all.judged(&routes, judged(true));
        all.judged(&routes, judged(false));
        all.attempted(&routes, Counted::Failure);
        all.count(&rds("in", "http.80"), Counted::Rejected);
        all.connected("control_plane.", true);
        let mut seen = Snapshot::default();
        all.collect(&mut seen);
        assert_eq!(seen.counters.get("cluster_manager.cds.update_success"), Some(&1));
        assert_eq!(seen.counters.get("cluster_manager.cds.update_rejected"), Some(&0));
        assert_eq!(seen.texts.get("cluster_manager.cds.version_text").map(String::as_str), Some("7"));
        assert_eq!(seen.counters.get("cluster.a_b.update_success"), Some(&1));
        assert!(!seen.texts.contains_key("cluster.a_b.version_text"));
        assert_eq!(seen.counters.get("http.in.rds.http.80.update_rejected"), Some(&1));
        assert_eq!(seen.gauges.get("control_plane.connected_state").map(|g| g.value), Some(1));
        let of_routes = |name: &str| seen.counters.get(&format!("http.edge.rds.routes.{name}")).copied();
        let counted =
            [("config_reload", 1), ("update_success", 2), ("update_failure", 1), ("update_attempt", 3)];
        for (name, count) in counted {
            assert_eq!(of_routes(name), Some(count), "{name}");
        }
        assert_eq!(seen.texts.get("http.edge.rds.routes.version_text").map(String::as_str), Some("7"));
        assert!(seen.gauges.contains_key("http.edge.rds.routes.config_reload_time_ms"));
        all.reset();
        let mut seen = Snapshot::default();
        all.collect(&mut seen);
        assert!(seen.counters.values().all(|count| *count == 0), "{:?}", seen.counters);
        all.forget(CDS);
        let mut seen = Snapshot::default();
        all.collect(&mut seen);
        assert!(!seen.counters.contains_key("cluster_manager.cds.update_success"));
    }
}
