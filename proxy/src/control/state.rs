//! The single writer: applies updates, keeps what is refused out.

use super::compile::bootstrap::Settings;
use super::compile::secret::Secret;
use super::compile::{Cx, cluster, endpoints, listener, route_config};
use super::dns::Names;
use super::force::{Force, has_names};
use super::interest::{Interest, Wants};
use super::last_good::LastGood;
use super::pending::Pending;
use super::sockets::{Bound, Opened, Sockets};
use super::stats::Stats;
use super::store::{HasTable, Judged, Table};
use super::subscriptions::eds;
use super::surroundings::Around;
use super::update::{Change, Kind, Outcome, Resource, Update, Verdict};
use super::workers::Workers;
use crate::base::Name;
use crate::base::addr::Address;
use crate::base::ledger::{At, CompileError, Sink};
use crate::model::cluster::Cluster;
use crate::model::listener::Listener;
use crate::model::route::RouteConfig;
use crate::model::runtime::Values;
use crate::model::snapshot::Published;
use prost::Message;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::watch;
use weir_proto::google::protobuf::Any;

/// Hashes of the runtime keys that resources have looked up.
type Asked = HashMap<(Kind, Name), Box<[u64]>>;

/// Everything that `control` keeps.
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) clusters: Table<Arc<Cluster>>,
    /// Of endpoints the bytes alone are kept: few clusters are hot.
    pub(super) endpoints: Table<Judged>,
    pub(super) listeners: Table<Arc<Listener>>,
    pub(super) routes: Table<Arc<RouteConfig>>,
    /// Of secrets the bytes alone are kept: this release makes no TLS.
    pub(super) secrets: Table<Secret>,
    pub(super) extensions: Table<Arc<Any>>,
    pub(super) runtimes: Table<Values>,
    /// Runtime keys that resources have looked up, when a source may change them.
    pub(super) by_runtime: RefCell<Asked>,
    /// What of them is in force.
    pub(super) force: Force,
    /// What is wanted by name.
    pub(super) wants: Wants,
    /// Tells it.
    pub(super) interest: watch::Sender<Arc<Interest>>,
    /// Types whose first answer is waited for, and until when.
    pub(super) initial: Vec<(Kind, Option<Instant>)>,
    /// Has everything come that the process starts with?
    pub(super) initialised: Arc<AtomicBool>,
    pub(super) sockets: Sockets,
    /// Looks names up; none until a cluster has names.
    names: Option<Names>,
    pub(super) published: Arc<Published>,
    pub(super) workers: Arc<dyn Workers>,
    pub(super) stats: Stats,
    /// What is kept on disk.
    pub(super) last_good: Option<LastGood>,
}

impl State {
    pub(super) fn new(settings: Settings, published: Arc<Published>, workers: Arc<dyn Workers>) -> Self {
        let now = Instant::now();
        let sources =
            [(Kind::Cluster, &settings.dynamic.clusters), (Kind::Listener, &settings.dynamic.listeners)];
        let initial = sources.into_iter().filter_map(|(kind, source)| {
            let source = source.as_ref()?;
            Some((kind, source.fetch.and_then(|fetch| now.checked_add(fetch))))
        });
        let initial = initial.collect();
        State {
            settings,
            clusters: Table::default(),
            endpoints: Table::default(),
            listeners: Table::default(),
            routes: Table::default(),
            secrets: Table::default(),
            extensions: Table::default(),
            runtimes: Table::default(),
            by_runtime: RefCell::default(),
            force: Force::default(),
            wants: Wants::default(),
            interest: watch::Sender::default(),
            initial,
            initialised: Arc::default(),
            sockets: Sockets::default(),
            names: None,
            published,
            workers,
            stats: Stats::new(),
            last_good: None,
        }
    }

    /// Takes the bootstrap's resources: all of them, or none when there is a mistake. Gives every mistake.
    pub(super) fn begin(&mut self, update: Update) -> Vec<CompileError> {
        // What the bootstrap names may come from a source.
        let mut pending = Pending { waits: true, ..Pending::default() };
        self.take(update, true, &mut pending);
        self.await_layers(Instant::now());
        let refused = pending.verdicts.iter().filter_map(|verdict| verdict.result.as_ref().err());
        let mut errors: Vec<CompileError> = refused.flatten().cloned().collect();
        errors.extend(super::xds::judge(&self.settings.dynamic, self));
        if errors.is_empty() {
            self.finish(&mut pending, Instant::now());
            self.count(&pending);
        }
        errors
    }

    /// Applies an update; each resource is judged alone.
    pub(super) fn apply(&mut self, update: Update) -> Vec<Verdict> {
        let (version, sent, unread) = (update.version.clone(), update.sent, update.unread);
        let mut pending = Pending { waits: update.later, ..Pending::default() };
        self.take(update, false, &mut pending);
        self.initial.retain(|(kind, _)| Some(*kind) != sent);
        self.finish(&mut pending, Instant::now());
        if let Some(kind) = sent {
            self.stats.judged((kind, unread), &version, &pending.verdicts, &self.force, &self.wants.now);
            self.note_sent(&pending.verdicts);
        }
        self.count(&pending);
        pending.verdicts
    }

