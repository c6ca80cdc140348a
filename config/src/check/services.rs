//! Services, ServiceEntries and EndpointSlices.

use std::collections::HashSet;

use super::hosts::valid_host;
use super::{Findings, Registry};
use crate::kinds::endpoint::SERVICE_NAME_LABEL;
use crate::kinds::service::Service;
use crate::kinds::service_entry::{Resolution, ServiceEntry};
use crate::read::nearest;
use crate::world::{World, is_wildcard};
use crate::yaml::{Span, Spanned};

/// Protocols that a port's name can begin with, in lower case (Istio's protocol selection).
const PREFIXES: [&str; 14] = [
    "http", "http2", "https", "grpc", "grpc-web", "tcp", "tls", "udp", "mongo", "redis", "mysql", "hbone",
    "quic", "auto",
];
/// Protocols of a ServiceEntry's port.
const PROTOCOLS: [&str; 11] =
    ["HTTP", "HTTP2", "HTTPS", "GRPC", "GRPC-WEB", "TCP", "TLS", "MONGO", "UDP", "REDIS", "MYSQL"];

pub(super) fn check(world: &World, registry: &Registry<'_>, findings: &mut Findings<'_>) {
    for service in &world.services {
        ports(&service.spec, findings);
    }
    for entry in &world.service_entries {
        let before = findings.len();
        self::entry(&entry.spec, findings);
        findings.drop_consequences(before, &entry.meta.mistakes);
    }
    for slice in &world.endpoint_slices {
        let Some(name) = slice.meta.labels.get(SERVICE_NAME_LABEL) else {
            let message = format!("{} names no service: it has no effect", slice.meta.title());
            let remedy = format!("add the label `{SERVICE_NAME_LABEL}: NAME`");
            findings.warning("no-service", slice.meta.name.span, message, remedy);
            continue;
        };
        let host = registry.resolve(name, &slice.meta.namespace);
        if registry.find(&host).is_none() {
            let message = format!("{} is of the service `{name}`, which is not there", slice.meta.title());
            findings.warning("missing-host", slice.meta.name.span, message, registry.remedy(&host));
        }
    }
}

fn ports(service: &Service, findings: &mut Findings<'_>) {
    let mut names = HashSet::new();
    let mut numbers = HashSet::new();
    for port in &service.ports {
        range(&port.port, findings);
        let protocol = port.protocol.as_ref().map_or("TCP", |protocol| protocol.as_str());
        if !numbers.insert((port.port.value, protocol)) {
            findings.error(
                "duplicate-port",
                port.port.span,
                format!("the port {} is listed twice", port.port),
                "remove one of them",
            );
        }
        match &port.name {
            Some(name) if !names.insert(name.as_str()) => {
                findings.error(
                    "duplicate-port",
                    name.span,
                    format!("the port name `{name}` is given twice"),
                    "rename one of them",
                );
            }
            Some(name) if port.app_protocol.is_none() && protocol == "TCP" => naming(name, findings),
            None if service.ports.len() > 1 => {
                findings.error(
                    "port-name",
                    port.span,
                    "a Service with several ports has to name them",
                    "add `name: <protocol>[-suffix]`",
                );
            }
            _ => {}
        }
    }
}

/// A port's name tells its protocol: `<protocol>` or `<protocol>-<suffix>`.
fn naming(name: &Spanned<String>, findings: &mut Findings<'_>) {
    let lower = name.to_ascii_lowercase();
    let prefix = lower.split('-').next().unwrap_or_default();
    if PREFIXES.contains(&prefix) {
        return;
    }
    let remedy = match nearest(prefix, &PREFIXES) {
        Some(meant) => {
            format!("did you mean `{meant}`? Else name it `<protocol>[-suffix]`, such as `http-{name}`")
        }
        None => format!("name it `<protocol>[-suffix]`, such as `http-{name}`, or give it an `appProtocol`"),
    };
    let message = format!(
        "the port name `{name}` does not tell the protocol: it is found out from the first bytes of each connection"
    );
    findings.note("port-name", name.span, message, remedy);
}

