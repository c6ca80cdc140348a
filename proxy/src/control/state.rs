//! The single writer: applies updates, keeps what is refused out, publishes.

use super::compile::bootstrap::Settings;
use super::compile::{Cx, cluster, endpoints, listener, route_config};
use super::dns::Names;
use super::sockets::{Bound, Opened, Sockets};
use super::stats::Stats;
use super::store::Table;
use super::update::{Change, Kind, Outcome, Resource, Update, Verdict};
use super::workers::Workers;
use crate::base::Name;
use crate::base::addr::Address;
use crate::base::ledger::{At, CompileError, Sink};
use crate::live;
use crate::model::cluster::{Assignment, Cluster, Discovery};
use crate::model::http::RouteSource;
use crate::model::listener::{FilterChain, Listener, Terminal};
use crate::model::route::RouteConfig;
use crate::model::snapshot::{Published, Snapshot};
use crate::upstream::hosts;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// Everything that `control` keeps.
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) clusters: Table<Cluster>,
    pub(super) endpoints: Table<Assignment>,
    pub(super) listeners: Table<Listener>,
    pub(super) routes: Table<RouteConfig>,
    /// Removed clusters that a published route still names.
    retired: BTreeMap<Name, Arc<Cluster>>,
    sockets: Sockets,
    /// Looks names up; none until a cluster has names.
    names: Option<Names>,
    published: Arc<Published>,
    workers: Arc<dyn Workers>,
    stats: Stats,
    version: u64,
}

/// What an update changes, gathered while its resources are judged.
#[derive(Default)]
struct Pending {
    verdicts: Vec<Verdict>,
    clusters: BTreeSet<Name>,
    services: HashSet<Name>,
    handed: Vec<(usize, Opened)>,
    closed: Vec<(Name, Address)>,
    publish: bool,
}

impl Pending {
    fn clusters_changed(&self) -> bool {
        let changed = |v: &Verdict| !matches!(v.result, Ok(Outcome::Unchanged) | Err(_));
        self.verdicts.iter().any(|v| v.kind == Kind::Cluster && changed(v))
    }

    fn judge(&mut self, kind: Kind, name: Name, result: Result<Outcome, Vec<CompileError>>) {
        if matches!(result, Ok(Outcome::Added | Outcome::Changed | Outcome::Removed)) {
            self.publish |= kind != Kind::Endpoints;
        }
        self.verdicts.push(Verdict { kind, name, result });
    }
}

impl State {
    pub(super) fn new(settings: Settings, published: Arc<Published>, workers: Arc<dyn Workers>) -> Self {
        State {
            settings,
            clusters: Table::default(),
            endpoints: Table::default(),
            listeners: Table::default(),
            routes: Table::default(),
            retired: BTreeMap::new(),
            sockets: Sockets::default(),
            names: None,
            published,
            workers,
            stats: Stats::new(),
            version: 0,
        }
    }

    /// Applies an update; each resource is judged alone. `fixed`: it is the bootstrap's.
    pub(super) fn apply(&mut self, update: Update, fixed: bool) -> Vec<Verdict> {
        let Update { version, clusters, endpoints, listeners, routes } = update;
        let mut pending = Pending::default();
        let origin = Origin { version: &version, fixed };
        self.apply_clusters(clusters, &origin, &mut pending);
        self.apply_endpoints(endpoints, &origin, &mut pending);
        self.apply_routes(routes, &origin, &mut pending);
        self.apply_listeners(listeners, &origin, &mut pending);
        self.sockets.settle();
        self.warm(&pending);
        if pending.clusters_changed() {
            self.look_up();
        }
        if pending.publish {
            self.publish();
        }
        self.hand_over(pending.handed, pending.closed);
        let (clusters, listeners) = (self.clusters.iter().count(), self.listeners.iter().count());
        self.stats.count(&pending.verdicts, clusters, listeners, self.workers.count());
        pending.verdicts
    }

    fn apply_clusters(&mut self, change: Change, origin: &Origin<'_>, pending: &mut Pending) {
        let compiled = self.judge(Kind::Cluster, change.added, origin, pending, |cx, at, _, body| {
            cluster::cluster(cx, at, &decode(at, body)?)
        });
        for (resource, value) in compiled {
            let name = resource.name.clone();
            self.retired.remove(&name);
            pending.clusters.insert(name.clone());
            let outcome = self.clusters.accept(resource, value, origin.version, origin.fixed);
            pending.judge(Kind::Cluster, name, Ok(outcome));
        }
        for name in change.removed {
            if self.clusters.fixed(&name) {
                pending.judge(Kind::Cluster, name, Err(immutable()));
                continue;
            }
            if let Some(old) = self.clusters.remove(&name) {
                self.retired.insert(name.clone(), old);
            }
            pending.judge(Kind::Cluster, name, Ok(Outcome::Removed));
        }
    }

