//! What the resources that were accepted want to have brought by name, and from where: counted as they come and go, so
//! that a change costs what it changes.

use super::force::routes_of;
use super::state::State;
use super::update::Kind;
use crate::base::Name;
use crate::model::by_name::Names;
use crate::model::cluster::{Cluster, Discovery};
use crate::model::http::RouteSource;
use crate::model::listener::{Listener, Terminal};
use crate::model::pushed::{Pushed, Source};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names wanted of one source, and how many resources want each: versions in force, and those that wait.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// Services whose endpoints are wanted.
    pub(super) services: Names<u32>,
    /// Route configurations, and the prefix of a connection manager that takes them.
    pub(super) routes: Names<(u32, Name)>,
}

impl Wanted {
    fn is_empty(&self) -> bool {
        self.services.is_empty() && self.routes.is_empty()
    }

    /// Names of a type.
    pub(super) fn names(&self, kind: Kind) -> Vec<Name> {
        match kind {
            Kind::Endpoints => self.services.keys().cloned().collect(),
            Kind::Route => self.routes.keys().cloned().collect(),
            Kind::Cluster | Kind::Listener => Vec::new(),
        }
    }

    /// Is any of a type wanted?
    pub(super) fn any(&self, kind: Kind) -> bool {
        match kind {
            Kind::Endpoints => !self.services.is_empty(),
            Kind::Route => !self.routes.is_empty(),
            Kind::Cluster | Kind::Listener => false,
        }
    }
}

/// Names wanted, by source.
#[derive(Debug, Clone, Default)]
pub(super) struct Interest {
    pub(super) sources: BTreeMap<Source, Wanted>,
}

impl Interest {
    /// What is wanted of a source.
    pub(super) fn of(&self, source: &Source) -> Wanted {
        self.sources.get(source).cloned().unwrap_or_default()
    }

    /// The prefix of a connection manager that takes a route configuration.
    pub(super) fn manager(&self, route: &str) -> Option<&Name> {
        self.sources.values().find_map(|wanted| wanted.routes.get(route)).map(|(_, manager)| manager)
    }

    fn has(&self, kind: Kind, name: &str) -> bool {
        self.sources.values().any(|wanted| match kind {
            Kind::Endpoints => wanted.services.contains_key(name),
            _ => wanted.routes.contains_key(name),
        })
    }

    fn at(&mut self, source: &Source) -> &mut Wanted {
        self.sources.entry(source.clone()).or_default()
    }
}

/// What is wanted now, and what has changed since everybody was told.
#[derive(Debug, Default)]
pub(super) struct Wants {
    pub(super) now: Arc<Interest>,
    changed: bool,
    /// Wanted no more, unless wanted again meanwhile.
    dropped: Vec<(Kind, Name)>,
}

fn service(cluster: Option<&Arc<Cluster>>) -> Option<&Pushed> {
    match &cluster?.discovery {
        Discovery::Eds(pushed) => Some(pushed),
        _ => None,
    }
}

/// Route configurations that a listener takes by name, with the prefixes of their connection managers.
fn routes(listener: &Listener) -> impl Iterator<Item = (&Pushed, &Name)> {
    let chains = listener.chains.iter().chain(&listener.default_chain);
    chains.filter_map(|chain| match &chain.terminal {
        Terminal::Http(manager) => match &manager.routes {
            RouteSource::Named(pushed) => Some((pushed, &manager.stat_prefix)),
            RouteSource::Inline(_) => None,
        },
        Terminal::Tcp(_) => None,
    })
}

impl Wants {
    /// A cluster takes the place of another.
    pub(super) fn cluster(&mut self, old: Option<&Arc<Cluster>>, new: Option<&Arc<Cluster>>) {
        let (old, new) = (service(old), service(new));
        let key = |pushed: &Pushed| (pushed.name.clone(), pushed.source.clone());
        if old.map(key) == new.map(key) {
            return;
        }
        let now = Arc::make_mut(&mut self.now);
        if let Some(Pushed { name, source, .. }) = new {
            let services = &mut now.at(source).services;
            match services.get_mut(name) {
                Some(count) => *count = count.saturating_add(1),
                None => {
                    services.insert(name.clone(), 1);
                    self.changed = true;
                }
            }
        }
        if let Some(Pushed { name, source, .. }) = old
            && let Some(wanted) = now.sources.get_mut(source)
            && let Some(count) = wanted.services.get_mut(name)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                wanted.services.remove(name);
                self.lose(Kind::Endpoints, name, source);
            }
        }
    }

    /// A listener takes the place of another.
    pub(super) fn listener(&mut self, old: Option<&Arc<Listener>>, new: Option<&Arc<Listener>>) {
        let now = Arc::make_mut(&mut self.now);
        for (Pushed { name, source, .. }, prefix) in new.into_iter().flat_map(|listener| routes(listener)) {
            let all = &mut now.at(source).routes;
            match all.get_mut(name) {
                Some((count, first)) => {
                    *count = count.saturating_add(1);
                    first.clone_from(prefix);
                }
                None => {
                    all.insert(name.clone(), (1, prefix.clone()));
                    self.changed = true;
                }
            }
        }
        for Pushed { name, source, .. } in old.into_iter().flat_map(|listener| routes_of(listener)) {
            let wanted = Arc::make_mut(&mut self.now).sources.get_mut(source);
            let Some(wanted) = wanted else { continue };
            let Some((count, _)) = wanted.routes.get_mut(name) else { continue };
            *count = count.saturating_sub(1);
            if *count == 0 {
                wanted.routes.remove(name);
                self.lose(Kind::Route, name, source);
            }
        }
    }

    /// Nobody wants it of this source any more.
    fn lose(&mut self, kind: Kind, name: &Name, source: &Source) {
        let now = Arc::make_mut(&mut self.now);
        if now.sources.get(source).is_some_and(Wanted::is_empty) {
            now.sources.remove(source);
        }
        self.changed = true;
        self.dropped.push((kind, name.clone()));
    }
}

impl State {
    /// Tells whoever asks for resources what is wanted now. Nobody waits any more for what nobody wants.
    pub(super) fn tell_interest(&mut self) {
        let wants = &mut self.wants;
        for (kind, name) in wants.dropped.drain(..) {
            if !wants.now.has(kind, &name) {
                self.force.gaps.close(kind, &name);
            }
        }
        if self.force.waiting.is_empty() {
            self.force.gaps.forget(Kind::Cluster);
        }
        if std::mem::take(&mut wants.changed) {
            self.interest.send_replace(wants.now.clone());
        }
    }
}
