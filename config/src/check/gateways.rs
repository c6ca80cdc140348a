//! Gateways, and the references to them.

use std::collections::{BTreeMap, HashMap};

use super::hosts::{MESH, gateways, valid_host};
use super::{Findings, Registry};
use crate::diag::Severity;
use crate::kinds::Resource;
use crate::kinds::gateway::{Gateway, Server, ServerTlsMode};
use crate::kinds::virtual_service::VirtualService;
use crate::read::nearest;
use crate::world::{World, host_covers};
use crate::yaml::Spanned;

/// Protocols of a port; those after the first three need TLS settings.
const PROTOCOLS: [&str; 8] = ["HTTP", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "MONGO", "HTTPS", "TLS"];

pub(super) fn check(world: &World, _: &Registry<'_>, findings: &mut Findings<'_>) {
    let mut seen: HashMap<_, String> = HashMap::new();
    for gateway in &world.gateways {
        if gateway.spec.servers.is_empty() && !gateway.meta.broken() {
            let message = format!("{} has no servers", gateway.meta.title());
            findings.error("no-servers", gateway.spec.span, message, "add `servers:` with a port and hosts");
        }
        for server in &gateway.spec.servers {
            one_server(server, gateway, findings);
            for host in &server.hosts {
                let selector: Vec<_> = gateway.spec.selector.iter().collect();
                let key = (selector, server.port.number.value, server.bind.clone(), host.value.as_str());
                if let Some(other) = seen.insert(key, gateway.meta.title()) {
                    let message = format!(
                        "the host `{host}` of port {} is already served by {other}",
                        server.port.number
                    );
                    findings.warning(
                        "gateway-overlap",
                        host.span,
                        message,
                        "serve each host of a port in one place",
                    );
                }
            }
        }
    }
    let names = world
        .gateways
        .iter()
        .map(|gateway| (format!("{}/{}", gateway.meta.namespace, gateway.meta.name), gateway));
    let names: BTreeMap<String, &Resource<Gateway>> = names.collect();
    for service in &world.virtual_services {
        references(service, &names, findings);
    }
}

fn one_server(server: &Server, gateway: &Resource<Gateway>, findings: &mut Findings<'_>) {
    let port = &server.port;
    if !(1..=65535).contains(&port.number.value) {
        findings.error(
            "bad-port",
            port.number.span,
            format!("{} is no port", port.number),
            "write a number between 1 and 65535",
        );
    }
    let protocol = port.protocol.to_ascii_uppercase();
    if !PROTOCOLS.contains(&protocol.as_str()) {
        let remedy = match nearest(&protocol, &PROTOCOLS) {
            Some(name) => format!("did you mean {name}? Allowed are: {}", PROTOCOLS.join(", ")),
            None => format!("allowed are: {}", PROTOCOLS.join(", ")),
        };
        findings.error(
            "bad-protocol",
            port.protocol.span,
            format!("`{}` is no protocol of a Gateway", port.protocol),
            remedy,
        );
    }
    if server.hosts.is_empty() && !gateway.meta.broken() {
        findings.error("no-hosts", server.span, "this server has no hosts", "add `hosts:`; [\"*\"] for all");
    }
    for host in &server.hosts {
        let name = host.rsplit_once('/').map_or(host.as_str(), |(_, name)| name);
        if !valid_host(name) {
            let message =
                format!("`{host}` is no host: [namespace/]DNS name, with or without `*` as its first label");
            findings.error(
                "bad-host",
                host.span,
                message,
                "a wildcard is possible as the whole first label only",
            );
        }
    }
    let secure = matches!(protocol.as_str(), "HTTPS" | "TLS");
    match &server.tls {
        None if secure => {
            let message = format!("a port of protocol {protocol} needs TLS settings");
            findings.error(
                "tls-required",
                port.protocol.span,
                message,
                "add `tls:` with a mode and a credentialName",
            );
        }
        Some(tls) if protocol == "HTTP" && tls.mode.is_some() => {
            let message = "TLS settings of a port of protocol HTTP have no effect, but for httpsRedirect";
            findings.warning("tls-ignored", tls.span, message, "use protocol HTTPS, or remove them");
        }
        Some(tls)
            if protocol == "HTTPS"
                && tls.mode.as_ref().is_some_and(|mode| **mode == ServerTlsMode::AutoPassthrough) =>
        {
            let message = "AUTO_PASSTHROUGH needs protocol TLS";
            findings.error("bad-protocol", port.protocol.span, message, "write `protocol: TLS`");
        }
        _ => {}
    }
}

/// Gateways that a VirtualService names, and whether its hosts are served there.
fn references(
    service: &Resource<VirtualService>,
    known: &BTreeMap<String, &Resource<Gateway>>,
    findings: &mut Findings<'_>,
) {
    let bound = gateways(service);
    for name in bound.iter().filter(|name| name.value != MESH) {
        match known.get(&name.value) {
            Some(gateway) => unserved(service, gateway, findings),
            None => {
                let severity = if known.is_empty() { Severity::Warning } else { Severity::Error };
                let candidates: Vec<&str> = known.keys().map(String::as_str).collect();
                let remedy = match nearest(name, &candidates) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None if known.is_empty() => "no Gateway at all is among what was read".to_owned(),
                    None => format!("there are: {}", candidates.join(", ")),
                };
                findings.add(
                    severity,
                    "missing-gateway",
                    name.span,
                    format!("there is no Gateway {name}"),
                    remedy,
                );
            }
        }
    }
    let own: Vec<&str> = bound.iter().map(|name| name.value.as_str()).collect();
    let named = service.spec.http.iter().flat_map(|rule| &rule.matches).flat_map(|part| &part.gateways);
    for name in named {
        let full = super::hosts::gateway_name(name, &service.meta.namespace);
        if !own.contains(&full.as_str()) {
            let message = format!(
                "this match names the gateway {full}, which the VirtualService is not bound to: it never holds"
            );
            findings.warning(
                "gateway-not-bound",
                name.span,
                message,
                "add it to the VirtualService's `gateways:`",
            );
        }
    }
}

fn unserved(service: &Resource<VirtualService>, gateway: &Resource<Gateway>, findings: &mut Findings<'_>) {
    let served = |host: &str| {
        gateway.spec.servers.iter().flat_map(|server| &server.hosts).any(|pattern| {
            let (namespace, pattern) = pattern.rsplit_once('/').unwrap_or(("*", pattern));
            let namespace = if namespace == "." { gateway.meta.namespace.as_str() } else { namespace };
            let seen = namespace == "*" || namespace == service.meta.namespace;
            let pattern = pattern.to_ascii_lowercase();
            seen && (host_covers(&pattern, host) || host_covers(host, &pattern))
        })
    };
    let missed = |host: &&Spanned<String>| !served(&host.to_ascii_lowercase());
    for host in service.spec.hosts.iter().filter(missed) {
        // A short name stands for a service of the mesh, which a gateway need not serve.
        if service.spec.gateways.iter().any(|name| **name == MESH) {
            continue;
        }
        let message = format!("{} does not serve the host `{host}`", gateway.meta.title());
        findings.warning(
            "host-not-served",
            host.span,
            message,
            "add it to the Gateway's `hosts:`, or correct it",
        );
    }
}