    fn count(&self, pending: &Pending) {
        let (clusters, listeners) = (self.clusters.len(), self.listeners.len());
        self.stats.count(&pending.verdicts, clusters, listeners, self.workers.count());
    }

    /// Judges every resource of an update; nothing comes into force.
    fn take(&mut self, mut update: Update, fixed: bool, pending: &mut Pending) {
        let version = Name::from(&*update.version);
        let origin = Origin { version: &version, fixed };
        for kind in Kind::ALL {
            let wants = &self.wants.now;
            let change = update.of_mut(kind);
            let unwanted = std::mem::take(&mut change.unwanted).into_iter();
            change.removed.extend(unwanted.filter(|name| !wants.has(kind, name)));
            let change = update.of(kind);
            for (name, why) in &change.refused {
                pending.judge(kind, name.clone(), Err(unread(why)));
            }
            self.give_up(kind, &change.missing, pending);
        }
        let Update { clusters, endpoints, listeners, routes, secrets, extensions, runtimes, .. } = update;
        self.apply_runtimes(runtimes, &origin, pending);
        self.apply_secrets(secrets, &origin, pending);
        self.apply_clusters(clusters, &origin, pending);
        self.apply_endpoints(endpoints, &origin, pending);
        self.apply_routes(routes, &origin, pending);
        self.apply_extensions(extensions, &origin, pending);
        self.apply_listeners(listeners, &origin, pending);
        self.sockets.settle();
        for verdict in &pending.verdicts {
            if matches!(verdict.result, Ok(Outcome::Removed)) {
                self.by_runtime.borrow_mut().remove(&(verdict.kind, verdict.name.clone()));
            }
            self.fill_gap(verdict);
        }
    }

    /// Brings into force what is ready, and tells everybody.
    pub(super) fn finish(&mut self, pending: &mut Pending, now: Instant) {
        self.settle(pending, now);
        self.warm(pending);
        if pending.named {
            self.look_up();
        }
        if pending.publish {
            self.publish();
        }
        let (handed, closed) = (std::mem::take(&mut pending.handed), std::mem::take(&mut pending.closed));
        self.hand_over(handed, closed);
        self.tell_interest();
        self.stats.waiting(&self.force.waiting);
        if self.initial.is_empty() && self.force.waiting.is_empty() {
            self.initialised.store(true, Ordering::Release);
        }
        self.stats.started(self.initialised.load(Ordering::Relaxed));
    }

