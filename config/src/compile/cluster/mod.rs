//! Clusters: one per service port and subset, one per port of the node itself, and the built-in ones.

mod balance;
mod built_in;
mod connections;
mod inbound;
mod outbound;
mod protocol;

use weir_proto::envoy::config::cluster::v3 as cluster;
use weir_proto::envoy::config::endpoint::v3 as endpoint;
use weir_proto::google::protobuf as pb;

pub(crate) use built_in::{BLACK_HOLE, INBOUND_PASSTHROUGH, PASSTHROUGH};
pub(crate) use inbound::{InboundPort, inbound_name, inbound_ports};
pub(crate) use outbound::peer_exchange;

use super::context::Context;
use super::wire;

/// Time a connection attempt may take when no rule says otherwise (Istio's mesh default), in seconds.
const CONNECT_TIMEOUT_SECONDS: u32 = 10;

/// The clusters of a node, sorted by name, with the endpoints of those that get them by EDS.
pub(crate) fn build(ctx: &Context<'_>) -> (Vec<cluster::Cluster>, Vec<endpoint::ClusterLoadAssignment>) {
    let (mut clusters, mut endpoints) = outbound::build(ctx);
    clusters.extend(inbound::build(ctx));
    clusters.extend(built_in::build(ctx));
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    endpoints.sort_by(|a, b| a.cluster_name.cmp(&b.cluster_name));
    (clusters, endpoints)
}

/// `outbound|PORT|SUBSET|HOST`.
pub(crate) fn outbound_name(port: u32, subset: &str, host: &str) -> String {
    format!("outbound|{port}|{subset}|{host}")
}

/// The name under which a gateway passes a connection through by its SNI: `outbound_.PORT_.SUBSET_.HOST`.
pub(crate) fn sni_name(port: u32, subset: &str, host: &str) -> String {
    format!("outbound_.{port}_.{subset}_.{host}")
}

/// A cluster of a type, with what all of them have.
fn base(name: &str, kind: cluster::cluster::DiscoveryType) -> cluster::Cluster {
    cluster::Cluster {
        name: name.to_owned(),
        alt_stat_name: format!("{name};"),
        connect_timeout: Some(wire::seconds(CONNECT_TIMEOUT_SECONDS)),
        cluster_discovery_type: Some(cluster::cluster::ClusterDiscoveryType::Type(kind.into())),
        ..cluster::Cluster::default()
    }
}

/// `metadata.filter_metadata.istio.services`: which services a cluster stands for.
fn services_value<'a>(services: impl Iterator<Item = &'a super::registry::Service>) -> pb::Value {
    let one = |service: &super::registry::Service| {
        wire::object([
            ("host", wire::text(&service.hostname)),
            ("name", wire::text(&service.name)),
            ("namespace", wire::text(&service.namespace)),
        ])
    };
    wire::list(services.map(one).collect())
}
