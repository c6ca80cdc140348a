//! What is in force and what waits to be: valid is acknowledged, warm is published.
//!
//! A cluster waits for its endpoints, a route configuration for the clusters that it names, a listener for its route
//! configurations; each for a bounded time, and meanwhile the version before serves on. What a whole update brings
//! (the bootstrap without control plane, a folder) waits for nothing.

use super::compile::{endpoints, route_config};
use super::gaps::Gaps;
use super::pending::Pending;
use super::sockets::Opened;
use super::state::State;
use super::update::Kind;
use crate::base::Name;
use crate::base::addr::Address;
use crate::live;
use crate::model::cluster::{Assignment, Cluster, Discovery};
use crate::model::http::RouteSource;
use crate::model::listener::{FilterChain, Listener, Terminal};
use crate::model::pushed::Pushed;
use crate::model::route::RouteConfig;
use crate::model::snapshot::{Addresses, ByName, Snapshot};
use crate::upstream::hosts;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a route waits for a cluster that nobody has heard of (DESIGN 2.3).
const UNKNOWN: Duration = Duration::from_secs(2);

/// In force, and waiting.
#[derive(Default)]
pub(super) struct Force {
    listeners: ByName<Listener>,
    /// Which listener is at which address; none: to be looked at anew.
    addresses: Option<Arc<Addresses>>,
    routes: ByName<RouteConfig>,
    pub(super) clusters: ByName<Cluster>,
    /// Removed clusters that a route in force still names.
    retired: BTreeMap<Name, Arc<Cluster>>,
    /// Accepted and not in force yet.
    pub(super) waiting: BTreeSet<(Kind, Name)>,
    /// Sockets of listeners that wait.
    held: BTreeMap<Name, Batch>,
    pub(super) gaps: Gaps,
    /// Clusters in force by the service that brings their endpoints.
    services: HashMap<Name, SmallVec<[Name; 1]>>,
    version: u64,
}

/// Sockets to hand to the workers, and addresses that they are to close.
#[derive(Default)]
pub(super) struct Batch {
    handed: Vec<(usize, Opened)>,
    closed: Vec<Address>,
}

impl Force {
    /// Sockets of a listener, to be handed on when it is in force.
    pub(super) fn hold(&mut self, name: &Name, handed: Vec<(usize, Opened)>, closed: Vec<Address>) {
        let batch = self.held.entry(name.clone()).or_default();
        for address in closed {
            let before = batch.handed.len();
            batch.handed.retain(|(_, opened)| opened.address != address);
            // What was never handed out needs no closing.
            if batch.handed.len() == before {
                batch.closed.push(address);
            }
        }
        batch.handed.extend(handed);
    }

    /// A listener is gone: gives it, if it was in force, and the addresses that the workers are to close.
    pub(super) fn remove_listener(&mut self, name: &Name) -> (Option<Arc<Listener>>, Vec<Address>) {
        self.waiting.remove(&(Kind::Listener, name.clone()));
        self.addresses = None;
        let closed = self.held.remove(name).map(|batch| batch.closed).unwrap_or_default();
        (self.listeners.remove(name), closed)
    }

    pub(super) fn remove_route(&mut self, name: &Name) {
        self.routes.remove(name);
        self.waiting.remove(&(Kind::Route, name.clone()));
    }

    /// A cluster is gone: gives it, if it was in force.
    pub(super) fn remove_cluster(&mut self, name: &Name) -> Option<Arc<Cluster>> {
        self.waiting.remove(&(Kind::Cluster, name.clone()));
        let old = self.clusters.remove(name)?;
        self.unfeed(&old);
        self.retired.insert(name.clone(), old.clone());
        Some(old)
    }

    /// Puts a cluster in force; gives the version before.
    fn put_cluster(&mut self, cluster: Arc<Cluster>) -> Option<Arc<Cluster>> {
        self.retired.remove(&cluster.name);
        let old = self.clusters.insert(cluster.name.clone(), cluster.clone());
        if let Some(old) = &old {
            self.unfeed(old);
        }
        if let Discovery::Eds(pushed) = &cluster.discovery {
            self.services.entry(pushed.name.clone()).or_default().push(cluster.name.clone());
        }
        old
    }

