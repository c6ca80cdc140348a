//! The services that a proxy has clusters for: those that it imports, and those that imported rules lead to.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::super::registry::{Origin, Registry, Service};
use super::super::virtual_service::VirtualService;
use super::imports::trimmed;
use crate::kinds::destination::Destination;
use crate::kinds::http_route::HttpRoute;

/// Full name of a host that a resource of a namespace names.
pub(super) type FullName<'a> = &'a dyn Fn(&str, &str) -> String;

/// Services by host name.
#[derive(Default)]
pub(super) struct Reached {
    pub services: BTreeMap<String, Rc<Service>>,
}

impl Reached {
    /// Adds a service. One that is there under its name stays, with the ports of both if they are of one namespace;
    /// only a service of Kubernetes takes the place of a ServiceEntry.
    pub(super) fn add(&mut self, service: Rc<Service>) {
        let Some(known) = self.services.get_mut(&service.hostname) else {
            self.services.insert(service.hostname.clone(), service);
            return;
        };
        match (known.origin, service.origin) {
            _ if Rc::ptr_eq(known, &service) => {}
            (Origin::ServiceEntry, Origin::Kubernetes) => *known = service,
            (one, other) if one == other && known.namespace == service.namespace => {
                let more = service.ports.iter().filter(|port| known.port(port.number).is_none());
                let more: Vec<_> = more.cloned().collect();
                if !more.is_empty() {
                    Rc::make_mut(known).ports.extend(more);
                }
            }
            _ => {}
        }
    }

    /// Adds what a VirtualService leads to, on the ports that it names (`only`: on that port).
    pub(super) fn add_destinations(
        &mut self,
        registry: &Registry,
        one: &VirtualService<'_>,
        namespace: &str,
        only: Option<u32>,
        full: FullName<'_>,
    ) {
        for (host, ports) in destinations(one, namespace, full) {
            let named = registry.of_host(&host);
            let own = named.iter().find(|service| service.namespace == namespace);
            let shown = || named.iter().find(|service| service.visibility.shows(namespace));
            let Some(service) = own.or_else(shown) else { continue };
            let wanted = |number: u32| match only {
                Some(only) => number == only,
                // 0 stands for a destination without a port.
                None => ports.contains(&0) || ports.contains(&number),
            };
            if service.ports.iter().any(|port| wanted(port.number)) {
                self.add(trimmed(service, |port| wanted(port.number), |_| true));
            }
        }
    }
}

/// Hosts that the rules for callers of a namespace lead to, and their ports; 0 where none is named.
fn destinations(
    one: &VirtualService<'_>,
    namespace: &str,
    full: FullName<'_>,
) -> BTreeMap<String, BTreeSet<u32>> {
    let mut found: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    let mut add = |to: &Destination, of: &str| {
        let port = to.port.as_ref().and_then(|port| port.number()).unwrap_or(0);
        found.entry(full(&to.host, of)).or_default().insert(port);
    };
    for rule in one.http.iter().filter(|rule| is_for(&rule.route, namespace)) {
        let spec = &rule.route;
        let routes = spec.route.iter().map(|route| &route.destination);
        let mirrors = spec.mirror.iter().chain(spec.mirrors.iter().map(|mirror| &mirror.destination));
        routes.chain(mirrors).for_each(|to| add(to, &rule.namespace));
    }
    let opaque = one.tls.iter().flat_map(|rule| &rule.route);
    let opaque = opaque.chain(one.tcp.iter().flat_map(|rule| &rule.route));
    opaque.for_each(|route| add(&route.destination, &one.namespace));
    found
}

/// Whether a rule can apply to callers of a namespace.
fn is_for(rule: &HttpRoute, namespace: &str) -> bool {
    let source = |name: &str| name.is_empty() || name == namespace;
    rule.matches.is_empty()
        || rule.matches.iter().any(|one| one.source_namespace.as_ref().is_none_or(|name| source(name)))
}
