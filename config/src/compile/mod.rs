//! From a world of Istio and Kubernetes resources to the xDS resources that a proxy is sent.
//!
//! The way in is [`compile`]: pure, and the same every time. What the resources say is Istio's contract; how far
//! that was proven stands in `docs/compiler-golden.md`.

// Istio still writes fields that Envoy has declared old.
#![allow(deprecated)]

mod cluster;
mod context;
mod delegate;
mod endpoints;
mod gateways;
mod host;
mod ingress;
mod listener;
mod locality;
mod node;
mod place;
mod policy;
mod protocol;
mod registry;
mod route;
mod scope;
mod server;
mod target;
mod virtual_service;
mod virtual_services;
mod wire;

use weir_proto::envoy::config::cluster::v3::Cluster;
use weir_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use weir_proto::envoy::config::listener::v3::Listener;
use weir_proto::envoy::config::route::v3::RouteConfiguration;

pub use node::{Interception, Node, NodeError, NodeKind, port_pair};
pub use place::{Kind, Placed, placed};
pub use target::{Lacking, Target};

use crate::diag::Diagnostic;
use crate::kinds::Meta;
use crate::world::World;

/// The resources of one proxy, each list sorted by name.
#[derive(Debug, Clone, Default)]
pub struct Compiled {
    /// Listeners (LDS).
    pub listeners: Vec<Listener>,
    /// Route configurations (RDS).
    pub routes: Vec<RouteConfiguration>,
    /// Clusters (CDS).
    pub clusters: Vec<Cluster>,
    /// Endpoints (EDS).
    pub endpoints: Vec<ClusterLoadAssignment>,
    /// What could not be obeyed, and why.
    pub diagnostics: Vec<Diagnostic>,
}

/// Compiles a world for one proxy. The same world, node and target give equal resources in the same order.
#[must_use]
pub fn compile(world: &World, node: &Node, target: Target) -> Compiled {
    build(&context::Context::new(world, node, target, false))
}

/// The same with metadata that [`placed`] finds the sources by: to judge, not to be put in force.
#[must_use]
pub fn compile_located(world: &World, node: &Node, target: Target) -> Compiled {
    build(&context::Context::new(world, node, target, true))
}

fn build(ctx: &context::Context<'_>) -> Compiled {
    let (clusters, endpoints) = cluster::build(ctx);
    let routes = route::build(ctx);
    let listeners = listener::build(ctx);
    Compiled { listeners, routes, clusters, endpoints, diagnostics: ctx.diagnostics() }
}

/// Age of a resource, then its name: of two that conflict the first in this order wins. Those whose age is not
/// known come last.
pub(crate) fn age(meta: &Meta) -> (String, String, String) {
    let created = meta.created.clone().unwrap_or_else(|| "~".to_owned());
    (created, meta.name.value.clone(), meta.namespace.clone())
}
