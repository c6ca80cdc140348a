//! What other resources are compiled with: secrets, configurations of filters (ECDS), runtime layers (RTDS). When one
//! of them changes, whoever is compiled with it is compiled anew from its own bytes, which are kept.

use super::compile::{Cx, cluster, discovered, listener, route_config, runtime, secret};
use super::pending::Pending;
use super::state::{Around, Origin, State, decode};
use super::store::{Kept, Table};
use super::update::{Change, Kind, Outcome};
use crate::base::Name;
use crate::base::ledger::{At, CompileError, Sink};
use crate::model::listener::Listener;
use crate::model::runtime::Runtime;
use std::sync::Arc;
use std::time::Instant;
use weir_proto::google::protobuf::Any;

impl State {
    /// Runtime layers that a source brings are waited for at the start.
    pub(super) fn await_layers(&mut self, now: Instant) {
        let runtime = self.settings.runtime.clone();
        for pushed in runtime.layers().iter().filter_map(|layer| layer.pushed.as_ref()) {
            self.wants.runtime(pushed);
            self.force.gaps.open(Kind::Runtime, &pushed.name, pushed.fetch, now);
            self.force.waiting.insert((Kind::Runtime, pushed.name.clone()));
        }
        self.stats.runtime(&runtime);
    }

    pub(super) fn apply_secrets(&mut self, change: Change, origin: &Origin<'_>, pending: &mut Pending) {
        let compiled = self.judge(Kind::Secret, change.added, origin, pending, |_, at, _, body| {
            secret::secret(at, &decode(at, body)?)
        });
        for (resource, value) in compiled {
            let name = resource.name.clone();
            let old = self.secrets.accept(resource, value, origin, false);
            pending.accept(Kind::Secret, name, old.is_some());
        }
        for name in change.removed {
            if !self.secrets.fixed(&name) {
                self.secrets.remove(&name);
            }
            pending.judge(Kind::Secret, name, Ok(Outcome::Removed));
        }
    }

    /// A filter's configuration is judged by every listener that takes it.
    pub(super) fn apply_extensions(&mut self, change: Change, origin: &Origin<'_>, pending: &mut Pending) {
        let compiled = self.judge(Kind::Extension, change.added, origin, pending, |_, at, _, body| {
            discovered::extension(at, &decode(at, body)?)
        });
        for (resource, value) in compiled {
            let name = resource.name.clone();
            match self.listeners_with(&name, Some(&value)) {
                Ok(listeners) => {
                    let old = self.extensions.accept(resource, value, origin, false);
                    pending.accept(Kind::Extension, name, old.is_some());
                    self.replace_listeners(listeners, pending);
                }
                Err(errors) => {
                    self.extensions.refuse(resource, &errors, origin.version);
                    pending.judge(Kind::Extension, name, Err(errors));
                }
            }
        }
        for name in change.removed {
            self.extensions.remove(&name);
            match self.listeners_with(&name, None) {
                Ok(listeners) => self.replace_listeners(listeners, pending),
                Err(errors) => told(Kind::Listener, &name, &errors),
            }
            pending.judge(Kind::Extension, name, Ok(Outcome::Removed));
        }
    }

    /// The listeners that take a filter's configuration, compiled with it; or what is wrong with it.
    fn listeners_with(
        &self,
        name: &str,
        config: Option<&Arc<Any>>,
    ) -> Result<Vec<(Name, Arc<Listener>)>, Vec<CompileError>> {
        let around = Around { trial: config.map(|config| (name, config)), fixed: false };
        let takes =
            |listener: &Listener| listener.discovered.iter().any(|filter| *filter.pushed.name == *name);
        let mut all = Vec::new();
        for (listener, kept) in self.listeners.sorted().into_iter().filter(|(_, kept)| takes(&kept.value)) {
            let compiled = self.anew(listener, kept, &around, listener::listener);
            let compiled = compiled.map_err(|mut errors| {
                for error in &mut errors {
                    error.path = format!("listener '{listener}': {}", error.path);
                }
                errors
            });
            all.push((listener.clone(), compiled?));
        }
        Ok(all)
    }

