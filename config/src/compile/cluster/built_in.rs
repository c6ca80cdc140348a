//! The clusters that every node has.

use weir_proto::envoy::config::cluster::v3 as cluster;
use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::extensions::upstreams::http::v3 as upstream;

use super::super::context::Context;
use super::super::node::NodeKind;
use super::super::target::Part;
use super::super::wire;
use super::connections::unlimited;
use super::outbound::peer_metadata_filter;
use super::protocol::{Upstream, options};

/// Nothing is behind it: connections are closed.
pub(crate) const BLACK_HOLE: &str = "BlackHoleCluster";
/// Where a redirected connection wanted to go.
pub(crate) const PASSTHROUGH: &str = "PassthroughCluster";
/// The same for connections to the pod.
pub(crate) const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";
/// Address that a sidecar calls its own pod from, so that the redirection rules let it through.
pub(super) const INBOUND_SOURCE_V4: &str = "127.0.0.6";
/// The same for a pod with IPv6 alone.
pub(super) const INBOUND_SOURCE_V6: &str = "::6";
/// Idle time after which a connection to an unknown destination is closed (Istio), in seconds.
const PASSTHROUGH_IDLE_SECONDS: u32 = 300;

pub(super) fn build(ctx: &Context<'_>) -> Vec<cluster::Cluster> {
    let mut clusters = vec![super::base(BLACK_HOLE, cluster::cluster::DiscoveryType::Static)];
    if ctx.node.kind == NodeKind::Sidecar && ctx.target.has(Part::Interception) {
        let mut outbound = passthrough(PASSTHROUGH);
        outbound.filters.extend(peer_metadata_filter(ctx));
        clusters.push(outbound);
        let mut inbound = passthrough(INBOUND_PASSTHROUGH);
        inbound.upstream_bind_config = Some(inbound_source(ctx));
        clusters.push(inbound);
    }
    clusters
}

fn passthrough(name: &str) -> cluster::Cluster {
    let mut built = super::base(name, cluster::cluster::DiscoveryType::OriginalDst);
    // Both are counted under one name, as istiod has it.
    built.alt_stat_name = format!("{PASSTHROUGH};");
    built.lb_policy = cluster::cluster::LbPolicy::ClusterProvided.into();
    built.circuit_breakers = Some(unlimited());
    let common = core::HttpProtocolOptions {
        idle_timeout: Some(wire::seconds(PASSTHROUGH_IDLE_SECONDS)),
        ..core::HttpProtocolOptions::default()
    };
    let http = upstream::HttpProtocolOptions {
        common_http_protocol_options: Some(common),
        ..Upstream::AsDownstream.message()
    };
    built.typed_extension_protocol_options = options(&http);
    built
}

/// Connections to the pod come from an address of their own.
pub(super) fn inbound_source(ctx: &Context<'_>) -> core::BindConfig {
    let v4 = ctx.node.ips.iter().any(|ip| ip.parse::<std::net::Ipv4Addr>().is_ok());
    core::BindConfig {
        source_address: Some(wire::socket(if v4 { INBOUND_SOURCE_V4 } else { INBOUND_SOURCE_V6 }, 0)),
        ..core::BindConfig::default()
    }
}
