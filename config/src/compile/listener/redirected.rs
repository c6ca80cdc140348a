//! Where redirected connections to the pod arrive: one listener, whose chains go by the port that they were meant for.
//!
//! The chains for TLS between proxies are not made yet: connections are taken as they come.

use weir_proto::envoy::config::core::v3::TrafficDirection;
use weir_proto::envoy::config::listener::v3 as listener;
use weir_proto::envoy::config::listener::v3::listener_filter_chain_match_predicate as predicate;
use weir_proto::envoy::r#type::v3::Int32Range;
use weir_proto::google::protobuf as pb;

use super::super::cluster::{BLACK_HOLE, INBOUND_PASSTHROUGH, InboundPort};
use super::super::context::Context;
use super::super::node::Interception;
use super::super::route::{Shape, shape};
use super::super::wire;
use super::inbound::Way;
use super::{access_log, plain_http};

/// Port that redirected inbound connections arrive at.
const INBOUND_PORT: u32 = 15006;
/// Mark of packets that the proxy sends with the client's address (Istio's packet filter rules know it).
const TPROXY_MARK: u32 = 1337;
/// What no inspector has found to be TLS.
const RAW: &str = "raw_buffer";

/// `virtualInbound`.
pub(super) fn build(ctx: &Context<'_>, ports: &[InboundPort<'_>]) -> listener::Listener {
    let mut built =
        super::base("virtualInbound".to_owned(), "0.0.0.0", INBOUND_PORT, TrafficDirection::Inbound);
    built.filter_chains = vec![loops(ctx)];
    built.filter_chains.extend(passing(ctx));
    let mut quiet = vec![INBOUND_PORT];
    for port in ports {
        let shape = shape(ctx, port.protocol);
        let name = format!("0.0.0.0_{}", port.target);
        let way = Way::of(port, format!("inbound_{name}"));
        built.filter_chains.extend(chains(ctx, shape, &way, [&name; 2], Some(port.target)));
        if shape != Shape::Detected {
            quiet.push(port.target);
        }
    }
    built.listener_filters = filters(ctx, quiet);
    built.continue_on_listener_filters_timeout = true;
    built.listener_filters_timeout = Some(pb::Duration::default());
    built.transparent = (ctx.node.interception == Interception::Tproxy).then(|| wire::boolv(true));
    built.access_log = access_log::of_listener(ctx);
    built.max_connections_to_accept_per_socket_event = Some(wire::u32v(1));
    built
}

/// Connections to the listener itself would come back to it.
fn loops(ctx: &Context<'_>) -> listener::FilterChain {
    let way = Way {
        cluster: BLACK_HOLE.to_owned(),
        stat_prefix: String::new(),
        host: String::new(),
        number: 0,
        grpc: false,
    };
    listener::FilterChain {
        name: "virtualInbound-blackhole".to_owned(),
        filter_chain_match: Some(listener::FilterChainMatch {
            destination_port: Some(wire::u32v(INBOUND_PORT)),
            ..listener::FilterChainMatch::default()
        }),
        filters: way.opaque(ctx),
        ..listener::FilterChain::default()
    }
}

/// Connections to ports that no service has: to where they were meant to go.
fn passing(ctx: &Context<'_>) -> Vec<listener::FilterChain> {
    let way = Way {
        cluster: INBOUND_PASSTHROUGH.to_owned(),
        stat_prefix: INBOUND_PASSTHROUGH.to_owned(),
        host: String::new(),
        number: 0,
        grpc: false,
    };
    chains(ctx, Shape::Detected, &way, ["virtualInbound-catchall-http", "virtualInbound"], None)
}

/// The chains of a port; their names: with HTTP, and without.
fn chains(
    ctx: &Context<'_>,
    shape: Shape,
    way: &Way,
    [http, opaque]: [&str; 2],
    port: Option<u32>,
) -> Vec<listener::FilterChain> {
    let raw = || listener::FilterChainMatch {
        transport_protocol: RAW.to_owned(),
        ..listener::FilterChainMatch::default()
    };
    let chain = |name: &str, told: listener::FilterChainMatch, filters| listener::FilterChain {
        name: name.to_owned(),
        filter_chain_match: Some(listener::FilterChainMatch {
            destination_port: port.map(wire::u32v),
            ..told
        }),
        filters,
        ..listener::FilterChain::default()
    };
    match shape {
        Shape::Http => vec![chain(http, raw(), way.http(ctx))],
        Shape::Detected => {
            vec![chain(http, plain_http(), way.http(ctx)), chain(opaque, raw(), way.opaque(ctx))]
        }
        Shape::Tls | Shape::Tcp => vec![chain(opaque, raw(), way.opaque(ctx))],
        Shape::Skipped => Vec::new(),
    }
}

/// What finds out where connections were meant to go, and what they speak. To `quiet` ports one need not look.
fn filters(ctx: &Context<'_>, mut quiet: Vec<u32>) -> Vec<listener::ListenerFilter> {
    let mut filters = vec![super::listener_filter(
        "envoy.filters.listener.original_dst",
        wire::any_empty("envoy.extensions.filters.listener.original_dst.v3.OriginalDst"),
    )];
    if ctx.node.interception == Interception::Tproxy {
        let config = weir_proto::envoy::extensions::filters::listener::original_src::v3::OriginalSrc {
            mark: TPROXY_MARK,
            ..Default::default()
        };
        filters.push(super::listener_filter("envoy.filters.listener.original_src", wire::any(&config)));
    }
    quiet.sort_unstable();
    quiet.dedup();
    filters
        .push(listener::ListenerFilter { filter_disabled: Some(any_of(&quiet)), ..super::http_inspector() });
    filters
}

fn any_of(ports: &[u32]) -> listener::ListenerFilterChainMatchPredicate {
    let to = |port: u32| i32::try_from(port).unwrap_or(i32::MAX);
    let one = |port: &u32| listener::ListenerFilterChainMatchPredicate {
        rule: Some(predicate::Rule::DestinationPortRange(Int32Range {
            start: to(*port),
            end: to(port.saturating_add(1)),
        })),
    };
    match ports {
        [port] => one(port),
        // A set has two members at least.
        several => listener::ListenerFilterChainMatchPredicate {
            rule: Some(predicate::Rule::OrMatch(predicate::MatchSet {
                rules: several.iter().map(one).collect(),
            })),
        },
    }
}
