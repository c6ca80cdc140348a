//! Listeners: the ports of a gateway, and those of a sidecar on both of its sides.

mod access_log;
mod gateway;
mod handed;
mod http;
mod inbound;
mod outbound;
mod redirected;
mod tcp;

use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::config::listener::v3 as listener;
use weir_proto::google::protobuf as pb;

use super::context::Context;
use super::node::NodeKind;
use super::target::Part;
use super::wire;

/// Time that TLS with the client may take (istiod writes it into every chain that is not its own), in seconds.
const HANDSHAKE_SECONDS: u32 = 15;

/// The listeners of a node, sorted by name.
pub(crate) fn build(ctx: &Context<'_>) -> Vec<listener::Listener> {
    let mut listeners = match ctx.node.kind {
        NodeKind::Router => gateway::build(ctx),
        NodeKind::Sidecar => {
            let mut both = outbound::build(ctx);
            both.extend(inbound::build(ctx));
            both
        }
    };
    listeners.sort_by(|a, b| a.name.cmp(&b.name));
    listeners
}

/// A listener on an address; `name` and address may differ where a port map is in force.
fn base(name: String, address: &str, port: u32, direction: core::TrafficDirection) -> listener::Listener {
    listener::Listener {
        name,
        address: Some(wire::socket_address(address, port)),
        traffic_direction: direction.into(),
        ..listener::Listener::default()
    }
}

fn filter(name: &str, config: pb::Any) -> listener::Filter {
    listener::Filter {
        name: name.to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(config)),
    }
}

fn listener_filter(name: &str, config: pb::Any) -> listener::ListenerFilter {
    listener::ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(config)),
        ..listener::ListenerFilter::default()
    }
}

fn chain(ctx: &Context<'_>, filters: Vec<listener::Filter>) -> listener::FilterChain {
    let limit = ctx.target.has(Part::HandshakeTimeout).then(|| wire::seconds(HANDSHAKE_SECONDS));
    listener::FilterChain {
        filters,
        transport_socket_connect_timeout: limit,
        ..listener::FilterChain::default()
    }
}

/// The filters that find out what a connection speaks, as far as the chains ask for it.
fn inspect(listener: &mut listener::Listener) {
    let chains = &listener.filter_chains;
    let matches = || chains.iter().filter_map(|chain| chain.filter_chain_match.as_ref());
    let sni = matches().any(|one| !one.server_names.is_empty());
    let plain =
        matches().any(|one| !one.application_protocols.is_empty() && one.transport_protocol == "raw_buffer");
    if sni {
        let config = weir_proto::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector {
            // Enough for most of what clients begin with (istiod).
            initial_read_buffer_size: Some(wire::u32v(512)),
            ..Default::default()
        };
        listener
            .listener_filters
            .push(listener_filter("envoy.filters.listener.tls_inspector", wire::any(&config)));
    }
    if plain {
        listener.listener_filters.push(http_inspector());
    }
}

fn http_inspector() -> listener::ListenerFilter {
    listener_filter(
        "envoy.filters.listener.http_inspector",
        wire::any_empty("envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"),
    )
}

/// ALPN names of plain HTTP, as the HTTP inspector gives them.
const PLAIN_HTTP: [&str; 2] = ["http/1.1", "h2c"];

/// Connections that the HTTP inspector has found to speak HTTP.
fn plain_http() -> listener::FilterChainMatch {
    listener::FilterChainMatch {
        transport_protocol: "raw_buffer".to_owned(),
        application_protocols: PLAIN_HTTP.iter().map(|name| (*name).to_owned()).collect(),
        ..listener::FilterChainMatch::default()
    }
}

/// Istio's statistics as a network filter.
fn stats_filter(ctx: &Context<'_>) -> Option<listener::Filter> {
    ctx.target.has(Part::IstioStats).then(|| filter("istio.stats", wire::any_empty("stats.PluginConfig")))
}
