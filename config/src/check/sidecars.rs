//! Sidecars: hosts that are none or that nothing has, ports, and several for the same pods.

use std::collections::BTreeMap;

use super::hosts::valid_host;
use super::{Findings, Registry};
use crate::kinds::Resource;
use crate::kinds::sidecar::{DefaultEndpoint, EgressListener, Sidecar, SidecarPort, UNIX};
use crate::world::{World, host_covers, is_wildcard};
use crate::yaml::{Span, Spanned};

pub(super) fn check(world: &World, registry: &Registry<'_>, findings: &mut Findings<'_>) {
    several(world, findings);
    for sidecar in &world.sidecars {
        let before = findings.len();
        for listener in &sidecar.spec.egress {
            egress(world, registry, sidecar, listener, findings);
        }
        order(&sidecar.spec, findings);
        ingress(&sidecar.spec, findings);
        let policy = sidecar.spec.outbound_traffic_policy.as_ref();
        if let Some(proxy) =
            policy.filter(|policy| !policy.allows_any()).and_then(|it| it.egress_proxy.as_ref())
        {
            let message = "egressProxy takes what ALLOW_ANY lets pass, and this policy lets nothing pass";
            findings.error("no-effect", proxy.span, message, "write `mode: ALLOW_ANY`");
        }
        findings.drop_consequences(before, &sidecar.meta.mistakes);
    }
}

/// Of several for the same pods one is in force.
fn several(world: &World, findings: &mut Findings<'_>) {
    let mut known: BTreeMap<_, &Resource<Sidecar>> = BTreeMap::new();
    let mut all: Vec<_> = world.sidecars.iter().collect();
    all.sort_by_key(|one| crate::compile::age(&one.meta));
    for one in all {
        let selector = one.spec.workload_selector.as_ref().map(|selector| &selector.labels);
        let Some(first) = known.get(&(&one.meta.namespace, selector)) else {
            known.insert((&one.meta.namespace, selector), one);
            continue;
        };
        let place = findings.place(first.meta.span);
        let message =
            format!("{} ({place}) is for the same pods: this one is not in force", first.meta.title());
        let remedy = "put both into one, or give them different workload selectors";
        findings.warning("several-sidecars", one.meta.name.span, message, remedy);
    }
}

fn egress(
    world: &World,
    registry: &Registry<'_>,
    sidecar: &Resource<Sidecar>,
    listener: &EgressListener,
    findings: &mut Findings<'_>,
) {
    if listener.hosts.is_empty() {
        let remedy = "add `hosts:`, such as `\"./*\"`; `\"~/*\"` for none";
        findings.error("no-hosts", listener.span, "this listener imports nothing", remedy);
    }
    for host in &listener.hosts {
        let Some((namespace, name)) = host.split_once('/').filter(|(_, name)| valid_host(name)) else {
            let message = format!("`{host}` names no hosts: a namespace, `/`, and a full name or a wildcard");
            findings.error("bad-host", host.span, message, example(host));
            continue;
        };
        if namespace == "~" && name != "*" {
            let message = "`~` stands for no namespace: no name is in it";
            findings.error("bad-host", host.span, message, "write `~/*`");
        } else if !is_wildcard(name) && !exists(world, registry, name) {
            let message =
                format!("nothing is imported: no service and no VirtualService has the host `{name}`");
            let own = if namespace == "." { &sidecar.meta.namespace } else { namespace };
            let meant = registry.resolve(name, own);
            let remedy = if registry.find(&meant).is_some() {
                format!("short names are not extended here: write `{namespace}/{meant}`")
            } else {
                registry.remedy(name)
            };
            findings.warning("missing-host", host.span, message, remedy);
        }
    }
    let port = listener.port.as_ref();
    let socket = listener.bind.as_ref().is_some_and(|bind| bind.starts_with(UNIX));
    if let Some(port) = port.filter(|_| !socket) {
        number(port, findings);
    }
    address(listener.bind.as_ref(), findings);
}

/// What was probably meant by a host without a namespace.
fn example(host: &str) -> String {
    if host.contains('/') {
        return "such as `./*`, `shop/ratings.shop.svc.cluster.local`, `*/*.example.com`".to_owned();
    }
    format!("write `*/{host}` for any namespace, or `./{host}` for the proxy's own")
}

fn exists(world: &World, registry: &Registry<'_>, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    registry.is_empty()
        || registry.find(&name).is_some()
        || world.virtual_services.iter().any(|one| {
            let hosts = one.spec.hosts.iter().map(|host| registry.resolve(host, &one.meta.namespace));
            hosts.into_iter().any(|host| host_covers(&host, &name))
        })
}

/// Ports once each, and all others last.
fn order(spec: &Sidecar, findings: &mut Findings<'_>) {
    let mut seen: Vec<(Option<u32>, Option<&str>)> = Vec::new();
    for (place, listener) in spec.egress.iter().enumerate() {
        let bind = listener.bind.as_ref().map(|bind| bind.as_str());
        if listener.port.is_none() && place.saturating_add(1) < spec.egress.len() {
            let message =
                "a listener without a port is for all ports that have none of their own: it must be the last";
            findings.error(
                "unreachable-listener",
                listener.span,
                message,
                "move it to the end, and have one alone",
            );
        }
        let key = (listener.number(), bind);
        if listener.port.is_some() && seen.contains(&key) {
            let message = "this port has a listener already";
            findings.error("duplicate-port", listener.span, message, "put their hosts into one list");
        }
        seen.push(key);
    }
}

fn ingress(spec: &Sidecar, findings: &mut Findings<'_>) {
    let mut seen: Vec<u32> = Vec::new();
    for listener in &spec.ingress {
        number(&listener.port, findings);
        let own = listener.port.number.as_ref().map_or(0, |number| number.value);
        if seen.contains(&own) {
            findings.error(
                "duplicate-port",
                listener.span,
                "this port is declared already",
                "keep one of them",
            );
        }
        seen.push(own);
        address(listener.bind.as_ref(), findings);
        if let Some(endpoint) = listener.default_endpoint.as_ref()
            && DefaultEndpoint::parse(endpoint).is_none()
        {
            let message = format!("`{endpoint}` is no place of an application");
            let remedy =
                "write `127.0.0.1:PORT`, `0.0.0.0:PORT` for the pod's own address, or `unix:///PATH`";
            findings.error("bad-endpoint", endpoint.span, message, remedy);
        }
    }
}

fn number(port: &SidecarPort, findings: &mut Findings<'_>) {
    let told = |span: Span, what: &str, findings: &mut Findings<'_>| {
        findings.error("bad-port", span, format!("{what} is no port"), "write a number between 1 and 65535");
    };
    match &port.number {
        Some(number) if (1..=65535).contains(&number.value) => {}
        Some(number) => told(number.span, &number.to_string(), findings),
        None => told(port.span, "a port without a `number`", findings),
    }
}

/// An address to listen on.
fn address(bind: Option<&Spanned<String>>, findings: &mut Findings<'_>) {
    let wrong = |bind: &&Spanned<String>| {
        !bind.is_empty() && !bind.starts_with(UNIX) && bind.parse::<std::net::IpAddr>().is_err()
    };
    if let Some(bind) = bind.filter(wrong) {
        let message = format!("`{bind}` is no address to listen on");
        findings.error("bad-address", bind.span, message, "write an IP address");
    }
}