fn entry(entry: &ServiceEntry, findings: &mut Findings<'_>) {
    if entry.hosts.is_empty() {
        findings.error("no-hosts", entry.span, "a ServiceEntry needs hosts", "add `hosts:`");
    }
    let resolution = entry.resolution.as_ref().map_or(Resolution::None, |resolution| resolution.value);
    let place = entry.resolution.as_ref().map_or(entry.span, |resolution| resolution.span);
    for host in entry.hosts.iter().filter(|host| !valid_host(host) || *host.value == *"*") {
        let message = format!("`{host}` is no host of a ServiceEntry");
        findings.error("bad-host", host.span, message, "write a DNS name, or `*.` and a DNS name");
    }
    let by_name = matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    if let Some(host) =
        entry.hosts.iter().find(|host| by_name && is_wildcard(host) && entry.endpoints.is_empty())
    {
        let message = format!("the name of `{host}` cannot be looked up, for it is a wildcard");
        findings.error("wildcard-host", host.span, message, "list `endpoints:`, or use resolution NONE");
    }
    if resolution == Resolution::Static && entry.endpoints.is_empty() && entry.workload_selector.is_none() {
        findings.warning(
            "no-endpoints",
            place,
            "resolution STATIC without endpoints",
            "add `endpoints:` or `workloadSelector:`",
        );
    }
    if resolution == Resolution::None && !entry.endpoints.is_empty() {
        findings.error(
            "no-effect",
            place,
            "with resolution NONE endpoints are not possible",
            "use resolution STATIC or DNS",
        );
    }
    if let Some(selector) = entry.workload_selector.as_ref().filter(|_| !entry.endpoints.is_empty()) {
        findings.error(
            "one-of",
            selector.span,
            "endpoints and workloadSelector exclude each other",
            "keep one of them",
        );
    }
    entry_ports(entry, findings);
    addresses(entry, resolution, findings);
}

fn entry_ports(entry: &ServiceEntry, findings: &mut Findings<'_>) {
    let mut numbers = HashSet::new();
    for port in &entry.ports {
        range(&port.number, findings);
        port.target_port.iter().for_each(|number| range(number, findings));
        if !numbers.insert(port.number.value) {
            findings.error(
                "duplicate-port",
                port.number.span,
                format!("the port {} is listed twice", port.number),
                "remove one of them",
            );
        }
        let Some(protocol) = &port.protocol else { continue };
        let upper = protocol.to_ascii_uppercase();
        if !PROTOCOLS.contains(&upper.as_str()) {
            let remedy = match nearest(&upper, &PROTOCOLS) {
                Some(meant) => format!("did you mean {meant}? Known are: {}", PROTOCOLS.join(", ")),
                None => format!("known are: {}", PROTOCOLS.join(", ")),
            };
            let message = format!(
                "`{protocol}` is no known protocol: it is found out from the first bytes of each connection"
            );
            findings.warning("bad-protocol", protocol.span, message, remedy);
        }
    }
    let names: HashSet<&str> =
        entry.ports.iter().filter_map(|port| port.name.as_ref()).map(|name| name.as_str()).collect();
    for endpoint in &entry.endpoints {
        for (name, number) in &endpoint.ports {
            range(number, findings);
            if !names.contains(name.as_str()) {
                let message = format!(
                    "the endpoint gives a number to the port `{name}`, which the entry does not have"
                );
                findings.error("missing-port", number.span, message, "name one of the entry's ports");
            }
        }
    }
}

fn addresses(entry: &ServiceEntry, resolution: Resolution, findings: &mut Findings<'_>) {
    for address in &entry.addresses {
        let (ip, length) =
            address.split_once('/').map_or((address.as_str(), None), |(ip, length)| (ip, Some(length)));
        let bits = match ip.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(_)) => 32,
            Ok(std::net::IpAddr::V6(_)) => 128,
            Err(_) => 0,
        };
        if bits == 0 || length.is_some_and(|length| !length.parse::<u8>().is_ok_and(|length| length <= bits))
        {
            findings.error(
                "bad-address",
                address.span,
                format!("`{address}` is neither an IP address nor a CIDR"),
                "correct it",
            );
        }
    }
    for endpoint in &entry.endpoints {
        let Some(address) = &endpoint.address else { continue };
        let ip = address.parse::<std::net::IpAddr>().is_ok() || address.starts_with("unix://");
        if resolution == Resolution::Static && !ip {
            let message = format!(
                "with resolution STATIC an endpoint is an IP address or unix:// path, this is `{address}`"
            );
            findings.error("bad-address", address.span, message, "use resolution DNS for names");
        }
    }
}

fn range(port: &Spanned<u32>, findings: &mut Findings<'_>) {
    if !(1..=65535).contains(&port.value) {
        bad_port(port.value, port.span, findings);
    }
}

fn bad_port(port: u32, span: Span, findings: &mut Findings<'_>) {
    findings.error("bad-port", span, format!("{port} is no port"), "write a number between 1 and 65535");
}
