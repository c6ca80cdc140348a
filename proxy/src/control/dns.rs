//! Names of clusters by DNS (STRICT_DNS, LOGICAL_DNS): looked up on a thread of their own, again and again, and published as hosts.

mod hickory;

pub use hickory::Hickory;

use crate::base::Name;
use crate::base::rng;
use crate::model::cluster::{Cluster, Discovery, Dns, EndpointTarget};
use crate::observe::metrics::{Cells, Registry, sanitized};
use crate::observe::stats::cluster_update as stat;
use crate::upstream::hosts;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Longest lookup of one name, search domains, families and retries included; counts as failed beyond.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(15);

/// Most addresses taken of one name; Envoy has no such bound, a UDP answer with EDNS holds fewer than 300.
pub const MAX_ADDRESSES: usize = 4096;

/// Longest time to the next lookup, whatever the records' TTL says.
const MAX_REFRESH: Duration = Duration::from_secs(24 * 3600);

/// Shortest time to the next lookup: a guard against a refresh rate of nothing.
const MIN_REFRESH: Duration = Duration::from_millis(1);

/// What a lookup found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Addresses; empty when the name exists without any, or does not exist.
    pub addresses: Vec<IpAddr>,
    /// Smallest time to live of the records, when known.
    pub ttl: Option<Duration>,
}

/// Looks names up.
pub trait Resolve: 'static {
    /// Addresses of a name with the settings of its cluster. The error says what went wrong. Cancel-safe.
    fn resolve(&self, name: &str, dns: &Dns) -> impl Future<Output = Result<Answer, String>>;
}

/// The thread that looks names up. It ends when this is dropped.
#[derive(Debug)]
pub struct Names {
    desired: Arc<Desired>,
}

#[derive(Debug, Default)]
struct Desired {
    /// Clusters with names; none: the thread ends.
    clusters: Mutex<Option<Vec<Arc<Cluster>>>>,
    changed: Notify,
}

impl Desired {
    fn set(&self, clusters: Option<Vec<Arc<Cluster>>>) {
        *self.clusters.lock().unwrap_or_else(PoisonError::into_inner) = clusters;
        self.changed.notify_one();
    }

