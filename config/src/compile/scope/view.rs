//! The scope of one proxy.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::cluster::{PASSTHROUGH, outbound_name};
use super::super::node::{Interception, Node, NodeKind};
use super::super::protocol::Protocol;
use super::super::registry::{Registry, Service};
use super::super::virtual_service::MESH;
use super::super::virtual_services::VirtualServices;
use super::chosen::chosen;
use super::imports::Imports;
use super::reached::{FullName, Reached};
use crate::diag::Diagnostic;
use crate::kinds::Resource;
use crate::kinds::destination_rule::ConnectionPool;
use crate::kinds::sidecar::{
    CaptureMode, EgressListener, IngressListener, OutboundTrafficPolicy, Sidecar, UNIX,
};
use crate::read::Reader;
use crate::world::World;

/// What a proxy sees of the mesh.
pub(crate) struct Scope<'w> {
    /// The Sidecar that says so, if there is one.
    pub sidecar: Option<&'w Resource<Sidecar>>,
    /// What its pod calls: ports with a listener of their own, then all others.
    pub egress: Vec<Egress<'w>>,
    /// The cluster that takes what no service is for; none: it is refused.
    pub unknown: Option<String>,
    services: BTreeMap<String, Rc<Service>>,
}

/// What a pod calls through one egress listener of its Sidecar, or, without one, through any port.
pub(crate) struct Egress<'w> {
    spec: Option<&'w EgressListener>,
    /// By host name. On a port of its own they have that one alone, with the protocol that the listener says.
    services: Vec<Rc<Service>>,
    /// Places of the VirtualServices that speak of it.
    pub rules: Vec<usize>,
}

impl<'w> Scope<'w> {
    pub(crate) fn of(
        world: &'w World,
        node: &Node,
        registry: &Registry,
        rules: &VirtualServices<'w>,
        full: FullName<'_>,
        reader: &mut Reader<'_>,
    ) -> Self {
        let namespace = node.namespace.as_str();
        let sidecar = chosen(world, node);
        let mesh = rules.places_of(MESH, namespace);
        let listeners = sidecar.map_or(&[][..], |sidecar| sidecar.spec.egress.as_slice());
        if node.kind != NodeKind::Sidecar || listeners.is_empty() {
            let all = Imports::all();
            let services = registry.visible(namespace, |service| all.service(service, None));
            let egress = Egress { spec: None, services: services.values().cloned().collect(), rules: mesh };
            return Self { sidecar, egress: vec![egress], unknown: unknown(sidecar, full), services };
        }
        let mut reached = Reached::default();
        let mut egress = Vec::new();
        for listener in listeners {
            let imports = Imports::of(&listener.hosts, namespace);
            let port = listener.number().filter(|_| !listener.is_proxy());
            let services = registry.visible(namespace, |service| imports.service(service, port));
            services.values().for_each(|service| reached.add(service.clone()));
            let placed = mesh.iter().copied().zip(rules.at(&mesh));
            let own: Vec<usize> = placed.filter(|(_, one)| imports.takes(one)).map(|(at, _)| at).collect();
            for one in rules.at(&own) {
                reached.add_destinations(registry, one, namespace, port, full);
            }
            if can_listen(listener, reader) {
                let services = services.into_values().map(|service| speaking(service, listener)).collect();
                egress.push(Egress { spec: Some(listener), services, rules: own });
            }
        }
        Self { sidecar, egress, unknown: unknown(sidecar, full), services: reached.services }
    }

    /// The services that there are clusters for, one per host name, in the order of names.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values().map(Rc::as_ref)
    }

    /// The service of a host name, if it is one of them.
    pub(crate) fn service(&self, host: &str) -> Option<&Service> {
        self.services.get(host).map(Rc::as_ref)
    }

    /// The egress listener that a port belongs to.
    pub(crate) fn egress_of(&self, port: u32) -> Option<&Egress<'w>> {
        self.egress.iter().find(|egress| egress.port().is_none_or(|own| own == port))
    }

    /// The ports of the pod that the Sidecar declares.
    pub(crate) fn ingress(&self) -> &'w [IngressListener] {
        self.sidecar.map_or(&[], |sidecar| &sidecar.spec.ingress)
    }

    /// Limits and timeouts of the connections to a port of the pod.
    pub(crate) fn inbound_pool(&self, port: u32) -> Option<&'w ConnectionPool> {
        let here = |one: &&IngressListener| one.port.number.as_ref().is_some_and(|own| own.value == port);
        let own = self.ingress().iter().find(here).and_then(|one| one.connection_pool.as_ref());
        own.or_else(|| self.sidecar?.spec.inbound_connection_pool.as_ref())
    }
}

impl Egress<'_> {
    /// Number of its own port; none: all that no other has.
    pub(crate) fn port(&self) -> Option<u32> {
        self.spec.and_then(EgressListener::number)
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().map(Rc::as_ref)
    }

    /// The address that it says it listens on.
    pub(crate) fn bind(&self) -> Option<&str> {
        self.spec?.bind.as_ref().map(|bind| bind.as_str()).filter(|bind| !bind.is_empty())
    }

    /// Whether applications talk to its own ports, and nothing is redirected to it.
    pub(crate) fn is_bound(&self, node: &Node) -> bool {
        let mode = self.spec.and_then(|spec| spec.capture_mode.as_ref()).map(|mode| mode.value);
        node.interception == Interception::None || mode == Some(CaptureMode::None)
    }
}

fn unknown(sidecar: Option<&Resource<Sidecar>>, full: FullName<'_>) -> Option<String> {
    let policy = sidecar.and_then(|sidecar| Some((sidecar, sidecar.spec.outbound_traffic_policy.as_ref()?)));
    let Some((sidecar, policy)) = policy else {
        return Some(PASSTHROUGH.to_owned());
    };
    let proxy = |policy: &OutboundTrafficPolicy| {
        let to = policy.egress_proxy.as_ref()?;
        let port = to.port.as_ref().and_then(|port| port.number()).unwrap_or(0);
        let subset = to.subset.as_ref().map_or("", |subset| subset.as_str());
        Some(outbound_name(port, subset, &full(&to.host, &sidecar.meta.namespace)))
    };
    policy.allows_any().then(|| proxy(policy).unwrap_or_else(|| PASSTHROUGH.to_owned()))
}

/// What cannot be listened on yet is said.
fn can_listen(listener: &EgressListener, reader: &mut Reader<'_>) -> bool {
    let what = if listener.bind.as_ref().is_some_and(|bind| bind.starts_with(UNIX)) {
        "a Unix socket in egress.bind"
    } else if listener.is_proxy() {
        "HTTP_PROXY in egress.port"
    } else {
        return true;
    };
    let message = format!("{what} is not obeyed yet: nothing listens there");
    reader.report(Diagnostic::warning("field-not-obeyed", message), listener.span);
    false
}

/// A service as the listener with its port speaks to it.
fn speaking(service: Rc<Service>, listener: &EgressListener) -> Rc<Service> {
    if listener.number().is_none() {
        return service;
    }
    let protocol = Protocol::parse(listener.protocol()).unwrap_or(Protocol::Auto);
    if service.ports.iter().all(|port| port.protocol == protocol) {
        return service;
    }
    let mut own = Service::clone(&service);
    own.ports.iter_mut().for_each(|port| port.protocol = protocol);
    Rc::new(own)
}
