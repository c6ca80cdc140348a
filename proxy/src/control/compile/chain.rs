//! Filter chains and their matches.

use super::{Cx, address, hcm, tcp_proxy, wkt};
use crate::base::Name;
use crate::base::ledger::At;
use crate::model::listener::{ChainMatch, FilterChain, SourceType, Terminal};
use std::sync::Arc;
use weir_proto::any;
use weir_proto::envoy::config::core::v3::TransportSocket;
use weir_proto::envoy::config::core::v3::transport_socket::ConfigType as SocketConfig;
use weir_proto::envoy::config::listener::v3 as proto;
use weir_proto::envoy::config::listener::v3::filter::ConfigType;
use weir_proto::envoy::config::listener::v3::filter_chain_match::ConnectionSourceType;
use weir_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use weir_proto::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use weir_proto::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;

/// A filter chain of the listener with this prefix of statistics.
pub fn chain(
    cx: &Cx<'_>,
    at: &At<'_>,
    message: &proto::FilterChain,
    listener: &Name,
) -> Option<Arc<FilterChain>> {
    crate::ledger!(at, message => proto::FilterChain { filter_chain_match, filters, use_proxy_proto,
        transport_socket, name } refuse { transport_socket_connect_timeout } ignore { metadata });
    if wkt::flag(use_proxy_proto, false) {
        at.field("use_proxy_proto").error_with(
            "the deprecated field is not supported by this release",
            "use the listener filter envoy.filters.listener.proxy_protocol",
        );
    }
    plain_socket(at, transport_socket.as_ref());
    let terminal = terminal(cx, at, filters, listener);
    let matcher = match filter_chain_match {
        Some(message) => chain_match(&at.field("filter_chain_match"), message)?,
        None => ChainMatch::default(),
    };
    Some(Arc::new(FilterChain { name: name.as_str().into(), matcher, terminal: terminal? }))
}

/// Only plain text in this release.
pub fn plain_socket(at: &At<'_>, message: Option<&TransportSocket>) {
    let Some(message) = message else { return };
    let at = &at.field("transport_socket");
    crate::ledger!(at, message => TransportSocket { name, config_type });
    match config_type {
        Some(SocketConfig::TypedConfig(config)) if wkt::is::<RawBuffer>(config) => {}
        None if name == "envoy.transport_sockets.raw_buffer" => {}
        Some(SocketConfig::TypedConfig(config)) => {
            at.field("typed_config")
                .unsupported(&format!("the transport socket '{}'", any::type_name(config)));
        }
        None => at.unsupported(&format!("the transport socket '{name}'")),
    }
}

/// The one network filter of this release's chains is the terminal one.
fn terminal(cx: &Cx<'_>, at: &At<'_>, filters: &[proto::Filter], listener: &Name) -> Option<Terminal> {
    let mut found = None;
    for (i, message) in filters.iter().enumerate() {
        let here = at.item("filters", i);
        let compiled = filter(cx, &here, message, listener);
        if i.saturating_add(1) < filters.len() && compiled.is_some() {
            here.error(format!(
                "terminal filter named {} must be the last filter in a network filter chain",
                message.name
            ));
        }
        found = compiled;
    }
    if filters.is_empty() {
        at.error_with(
            "a filter chain without filters closes every connection; this release refuses it",
            "add a terminal filter",
        );
    }
    found
}

fn filter(cx: &Cx<'_>, at: &At<'_>, message: &proto::Filter, listener: &Name) -> Option<Terminal> {
    crate::ledger!(at, message => proto::Filter { name, config_type });
    at.non_empty("name", name);
    let config = match at.required("typed_config", config_type.as_ref())? {
        ConfigType::TypedConfig(config) => config,
        ConfigType::ConfigDiscovery(_) => {
            at.field("config_discovery").unsupported("a filter configuration by discovery (ECDS)");
            return None;
        }
    };
    let here = at.field("typed_config");
    if wkt::is::<HttpConnectionManager>(config) {
        let message = wkt::unpack::<HttpConnectionManager>(&here, config)?;
        return hcm::connection_manager(cx, &here, &message, listener).map(Arc::new).map(Terminal::Http);
    }
    if wkt::is::<TcpProxy>(config) {
        let message = wkt::unpack::<TcpProxy>(&here, config)?;
        return tcp_proxy::tcp_proxy(cx, &here, &message).map(Terminal::Tcp);
    }
    here.unsupported(&format!("the network filter '{name}' of type '{}'", any::type_name(config)));
    None
}

fn chain_match(at: &At<'_>, message: &proto::FilterChainMatch) -> Option<ChainMatch> {
    crate::ledger!(at, message => proto::FilterChainMatch { destination_port, prefix_ranges,
        direct_source_prefix_ranges, source_type, source_prefix_ranges, source_ports, server_names,
        transport_protocol, application_protocols } refuse { address_suffix, suffix_len });
    let port = wkt::u32_opt(destination_port)
        .map(|_| wkt::u32_in(at, "destination_port", destination_port, 0, 1, 65_535) as u16);
    let names = server_names.iter().enumerate();
    let names = names.filter_map(|(i, name)| server_name(&at.item("server_names", i), name)).collect();
    let ports = source_ports.iter().enumerate();
    let ports = ports.filter_map(|(i, port)| {
        let found = u16::try_from(*port).ok().filter(|p| *p > 0);
        if found.is_none() {
            at.item("source_ports", i).error(format!("is {port}, must be between 1 and 65535"));
        }
        found
    });
    let source_type = match wkt::enumeration(at, "source_type", *source_type)? {
        ConnectionSourceType::Any => SourceType::Any,
        ConnectionSourceType::SameIpOrLoopback => SourceType::SameIpOrLoopback,
        ConnectionSourceType::External => SourceType::External,
    };
    Some(ChainMatch {
        destination_port: port,
        prefixes: address::networks(at, "prefix_ranges", prefix_ranges),
        server_names: names,
        transport_protocol: Some(transport_protocol.as_str()).filter(|t| !t.is_empty()).map(Into::into),
        application_protocols: application_protocols.iter().map(|p| p.as_str().into()).collect(),
        direct_source: address::networks(at, "direct_source_prefix_ranges", direct_source_prefix_ranges),
        source_type,
        source: address::networks(at, "source_prefix_ranges", source_prefix_ranges),
        source_ports: ports.collect(),
    })
}

/// Lower-case; `*.x` becomes `.x`; `*` alone matches all names and is the same as none in Envoy's tree.
fn server_name(at: &At<'_>, name: &str) -> Option<Box<str>> {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    if rest.is_empty() || rest.contains('*') {
        at.error(format!("partial wildcards are not supported in \"server_names\": '{name}'"));
        return None;
    }
    let lower = rest.to_ascii_lowercase();
    Some(if name.starts_with("*.") { format!(".{lower}").into() } else { lower.into() })
}
