//! A listener is accepted when it can listen.

use super::pending::Pending;
use super::state::{Origin, State};
use super::update::{Kind, Resource};
use crate::base::ledger::CompileError;
use crate::model::listener::Listener;
use prost::Message;
use std::sync::Arc;
use weir_proto::envoy::config::listener::v3 as proto;

impl State {
    /// Opens what a listener needs now, so that a bind error refuses it; in force at once, so that the next listener
    /// of the update sees the addresses that are taken.
    pub(super) fn accept_listener(
        &mut self,
        resource: Resource,
        value: Arc<Listener>,
        origin: &Origin<'_>,
        pending: &mut Pending,
    ) {
        let name = resource.name.clone();
        match self.sockets.prepare(&value, self.workers.count()) {
            Err((message, remedy)) => {
                // An address that is another listener's is not even tried.
                let mut others = self.sockets.bound().into_iter().filter(|bound| bound.listener != name);
                if !others.any(|bound| value.addresses.contains(&bound.address)) {
                    self.stats.listens_not();
                }
                let path = if resource.place.is_empty() {
                    "address".into()
                } else {
                    format!("{}.address", resource.place)
                };
                let errors = vec![CompileError { path, message, remedy, lacking: false }];
                self.listeners.refuse(resource, &errors, origin.version);
                pending.judge(Kind::Listener, name, Err(errors));
            }
            Ok(prepared) => {
                let (handed, closed) = self.sockets.commit(&name, prepared, self.workers.count());
                self.force.hold(&name, handed, closed);
                let serves = self.force.serves(Kind::Listener, &name);
                if serves && self.same_but_chains(&resource) {
                    self.stats.in_place();
                }
                let old = self.listeners.accept(resource, value.clone(), origin, serves);
                self.wants.listener(old.as_ref(), Some(&value));
                pending.accept(Kind::Listener, name, old.is_some());
            }
        }
    }

    /// Does a listener differ from the version in force in its filter chains alone?
    fn same_but_chains(&self, resource: &Resource) -> bool {
        let in_force = self.listeners.serving(&resource.name).map(|kept| &*kept.body);
        let without_chains = |body: &[u8]| {
            let mut listener = proto::Listener::decode(body).ok()?;
            listener.filter_chains.clear();
            (listener.default_filter_chain, listener.filter_chain_matcher) = (None, None);
            Some(listener)
        };
        let before = in_force.or(self.listeners.body(&resource.name)).and_then(without_chains);
        before.is_some() && before == without_chains(&resource.body)
    }
}
