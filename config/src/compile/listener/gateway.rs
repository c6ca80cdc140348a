//! Listeners of a gateway: one per port and address of its servers.

use weir_proto::envoy::config::core::v3::TrafficDirection;
use weir_proto::envoy::config::listener::v3 as listener;

use super::super::cluster::sni_name;
use super::super::context::Context;
use super::super::gateways;
use super::super::host;
use super::super::place::Says;
use super::super::server::{Protocol, Server};
use super::super::target::Part;
use super::super::virtual_service::gateway_names;
use super::super::wire;
use super::http::{Routes, Side};
use super::tcp::{self, Place};
use super::{access_log, http};
use crate::diag::Diagnostic;
use crate::kinds::gateway::ServerTlsMode;
use crate::world::host_covers;

/// The ALPN names by which sidecars speak to each other.
pub(super) const ISTIO_ALPN: [&str; 5] =
    ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"];

pub(super) fn build(ctx: &Context<'_>) -> Vec<listener::Listener> {
    let mut listeners = Vec::new();
    for ((port, bind), servers) in gateways::by_port(ctx) {
        let address = bind.unwrap_or("0.0.0.0");
        let chains = chains(ctx, &servers, &format!("{address}_{port}"));
        if chains.is_empty() {
            continue;
        }
        let mut built = super::base(
            format!("{address}_{port}"),
            address,
            ctx.node.bind_port(port),
            TrafficDirection::Outbound,
        );
        built.filter_chains = chains;
        built.access_log = access_log::of_listener(ctx);
        built.max_connections_to_accept_per_socket_event = Some(wire::u32v(1));
        super::inspect(&mut built);
        if let Some(server) = servers.first() {
            ctx.locate(&mut built.metadata, Says::Rule, server.span);
        }
        listeners.push(built);
    }
    listeners
}

fn chains(ctx: &Context<'_>, servers: &[Server<'_>], listener_name: &str) -> Vec<listener::FilterChain> {
    let mut chains = Vec::new();
    for server in servers {
        let tls = matches!(server.protocol, Protocol::Https | Protocol::Tls);
        let passes =
            matches!(server.mode(), Some(ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough));
        if tls && !passes && !ctx.target.has(Part::DownstreamTls) {
            let what = format!("TLS on port {} of {}", server.port, server.gateway);
            ctx.not_yet(&what, "the port is not opened for these hosts", server.span);
            continue;
        }
        match (server.protocol, server.mode()) {
            // All plain HTTP of a port is one chain: its servers are told apart by host.
            (Protocol::Http, _) if !chains.is_empty() => {}
            (Protocol::Http | Protocol::Https, _) => chains.extend(of_http(ctx, server, listener_name)),
            (Protocol::Tls, Some(ServerTlsMode::AutoPassthrough)) => {
                chains.extend(of_auto_passthrough(ctx, server))
            }
            (Protocol::Tls, Some(ServerTlsMode::Passthrough)) => chains.extend(of_passthrough(ctx, server)),
            (Protocol::Tls | Protocol::Tcp, _) => chains.extend(of_tcp(ctx, server)),
        }
    }
    chains
}

fn of_http(ctx: &Context<'_>, server: &Server<'_>, listener_name: &str) -> Option<listener::FilterChain> {
    let routes = Routes::Named(server.route_name()?);
    let filter = http::manager(ctx, Side::Gateway, &format!("outbound_{listener_name}"), routes);
    Some(with_names(super::chain(ctx, vec![filter]), server))
}

/// A chain behind TLS is for the server's hosts.
fn with_names(mut chain: listener::FilterChain, server: &Server<'_>) -> listener::FilterChain {
    if matches!(server.protocol, Protocol::Https | Protocol::Tls) {
        let names: Vec<String> = server.hosts.iter().map(|(_, host)| host.clone()).collect();
        if !names.iter().any(|name| name == "*") {
            chain.filter_chain_match = Some(listener::FilterChainMatch {
                server_names: names,
                ..listener::FilterChainMatch::default()
            });
        }
    }
    chain
}

/// Opaque bytes: where the TCP rules of the gateway's VirtualServices say.
fn of_tcp(ctx: &Context<'_>, server: &Server<'_>) -> Option<listener::FilterChain> {
    let place = Place { gateway: &server.gateway, port: server.port };
    let served = |from: &super::super::virtual_service::VirtualService<'_>| {
        !host::intersection(&server.hosts_for(&from.namespace), &from.host_names()).is_empty()
    };
    let way = tcp::of_gateway(ctx, &place, served);
    if way.is_none() {
        let message = format!(
            "no VirtualService has a TCP rule for port {} of {}: it is not opened",
            server.port, server.gateway
        );
        let remedy = "add a VirtualService with this gateway and `tcp:`";
        ctx.report(Diagnostic::warning("port-without-route", message).remedy(remedy), server.span);
    }
    way.map(|way| with_names(way.chain(ctx), server))
}

/// TLS that passes through, by SNI: as the TLS rules of the gateway's VirtualServices say.
fn of_passthrough(ctx: &Context<'_>, server: &Server<'_>) -> Vec<listener::FilterChain> {
    let place = Place { gateway: &server.gateway, port: server.port };
    let mut chains = Vec::new();
    for from in ctx.virtual_services.bound_to(&server.gateway, &ctx.node.namespace) {
        let open = server.hosts_for(&from.namespace);
        for rule in from.tls {
            for one in &rule.matches {
                let port = one.port.as_ref().is_none_or(|port| port.value == server.port);
                let gateways = gateway_names(one.gateways.iter().map(|name| name.as_str()), &from.namespace);
                let bound = one.gateways.is_empty() || gateways.contains(&server.gateway);
                let names: Vec<String> = one
                    .sni_hosts
                    .iter()
                    .map(|name| name.to_ascii_lowercase())
                    .filter(|name| open.iter().any(|host| host_covers(host, name)))
                    .collect();
                if !port || !bound || names.is_empty() {
                    continue;
                }
                if let Some(way) = tcp::by_rule(ctx, &rule.route, from, &place, rule.span) {
                    chains.push(by_sni(way.chain(ctx), names));
                }
            }
        }
    }
    chains
}

pub(super) fn by_sni(mut chain: listener::FilterChain, names: Vec<String>) -> listener::FilterChain {
    chain.filter_chain_match =
        Some(listener::FilterChainMatch { server_names: names, ..listener::FilterChainMatch::default() });
    chain
}

/// TLS between sidecars that passes through to the service that its SNI names.
fn of_auto_passthrough(ctx: &Context<'_>, server: &Server<'_>) -> Vec<listener::FilterChain> {
    let mut chains = Vec::new();
    for service in ctx.services() {
        let open = server.hosts_for(&service.namespace);
        if service.external || !open.iter().any(|host| host_covers(host, &service.hostname)) {
            continue;
        }
        let rules = ctx.rules.of_service(service, ctx.node);
        for port in &service.ports {
            let subsets = rules.subsets.iter().map(|subset| subset.name.as_str());
            for subset in std::iter::once("").chain(subsets) {
                let name = sni_name(port.number, subset, &service.hostname);
                let mut chain = super::chain(ctx, tcp::plain(ctx, &name));
                chain.filter_chain_match = Some(listener::FilterChainMatch {
                    server_names: vec![name],
                    application_protocols: ISTIO_ALPN.iter().map(|name| (*name).to_owned()).collect(),
                    ..listener::FilterChainMatch::default()
                });
                chains.push(chain);
            }
        }
    }
    chains
}