    /// When something is to be given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let first = self.initial.iter().filter_map(|(_, until)| *until).min();
        let save = self.last_good.as_ref().and_then(LastGood::due);
        self.force.gaps.next().into_iter().chain(first).chain(save).min()
    }

    /// Gives up what has not come in time.
    pub(super) fn tick(&mut self, now: Instant) {
        self.save(now);
        let late = |until: &Option<Instant>| until.is_some_and(|until| until <= now);
        for (kind, _) in self.initial.iter().filter(|(_, until)| late(until)) {
            self.stats.timed_out(*kind);
            tracing::warn!(%kind, "nothing has come within the initial_fetch_timeout; serving without");
        }
        self.initial.retain(|(_, until)| !late(until));
        let ended = self.force.gaps.expire(now);
        for (kind, name) in &ended {
            tracing::warn!(%kind, %name, "is named and has not come; whoever names it goes on without");
        }
        let services =
            ended.iter().filter(|(kind, _)| *kind == Kind::Endpoints).map(|(_, name)| name.clone());
        let mut pending = Pending { waits: true, services: services.collect(), ..Pending::default() };
        self.finish(&mut pending, now);
        // Now: what waited for it is in force, under whose name this is counted.
        for (kind, name) in &ended {
            self.stats.not_come(*kind, name, &self.force, &self.wants.now);
        }
    }

    fn give_up(&mut self, kind: Kind, names: &[Name], pending: &mut Pending) {
        for name in names.iter().filter(|name| self.wants.now.has(kind, name)) {
            self.force.gaps.give_up(kind, name);
            if kind == Kind::Endpoints {
                pending.services.insert(name.clone());
            }
        }
    }

    /// What has come is no gap any more; what came and was refused is none that will be filled soon.
    fn fill_gap(&mut self, verdict: &Verdict) {
        match verdict.result {
            Ok(Outcome::Added | Outcome::Changed | Outcome::Unchanged) => {
                self.force.gaps.close(verdict.kind, &verdict.name);
            }
            Err(_) if self.force.gaps.waits(verdict.kind, &verdict.name) => {
                self.force.gaps.give_up(verdict.kind, &verdict.name);
            }
            Ok(Outcome::Removed) | Err(_) => {}
        }
    }

    fn apply_clusters(&mut self, change: Change, origin: &Origin<'_>, pending: &mut Pending) {
        let compiled = self.judge(Kind::Cluster, change.added, origin, pending, |cx, at, _, body| {
            cluster::cluster(cx, at, &decode(at, body)?)
        });
        for (resource, value) in compiled {
            let name = resource.name.clone();
            let serves = self.force.serves(Kind::Cluster, &name);
            let old = self.clusters.accept(resource, value.clone(), origin, serves);
            self.wants.cluster(old.as_ref(), Some(&value));
            pending.accept(Kind::Cluster, name, old.is_some());
        }
        for name in change.removed {
            if self.clusters.fixed(&name) {
                pending.judge(Kind::Cluster, name, Err(immutable()));
                continue;
            }
            let (kept, forced) = (self.clusters.remove(&name), self.force.remove_cluster(&name));
            if let Some(old) = &kept {
                self.stats.subscriptions.forget(&eds(&old.stat_name));
            }
            for old in [&kept, &forced] {
                self.wants.cluster(old.as_ref(), None);
                pending.named |= old.as_ref().is_some_and(has_names);
            }
            pending.judge(Kind::Cluster, name, Ok(Outcome::Removed));
        }
    }

    fn apply_endpoints(&mut self, change: Change, origin: &Origin<'_>, pending: &mut Pending) {
        let compiled = self.judge(Kind::Endpoints, change.added, origin, pending, |_, at, _, body| {
            endpoints::assignment(at, &decode(at, body)?, endpoints::Names::Refuse);
            Some(Judged)
        });
        for (resource, value) in compiled {
            let name = resource.name.clone();
            pending.services.insert(name.clone());
            let old = self.endpoints.accept(resource, value, origin, false);
            pending.accept(Kind::Endpoints, name, old.is_some());
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
            let serves = self.force.serves(Kind::Route, &name);
            let old = self.routes.accept(resource, value, origin, serves);
            pending.accept(Kind::Route, name, old.is_some());
        }
        for name in change.removed {
            self.routes.remove(&name);
            self.force.remove_route(&name);
            pending.judge(Kind::Route, name, Ok(Outcome::Removed));
        }
    }

    fn apply_listeners(&mut self, change: Change, origin: &Origin<'_>, pending: &mut Pending) {
        for name in change.removed {
            if self.listeners.fixed(&name) {
                pending.judge(Kind::Listener, name, Err(immutable()));
                continue;
            }
            if let Some(kept) = self.listeners.remove(&name) {
                let (forced, mut addresses) = self.force.remove_listener(&name);
                self.wants.listener(Some(&kept), None);
                self.wants.listener(forced.as_ref(), None);
                addresses.extend(self.sockets.part(&name));
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

    /// Compiles the changed resources of one type; refused ones are judged here.
    pub(super) fn judge<T>(
        &mut self,
        kind: Kind,
        added: Vec<Resource>,
        origin: &Origin<'_>,
        pending: &mut Pending,
        compile: impl Fn(&Cx<'_>, &At<'_>, &str, &[u8]) -> Option<T>,
    ) -> Vec<(Resource, T)>
    where
        Self: HasTable<T>,
    {
        let mut compiled: Vec<(Resource, T)> = Vec::new();
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
            let around = Around { kind, fixed: origin.fixed, again: false, trial: None };
            let value =
                self.compile_one(&sink, (&resource.place, &resource.name, &resource.body), &around, &compile);
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

    /// Tells the thread that looks names up which clusters are in force; starts it for the first one with names.
    fn look_up(&mut self) {
        let clusters = &self.force.clusters;
        if clusters.values().any(has_names) && self.names.is_none() && !self.sockets.dry {
            self.names = Names::start()
                .inspect_err(|error| tracing::error!(%error, "names cannot be looked up: no thread"))
                .ok();
        }
        if let Some(names) = &self.names {
            names.set(clusters.values());
        }
    }

    /// Gives sockets to the workers, after the snapshot that explains them is in force.
    fn hand_over(&self, handed: Vec<(usize, Opened)>, closed: Vec<(Name, Address)>) {
        for (_, opened) in &handed {
            if let Err(error) = opened.listen() {
                tracing::error!(listener = %opened.listener, address = %opened.address, %error, "cannot listen");
            }
        }
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
        let running =
            |state: &Self| state.listeners.iter().filter(|(_, l)| !state.sockets.is_stopped(l)).count();
        let before = running(self);
        self.sockets.stop(inbound_only);
        self.stats.stopped(before.saturating_sub(running(self)));
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

/// Where an update comes from.
pub(super) struct Origin<'a> {
    pub(super) version: &'a Name,
    pub(super) fixed: bool,
}

fn unread(why: &str) -> Vec<CompileError> {
    vec![CompileError { path: String::new(), message: why.to_owned(), remedy: None, lacking: false }]
}

fn immutable() -> Vec<CompileError> {
    vec![CompileError {
        path: "name".into(),
        message: "the bootstrap defines a resource of this name, which cannot be changed".into(),
        remedy: Some("give it another name".into()),
        lacking: false,
    }]
}

fn error_at(resource: &Resource, message: String) -> CompileError {
    let path = if resource.place.is_empty() { "name".into() } else { format!("{}.name", resource.place) };
    CompileError { path, message, remedy: None, lacking: false }
}

pub(super) fn decode<M: Message + Default>(at: &At<'_>, body: &[u8]) -> Option<M> {
    M::decode(body).map_err(|error| at.error(format!("cannot be decoded: {error}"))).ok()
}
