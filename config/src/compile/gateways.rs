//! The ports that a gateway opens: servers of all Gateways and Ingresses that select it, by port.

use std::collections::{BTreeMap, BTreeSet};

use super::context::Context;
use super::ingress;
use super::node::NodeKind;
use super::registry::{Address, Endpoint};
use super::server::{Protocol, Server};
use super::target::Target;
use crate::diag::Diagnostic;
use crate::kinds::gateway::{ServerTls, ServerTlsMode};

/// Label `istio` of the gateway that istiod gives Ingresses to.
const INGRESS_GATEWAY: &str = "ingressgateway";

/// The servers of a node by port and bind address, in order of age. Of plain servers that differ in protocol
/// the older one's holds.
pub(crate) fn by_port<'w>(ctx: &Context<'w>) -> BTreeMap<(u32, Option<&'w str>), Vec<Server<'w>>> {
    let mut ports: BTreeMap<(u32, Option<&'w str>), Vec<Server<'w>>> = BTreeMap::new();
    for server in servers(ctx).into_iter().flat_map(|server| at_targets(ctx, server)) {
        let here = ports.entry((server.listen, server.bind)).or_default();
        let plain = |protocol| matches!(protocol, Protocol::Http | Protocol::Tcp);
        let clash = here.iter().find(|other| {
            (plain(other.protocol) || plain(server.protocol)) && other.protocol != server.protocol
        });
        if let Some(first) = clash {
            let message = format!(
                "port {} takes {:?} by {} already: this server of {} is left out",
                server.listen, first.protocol, first.gateway, server.gateway
            );
            ctx.report(
                Diagnostic::warning("port-conflict", message).remedy("give it a port of its own"),
                server.span,
            );
            continue;
        }
        here.push(server);
    }
    ports
}

/// A server at each port that Services of the gateway's own pods lead its port to; at its own if there is none.
fn at_targets<'w>(ctx: &Context<'_>, server: Server<'w>) -> Vec<Server<'w>> {
    let labels = &ctx.node.labels;
    let own = |one: &&Endpoint| matches!(&one.address, Address::Ip(ip) if ctx.node.ips.contains(ip));
    let mut targets: BTreeSet<u32> = BTreeSet::new();
    for service in ctx.registry.all().iter().filter(|service| service.namespace == ctx.node.namespace) {
        let pods = service.endpoints.iter().filter(own);
        let pods = pods.filter(|one| !labels.is_empty() && one.has_labels(labels));
        targets.extend(pods.filter_map(|one| one.ports.get(&server.port)));
    }
    if targets.is_empty() {
        return vec![server];
    }
    targets.into_iter().map(|listen| Server { listen, ..server.clone() }).collect()
}

/// Whether a server of the node passes connections on by the SNI that Istio's sidecars send.
pub(crate) fn has_auto_passthrough(ctx: &Context<'_>) -> bool {
    servers(ctx).iter().any(|server| server.mode() == Some(ServerTlsMode::AutoPassthrough))
}

fn servers<'w>(ctx: &Context<'w>) -> Vec<Server<'w>> {
    if ctx.node.kind != NodeKind::Router {
        return Vec::new();
    }
    // A gateway that runs by itself, without labels, is the only one there is.
    let alone = ctx.target == Target::Weir && ctx.node.labels.is_empty();
    // istiod has one class of gateway for Ingresses; a gateway of ours takes them all.
    let for_ingress = ctx.target == Target::Weir
        || ctx.node.labels.get("istio").is_some_and(|name| name == INGRESS_GATEWAY);
    let mut servers = if for_ingress { ingress::servers(ctx.world) } else { Vec::new() };
    for resource in &ctx.world.gateways {
        if !alone && !ctx.node.selected_by(&resource.spec.selector) {
            continue;
        }
        let gateway = format!("{}/{}", resource.meta.namespace, resource.meta.name);
        for server in &resource.spec.servers {
            let Some(protocol) = protocol(&server.port.protocol, server.tls.as_ref()) else {
                let message = format!("`{}` is no protocol that a gateway takes", server.port.protocol);
                let remedy = "allowed are: HTTP, HTTP2, GRPC, HTTPS, TLS, TCP, MONGO";
                let diagnostic = Diagnostic::warning("unknown-value", message).remedy(remedy);
                ctx.report(diagnostic, server.port.protocol.span);
                continue;
            };
            servers.push(Server {
                gateway: gateway.clone(),
                order: super::age(&resource.meta),
                port: server.port.number.value,
                listen: server.port.number.value,
                port_name: server.port.name.as_ref().map_or_else(String::new, |name| name.value.clone()),
                protocol,
                bind: server.bind.as_ref().map(|bind| bind.as_str()).filter(|bind| !bind.is_empty()),
                hosts: server.hosts.iter().map(|host| host_of(host, &resource.meta.namespace)).collect(),
                tls: server.tls.as_ref(),
                span: server.span,
            });
        }
    }
    servers.sort_by(|a, b| a.order.cmp(&b.order));
    servers
}

/// `namespace/host`, where `.` is the Gateway's own namespace.
fn host_of(text: &str, own: &str) -> (String, String) {
    match text.split_once('/') {
        Some((".", host)) => (own.to_owned(), host.to_ascii_lowercase()),
        Some((namespace, host)) => (namespace.to_owned(), host.to_ascii_lowercase()),
        None => ("*".to_owned(), text.to_ascii_lowercase()),
    }
}

fn protocol(word: &str, tls: Option<&ServerTls>) -> Option<Protocol> {
    let mode = tls.and_then(|tls| tls.mode.as_ref()).map(|mode| mode.value);
    let passes = matches!(mode, Some(ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough));
    Some(match word.to_ascii_uppercase().as_str() {
        "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB" | "HTTP_PROXY" => Protocol::Http,
        "HTTPS" if passes => Protocol::Tls,
        "HTTPS" => Protocol::Https,
        "TLS" => Protocol::Tls,
        "TCP" | "MONGO" | "REDIS" | "MYSQL" => Protocol::Tcp,
        _ => return None,
    })
}
