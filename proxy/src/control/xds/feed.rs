//! One stream as a source of updates.

use super::super::interest::Interest;
use super::super::subscriptions::{CDS, Counted, LDS, Subscriptions, eds};
use super::super::thread::Inlet;
use super::super::update::{Change, Kind, Resource, Update, Verdict};
use super::NAMED;
use crate::base::Name;
use crate::model::by_name::Names;
use crate::model::cluster::Discovery;
use crate::model::pushed::Source;
use crate::model::snapshot::Published;
use std::sync::Arc;
use tokio::sync::watch;
use weir_xds::{CLUSTER, ENDPOINTS, Event, Incoming, LISTENER, Refusal, ResourceType, Sink, Wanted};

/// Most refused resources of one response that are logged one by one.
const MAX_LOGGED: usize = 20;

/// Hands on what a stream brings, and tells it what is wanted.
pub(super) struct Feed {
    inlet: Inlet,
    source: Source,
    interest: watch::Receiver<Arc<Interest>>,
    stats: Arc<Subscriptions>,
    /// Tells the clusters whose endpoints the stream brings.
    published: Arc<Published>,
    types: Vec<&'static ResourceType>,
    /// Prefix of `control_plane.` in statistics.
    plane: String,
    cluster: Name,
    /// What the stream has been told is wanted.
    seen: Arc<Interest>,
    /// The last failure, so that one that goes on is logged once.
    failure: String,
}

impl Feed {
    pub(super) fn new(
        inlet: Inlet,
        (source, interest): (Source, watch::Receiver<Arc<Interest>>),
        (stats, published): (Arc<Subscriptions>, Arc<Published>),
        types: Vec<&'static ResourceType>,
        prefix: &str,
        cluster: Name,
    ) -> Feed {
        let plane = format!("{prefix}control_plane.");
        stats.connected(&plane, false);
        Feed {
            inlet,
            source,
            interest,
            stats,
            published,
            types,
            plane,
            cluster,
            seen: Arc::default(),
            failure: String::new(),
        }
    }

    /// The cluster of the servers.
    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Counts for the types that are subscribed to as a whole.
    fn count(&self, what: Counted) {
        for (kind, prefix) in [(&CLUSTER, CDS), (&LISTENER, LDS)] {
            if self.types.contains(&kind) {
                self.stats.count(prefix, what);
            }
        }
    }

    /// Counts a failure of each subscription by name.
    fn fail_named(&self) {
        let wanted = self.interest.borrow().of(&self.source);
        for (kind, _) in NAMED.into_iter().filter(|(_, of)| self.types.contains(of)) {
            wanted.prefixes(kind).for_each(|prefix| self.stats.attempted(prefix, Counted::Failure));
        }
        if !self.types.contains(&&ENDPOINTS) {
            return;
        }
        for cluster in self.published.load().clusters.values() {
            if matches!(&cluster.discovery, Discovery::Eds(pushed) if pushed.source == self.source) {
                self.stats.attempted(&eds(&cluster.stat_name), Counted::Failure);
            }
        }
    }

    fn lost(&mut self, why: &str, open: bool) {
        self.stats.connected(&self.plane, false);
        self.count(Counted::Failure);
        self.fail_named();
        let cluster = &*self.cluster;
        if open || self.failure != why {
            tracing::warn!(
                cluster,
                "the stream to the control plane is gone: {why}; what it brought stays in force"
            );
        } else {
            tracing::debug!(cluster, "no stream to the control plane: {why}");
        }
        self.failure = why.to_owned();
    }
}

/// What a newer version wants beyond another, and what no more.
fn difference<V>(kind: &'static ResourceType, now: &Names<V>, before: &Names<V>) -> Wanted {
    Wanted { kind, more: now.beyond(before).cloned().collect(), less: before.beyond(now).cloned().collect() }
}

fn change(incoming: Incoming) -> Change {
    Change {
        added: incoming
            .added
            .into_iter()
            .map(|r| Resource { ttl: r.ttl, ..Resource::new(r.name, r.body) })
            .collect(),
        removed: incoming.removed,
        unwanted: incoming.unwanted,
        missing: incoming.missing,
        refused: incoming.refused.into_iter().map(|refusal| (refusal.name, refusal.why)).collect(),
    }
}

fn refusal(verdict: Verdict) -> Option<Refusal> {
    let errors = verdict.result.err()?;
    let why = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Some(Refusal { name: verdict.name, why })
}

/// Applies what a session has received; gives what of it was refused by whoever compiled it.
pub(super) async fn apply(inlet: &Inlet, incoming: Incoming) -> Vec<Refusal> {
    take(inlet, incoming, false).await
}

/// What of a source is refused because that cannot be read.
pub(super) async fn unread(inlet: &Inlet, incoming: Incoming) {
    take(inlet, incoming, true).await;
}

async fn take(inlet: &Inlet, incoming: Incoming, unread: bool) -> Vec<Refusal> {
    let Some(kind) = Kind::of(incoming.kind.name) else { return Vec::new() };
    let early = incoming.refused.clone();
    let version = incoming.version.clone();
    let update = Update { unread, ..Update::sent(kind, &version, change(incoming)) };
    let verdicts = inlet.apply(update).await;
    let all: Vec<Refusal> = verdicts.into_iter().filter_map(refusal).collect();
    for Refusal { name, why } in all.iter().take(MAX_LOGGED) {
        tracing::warn!(%kind, %name, %version, "refused: {why}; the version before, if any, stays in force");
    }
    let more = all.len().saturating_sub(MAX_LOGGED);
    if more > 0 {
        tracing::warn!(%kind, %version, "{more} more refused");
    }
    // The session knows of those that it refused itself.
    all.into_iter().filter(|refusal| !early.contains(refusal)).collect()
}

impl Sink for Feed {
    async fn apply(&mut self, incoming: Incoming) -> Vec<Refusal> {
        apply(&self.inlet, incoming).await
    }

    fn wanted(&mut self) -> Vec<Wanted> {
        let now = self.interest.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.seen, now.clone());
        if Arc::ptr_eq(&before, &now) {
            return Vec::new();
        }
        let (now, before) = (now.of(&self.source), before.of(&self.source));
        let named = NAMED.into_iter().filter(|(_, of)| self.types.contains(of));
        named.map(|(kind, of)| difference(of, &now.names(kind), &before.names(kind))).collect()
    }

    async fn changed(&mut self) {
        if self.interest.changed().await.is_err() {
            // The control thread has ended.
            std::future::pending::<()>().await;
        }
    }

    fn note(&mut self, event: Event<'_>) {
        match event {
            Event::Attempt => {
                self.count(Counted::Attempt);
                // A stream keeps a buffer of the size of its largest message; the one before has ended.
                weir_sys::give_back_memory();
            }
            Event::Connected => {
                self.stats.connected(&self.plane, true);
                self.failure.clear();
                tracing::info!(cluster = &*self.cluster, "the stream to the control plane is open");
            }
            Event::Lost { why, open, .. } => self.lost(why, open),
            Event::Unasked(url) => tracing::debug!(url, "a type that nobody asked for"),
        }
    }
}