    /// No service feeds this cluster any more.
    fn unfeed(&mut self, cluster: &Cluster) {
        let Discovery::Eds(pushed) = &cluster.discovery else { return };
        if let Some(fed) = self.services.get_mut(&pushed.name) {
            fed.retain(|name| *name != cluster.name);
            if fed.is_empty() {
                self.services.remove(&pushed.name);
            }
        }
    }

    /// A cluster in force, or one that is gone and still used.
    fn cluster(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.clusters.get(name).or_else(|| self.retired.get(name))
    }

    /// Statistics' names of the clusters that a service feeds.
    pub(super) fn fed_by(&self, service: &str) -> impl Iterator<Item = &Name> {
        let names = self.services.get(service).into_iter().flatten();
        names.filter_map(|name| self.clusters.get(name)).map(|cluster| &cluster.stat_name)
    }

    fn awaits_runtime(&self) -> bool {
        self.waiting.iter().any(|(kind, _)| *kind == Kind::Runtime)
    }

    /// Is some version of it in force?
    pub(super) fn serves(&self, kind: Kind, name: &str) -> bool {
        match kind {
            Kind::Cluster => self.clusters.contains_key(name),
            Kind::Route => self.routes.contains_key(name),
            Kind::Listener => self.listeners.contains_key(name),
            Kind::Endpoints | Kind::Secret | Kind::Extension | Kind::Runtime => false,
        }
    }

    /// Is there, or is waited for no more?
    fn settled(&self, kind: Kind, name: &Name, there: bool) -> bool {
        there || !(self.gaps.waits(kind, name) || self.waiting.contains(&(kind, name.clone())))
    }

    fn have_clusters(&self, names: impl IntoIterator<Item = Name>) -> bool {
        names.into_iter().all(|name| self.settled(Kind::Cluster, &name, self.cluster(&name).is_some()))
    }

    /// Which listener is at which address. Where two say the same, the one without a socket of its own counts: the
    /// other is reached through it.
    fn addresses(&mut self) -> Arc<Addresses> {
        let listeners = &self.listeners;
        let look = || {
            let mut found = Addresses::default();
            for (name, listener) in listeners.iter() {
                let own = listener.addresses.iter().filter_map(Address::socket);
                // A listener on all IPv6 addresses that takes IPv4, too, is on all of those.
                let both = own.clone().filter(|a| listener.dual_stack && a.ip() == Ipv6Addr::UNSPECIFIED);
                let both = both.map(|a| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), a.port()));
                for address in own.chain(both) {
                    if !listener.bind_to_port || !found.contains_key(&address) {
                        found.insert(address, name.clone());
                    }
                }
            }
            Arc::new(found)
        };
        self.addresses.get_or_insert_with(look).clone()
    }

    /// Drops removed clusters that no route in force names any more.
    fn forget_retired(&mut self) {
        if self.retired.is_empty() {
            return;
        }
        let mut named: BTreeSet<Name> = BTreeSet::new();
        for config in self.routes.values() {
            named.extend(route_config::clusters(config));
        }
        for listener in self.listeners.values() {
            named.extend(clusters_of(listener));
        }
        self.retired.retain(|name, _| named.contains(name));
    }
}

impl State {
    /// Notes what an accepted resource names and is not there.
    fn open_gaps(&mut self, kind: Kind, name: &Name, now: Instant) {
        let gaps = &mut self.force.gaps;
        let mut unknown: Vec<Name> = Vec::new();
        match kind {
            Kind::Cluster => {
                if let Some(Discovery::Eds(Pushed { name, fetch, .. })) =
                    self.clusters.get(name).map(|c| &c.discovery)
                    && !self.endpoints.has(name)
                {
                    gaps.open(Kind::Endpoints, name, *fetch, now);
                }
            }
            Kind::Route => {
                unknown.extend(self.routes.get(name).map(|c| route_config::clusters(c)).into_iter().flatten())
            }
            Kind::Listener => {
                let Some(listener) = self.listeners.get(name) else { return };
                for Pushed { name, fetch, .. } in routes_of(listener) {
                    if !self.routes.has(name) {
                        gaps.open(Kind::Route, name, *fetch, now);
                    }
                }
                for Pushed { name, fetch, .. } in awaited(listener) {
                    if !self.extensions.has(name) {
                        gaps.open(Kind::Extension, name, *fetch, now);
                    }
                }
                unknown.extend(clusters_of(listener));
            }
            Kind::Endpoints | Kind::Secret | Kind::Extension | Kind::Runtime => {}
        }
        // Without a source of clusters none will come.
        let may_come = self.settings.dynamic.clusters.is_some();
        for name in unknown.iter().filter(|name| may_come && !self.clusters.has(name)) {
            gaps.open(Kind::Cluster, name, Some(UNKNOWN), now);
        }
    }

