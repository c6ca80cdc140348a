//! Listeners for what others call: the ports of the node's own pod.

use weir_proto::envoy::config::core::v3::TrafficDirection;
use weir_proto::envoy::config::listener::v3 as listener;
use weir_proto::envoy::config::route::v3 as route;
use weir_proto::google::protobuf as pb;

use super::super::cluster::{InboundPort, inbound_name, inbound_ports};
use super::super::context::Context;
use super::super::protocol::Protocol;
use super::super::route::{RESET_BEFORE_REQUEST, Shape, shape};
use super::super::target::Part;
use super::super::wire;
use super::http::{self, Routes, Side};
use super::tcp;
use crate::kinds::sidecar::UNIX;

/// Retries on the way to the pod (Istio).
const INBOUND_RETRIES: u32 = 2;

/// A listener on the node's own address per port of the pod. With interception there is one for all ports
/// (`virtualInbound`), whose chains depend on mutual TLS: it comes with that.
pub(super) fn build(ctx: &Context<'_>) -> Vec<listener::Listener> {
    if ctx.target.has(Part::Interception) {
        return Vec::new();
    }
    let Some(ip) = ctx.node.ips.first() else {
        return Vec::new();
    };
    inbound_ports(ctx).iter().filter_map(|port| one(ctx, ip, port)).collect()
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
    if let Some(tls) = inbound.ingress.and_then(|ingress| ingress.tls.as_ref()) {
        ctx.has_or_says(Part::DownstreamTls, "ingress.tls", "the port takes plain connections", tls.span);
    }
    let name = format!("{ip}_{}", inbound.target);
    let mut built = super::base(name.clone(), ip, inbound.target, TrafficDirection::Inbound);
    let cluster = inbound_name(inbound.target);
    let filters = match shape(ctx, inbound.protocol) {
        Shape::Http | Shape::Detected => {
            let routes = Routes::Inline(Box::new(routes(&cluster, inbound)));
            vec![http::manager(ctx, Side::Inbound, &format!("inbound_{name}"), routes)]
        }
        Shape::Tls | Shape::Tcp => tcp::plain(ctx, &cluster),
        Shape::Skipped => return None,
    };
    built.filter_chains.push(super::chain(ctx, filters));
    Some(built)
}

/// All requests to the pod, without a time limit.
fn routes(cluster: &str, inbound: &InboundPort<'_>) -> route::RouteConfiguration {
    let forever = route::route_action::MaxStreamDuration {
        max_stream_duration: Some(pb::Duration::default()),
        grpc_timeout_header_max: Some(pb::Duration::default()),
        ..route::route_action::MaxStreamDuration::default()
    };
    // A gRPC call may have been seen by the application when its stream is reset.
    let retry = (inbound.protocol != Protocol::Grpc).then(|| route::RetryPolicy {
        retry_on: RESET_BEFORE_REQUEST.to_owned(),
        num_retries: Some(wire::u32v(INBOUND_RETRIES)),
        ..route::RetryPolicy::default()
    });
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(cluster.to_owned())),
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
            operation: format!("{}:{}/*", inbound.host, inbound.number),
            propagate: None,
        }),
        action: Some(route::route::Action::Route(action)),
        ..route::Route::default()
    };
    route::RouteConfiguration {
        name: cluster.to_owned(),
        virtual_hosts: vec![route::VirtualHost {
            name: format!("inbound|http|{}", inbound.number),
            domains: vec!["*".to_owned()],
            routes: vec![all],
            ..route::VirtualHost::default()
        }],
        validate_clusters: Some(wire::boolv(false)),
        ..route::RouteConfiguration::default()
    }
}
