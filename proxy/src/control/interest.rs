//! What the resources that were accepted want to have brought by name: counted as they come and go, so that a change
//! costs what it changes.

use super::force::routes_of;
use super::state::State;
use super::update::Kind;
use crate::base::Name;
use crate::model::by_name::Names;
use crate::model::cluster::{Cluster, Discovery};
use crate::model::http::RouteSource;
use crate::model::listener::{Listener, Terminal};
use std::sync::Arc;

/// Names wanted, and how many resources want each: versions in force, and those that wait.
#[derive(Debug, Clone, Default)]
pub(super) struct Interest {
    /// Services whose endpoints are wanted.
    pub(super) services: Names<u32>,
    /// Route configurations, and the prefix of a connection manager that takes them.
    pub(super) routes: Names<(u32, Name)>,
}

/// What is wanted now, and what has changed since everybody was told.
#[derive(Debug, Default)]
pub(super) struct Wants {
    pub(super) now: Arc<Interest>,
    changed: bool,
    /// Wanted no more, unless wanted again meanwhile.
    dropped: Vec<(Kind, Name)>,
}

fn service(cluster: Option<&Arc<Cluster>>) -> Option<&Name> {
    match &cluster?.discovery {
        Discovery::Eds(pushed) => Some(&pushed.name),
        _ => None,
    }
}

/// Route configurations that a listener takes by name, with the prefixes of their connection managers.
fn routes(listener: &Listener) -> impl Iterator<Item = (&Name, &Name)> {
    let chains = listener.chains.iter().chain(&listener.default_chain);
    chains.filter_map(|chain| match &chain.terminal {
        Terminal::Http(manager) => match &manager.routes {
            RouteSource::Named(pushed) => Some((&pushed.name, &manager.stat_prefix)),
            RouteSource::Inline(_) => None,
        },
        Terminal::Tcp(_) => None,
    })
}

impl Wants {
    /// A cluster takes the place of another.
    pub(super) fn cluster(&mut self, old: Option<&Arc<Cluster>>, new: Option<&Arc<Cluster>>) {
        let (old, new) = (service(old), service(new));
        if old == new {
            return;
        }
        let services = &mut Arc::make_mut(&mut self.now).services;
        if let Some(name) = new {
            match services.get_mut(name) {
                Some(count) => *count = count.saturating_add(1),
                None => {
                    services.insert(name.clone(), 1);
                    self.changed = true;
                }
            }
        }
        if let Some(name) = old
            && let Some(count) = services.get_mut(name)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                services.remove(name);
                self.changed = true;
                self.dropped.push((Kind::Endpoints, name.clone()));
            }
        }
    }

    /// A listener takes the place of another.
    pub(super) fn listener(&mut self, old: Option<&Arc<Listener>>, new: Option<&Arc<Listener>>) {
        let all = &mut Arc::make_mut(&mut self.now).routes;
        for (name, prefix) in new.into_iter().flat_map(|listener| routes(listener)) {
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
        for route in old.into_iter().flat_map(|listener| routes_of(listener)) {
            let Some((count, _)) = all.get_mut(&route.name) else { continue };
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&route.name);
                self.changed = true;
                self.dropped.push((Kind::Route, route.name.clone()));
            }
        }
    }
}

impl State {
    /// Tells whoever asks for resources what is wanted now. Nobody waits any more for what nobody wants.
    pub(super) fn tell_interest(&mut self) {
        let wants = &mut self.wants;
        for (kind, name) in wants.dropped.drain(..) {
            let again = match kind {
                Kind::Endpoints => wants.now.services.contains_key(&name),
                _ => wants.now.routes.contains_key(&name),
            };
            if !again {
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
