//! Listeners for what a sidecar's pod calls.

use std::collections::BTreeMap;

use weir_proto::envoy::config::core::v3::TrafficDirection;
use weir_proto::envoy::config::listener::v3 as listener;
use weir_proto::google::protobuf as pb;

use super::super::cluster::{BLACK_HOLE, PASSTHROUGH};
use super::super::context::Context;
use super::super::node::Interception;
use super::super::protocol::Protocol;
use super::super::registry::{Port, Service};
use super::super::route::{Shape, shape};
use super::super::target::Part;
use super::super::virtual_services::{MESH, gateway_names};
use super::super::wire;
use super::access_log;
use super::gateway::by_sni;
use super::http::{self, Routes, Side};
use super::tcp::{self, Place};
use crate::diag::Diagnostic;

/// Port that redirected outbound connections arrive at.
const OUTBOUND_PORT: u32 = 15001;
/// ALPN names of plain HTTP, as the HTTP inspector gives them.
const PLAIN_HTTP: [&str; 2] = ["http/1.1", "h2c"];

pub(super) fn build(ctx: &Context<'_>) -> Vec<listener::Listener> {
    if !ctx.target.has(Part::Interception) {
        return beside(ctx);
    }
    let mut listeners = redirected(ctx);
    listeners.push(entrance(ctx));
    listeners
}

/// Without interception: a listener on the loopback address per service port.
fn beside(ctx: &Context<'_>) -> Vec<listener::Listener> {
    let mut ports: BTreeMap<u32, Vec<(&Service, &Port)>> = BTreeMap::new();
    let services = ctx.services();
    for service in &services {
        for port in service.ports.iter().filter(|port| shape(ctx, port.protocol) != Shape::Skipped) {
            ports.entry(port.number).or_default().push((service, port));
        }
    }
    let mut listeners = Vec::new();
    for (number, members) in ports {
        let name = format!("127.0.0.1_{number}");
        let mut built =
            super::base(name.clone(), "127.0.0.1", ctx.node.bind_port(number), TrafficDirection::Outbound);
        let by_http = members.iter().any(|(_, port)| shape(ctx, port.protocol) == Shape::Http);
        let (opaque, spoken): (Vec<_>, Vec<_>) =
            members.iter().partition(|(_, port)| shape(ctx, port.protocol) != Shape::Http);
        let chain = if by_http {
            say_what_is_guessed(ctx, &spoken);
            let routes = Routes::Named(number.to_string());
            super::chain(ctx, vec![http::manager(ctx, Side::Outbound, &format!("outbound_{name}"), routes)])
        } else {
            let Some((service, port)) = members.first() else {
                continue;
            };
            tcp::to_service(ctx, service, port).chain(ctx)
        };
        for (service, port) in opaque.iter().skip(usize::from(!by_http)) {
            let message = format!(
                "port {number} is taken by {} on this proxy: {}, which is not HTTP, cannot be told apart there",
                if by_http { "HTTP services" } else { "another service" },
                service.hostname
            );
            let remedy = "give the service a port of its own; with interception its address tells it apart";
            ctx.report(Diagnostic::warning("port-conflict", message).remedy(remedy), service.span);
            let _ = port;
        }
        built.filter_chains.push(chain);
        listeners.push(built);
    }
    listeners
}

fn say_what_is_guessed(ctx: &Context<'_>, members: &[&(&Service, &Port)]) {
    for (service, port) in members {
        if port.protocol == Protocol::Auto {
            let message = format!(
                "port {} of {} declares no protocol: it is taken for HTTP until protocols are detected",
                port.number, service.hostname
            );
            let remedy = "name it `http-...`, `grpc-...` or `tcp-...`, or set `appProtocol`";
            ctx.report(Diagnostic::note("undeclared-protocol", message).remedy(remedy), service.span);
        }
    }
}

/// With redirection: listeners that connections are handed to by the address they were meant for.
fn redirected(ctx: &Context<'_>) -> Vec<listener::Listener> {
    let mut shared: BTreeMap<u32, Vec<listener::FilterChain>> = BTreeMap::new();
    let mut with_http: BTreeMap<u32, bool> = BTreeMap::new();
    let mut listeners = Vec::new();
    for service in ctx.services() {
        for port in &service.ports {
            let vip = service.vips().find(|vip| *vip != "0.0.0.0").map(str::to_owned);
            match (shape(ctx, port.protocol), vip) {
                (Shape::Http, _) | (Shape::Detected, None) => {
                    with_http.insert(port.number, true);
                }
                (Shape::Tcp, Some(vip)) => {
                    let chain = tcp::to_service(ctx, service, port).chain(ctx);
                    listeners.push(handed(ctx, &vip, port.number, vec![chain], None));
                }
                (Shape::Detected, Some(vip)) => {
                    let name = format!("{}:{}", service.hostname, port.number);
                    let chain = plain_http(ctx, &format!("{vip}_{}", port.number), name);
                    let rest = tcp::to_service(ctx, service, port).chain(ctx);
                    listeners.push(handed(ctx, &vip, port.number, vec![chain], Some(rest)));
                }
                (Shape::Tls, Some(vip)) if !service.external => {
                    let chain = tcp::to_service(ctx, service, port).chain(ctx);
                    listeners.push(handed(ctx, &vip, port.number, vec![chain], None));
                }
                (Shape::Tls, _) => {
                    let chains = shared.entry(port.number).or_default();
                    of_tls(ctx, service, port, chains);
                }
                (Shape::Tcp, None) => {
                    let chain = tcp::to_service(ctx, service, port).chain(ctx);
                    shared.entry(port.number).or_default().push(chain);
                }
                (Shape::Skipped, _) => {}
            }
        }
    }
    for number in with_http.into_keys() {
        let chain = plain_http(ctx, &format!("0.0.0.0_{number}"), number.to_string());
        shared.entry(number).or_default().insert(0, chain);
    }
    for (number, chains) in shared {
        let rest = listener::FilterChain {
            name: "PassthroughFilterChain".to_owned(),
            filter_chain_match: Some(listener::FilterChainMatch::default()),
            filters: tcp::plain(ctx, PASSTHROUGH),
            ..listener::FilterChain::default()
        };
        listeners.push(handed(ctx, "0.0.0.0", number, chains, Some(rest)));
    }
    listeners
}