    fn is_ready(&self, kind: Kind, name: &Name) -> bool {
        let force = &self.force;
        match kind {
            Kind::Cluster => match self.clusters.get(name).map(|c| &c.discovery) {
                Some(Discovery::Eds(pushed)) => !force.gaps.waits(Kind::Endpoints, &pushed.name),
                _ => true,
            },
            Kind::Route => {
                self.routes.get(name).is_none_or(|c| force.have_clusters(route_config::clusters(c)))
            }
            // The first values of the runtime layers come before the first request.
            Kind::Listener if !force.listeners.contains_key(name) && force.awaits_runtime() => false,
            Kind::Listener => self.listeners.get(name).is_none_or(|listener| {
                let there = |name: &Name| force.routes.contains_key(name);
                let come = |name: &Name| self.extensions.has(name);
                routes_of(listener).all(|route| force.settled(Kind::Route, &route.name, there(&route.name)))
                    && awaited(listener).all(|f| force.settled(Kind::Extension, &f.name, come(&f.name)))
                    && force.have_clusters(clusters_of(listener))
            }),
            Kind::Runtime => !force.gaps.waits(Kind::Runtime, name),
            Kind::Endpoints | Kind::Secret | Kind::Extension => true,
        }
    }

    /// Puts in force what is ready of what was accepted now and before.
    pub(super) fn settle(&mut self, pending: &mut Pending, now: Instant) {
        for (kind, name) in std::mem::take(&mut pending.accepted) {
            if pending.waits {
                self.open_gaps(kind, &name, now);
                self.force.waiting.insert((kind, name));
            } else {
                self.enforce(kind, name, pending);
            }
        }
        for wanted in [Kind::Runtime, Kind::Cluster, Kind::Route, Kind::Listener] {
            let waiting = self.force.waiting.iter().filter(|(kind, _)| *kind == wanted);
            let ready: Vec<Name> = waiting
                .filter(|(kind, name)| self.is_ready(*kind, name))
                .map(|(_, name)| name.clone())
                .collect();
            for name in ready {
                self.enforce(wanted, name, pending);
            }
        }
    }

    fn enforce(&mut self, kind: Kind, name: Name, pending: &mut Pending) {
        let force = &mut self.force;
        pending.publish = true;
        match kind {
            Kind::Cluster => {
                self.clusters.settled(&name);
                if let Some(cluster) = self.clusters.get(&name) {
                    let old = force.put_cluster(cluster.clone());
                    self.wants.cluster(old.as_ref(), Some(cluster));
                    pending.clusters.push(name.clone());
                    pending.named |= old.as_ref().is_some_and(has_names) || has_names(cluster);
                }
            }
            Kind::Route => {
                self.routes.settled(&name);
                if let Some(config) = self.routes.get(&name) {
                    force.routes.insert(name.clone(), config.clone());
                }
            }
            Kind::Listener => {
                self.listeners.settled(&name);
                if let Some(listener) = self.listeners.get(&name) {
                    let old = force.listeners.insert(name.clone(), listener.clone());
                    force.addresses = None;
                    self.wants.listener(old.as_ref(), Some(listener));
                }
                if let Some(batch) = force.held.remove(&name) {
                    pending.closed.extend(batch.closed.into_iter().map(|address| (name.clone(), address)));
                    pending.handed.extend(batch.handed);
                }
            }
            Kind::Endpoints | Kind::Secret | Kind::Extension | Kind::Runtime => {}
        }
        force.waiting.remove(&(kind, name));
    }

    /// Builds the host sets of what changed; a cold cluster stays cold unless requests wait for it.
    pub(super) fn warm(&self, pending: &Pending) {
        let of_services = pending.services.iter().filter_map(|service| self.force.services.get(service));
        for name in &pending.clusters {
            self.force.clusters.get(name).into_iter().for_each(|cluster| hosts::limit(cluster));
        }
        let names: BTreeSet<&Name> = pending.clusters.iter().chain(of_services.flatten()).collect();
        for cluster in names.into_iter().filter_map(|name| self.force.clusters.get(name)) {
            if cluster.live.version() != 0 || cluster.live.is_asked() {
                self.publish_hosts(cluster);
            }
        }
    }

