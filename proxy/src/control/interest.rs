//! What the resources that were accepted want to have brought by name.

use super::state::State;
use super::update::Kind;
use crate::base::Name;
use crate::model::cluster::Discovery;
use crate::model::http::RouteSource;
use crate::model::listener::Terminal;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Names wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Interest {
    /// Services whose endpoints are wanted.
    pub(super) services: BTreeSet<Name>,
    /// Route configurations, and the prefix of a connection manager that takes them.
    pub(super) routes: BTreeMap<Name, Name>,
}

impl State {
    /// Looks anew at what is wanted, by versions in force and by those that wait.
    pub(super) fn look_for_interest(&mut self) {
        let mut found = Interest::default();
        let clusters = self.clusters.iter().map(|(_, cluster)| cluster);
        for cluster in clusters.chain(self.force.clusters.values()) {
            if let Discovery::Eds(pushed) = &cluster.discovery {
                found.services.insert(pushed.name.clone());
            }
        }
        let listeners = self.listeners.iter().map(|(_, listener)| listener);
        for listener in listeners.chain(self.force.listeners.values()) {
            for chain in listener.chains.iter().chain(&listener.default_chain) {
                if let Terminal::Http(manager) = &chain.terminal
                    && let RouteSource::Named(pushed) = &manager.routes
                {
                    found.routes.insert(pushed.name.clone(), manager.stat_prefix.clone());
                }
            }
        }
        let nobody_waits = self.force.waiting.is_empty();
        self.force.gaps.retain(|kind, name| match kind {
            Kind::Endpoints => found.services.contains(name),
            Kind::Route => found.routes.contains_key(name),
            Kind::Cluster => !nobody_waits,
            Kind::Listener => false,
        });
        self.interest.send_if_modified(|now| {
            let changed = **now != found;
            if changed {
                *now = Arc::new(found);
            }
            changed
        });
    }
}
