//! Route configurations: per port for a sidecar, per server for a gateway.

mod action;
mod domains;
mod filters;
mod gateway;
mod hash;
mod headers;
mod matches;
mod place;
mod redirect;
mod retry;
mod rule;
mod sidecar;

use weir_proto::envoy::config::route::v3 as route;
use weir_proto::google::protobuf as pb;

use super::context::Context;
use super::node::NodeKind;
use super::wire;

pub(crate) use filters::{CORS, FAULT};
pub(crate) use retry::RESET_BEFORE_REQUEST;
pub(crate) use rule::source_applies;
pub(crate) use sidecar::{Shape, shape};

/// Largest body of a fixed answer (Istio), in bytes.
const MAX_DIRECT_RESPONSE_BYTES: u32 = 1 << 20;

/// The route configurations of a node, sorted by name.
pub(crate) fn build(ctx: &Context<'_>) -> Vec<route::RouteConfiguration> {
    let mut routes = match ctx.node.kind {
        NodeKind::Sidecar => sidecar::build(ctx),
        NodeKind::Router => gateway::build(ctx),
    };
    routes.sort_by(|a, b| a.name.cmp(&b.name));
    routes
}

fn configuration(name: &str, virtual_hosts: Vec<route::VirtualHost>) -> route::RouteConfiguration {
    route::RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts,
        validate_clusters: Some(wire::boolv(false)),
        max_direct_response_body_size_bytes: Some(wire::u32v(MAX_DIRECT_RESPONSE_BYTES)),
        ignore_port_in_host_matching: true,
        ..route::RouteConfiguration::default()
    }
}

fn virtual_host(name: String, domains: Vec<String>, routes: Vec<route::Route>) -> route::VirtualHost {
    route::VirtualHost {
        name,
        domains,
        routes,
        include_request_attempt_count: true,
        ..route::VirtualHost::default()
    }
}

/// All requests to one cluster, without a time limit.
fn everything(name: &str, cluster: &str) -> route::Route {
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(cluster.to_owned())),
        timeout: Some(pb::Duration::default()),
        max_grpc_timeout: Some(pb::Duration::default()),
        ..route::RouteAction::default()
    };
    route::Route {
        name: name.to_owned(),
        r#match: Some(matches::any()),
        action: Some(route::route::Action::Route(action)),
        ..route::Route::default()
    }
}

/// Whether a route takes every request, so that those after it are never reached.
fn takes_all(route: &route::Route) -> bool {
    route.r#match.as_ref().is_some_and(|condition| {
        let all = matches!(&condition.path_specifier,
            Some(route::route_match::PathSpecifier::Prefix(prefix)) if prefix == "/");
        all && condition.headers.is_empty() && condition.query_parameters.is_empty()
    })
}
