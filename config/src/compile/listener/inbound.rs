//! Listeners for what others call: the ports of the node's own pod, each with a listener of its own, or all behind the
//! one that redirected connections arrive at ([`redirected`]).

use weir_proto::envoy::config::core::v3::TrafficDirection;
use weir_proto::envoy::config::listener::v3 as listener;
use weir_proto::envoy::config::route::v3 as route;
use weir_proto::google::protobuf as pb;

use super::super::cluster::{InboundPort, inbound_name, inbound_ports, peer_exchange};
use super::super::context::Context;
use super::super::place::Says;
use super::super::protocol::Protocol;
use super::super::route::{RESET_BEFORE_REQUEST, Shape, shape};
use super::super::target::Part;
use super::super::wire;
use super::http::{self, Routes, Side};
use super::{plain_http, redirected, tcp};
use crate::kinds::sidecar::UNIX;

/// Retries on the way to the pod (Istio).
const INBOUND_RETRIES: u32 = 2;

/// A listener on the node's own address per port of the pod; one for all of them where connections are redirected.
pub(super) fn build(ctx: &Context<'_>) -> Vec<listener::Listener> {
    let ports = inbound_ports(ctx);
    for tls in ports.iter().filter_map(|port| port.ingress?.tls.as_ref()) {
        ctx.has_or_says(Part::DownstreamTls, "ingress.tls", "the port takes plain connections", tls.span);
    }
    if ctx.is_redirected() {
        return vec![redirected::build(ctx, &ports)];
    }
    let Some(ip) = ctx.node.ips.first() else {
        return Vec::new();
    };
    ports.iter().filter_map(|port| one(ctx, ip, port)).collect()
}

fn one(ctx: &Context<'_>, ip: &str, inbound: &InboundPort<'_>) -> Option<listener::Listener> {
    let ip = match inbound.ingress.and_then(|ingress| ingress.bind.as_ref()) {
        Some(bind) if bind.starts_with(UNIX) => {
            ctx.not_yet("a Unix socket in ingress.bind", "nothing listens there", bind.span);
            return None;
        }
        Some(bind) if !bind.is_empty() => bind.as_str(),
        _ => ip,
    };
    let name = format!("{ip}_{}", inbound.target);
    let mut built = super::base(name.clone(), ip, inbound.target, TrafficDirection::Inbound);
    let way = Way::of(inbound, format!("inbound_{name}"));
    match shape(ctx, inbound.protocol) {
        Shape::Http => built.filter_chains.push(super::chain(ctx, way.http(ctx))),
        Shape::Detected => {
            let mut http = super::chain(ctx, way.http(ctx));
            http.filter_chain_match = Some(plain_http());
            built.filter_chains.push(http);
            built.default_filter_chain = Some(super::chain(ctx, way.opaque(ctx)));
            built.continue_on_listener_filters_timeout = true;
            built.listener_filters_timeout = Some(pb::Duration::default());
            super::inspect(&mut built);
        }
        Shape::Tls | Shape::Tcp => built.filter_chains.push(super::chain(ctx, way.opaque(ctx))),
        Shape::Skipped => return None,
    }
    if let Some(span) = inbound.span() {
        ctx.locate(&mut built.metadata, Says::Rule, span);
    }
    Some(built)
}

/// Where the connections of a chain go.
pub(super) struct Way {
    pub cluster: String,
    pub stat_prefix: String,
    /// The service's name and port, for traces.
    pub host: String,
    pub number: u32,
    pub grpc: bool,
}

impl Way {
    pub(super) fn of(inbound: &InboundPort<'_>, stat_prefix: String) -> Self {
        Self {
            cluster: inbound_name(inbound.target),
            stat_prefix,
            host: inbound.host.clone(),
            number: inbound.number,
            grpc: inbound.protocol == Protocol::Grpc,
        }
    }

    /// The filters of connections with HTTP.
    pub(super) fn http(&self, ctx: &Context<'_>) -> Vec<listener::Filter> {
        let manager =
            http::manager(ctx, Side::Inbound, &self.stat_prefix, Routes::Inline(Box::new(routes(self))));
        exchange(ctx).into_iter().chain([manager]).collect()
    }

    /// Those of any others.
    pub(super) fn opaque(&self, ctx: &Context<'_>) -> Vec<listener::Filter> {
        exchange(ctx).into_iter().chain(tcp::plain(ctx, &self.cluster)).collect()
    }
}

/// Peer metadata over TCP, with those who call.
fn exchange(ctx: &Context<'_>) -> Option<listener::Filter> {
    ctx.target.has(Part::PeerMetadata).then(|| super::filter("istio.metadata_exchange", peer_exchange()))
}

/// All requests to the pod, without a time limit.
fn routes(way: &Way) -> route::RouteConfiguration {
    let forever = route::route_action::MaxStreamDuration {
        max_stream_duration: Some(pb::Duration::default()),
        grpc_timeout_header_max: Some(pb::Duration::default()),
        ..route::route_action::MaxStreamDuration::default()
    };
    // A gRPC call may have been seen by the application when its stream is reset.
    let retry = (!way.grpc).then(|| route::RetryPolicy {
        retry_on: RESET_BEFORE_REQUEST.to_owned(),
        num_retries: Some(wire::u32v(INBOUND_RETRIES)),
        ..route::RetryPolicy::default()
    });
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(way.cluster.clone())),
        timeout: Some(pb::Duration::default()),
        retry_policy: retry,
        max_stream_duration: Some(forever),
        ..route::RouteAction::default()
    };
    let all = route::Route {
        name: "default".to_owned(),
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
            ..route::RouteMatch::default()
        }),
        decorator: Some(route::Decorator {
            operation: format!("{}:{}/*", way.host, way.number),
            propagate: None,
        }),
        action: Some(route::route::Action::Route(action)),
        ..route::Route::default()
    };
    route::RouteConfiguration {
        name: way.cluster.clone(),
        virtual_hosts: vec![route::VirtualHost {
            name: format!("inbound|http|{}", way.number),
            domains: vec!["*".to_owned()],
            routes: vec![all],
            ..route::VirtualHost::default()
        }],
        validate_clusters: Some(wire::boolv(false)),
        ..route::RouteConfiguration::default()
    }
}