    fn apply_endpoints(&mut self, change: Change, origin: &Origin<'_>, pending: &mut Pending) {
        let compiled = self.judge(Kind::Endpoints, change.added, origin, pending, |_, at, _, body| {
            Some(Arc::new(endpoints::assignment(at, &decode(at, body)?, endpoints::Names::Refuse)))
        });
        for (resource, value) in compiled {
            let name = resource.name.clone();
            pending.services.insert(name.clone());
            let outcome = self.endpoints.accept(resource, value, origin.version, origin.fixed);
            pending.judge(Kind::Endpoints, name, Ok(outcome));
        }
        for name in change.removed {
            self.endpoints.remove(&name);
            pending.services.insert(name.clone());
            pending.judge(Kind::Endpoints, name, Ok(Outcome::Removed));
        }
    }

    fn apply_routes(&mut self, change: Change, origin: &Origin<'_>, pending: &mut Pending) {
        let compiled = self.judge(Kind::Route, change.added, origin, pending, |cx, at, _, body| {
            route_config::route_config(cx, at, &decode(at, body)?, false)
        });
        for (resource, value) in compiled {
            let name = resource.name.clone();
            let outcome = self.routes.accept(resource, value, origin.version, origin.fixed);
            pending.judge(Kind::Route, name, Ok(outcome));
        }
        for name in change.removed {
            self.routes.remove(&name);
            pending.judge(Kind::Route, name, Ok(Outcome::Removed));
        }
    }

    fn apply_listeners(&mut self, change: Change, origin: &Origin<'_>, pending: &mut Pending) {
        for name in change.removed {
            if self.listeners.fixed(&name) {
                pending.judge(Kind::Listener, name, Err(immutable()));
                continue;
            }
            if self.listeners.remove(&name).is_some() {
                let addresses = self.sockets.part(&name);
                pending.closed.extend(addresses.into_iter().map(|address| (name.clone(), address)));
            }
            pending.judge(Kind::Listener, name, Ok(Outcome::Removed));
        }
        let compiled = self.judge(Kind::Listener, change.added, origin, pending, |cx, at, name, body| {
            listener::listener(cx, at, &decode(at, body)?, name)
        });
        for (resource, value) in compiled {
            self.accept_listener(resource, value, origin, pending);
        }
    }

    fn accept_listener(
        &mut self,
        resource: Resource,
        value: Arc<Listener>,
        origin: &Origin<'_>,
        pending: &mut Pending,
    ) {
        let name = resource.name.clone();
        // Opened now, so that a bind error refuses the listener; in force at once, so that the next listener of the
        // update sees the addresses that are taken.
        match self.sockets.prepare(&value, self.workers.count()) {
            Err((message, remedy)) => {
                let path = if resource.place.is_empty() {
                    "address".into()
                } else {
                    format!("{}.address", resource.place)
                };
                let errors = vec![CompileError { path, message, remedy }];
                self.listeners.refuse(resource, &errors, origin.version);
                pending.judge(Kind::Listener, name, Err(errors));
            }
            Ok(prepared) => {
                let (handed, closed) = self.sockets.commit(&name, prepared, self.workers.count());
                pending.handed.extend(handed);
                pending.closed.extend(closed.into_iter().map(|address| (name.clone(), address)));
                let outcome = self.listeners.accept(resource, value, origin.version, origin.fixed);
                pending.judge(Kind::Listener, name, Ok(outcome));
            }
        }
    }