    fn now(&self) -> Option<Vec<Arc<Cluster>>> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Names {
    /// Starts the thread with the system's resolver.
    pub fn start() -> std::io::Result<Names> {
        Self::start_with(Hickory::default)
    }

    /// Starts the thread with a resolver that is made on it.
    pub fn start_with<R: Resolve>(resolver: impl FnOnce() -> R + Send + 'static) -> std::io::Result<Names> {
        let desired = Arc::new(Desired::default());
        desired.set(Some(Vec::new()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let reads = desired.clone();
        std::thread::Builder::new().name("weir-dns".into()).spawn(move || {
            tokio::task::LocalSet::new().block_on(&runtime, run(&reads, Rc::new(resolver())));
        })?;
        Ok(Names { desired })
    }

    /// Says which clusters are in force; others are given up. Of those without names nothing is looked up. A cluster
    /// is published when each of its names has been looked up once, and at every change after that; until then its
    /// hosts of an earlier version stay.
    pub fn set<'a>(&self, clusters: impl Iterator<Item = &'a Arc<Cluster>>) {
        let named = |c: &&Arc<Cluster>| matches!(c.discovery, Discovery::Dns(_));
        self.desired.set(Some(clusters.filter(named).cloned().collect()));
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.desired.set(None);
    }
}

/// Addresses of the names of one cluster, kept over its versions.
type Known = Rc<RefCell<HashMap<Name, Vec<IpAddr>>>>;

struct Running {
    cluster: Arc<Cluster>,
    known: Known,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run<R: Resolve>(desired: &Desired, resolver: Rc<R>) {
    let mut running: HashMap<Name, Running> = HashMap::new();
    while let Some(wanted) = desired.now() {
        let mut next = HashMap::with_capacity(wanted.len());
        for cluster in wanted {
            let before = running.remove(&cluster.name);
            let name = cluster.name.clone();
            let now = match before {
                Some(same) if Arc::ptr_eq(&same.cluster, &cluster) => same,
                before => {
                    let known = before.map(|b| b.known.clone()).unwrap_or_default();
                    let task =
                        tokio::task::spawn_local(watch(cluster.clone(), known.clone(), resolver.clone()));
                    Running { cluster, known, task }
                }
            };
            next.insert(name, now);
        }
        running = next;
        desired.changed.notified().await;
    }
}

/// The names of one cluster.
struct Watch<R> {
    cluster: Arc<Cluster>,
    dns: Dns,
    known: Known,
    names: BTreeSet<Name>,
    resolver: Rc<R>,
    cells: Cells,
}

async fn watch<R: Resolve>(cluster: Arc<Cluster>, known: Known, resolver: Rc<R>) {
    let Discovery::Dns(dns) = cluster.discovery.clone() else { return };
    let endpoints = cluster.assignment.localities.iter().flat_map(|l| &l.endpoints);
    let names: BTreeSet<Name> = endpoints
        .filter_map(|e| match &e.target {
            EndpointTarget::Name(name, _) => Some(name.clone()),
            EndpointTarget::Address(_) => None,
        })
        .collect();
    known.borrow_mut().retain(|name, _| names.contains(name));
    let prefix = format!("cluster.{}.", sanitized(&cluster.stat_name));
    cluster.live.counts(&prefix);
    let cells = Registry::global().cells(&stat::SCHEMA, &prefix);
    let watch = Watch { cluster, dns, known, names, resolver, cells };
    watch.publish_if_complete();
    futures_util::future::join_all(watch.names.iter().map(|name| watch.follow(name))).await;
}

impl<R: Resolve> Watch<R> {
    fn publish_if_complete(&self) {
        let known = self.known.borrow();
        if self.names.iter().all(|name| known.contains_key(name)) {
            hosts::publish(&self.cluster, &self.cluster.assignment, &|name| known.get(name).cloned());
        }
    }

    /// Looks one name up, for ever.
    async fn follow(&self, name: &Name) {
        let mut failures = 0u32;
        loop {
            self.cells.inc(stat::UPDATE_ATTEMPT);
            let lookup = tokio::time::timeout(LOOKUP_TIMEOUT, self.resolver.resolve(name, &self.dns));
            let result = lookup.await.unwrap_or_else(|_| Err(format!("no answer within {LOOKUP_TIMEOUT:?}")));
            let delay = match result {
                Ok(answer) => {
                    failures = 0;
                    self.cells.inc(stat::UPDATE_SUCCESS);
                    if answer.addresses.is_empty() {
                        self.cells.inc(stat::UPDATE_EMPTY);
                    }
                    let delay = self.refresh(&answer);
                    self.take(name, answer.addresses);
                    delay
                }
                Err(error) => {
                    self.cells.inc(stat::UPDATE_FAILURE);
                    tracing::warn!(cluster = %self.cluster.name, %name, %error, "DNS lookup failed; its hosts stay as they are");
                    failures = failures.saturating_add(1);
                    self.take_failure(name);
                    self.back_off(failures)
                }
            };
            tokio::time::sleep(delay).await;
        }
    }

    /// New addresses; published when they differ.
    fn take(&self, name: &Name, mut addresses: Vec<IpAddr>) {
        if addresses.len() > MAX_ADDRESSES {
            let found = addresses.len();
            tracing::warn!(cluster = %self.cluster.name, %name, found, MAX_ADDRESSES, "DNS answer cut");
        }
        if self.dns.logical {
            // Another one at every turn of the answers would cost the connections to the one before.
            let kept = self.known.borrow().get(name).and_then(|before| before.first().copied());
            let kept = kept.filter(|address| addresses.contains(address)).or(addresses.first().copied());
            addresses = kept.into_iter().collect();
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MAX_ADDRESSES);
        let before = self.known.borrow_mut().insert(name.clone(), addresses.clone());
        if before.as_ref() == Some(&addresses) {
            self.cells.inc(stat::UPDATE_NO_REBUILD);
        } else {
            self.cells.inc(stat::MEMBERSHIP_CHANGE);
            self.publish_if_complete();
        }
    }

    /// A first lookup that failed counts as one without addresses, so that the cluster becomes ready (as Envoy).
    fn take_failure(&self, name: &Name) {
        let first = !self.known.borrow().contains_key(name);
        if first {
            self.known.borrow_mut().insert(name.clone(), Vec::new());
            self.publish_if_complete();
        }
    }

    fn refresh(&self, answer: &Answer) -> Duration {
        let dns = &self.dns;
        let ttl = answer.ttl.filter(|ttl| dns.respect_ttl && !answer.addresses.is_empty() && !ttl.is_zero());
        ttl.unwrap_or(dns.refresh).saturating_add(random(dns.jitter)).clamp(MIN_REFRESH, MAX_REFRESH)
    }

    /// With a failure refresh rate: a random time below base * 2^n, as Envoy's jittered back-off; else the usual one.
    fn back_off(&self, failures: u32) -> Duration {
        let Some((base, max)) = self.dns.failure_refresh else { return self.refresh(&Answer::default()) };
        let doubled = base.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
        random(doubled.min(max)).clamp(MIN_REFRESH, MAX_REFRESH)
    }
}

/// A random time below `limit`.
fn random(limit: Duration) -> Duration {
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(rng::with(|rng| rng.below(limit)))
}

#[cfg(test)]
mod tests;
