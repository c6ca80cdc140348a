//! Where rules send traffic: is there such a service, such a subset, such a port?

use super::{Findings, Registry};
use crate::diag::Severity;
use crate::kinds::Resource;
use crate::kinds::destination::Destination;
use crate::kinds::virtual_service::VirtualService;
use crate::read::nearest;
use crate::world::{World, is_wildcard};

pub(super) fn check(world: &World, registry: &Registry<'_>, findings: &mut Findings<'_>) {
    for service in &world.virtual_services {
        let on_gateway = service.spec.gateways.iter().any(|gateway| **gateway != super::hosts::MESH);
        for destination in destinations(&service.spec) {
            one(destination, service, on_gateway, world, registry, findings);
        }
    }
}

/// All destinations of a VirtualService, copies included.
pub(super) fn destinations(service: &VirtualService) -> impl Iterator<Item = &Destination> {
    let http = service.http.iter().flat_map(|rule| {
        let routes = rule.route.iter().map(|part| &part.destination);
        routes.chain(&rule.mirror).chain(rule.mirrors.iter().map(|copy| &copy.destination))
    });
    let tls = service.tls.iter().flat_map(|rule| rule.route.iter().map(|part| &part.destination));
    let tcp = service.tcp.iter().flat_map(|rule| rule.route.iter().map(|part| &part.destination));
    http.chain(tls).chain(tcp)
}

fn one(
    destination: &Destination,
    service: &Resource<VirtualService>,
    on_gateway: bool,
    world: &World,
    registry: &Registry<'_>,
    findings: &mut Findings<'_>,
) {
    let host = registry.resolve(&destination.host, &service.meta.namespace);
    if is_wildcard(&host) || host.is_empty() {
        let message = format!("`{}` cannot be a destination: one service has to be named", destination.host);
        findings.error("bad-destination", destination.host.span, message, "name a service");
        return;
    }
    subset(destination, &host, world, registry, findings);
    let Some(known) = registry.find(&host) else {
        missing(destination, &host, registry, findings);
        return;
    };
    let ports = || known.ports.iter().map(|(port, _)| port.to_string()).collect::<Vec<_>>().join(", ");
    match destination.port.as_ref().and_then(|port| port.number.as_ref()) {
        Some(port) if !(1..=65535).contains(&port.value) => {
            findings.error(
                "bad-port",
                port.span,
                format!("{port} is no port"),
                "write a number between 1 and 65535",
            );
        }
        Some(port) if !known.alias && !known.ports.iter().any(|(number, _)| *number == port.value) => {
            let message = format!("the service `{host}` has no port {port}");
            findings.error("missing-port", port.span, message, format!("its ports are: {}", ports()));
        }
        None if on_gateway && known.ports.len() > 1 => {
            let message = format!(
                "the service `{host}` has several ports, and a gateway cannot tell which one is meant"
            );
            let remedy = format!("add `port: {{number: N}}`; its ports are: {}", ports());
            findings.warning("port-required", destination.host.span, message, remedy);
        }
        _ => {}
    }
}

fn missing(destination: &Destination, host: &str, registry: &Registry<'_>, findings: &mut Findings<'_>) {
    let (severity, why) = if registry.is_empty() {
        (Severity::Warning, "no Service at all is among what was read")
    } else if registry.is_internal(host) && registry.has_neighbours(host) {
        (Severity::Error, "requests would be answered 503")
    } else if registry.is_internal(host) {
        (Severity::Warning, "no Service of its namespace is among what was read")
    } else {
        (Severity::Warning, "no ServiceEntry names it")
    };
    let message = format!("there is no service `{host}`: {why}");
    findings.add(severity, "missing-host", destination.host.span, message, registry.remedy(host));
}

fn subset(
    destination: &Destination,
    host: &str,
    world: &World,
    registry: &Registry<'_>,
    findings: &mut Findings<'_>,
) {
    let Some(subset) = &destination.subset else { return };
    let mut names = Vec::new();
    for rule in registry.rules(host) {
        if rule.meta.misread("spec.subsets", &["name"], None) {
            return;
        }
        names.extend(rule.spec.subsets.iter().map(|subset| subset.name.value.as_str()));
    }
    if names.contains(&subset.value.as_str()) {
        return;
    }
    let severity = if world.destination_rules.is_empty() { Severity::Warning } else { Severity::Error };
    let message = format!("no DestinationRule defines the subset `{subset}` of `{host}`");
    let remedy = match (nearest(subset, &names), names.is_empty()) {
        (Some(name), _) => format!("did you mean `{name}`?"),
        (None, true) => "add a DestinationRule for this host with that subset".to_owned(),
        (None, false) => format!("its subsets are: {}", names.join(", ")),
    };
    findings.add(severity, "missing-subset", subset.span, message, remedy);
}
