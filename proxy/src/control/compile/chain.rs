//! Filter chains and their matches.

use super::network_filters::Chain;
use super::{Cx, address, network_filters, transport, wkt};
use crate::base::Name;
use crate::base::ledger::At;
use crate::model::listener::{ChainMatch, FilterChain, SourceType};
use std::sync::Arc;
use weir_proto::envoy::config::listener::v3 as proto;
use weir_proto::envoy::config::listener::v3::filter_chain_match::ConnectionSourceType;

/// A filter chain of the listener with this prefix of statistics.
pub fn chain(
    cx: &Cx<'_>,
    at: &At<'_>,
    message: &proto::FilterChain,
    listener: &Name,
) -> Option<Arc<FilterChain>> {
    crate::ledger!(at, message => proto::FilterChain { filter_chain_match, filters, use_proxy_proto,
        transport_socket, name } ignore { transport_socket_connect_timeout, metadata });
    if wkt::flag(use_proxy_proto, false) {
        at.field("use_proxy_proto").lacks(
            "the deprecated field is not supported by this release",
            "use the listener filter envoy.filters.listener.proxy_protocol",
        );
    }
    let tls = transport::downstream(cx, at, transport_socket.as_ref());
    let found = network_filters::chain(cx, at, filters, listener);
    let matcher = match filter_chain_match {
        Some(message) => chain_match(&at.field("filter_chain_match"), message)?,
        None => ChainMatch::default(),
    };
    let Chain { filters, terminal, incomplete } = found?;
    Some(Arc::new(FilterChain { name: name.as_str().into(), matcher, tls, filters, incomplete, terminal }))
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