    fn replace_listeners(&mut self, all: Vec<(Name, Arc<Listener>)>, pending: &mut Pending) {
        for (name, listener) in all {
            let old = self.listeners.replace(&name, listener.clone());
            self.wants.listener(old.as_ref(), Some(&listener));
            pending.accepted.push((Kind::Listener, name));
        }
    }

    pub(super) fn apply_runtimes(&mut self, change: Change, origin: &Origin<'_>, pending: &mut Pending) {
        let compiled = self.judge(Kind::Runtime, change.added, origin, pending, |_, at, _, body| {
            runtime::values(at, &decode(at, body)?)
        });
        for (resource, value) in compiled {
            let name = resource.name.clone();
            let old = self.runtimes.accept(resource, value, origin, false);
            pending.accept(Kind::Runtime, name, old.is_some());
        }
        for name in change.removed {
            self.runtimes.remove(&name);
            pending.judge(Kind::Runtime, name, Ok(Outcome::Removed));
        }
        let mut layers = self.settings.runtime.layers().to_vec();
        for layer in &mut layers {
            if let Some(pushed) = &layer.pushed {
                layer.values = self.runtimes.get(&pushed.name).cloned().unwrap_or_default();
            }
        }
        if layers != self.settings.runtime.layers() {
            self.settings.runtime = Arc::new(Runtime::new(layers));
            self.stats.runtime(&self.settings.runtime);
            pending.publish = true;
            self.compile_all(pending);
        }
    }

    /// Runtime values are looked up when a resource is compiled: all of them are compiled with the new ones.
    fn compile_all(&mut self, pending: &mut Pending) {
        let clusters = self
            .all_anew(&self.clusters, Kind::Cluster, |cx, at, message, _| cluster::cluster(cx, at, message));
        for (name, cluster) in clusters {
            let old = self.clusters.replace(&name, cluster.clone());
            self.wants.cluster(old.as_ref(), Some(&cluster));
            pending.accepted.push((Kind::Cluster, name));
        }
        let routes = self.all_anew(&self.routes, Kind::Route, |cx, at, message, _| {
            route_config::route_config(cx, at, message, false)
        });
        for (name, config) in routes {
            self.routes.replace(&name, config);
            pending.accepted.push((Kind::Route, name));
        }
        let listeners = self.all_anew(&self.listeners, Kind::Listener, listener::listener);
        self.replace_listeners(listeners, pending);
    }

    /// All resources of a type, compiled again. One that cannot be stays as it is.
    fn all_anew<T, M: prost::Message + Default>(
        &self,
        table: &Table<T>,
        kind: Kind,
        compile: impl Fn(&Cx<'_>, &At<'_>, &M, &str) -> Option<T>,
    ) -> Vec<(Name, T)> {
        let one = |(name, kept): (&Name, &Kept<T>)| {
            let compiled = self.anew(name, kept, &Around::default(), &compile);
            let compiled = compiled.inspect_err(|errors| told(kind, name, errors)).ok()?;
            Some((name.clone(), compiled))
        };
        table.sorted().into_iter().filter_map(|(name, kept)| one((name, kept))).collect()
    }

    fn anew<T, M: prost::Message + Default>(
        &self,
        name: &Name,
        kept: &Kept<T>,
        around: &Around<'_>,
        compile: impl Fn(&Cx<'_>, &At<'_>, &M, &str) -> Option<T>,
    ) -> Result<T, Vec<CompileError>> {
        let sink = Sink::new();
        let value = self.compile_one(&sink, ("", name, &kept.body), around, |cx, at, name, body| {
            compile(cx, at, &decode(at, body)?, name)
        });
        sink.finish(value)
    }
}

/// What was taken before is refused with other surroundings.
fn told(kind: Kind, name: &str, errors: &[CompileError]) {
    let why: Vec<String> = errors.iter().map(ToString::to_string).collect();
    tracing::warn!(%kind, name, "stays as it is, for it cannot be compiled anew: {}", why.join(", "));
}
