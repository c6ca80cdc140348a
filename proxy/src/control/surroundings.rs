//! What other resources are compiled with: secrets, configurations of filters (ECDS), runtime layers (RTDS). When one
//! of them changes, whoever is compiled with it is compiled anew from its own bytes, which are kept.

use super::compile::context::key_hash;
use super::compile::{Cx, cluster, discovered, listener, route_config, runtime, secret};
use super::pending::Pending;
use super::state::{Origin, State, decode};
use super::store::{Kept, Table};
use super::update::{Change, Kind, Outcome};
use crate::base::Name;
use crate::base::ledger::{At, CompileError, Sink};
use crate::live;
use crate::model::listener::Listener;
use crate::model::runtime::Runtime;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;
use weir_proto::google::protobuf::Any;

/// What a resource is compiled with.
pub(super) struct Around<'a> {
    /// Its type.
    pub(super) kind: Kind,
    /// It is the bootstrap's.
    pub(super) fixed: bool,
    /// It was accepted before.
    pub(super) again: bool,
    /// The configuration of a filter that is being judged.
    pub(super) trial: Option<(&'a str, &'a Arc<Any>)>,
}

impl Around<'_> {
    /// For one that was accepted before.
    pub(super) fn again(kind: Kind) -> Self {
        Around { kind, fixed: false, again: true, trial: None }
    }
}

impl State {
    /// Compiles one resource; what is wrong with it is told to the sink.
    pub(super) fn compile_one<T>(
        &self,
        sink: &Sink,
        (place, name, body): (&str, &str, &[u8]),
        around: &Around<'_>,
        compile: impl Fn(&Cx<'_>, &At<'_>, &str, &[u8]) -> Option<T>,
    ) -> Option<T> {
        // With a refused cluster the bootstrap is refused: its routes need not be told, too.
        let refused = |name: &str| around.fixed && self.clusters.refused.contains_key(name);
        // What was judged once is not judged again for what has gone since.
        let known = |name: &str| around.again || self.clusters.has(name) || refused(name);
        let live = |name: &Name| live::clusters().get_or_make(name);
        let mut cx = Cx::new(&self.settings.node, &self.settings.runtime, &known, &live);
        cx.default_source = self.settings.source;
        cx.resolvers = &self.settings.resolvers;
        let fixed = |name: &str| self.secrets.fixed(name);
        cx.known_secret = &fixed;
        let extension = |name: &str| match around.trial {
            Some((trial, config)) if trial == name => Some(config.clone()),
            _ => self.extensions.get(name).cloned(),
        };
        cx.extension = &extension;
        cx.trial = around.trial.map(|(name, _)| name);
        let compiled = compile(&cx, &sink.root(place), name, body);
        if compiled.is_none() || !sink.is_empty() {
            // It is refused: what the version in force has looked up stays.
            return compiled;
        }
        let by_runtime = &mut self.by_runtime.borrow_mut();
        let asked = cx.asked();
        if !asked.is_empty() {
            by_runtime.insert((around.kind, name.into()), asked);
        } else if !by_runtime.is_empty() {
            by_runtime.remove(&(around.kind, Name::from(name)));
        }
        compiled
    }

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
            match self.listeners_with(&name, &value) {
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
            if self.wants.now.has(Kind::Extension, &name) {
                // Whoever takes it goes on without.
                self.force.gaps.give_up(Kind::Extension, &name);
                let named = |listener: &Name| self.listeners.get(listener).is_some_and(|l| takes(l, &name));
                let all = self.all_anew(&self.listeners, Kind::Listener, named, listener::listener);
                self.replace_listeners(all, pending);
            }
            pending.judge(Kind::Extension, name, Ok(Outcome::Removed));
        }
    }

    /// The listeners that take a filter's configuration, compiled with it; or what is wrong with it.
    fn listeners_with(
        &self,
        name: &str,
        config: &Arc<Any>,
    ) -> Result<Vec<(Name, Arc<Listener>)>, Vec<CompileError>> {
        let around = Around { trial: Some((name, config)), ..Around::again(Kind::Listener) };
        let all = self.listeners.sorted().into_iter().filter(|(_, kept)| takes(&kept.value, name));
        all.map(|(listener, kept)| {
            let compiled = self.anew(listener, kept, &around, listener::listener).map_err(|mut errors| {
                for error in &mut errors {
                    error.path = format!("listener '{listener}': {}", error.path);
                }
                errors
            });
            Ok((listener.clone(), compiled?))
        })
        .collect()
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
            let before = std::mem::replace(&mut self.settings.runtime, Arc::new(Runtime::new(layers)));
            let runtime = self.settings.runtime.clone();
            self.stats.runtime(&runtime);
            if !self.sockets.dry {
                live::limit::set(self.settings.connection_limit());
            }
            pending.publish = true;
            self.compile_by_runtime(&runtime.differences(&before).map(key_hash).collect(), pending);
        }
    }

    /// Runtime values are looked up when a resource is compiled: those that have asked for one that is another now are
    /// compiled again.
    fn compile_by_runtime(&mut self, changed: &HashSet<u64>, pending: &mut Pending) {
        // What is compiled again notes anew what it looks up.
        let asked: HashSet<(Kind, Name)> = {
            let all = self.by_runtime.borrow();
            let asked = all.iter().filter(|(_, keys)| keys.iter().any(|key| changed.contains(key)));
            asked.map(|(resource, _)| resource.clone()).collect()
        };
        let of = |kind: Kind| {
            let asked = &asked;
            move |name: &Name| asked.contains(&(kind, name.clone()))
        };
        let clusters =
            self.all_anew(&self.clusters, Kind::Cluster, of(Kind::Cluster), |cx, at, message, _| {
                cluster::cluster(cx, at, message)
            });
        for (name, cluster) in clusters {
            let old = self.clusters.replace(&name, cluster.clone());
            self.wants.cluster(old.as_ref(), Some(&cluster));
            pending.accepted.push((Kind::Cluster, name));
        }
        let routes = self.all_anew(&self.routes, Kind::Route, of(Kind::Route), |cx, at, message, _| {
            route_config::route_config(cx, at, message, false)
        });
        for (name, config) in routes {
            self.routes.replace(&name, config);
            pending.accepted.push((Kind::Route, name));
        }
        let listeners =
            self.all_anew(&self.listeners, Kind::Listener, of(Kind::Listener), listener::listener);
        self.replace_listeners(listeners, pending);
    }

    /// Resources of a type, compiled again. One that cannot be stays as it is.
    fn all_anew<T, M: prost::Message + Default>(
        &self,
        table: &Table<T>,
        kind: Kind,
        which: impl Fn(&Name) -> bool,
        compile: impl Fn(&Cx<'_>, &At<'_>, &M, &str) -> Option<T>,
    ) -> Vec<(Name, T)> {
        let all = table.sorted().into_iter().filter(|(name, _)| which(name));
        all.filter_map(|(name, kept)| {
            let compiled = self.anew(name, kept, &Around::again(kind), &compile);
            let compiled = compiled.inspect_err(|errors| told(kind, name, errors)).ok()?;
            Some((name.clone(), compiled))
        })
        .collect()
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

/// Does a listener take this configuration of a filter?
fn takes(listener: &Listener, name: &str) -> bool {
    listener.discovered.iter().any(|filter| *filter.pushed.name == *name)
}

/// What was taken before is refused with other surroundings.
fn told(kind: Kind, name: &str, errors: &[CompileError]) {
    let why: Vec<String> = errors.iter().map(ToString::to_string).collect();
    tracing::warn!(%kind, name, "stays as it is, for it cannot be compiled anew: {}", why.join(", "));
}