    /// Compiles the changed resources of one type; refused ones are judged here.
    fn judge<T>(
        &mut self,
        kind: Kind,
        added: Vec<Resource>,
        origin: &Origin<'_>,
        pending: &mut Pending,
        compile: impl Fn(&Cx<'_>, &At<'_>, &str, &[u8]) -> Option<Arc<T>>,
    ) -> Vec<(Resource, Arc<T>)>
    where
        Self: HasTable<T>,
    {
        let mut compiled: Vec<(Resource, Arc<T>)> = Vec::new();
        let mut seen = HashSet::new();
        for resource in added {
            if !seen.insert(resource.name.clone()) {
                let error = error_at(&resource, format!("duplicate {kind} '{}' found", resource.name));
                pending.judge(kind, resource.name, Err(vec![error]));
                continue;
            }
            if self.table().unchanged(&resource) {
                pending.judge(kind, resource.name, Ok(Outcome::Unchanged));
                continue;
            }
            if !origin.fixed && self.table().fixed(&resource.name) {
                pending.judge(kind, resource.name, Err(immutable()));
                continue;
            }
            let sink = Sink::new();
            let value = self.compile_one(&sink, &resource, origin.fixed, &compile);
            match sink.finish(value) {
                Ok(value) => compiled.push((resource, value)),
                Err(errors) => {
                    let name = resource.name.clone();
                    self.table().refuse(resource, &errors, origin.version);
                    pending.judge(kind, name, Err(errors));
                }
            }
        }
        compiled
    }

    fn compile_one<T>(
        &self,
        sink: &Sink,
        resource: &Resource,
        fixed: bool,
        compile: impl Fn(&Cx<'_>, &At<'_>, &str, &[u8]) -> Option<Arc<T>>,
    ) -> Option<Arc<T>> {
        // With a refused cluster the bootstrap is refused: its routes need not be told, too.
        let refused = |name: &str| fixed && self.clusters.refused.contains_key(name);
        let known = |name: &str| self.clusters.has(name) || refused(name);
        let live = |name: &Name| live::clusters().get_or_make(name);
        let mut cx = Cx::new(&self.settings.node, &self.settings.runtime, &known, &live);
        cx.default_source = self.settings.source;
        cx.resolvers = &self.settings.resolvers;
        compile(&cx, &sink.root(&resource.place), &resource.name, &resource.body)
    }

    /// Tells the thread that looks names up which clusters are in force; starts it for the first one with names.
    fn look_up(&mut self) {
        let named = self.clusters.iter().any(|(_, c)| matches!(c.discovery, Discovery::Dns(_)));
        if named && self.names.is_none() && !self.sockets.dry {
            self.names = Names::start()
                .inspect_err(|error| tracing::error!(%error, "names cannot be looked up: no thread"))
                .ok();
        }
        if let Some(names) = &self.names {
            names.set(self.clusters.iter().map(|(_, cluster)| cluster));
        }
    }

    /// Builds the host sets of what changed; a cold cluster stays cold.
    fn warm(&self, pending: &Pending) {
        for (name, cluster) in self.clusters.iter() {
            let changed = pending.clusters.contains(name);
            if changed {
                hosts::limit(cluster);
            }
            let service =
                matches!(&cluster.discovery, Discovery::Eds(service) if pending.services.contains(service));
            let hot = cluster.live.version() != 0;
            if (changed || service) && hot {
                self.publish_hosts(cluster);
            }
        }
    }

    /// Makes cold clusters hot that requests wait for.
    pub(super) fn materialise(&self, asked: &[Arc<live::ClusterLive>]) {
        for live in asked {
            let found = self.clusters.get(&live.name).or_else(|| self.retired.get(&live.name));
            match found {
                Some(cluster) => self.publish_hosts(cluster),
                None => tracing::warn!(cluster = %live.name, "a request waits for a cluster that is gone"),
            }
        }
    }

    fn publish_hosts(&self, cluster: &Cluster) {
        let none = Assignment::default();
        let assignment = match &cluster.discovery {
            // The thread that looks the names up publishes them.
            Discovery::Dns(_) => return,
            Discovery::Eds(service) => self.endpoints.get(service).map_or(&none, |found| &**found),
            Discovery::Static | Discovery::OriginalDst { .. } => &cluster.assignment,
        };
        hosts::publish(cluster, assignment, &hosts::unresolved);
    }

    fn publish(&mut self) {
        self.forget_retired();
        self.version = self.version.saturating_add(1);
        let all = |table: &Table<Cluster>| table.iter().map(|(n, c)| (n.clone(), c.clone())).collect();
        let mut snapshot = Snapshot {
            version: self.version,
            listeners: self.listeners.iter().map(|(n, l)| (n.clone(), l.clone())).collect(),
            addresses: self.addresses(),
            routes: self.routes.iter().map(|(n, r)| (n.clone(), r.clone())).collect(),
            clusters: all(&self.clusters),
            runtime: self.settings.runtime.clone(),
        };
        for (name, cluster) in &self.retired {
            snapshot.clusters.insert(name.clone(), cluster.clone());
        }
        let snapshot = Arc::new(snapshot);
        self.published.publish(snapshot.clone());
        self.workers.publish(snapshot);
    }

