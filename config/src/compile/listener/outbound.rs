//! Listeners for what a sidecar's pod calls.

use std::collections::{BTreeMap, BTreeSet};

use weir_proto::envoy::config::core::v3::TrafficDirection;
use weir_proto::envoy::config::listener::v3 as listener;

use super::super::cluster::BLACK_HOLE;
use super::super::context::Context;
use super::super::node::Interception;
use super::super::place::Says;
use super::super::protocol::Protocol;
use super::super::registry::{Port, Service};
use super::super::route::{Shape, shape};
use super::super::scope::Egress;
use super::super::target::Part;
use super::super::wire;
use super::handed::{self, LOOPBACK, conflict};
use super::http::{self, Routes, Side};
use super::{access_log, tcp};
use crate::diag::Diagnostic;
use crate::world::host_covers;

/// Port that redirected outbound connections arrive at.
const OUTBOUND_PORT: u32 = 15001;

pub(super) fn build(ctx: &Context<'_>) -> Vec<listener::Listener> {
    if !ctx.target.has(Part::Interception) {
        return beside(ctx);
    }
    let mut listeners = handed::build(ctx);
    if ctx.node.interception != Interception::None {
        listeners.push(entrance(ctx));
    }
    listeners
}

/// Without interception: a listener on the loopback address per service port.
fn beside(ctx: &Context<'_>) -> Vec<listener::Listener> {
    let mut taken = BTreeSet::new();
    let mut listeners = Vec::new();
    for egress in &ctx.scope.egress {
        let mut ports: BTreeMap<u32, Vec<(&Service, &Port)>> = BTreeMap::new();
        for service in egress.services() {
            for port in service.ports.iter().filter(|port| shape(ctx, port.protocol) != Shape::Skipped) {
                ports.entry(port.number).or_default().push((service, port));
            }
        }
        let address = egress.bind().unwrap_or(LOOPBACK);
        for (number, members) in ports {
            // A port that the Sidecar names is for the services that it names there.
            if taken.insert((address, number)) {
                listeners.extend(one_beside(ctx, egress, address, number, &members));
            }
        }
    }
    listeners
}

fn one_beside<'w>(
    ctx: &Context<'w>,
    egress: &Egress<'w>,
    address: &str,
    number: u32,
    members: &[(&Service, &Port)],
) -> Option<listener::Listener> {
    let name = format!("{address}_{number}");
    let port = ctx.node.bind_port(number);
    let mut built = super::base(name.clone(), address, port, TrafficDirection::Outbound);
    let (opaque, spoken): (Vec<_>, Vec<_>) =
        members.iter().partition(|(_, port)| shape(ctx, port.protocol) != Shape::Http);
    let by_http = !spoken.is_empty();
    let chain = if by_http {
        say_what_is_guessed(ctx, &spoken);
        let routes = Routes::Named(number.to_string());
        super::chain(ctx, vec![http::manager(ctx, Side::Outbound, &format!("outbound_{name}"), routes)])
    } else {
        let (service, port) = members.first()?;
        tcp::to_service(ctx, egress, service, port).chain(ctx)
    };
    say_what_is_not_told_apart(ctx, egress, &opaque);
    for (service, port) in opaque.iter().skip(usize::from(!by_http)) {
        conflict(ctx, service, port, if by_http { "HTTP services" } else { "another service" });
    }
    built.filter_chains.push(chain);
    if let Some((service, _)) = members.first() {
        ctx.locate(&mut built.metadata, Says::Rule, service.span);
    }
    Some(built)
}

fn say_what_is_not_told_apart(ctx: &Context<'_>, egress: &Egress<'_>, members: &[&(&Service, &Port)]) {
    for (service, _) in members.iter().filter(|(_, port)| shape(ctx, port.protocol) == Shape::Tls) {
        for from in ctx.rules_of(egress) {
            if from.hosts.iter().any(|(host, _)| host_covers(host, &service.hostname)) {
                for rule in from.tls {
                    ctx.not_yet("tls of a sidecar", "connections go to the service by its port", rule.span);
                }
            }
        }
    }
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
        filters: tcp::unknown(ctx),
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