fn plain_http(ctx: &Context<'_>, name: &str, routes: String) -> listener::FilterChain {
    let manager = http::manager(ctx, Side::Outbound, &format!("outbound_{name}"), Routes::Named(routes));
    let mut chain = super::chain(ctx, vec![manager]);
    chain.filter_chain_match = Some(listener::FilterChainMatch {
        transport_protocol: "raw_buffer".to_owned(),
        application_protocols: PLAIN_HTTP.iter().map(|name| (*name).to_owned()).collect(),
        ..listener::FilterChainMatch::default()
    });
    chain
}

/// TLS by SNI: as the TLS rules of VirtualServices for the service say, else by its own name.
fn of_tls(ctx: &Context<'_>, service: &Service, port: &Port, chains: &mut Vec<listener::FilterChain>) {
    let place = Place { gateway: MESH, port: port.number };
    let mut ruled = false;
    let mut add = |chain: listener::FilterChain| {
        if !chains.iter().any(|known| known.filter_chain_match == chain.filter_chain_match) {
            chains.push(chain);
        }
    };
    for from in ctx.virtual_services.bound_to(MESH, &ctx.node.namespace) {
        if !from.hosts.iter().any(|(host, _)| crate::world::host_covers(host, &service.hostname)) {
            continue;
        }
        for rule in from.tls {
            for one in &rule.matches {
                let here = one.port.as_ref().is_none_or(|wanted| wanted.value == port.number)
                    && super::super::route::source_applies(
                        ctx,
                        &gateway_names(one.gateways.iter().map(|name| name.as_str()), &from.namespace),
                        one.gateways.is_empty(),
                        &one.source_labels,
                        one.source_namespace.as_ref().map(|name| name.as_str()),
                        MESH,
                    );
                if !here {
                    continue;
                }
                if let Some(way) = tcp::by_rule(ctx, &rule.route, from, &place, rule.span) {
                    ruled = true;
                    add(by_sni(
                        way.chain(ctx),
                        one.sni_hosts.iter().map(|name| name.value.clone()).collect(),
                    ));
                }
            }
        }
    }
    if !ruled {
        let way = tcp::to_service(ctx, service, port);
        add(by_sni(way.chain(ctx), vec![service.hostname.clone()]));
    }
}

/// A listener that connections are handed to, without a socket of its own.
fn handed(
    ctx: &Context<'_>,
    address: &str,
    port: u32,
    chains: Vec<listener::FilterChain>,
    rest: Option<listener::FilterChain>,
) -> listener::Listener {
    let mut built = super::base(format!("{address}_{port}"), address, port, TrafficDirection::Outbound);
    built.filter_chains = chains;
    built.default_filter_chain = rest;
    built.bind_to_port = Some(wire::boolv(ctx.node.interception == Interception::None));
    built.continue_on_listener_filters_timeout = true;
    built.listener_filters_timeout = Some(pb::Duration::default());
    super::inspect(&mut built);
    built
}

/// Where redirected connections arrive: those that no listener is for pass through.
fn entrance(ctx: &Context<'_>) -> listener::Listener {
    let mut built =
        super::base("virtualOutbound".to_owned(), "0.0.0.0", OUTBOUND_PORT, TrafficDirection::Outbound);
    let loops = listener::FilterChain {
        name: "virtualOutbound-blackhole".to_owned(),
        filter_chain_match: Some(listener::FilterChainMatch {
            destination_port: Some(wire::u32v(OUTBOUND_PORT)),
            ..listener::FilterChainMatch::default()
        }),
        filters: tcp::plain(ctx, BLACK_HOLE),
        ..listener::FilterChain::default()
    };
    let rest = listener::FilterChain {
        name: "virtualOutbound-catchall-tcp".to_owned(),
        filters: tcp::plain(ctx, PASSTHROUGH),
        ..listener::FilterChain::default()
    };
    built.filter_chains = vec![loops, rest];
    built.use_original_dst = Some(wire::boolv(true));
    if ctx.node.interception == Interception::Tproxy {
        built.transparent = Some(wire::boolv(true));
    }
    built.access_log = access_log::of_listener(ctx);
    built.max_connections_to_accept_per_socket_event = Some(wire::u32v(1));
    built
}