    /// Which listener is at which address. Where two say the same, the one without a socket of its own counts: the
    /// other is reached through it.
    fn addresses(&self) -> HashMap<SocketAddr, Name, foldhash::fast::RandomState> {
        let mut found: HashMap<SocketAddr, Name, _> = HashMap::default();
        for (name, listener) in self.listeners.iter() {
            for address in listener.addresses.iter().filter_map(Address::socket) {
                if !listener.bind_to_port || !found.contains_key(&address) {
                    found.insert(address, name.clone());
                }
            }
        }
        found
    }

    /// Drops removed clusters that no route in force names any more.
    fn forget_retired(&mut self) {
        if self.retired.is_empty() {
            return;
        }
        let mut named: BTreeSet<Name> = BTreeSet::new();
        for (_, config) in self.routes.iter() {
            named.extend(route_config::clusters(config));
        }
        for (_, listener) in self.listeners.iter() {
            for chain in listener.chains.iter().chain(&listener.default_chain) {
                named.extend(clusters_of(chain));
            }
        }
        self.retired.retain(|name, _| named.contains(name));
    }

    /// Gives sockets to the workers, after the snapshot that explains them is in force.
    fn hand_over(&self, handed: Vec<(usize, Opened)>, closed: Vec<(Name, Address)>) {
        // Closed first: the same listener may open the same address with other options. No connection is lost by
        // that where a socket is handed on, for its queue is held here.
        for (name, address) in closed {
            self.workers.close(&name, &address);
        }
        for (worker, opened) in handed {
            self.workers.open(worker, opened);
        }
    }

    /// Listens no more on any listener, or on inbound ones; connections go on.
    pub(super) fn stop_listening(&mut self, inbound_only: bool) {
        self.sockets.stop(inbound_only);
        for (name, listener) in self.listeners.iter() {
            for address in self.sockets.close_stopped(listener) {
                self.workers.close(name, &address);
            }
        }
    }

    /// Judges only: opens no socket.
    pub(super) fn without_sockets(mut self) -> Self {
        self.sockets.dry = true;
        self
    }

    /// Every bound address.
    pub(super) fn bound(&self) -> Vec<Bound> {
        self.sockets.bound()
    }
}

fn clusters_of(chain: &FilterChain) -> Vec<Name> {
    match &chain.terminal {
        Terminal::Http(manager) => match &manager.routes {
            RouteSource::Inline(config) => route_config::clusters(config).into_iter().collect(),
            RouteSource::Named(_) => Vec::new(),
        },
        Terminal::Tcp(proxy) => proxy.clusters.iter().map(|(name, _)| name.clone()).collect(),
    }
}

/// Where an update comes from.
struct Origin<'a> {
    version: &'a str,
    fixed: bool,
}

/// The table of a compiled type.
trait HasTable<T> {
    fn table(&mut self) -> &mut Table<T>;
}

impl HasTable<Cluster> for State {
    fn table(&mut self) -> &mut Table<Cluster> {
        &mut self.clusters
    }
}

impl HasTable<Assignment> for State {
    fn table(&mut self) -> &mut Table<Assignment> {
        &mut self.endpoints
    }
}

impl HasTable<Listener> for State {
    fn table(&mut self) -> &mut Table<Listener> {
        &mut self.listeners
    }
}

impl HasTable<RouteConfig> for State {
    fn table(&mut self) -> &mut Table<RouteConfig> {
        &mut self.routes
    }
}

fn immutable() -> Vec<CompileError> {
    vec![CompileError {
        path: "name".into(),
        message: "the bootstrap defines a resource of this name, which cannot be changed".into(),
        remedy: Some("give it another name".into()),
    }]
}

fn error_at(resource: &Resource, message: String) -> CompileError {
    let path = if resource.place.is_empty() { "name".into() } else { format!("{}.name", resource.place) };
    CompileError { path, message, remedy: None }
}

fn decode<M: Message + Default>(at: &At<'_>, body: &[u8]) -> Option<M> {
    M::decode(body).map_err(|error| at.error(format!("cannot be decoded: {error}"))).ok()
}
