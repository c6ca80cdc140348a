//! With interception: listeners that connections are handed to by the address they were meant for.

use std::collections::BTreeMap;

use weir_proto::envoy::config::core::v3::TrafficDirection;
use weir_proto::envoy::config::listener::v3 as listener;
use weir_proto::google::protobuf as pb;

use super::super::context::Context;
use super::super::registry::{Port, Service};
use super::super::route::{Shape, shape, source_applies};
use super::super::scope::Egress;
use super::super::virtual_service::{MESH, gateway_names};
use super::super::wire;
use super::gateway::by_sni;
use super::http::{self, Routes, Side};
use super::tcp::{self, Place};
use crate::diag::Diagnostic;

/// Where applications find a listener that nothing is redirected to.
pub(super) const LOOPBACK: &str = "127.0.0.1";
/// Any address.
const ANY: &str = "0.0.0.0";

/// One listener while it is collected.
#[derive(Default)]
struct Listening {
    chains: Vec<listener::FilterChain>,
    /// What no other chain takes.
    rest: Option<listener::FilterChain>,
    /// It has a port of its own.
    bound: bool,
    /// It belongs to a port that the Sidecar names: no other service joins it.
    closed: bool,
}

/// By address and port.
type Listeners = BTreeMap<(String, u32), Listening>;

pub(super) fn build(ctx: &Context<'_>) -> Vec<listener::Listener> {
    let mut all = Listeners::new();
    for egress in &ctx.scope.egress {
        if egress.port().is_none() {
            all.values_mut().for_each(|one| one.closed = true);
        }
        for service in egress.services() {
            for port in &service.ports {
                add(ctx, egress, service, port, &mut all);
            }
        }
    }
    all.into_iter().map(|((address, port), one)| one.listener(ctx, &address, port)).collect()
}

/// The address that connections to a service port are found by.
fn address<'a>(ctx: &Context<'_>, egress: &'a Egress<'_>, service: &'a Service, shape: Shape) -> &'a str {
    if let Some(bind) = egress.bind() {
        return bind;
    }
    if egress.is_bound(ctx.node) {
        return LOOPBACK;
    }
    match shape {
        // HTTP services of a port share it; TLS of services outside is told apart by its SNI.
        Shape::Http => ANY,
        Shape::Tls if service.external => ANY,
        _ => service.vips().find(|vip| *vip != ANY).unwrap_or(ANY),
    }
}

fn add<'w>(ctx: &Context<'w>, egress: &Egress<'w>, service: &Service, port: &Port, all: &mut Listeners) {
    let shape = shape(ctx, port.protocol);
    let address = address(ctx, egress, service, shape);
    let place = (address.to_owned(), port.number);
    if shape == Shape::Skipped || all.get(&place).is_some_and(|one| one.closed) {
        return;
    }
    let way = || tcp::to_service(ctx, egress, service, port).chain(ctx);
    let own_vip = egress.bind().is_none() && address != ANY && address != LOOPBACK;
    let (mut chains, mut rest) = (Vec::new(), None);
    match shape {
        Shape::Detected if address != ANY => {
            let routes = format!("{}:{}", service.hostname, port.number);
            chains.push(plain_http(ctx, &place, routes, true));
            rest = Some(way());
        }
        Shape::Http | Shape::Detected => {
            chains.push(plain_http(ctx, &place, port.number.to_string(), address == ANY));
        }
        Shape::Tls if !own_vip => chains.extend(of_tls(ctx, egress, service, port)),
        Shape::Tls | Shape::Tcp => chains.push(way()),
        Shape::Skipped => {}
    }
    let here = all.entry(place).or_default();
    here.bound = egress.is_bound(ctx.node);
    here.rest = here.rest.take().or(rest);
    for chain in chains {
        let known = here.chains.iter().any(|known| known.filter_chain_match == chain.filter_chain_match);
        match shape {
            Shape::Tcp if known => conflict(ctx, service, port, "another service"),
            _ if known => {}
            Shape::Http => here.chains.insert(0, chain),
            _ => here.chains.push(chain),
        }
    }
}

impl Listening {
    /// What no chain takes goes where unknown connections go.
    fn listener(mut self, ctx: &Context<'_>, address: &str, port: u32) -> listener::Listener {
        let whole = self.chains.iter().position(|chain| chain.filter_chain_match.is_none());
        let rest = match whole {
            _ if self.rest.is_some() => self.rest,
            Some(_) if self.chains.len() == 1 => None,
            Some(place) => Some(self.chains.remove(place)),
            None => Some(listener::FilterChain {
                name: "PassthroughFilterChain".to_owned(),
                filter_chain_match: Some(listener::FilterChainMatch::default()),
                filters: tcp::unknown(ctx),
                ..listener::FilterChain::default()
            }),
        };
        let direction = TrafficDirection::Outbound;
        let number = if self.bound { ctx.node.bind_port(port) } else { port };
        let mut built = super::base(format!("{address}_{port}"), address, number, direction);
        built.filter_chains = self.chains;
        built.default_filter_chain = rest;
        built.bind_to_port = (!self.bound).then(|| wire::boolv(false));
        built.continue_on_listener_filters_timeout = true;
        built.listener_filters_timeout = Some(pb::Duration::default());
        super::inspect(&mut built);
        built
    }
}

/// HTTP; `told` apart from the rest of what comes to the listener, or all of it.
fn plain_http(ctx: &Context<'_>, place: &(String, u32), routes: String, told: bool) -> listener::FilterChain {
    let prefix = format!("outbound_{}_{}", place.0, place.1);
    let mut chain =
        super::chain(ctx, vec![http::manager(ctx, Side::Outbound, &prefix, Routes::Named(routes))]);
    chain.filter_chain_match = told.then(super::plain_http);
    chain
}

/// TLS by SNI: as the TLS rules of VirtualServices for the service say, else by its own name.
fn of_tls<'w>(
    ctx: &Context<'w>,
    egress: &Egress<'w>,
    service: &Service,
    port: &Port,
) -> Vec<listener::FilterChain> {
    let place = Place { gateway: MESH, port: port.number };
    let mut chains = Vec::new();
    for from in ctx.rules_of(egress) {
        if !from.hosts.iter().any(|(host, _)| crate::world::host_covers(host, &service.hostname)) {
            continue;
        }
        for rule in from.tls {
            for one in &rule.matches {
                let here = one.port.as_ref().is_none_or(|wanted| wanted.value == port.number)
                    && source_applies(
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
                    let names = one.sni_hosts.iter().map(|name| name.value.clone()).collect();
                    chains.push(by_sni(way.chain(ctx), names));
                }
            }
        }
    }
    if chains.is_empty() {
        let way = tcp::to_service(ctx, egress, service, port);
        chains.push(by_sni(way.chain(ctx), vec![service.hostname.clone()]));
    }
    chains
}

/// A service whose connections cannot be told from those of others.
pub(super) fn conflict(ctx: &Context<'_>, service: &Service, port: &Port, by: &str) {
    let message = format!(
        "port {} is taken by {by} on this proxy: {}, which is not HTTP, cannot be told apart there",
        port.number, service.hostname
    );
    let remedy = "give the service a port of its own; with interception its address tells it apart";
    ctx.report(Diagnostic::warning("port-conflict", message).remedy(remedy), service.span);
}
