//! Statistics of the sets of clusters and listeners.

use super::force::Force;
use super::interest::Interest;
use super::subscriptions::{CDS, Counted, Judged, LDS, Subscriptions, eds};
use super::update::{Kind, Outcome, Verdict};
use crate::base::Name;
use crate::model::runtime::Runtime;
use crate::observe::metrics::{Cells, Registry};
use crate::observe::stats::{cluster_manager, listener_manager, runtime as values};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The control thread's counts.
pub(super) struct Stats {
    clusters: Cells,
    listeners: Cells,
    values: Cells,
    pub(super) subscriptions: Arc<Subscriptions>,
}

impl Stats {
    pub(super) fn new() -> Self {
        let registry = Registry::global();
        Stats {
            clusters: registry.cells(&cluster_manager::SCHEMA, "cluster_manager."),
            listeners: registry.cells(&listener_manager::SCHEMA, "listener_manager."),
            values: registry.cells(&values::SCHEMA, "runtime."),
            subscriptions: Subscriptions::new(),
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
                (Kind::Listener, Ok(Outcome::Changed)) => {
                    self.listeners.inc(lm::LISTENER_MODIFIED);
                    self.listeners.add(lm::LISTENER_CREATE_SUCCESS, workers as u64);
                }
                (Kind::Listener, Ok(Outcome::Removed)) => self.listeners.inc(lm::LISTENER_REMOVED),
                (Kind::Cluster | Kind::Listener, Ok(Outcome::Unchanged) | Err(_)) => {}
                (Kind::Endpoints | Kind::Route | Kind::Secret | Kind::Extension | Kind::Runtime, _) => {}
            }
        }
        self.clusters.gauge_set(cm::ACTIVE_CLUSTERS, clusters as u64);
        self.listeners.gauge_set(lm::TOTAL_LISTENERS_ACTIVE, listeners as u64);
    }

    /// How many wait to come into force.
    pub(super) fn waiting(&self, waiting: &BTreeSet<(Kind, Name)>) {
        let of = |wanted| {
            u64::try_from(waiting.iter().filter(|(kind, _)| *kind == wanted).count()).unwrap_or(u64::MAX)
        };
        self.clusters.gauge_set(cluster_manager::WARMING_CLUSTERS, of(Kind::Cluster));
        self.listeners.gauge_set(listener_manager::TOTAL_LISTENERS_WARMING, of(Kind::Listener));
    }

    /// Runtime values are in force.
    pub(super) fn runtime(&self, runtime: &Runtime) {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        self.values.inc(values::LOAD_SUCCESS);
        self.values.gauge_set(values::NUM_KEYS, count(runtime.len()));
        self.values.gauge_set(values::NUM_LAYERS, count(runtime.layers().len()));
    }

    /// This many listeners accept no more, though nothing took them away.
    pub(super) fn stopped(&self, listeners: usize) {
        self.listeners.add(listener_manager::LISTENER_STOPPED, listeners as u64);
    }

    /// A listener cannot listen.
    pub(super) fn listens_not(&self) {
        self.listeners.inc(listener_manager::LISTENER_CREATE_FAILURE);
    }

    /// A listener changed in nothing but its filter chains.
    pub(super) fn in_place(&self) {
        self.listeners.inc(listener_manager::LISTENER_IN_PLACE_UPDATED);
    }

    /// Is what the process starts with in force?
    pub(super) fn started(&self, started: bool) {
        self.listeners.gauge_set(listener_manager::WORKERS_STARTED, u64::from(started));
    }

    /// Nothing of this type has come in time.
    pub(super) fn timed_out(&self, kind: Kind) {
        if let Some(prefix) = whole(kind) {
            self.subscriptions.attempted(prefix, Counted::Timeout);
        }
    }

    /// What is named has not come in time.
    pub(super) fn not_come(&self, kind: Kind, name: &Name, force: &Force, interest: &Interest) {
        self.each(kind, name, force, interest, |prefix| {
            self.subscriptions.attempted(prefix, Counted::Timeout);
        });
    }

    /// Prefix of each subscription to a resource that is named.
    fn each(&self, kind: Kind, name: &Name, force: &Force, interest: &Interest, work: impl Fn(&str)) {
        match kind {
            Kind::Endpoints => force.fed_by(name).for_each(|cluster| work(&eds(cluster))),
            _ => interest.prefixes(kind, name).for_each(|prefix| work(prefix)),
        }
    }

    /// What was restored stands for a first answer.
    pub(super) fn counts_as_sent(&self, kind: Kind) {
        if let Some(prefix) = whole(kind) {
            self.subscriptions.count(prefix, Counted::Success);
        }
    }

    /// What became of what a control plane sent.
    pub(super) fn judged(
        &self,
        (kind, unread): (Kind, bool),
        version: &str,
        verdicts: &[Verdict],
        force: &Force,
        interest: &Interest,
    ) {
        let ended = |accepted: bool| match accepted {
            true => Counted::Success,
            false if unread => Counted::Failure,
            false => Counted::Rejected,
        };
        let changed = |verdict: &Verdict| matches!(verdict.result, Ok(Outcome::Added | Outcome::Changed));
        if let Some(prefix) = whole(kind) {
            let ended = ended(verdicts.iter().all(|verdict| verdict.result.is_ok()));
            let judged = Judged { version, ended, changed: verdicts.iter().any(changed) };
            return self.subscriptions.judged(prefix, judged);
        }
        for verdict in verdicts {
            let judged = Judged { version, ended: ended(verdict.result.is_ok()), changed: changed(verdict) };
            self.each(kind, &verdict.name, force, interest, |prefix| {
                self.subscriptions.judged(prefix, judged);
            });
        }
    }
}

/// Prefix of a type that is subscribed to as a whole.
fn whole(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Cluster => Some(CDS),
        Kind::Listener => Some(LDS),
        Kind::Endpoints | Kind::Route | Kind::Secret | Kind::Extension | Kind::Runtime => None,
    }
}