    /// Makes cold clusters hot that requests wait for.
    pub(super) fn materialise(&self, asked: &[Arc<live::ClusterLive>]) {
        for live in asked {
            match self.force.cluster(&live.name) {
                Some(cluster) => self.publish_hosts(cluster),
                None => tracing::warn!(cluster = %live.name, "a request waits for a cluster that is gone"),
            }
        }
    }

    /// Makes hot clusters cold that no worker uses any more. What is looked up or made on demand is never cold.
    pub(super) fn cool(&self, unused: &[Arc<live::ClusterLive>]) {
        for live in unused {
            let cold = |c: &Arc<Cluster>| matches!(c.discovery, Discovery::Static | Discovery::Eds(_));
            if self.force.cluster(&live.name).is_none_or(cold) && live.cool() {
                tracing::debug!(cluster = %live.name, "given back after idling");
            }
        }
    }

    fn publish_hosts(&self, cluster: &Cluster) {
        let pushed;
        let assignment = match &cluster.discovery {
            // The thread that looks the names up publishes them.
            Discovery::Dns(_) => return,
            // Published when they have come; requests wait.
            Discovery::Eds(pushed) if self.force.gaps.waits(Kind::Endpoints, &pushed.name) => return,
            Discovery::Eds(service) => {
                pushed = self.assignment(&service.name);
                &pushed
            }
            Discovery::Static | Discovery::OriginalDst { .. } => &cluster.assignment,
        };
        hosts::publish(cluster, assignment, &hosts::unresolved);
    }

    /// Endpoints that were pushed, compiled anew: only those of hot clusters are needed, and all are judged when they
    /// come.
    fn assignment(&self, service: &str) -> Assignment {
        self.endpoints.body(service).map(endpoints::judged).unwrap_or_default()
    }

    pub(super) fn publish(&mut self) {
        let force = &mut self.force;
        force.forget_retired();
        force.version = force.version.saturating_add(1);
        let addresses = force.addresses();
        let mut snapshot = Snapshot {
            version: force.version,
            listeners: force.listeners.clone(),
            addresses,
            routes: force.routes.clone(),
            clusters: force.clusters.clone(),
            runtime: self.settings.runtime.clone(),
        };
        for (name, cluster) in &force.retired {
            snapshot.clusters.insert(name.clone(), cluster.clone());
        }
        let snapshot = Arc::new(snapshot);
        self.published.publish(snapshot.clone());
        self.workers.publish(snapshot);
    }
}

/// Are its hosts looked up?
pub(super) fn has_names(cluster: &Arc<Cluster>) -> bool {
    matches!(cluster.discovery, Discovery::Dns(_))
}

fn chains(listener: &Listener) -> impl Iterator<Item = &FilterChain> {
    listener.chains.iter().chain(&listener.default_chain).map(|chain| &**chain)
}

/// Route configurations that a listener takes by name.
pub(super) fn routes_of(listener: &Listener) -> impl Iterator<Item = &Pushed> {
    chains(listener).filter_map(|chain| match &chain.terminal {
        Terminal::Http(manager) => match &manager.routes {
            RouteSource::Named(pushed) => Some(pushed),
            RouteSource::Inline(_) => None,
        },
        Terminal::Tcp(_) => None,
    })
}

/// Configurations of filters that a listener does not serve without.
fn awaited(listener: &Listener) -> impl Iterator<Item = &Pushed> {
    listener.discovered.iter().filter(|filter| filter.awaited).map(|filter| &filter.pushed)
}

/// Clusters that a listener names itself.
fn clusters_of(listener: &Listener) -> Vec<Name> {
    let mut all = Vec::new();
    for chain in chains(listener) {
        match &chain.terminal {
            Terminal::Http(manager) => {
                if let RouteSource::Inline(config) = &manager.routes {
                    all.extend(route_config::clusters(config));
                }
            }
            Terminal::Tcp(proxy) => all.extend(proxy.clusters.iter().map(|(name, _)| name.clone())),
        }
    }
    all
}
