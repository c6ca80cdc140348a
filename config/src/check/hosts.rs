//! The hosts of VirtualServices: wildcards, and two resources for one host.

use std::collections::BTreeMap;

use super::{Findings, Registry};
use crate::kinds::Resource;
use crate::kinds::virtual_service::VirtualService;
use crate::world::World;
use crate::yaml::{Span, Spanned};

/// The name that stands for all sidecars.
pub(super) const MESH: &str = "mesh";

/// Full names of the gateways that a VirtualService is bound to.
pub(super) fn gateways(service: &Resource<VirtualService>) -> Vec<Spanned<String>> {
    if service.spec.gateways.is_empty() {
        return vec![Spanned::new(MESH.to_owned(), service.meta.name.span)];
    }
    let full = |name: &Spanned<String>| Spanned::new(gateway_name(name, &service.meta.namespace), name.span);
    service.spec.gateways.iter().map(full).collect()
}

/// `namespace/name` of a gateway reference, or `mesh`.
pub(super) fn gateway_name(name: &str, namespace: &str) -> String {
    if name == MESH || name.contains('/') {
        return name.strip_prefix("./").map_or_else(|| name.to_owned(), |name| format!("{namespace}/{name}"));
    }
    // The old form: `name.namespace.svc.domain`.
    match name.split_once('.') {
        Some((name, rest)) if rest.contains(".svc.") => {
            format!("{}/{name}", rest.split('.').next().unwrap_or(namespace))
        }
        _ => format!("{namespace}/{name}"),
    }
}

/// Whether two resources are seen by a common namespace.
fn meet(a: &Resource<VirtualService>, b: &Resource<VirtualService>) -> bool {
    let private = |service: &Resource<VirtualService>| {
        !service.spec.export_to.is_empty()
            && service.spec.export_to.iter().all(|to| **to == "." || **to == "~")
    };
    a.meta.namespace == b.meta.namespace || !(private(a) || private(b))
}

/// A virtual service that names a host, and where.
type Claim<'a> = (&'a Resource<VirtualService>, Span);

pub(super) fn check(world: &World, registry: &Registry<'_>, findings: &mut Findings<'_>) {
    let mut taken: BTreeMap<(String, String), Vec<Claim<'_>>> = BTreeMap::new();
    for service in &world.virtual_services {
        let gateways = gateways(service);
        let on_mesh = gateways.iter().any(|gateway| **gateway == MESH);
        let mut own = BTreeMap::new();
        for host in &service.spec.hosts {
            malformed(host, on_mesh, findings);
            let full = registry.resolve(host, &service.meta.namespace);
            if own.insert(full.clone(), host.span).is_some() {
                let message = format!("the host `{host}` is listed twice");
                findings.error("duplicate-host", host.span, message, "remove one of them");
                continue;
            }
            for gateway in &gateways {
                let others = taken.entry((gateway.value.clone(), full.clone())).or_default();
                if let Some((other, _)) = others.iter().find(|(other, _)| meet(other, service)) {
                    conflict(service, host, gateway, other, findings);
                }
                others.push((service, host.span));
            }
        }
    }
}

fn conflict(
    service: &Resource<VirtualService>,
    host: &Spanned<String>,
    gateway: &str,
    other: &Resource<VirtualService>,
    findings: &mut Findings<'_>,
) {
    // The same resource written twice is reported as such.
    if service.meta.title() == other.meta.title() {
        return;
    }
    let place = findings.place(other.meta.span);
    let title = other.meta.title();
    if gateway == MESH {
        let message = format!(
            "{title} ({place}) has rules for the host `{host}` in the mesh too: only the older of the two is in force"
        );
        findings.error(
            "host-conflict",
            host.span,
            message,
            "put all rules for a host into one VirtualService",
        );
    } else {
        let message = format!(
            "{title} ({place}) has rules for the host `{host}` on the gateway {gateway} too: they are joined, the older one's first"
        );
        let remedy =
            "put them into one VirtualService, or make sure that no two rules take the same requests";
        findings.warning("host-shared", host.span, message, remedy);
    }
}

/// Hosts that cannot be.
fn malformed(host: &Spanned<String>, on_mesh: bool, findings: &mut Findings<'_>) {
    if **host == "*" && on_mesh {
        let message = "the host `*` is not possible in the mesh: it would take all traffic of all sidecars";
        findings.error(
            "wildcard-host",
            host.span,
            message,
            "name hosts, or bind the VirtualService to a gateway alone",
        );
    } else if !valid_host(host) {
        let message = format!("`{host}` is no host: a DNS name, an IP address, or `*.` and a DNS name");
        findings.error(
            "bad-host",
            host.span,
            message,
            "a wildcard is possible as the whole first label only",
        );
    }
}

/// A DNS name in the characters that Kubernetes allows, with or without `*` as its first label, or an address.
pub(super) fn valid_host(host: &str) -> bool {
    if host == "*" || host.parse::<std::net::IpAddr>().is_ok() {
        return true;
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.trim_end_matches('.').split('.').all(label)
}
