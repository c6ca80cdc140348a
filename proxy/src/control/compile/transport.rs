//! Transport sockets of filter chains and clusters.

use super::{Cx, metadata, tls, typed_struct, wkt};
use crate::base::ledger::At;
use crate::model::transport::{ProxyVersion, SocketMatch, Tls, UpstreamSocket, UpstreamSockets};
use std::collections::HashSet;
use std::sync::Arc;
use weir_proto::any;
use weir_proto::envoy::config::cluster::v3::cluster::TransportSocketMatch;
use weir_proto::envoy::config::core::v3::proxy_protocol_config::Version;
use weir_proto::envoy::config::core::v3::transport_socket::ConfigType;
use weir_proto::envoy::config::core::v3::{ProxyProtocolConfig, TransportSocket};
use weir_proto::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use weir_proto::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use weir_proto::envoy::extensions::transport_sockets::tls::v3::{DownstreamTlsContext, UpstreamTlsContext};

/// The socket of a filter chain: TLS, or none for plain text.
pub fn downstream(cx: &Cx<'_>, at: &At<'_>, message: Option<&TransportSocket>) -> Option<Arc<Tls>> {
    let at = &at.field("transport_socket");
    let message = message?;
    crate::ledger!(at, message => TransportSocket { name, config_type });
    let Some(ConfigType::TypedConfig(config)) = config_type else {
        named(at, name);
        return None;
    };
    let here = at.field("typed_config");
    let config = typed_struct::open(&here, config)?;
    if wkt::is::<RawBuffer>(&config) {
        return None;
    }
    if wkt::is::<DownstreamTlsContext>(&config) {
        return tls::downstream(cx, &here, &wkt::unpack(&here, &config)?).map(Arc::new);
    }
    here.unsupported(&format!("the transport socket '{}'", any::type_name(&config)));
    None
}

/// Without configuration only plain text is known, by its name.
fn named(at: &At<'_>, name: &str) {
    if name != "envoy.transport_sockets.raw_buffer" {
        at.unsupported(&format!("the transport socket '{name}'"));
    }
}

/// The sockets of a cluster.
pub fn upstream(
    cx: &Cx<'_>,
    at: &At<'_>,
    default: Option<&TransportSocket>,
    matches: &[TransportSocketMatch],
) -> UpstreamSockets {
    let mut names = HashSet::new();
    let one = |(i, message): (usize, &TransportSocketMatch)| {
        let at = &at.item("transport_socket_matches", i);
        crate::ledger!(at, message => TransportSocketMatch { name, r#match, transport_socket });
        let name = at.non_empty("name", name)?;
        if !names.insert(name.to_owned()) {
            at.bad("name", format!("the name '{name}' stands twice"));
        }
        let wanted = match r#match.as_ref().map(metadata::structure) {
            Some(serde_json::Value::Object(wanted)) => wanted,
            _ => serde_json::Map::new(),
        };
        let message = at.required("transport_socket", transport_socket.as_ref())?;
        let socket = upstream_socket(cx, &at.field("transport_socket"), message)?;
        Some(SocketMatch { name: name.into(), wanted, socket })
    };
    let matches = matches.iter().enumerate().filter_map(one).collect();
    let default = default.and_then(|message| upstream_socket(cx, &at.field("transport_socket"), message));
    UpstreamSockets { matches, default: default.unwrap_or(UpstreamSocket::Plain) }
}

fn upstream_socket(cx: &Cx<'_>, at: &At<'_>, message: &TransportSocket) -> Option<UpstreamSocket> {
    crate::ledger!(at, message => TransportSocket { name, config_type });
    let Some(ConfigType::TypedConfig(config)) = config_type else {
        named(at, name);
        return Some(UpstreamSocket::Plain);
    };
    let here = at.field("typed_config");
    let config = typed_struct::open(&here, config)?;
    if wkt::is::<RawBuffer>(&config) {
        return Some(UpstreamSocket::Plain);
    }
    if wkt::is::<UpstreamTlsContext>(&config) {
        return tls::upstream(cx, &here, &wkt::unpack(&here, &config)?)
            .map(Arc::new)
            .map(UpstreamSocket::Tls);
    }
    if wkt::is::<ProxyProtocolUpstreamTransport>(&config) {
        return proxy_protocol(cx, &here, &wkt::unpack(&here, &config)?);
    }
    here.unsupported(&format!("the transport socket '{}'", any::type_name(&config)));
    None
}

fn proxy_protocol(
    cx: &Cx<'_>,
    at: &At<'_>,
    message: &ProxyProtocolUpstreamTransport,
) -> Option<UpstreamSocket> {
    crate::ledger!(at, message => ProxyProtocolUpstreamTransport { config, transport_socket }
        refuse { allow_unspecified_address, tlv_as_pool_key });
    let mut told = Version::V1;
    if let Some(message) = config {
        let here = at.field("config");
        crate::ledger!(here, message => ProxyProtocolConfig { version } refuse { pass_through_tlvs, added_tlvs });
        told = wkt::enumeration(&here, "version", *version)?;
    }
    let version = match told {
        Version::V1 => ProxyVersion::V1,
        Version::V2 => ProxyVersion::V2,
    };
    let inner = at.required("transport_socket", transport_socket.as_ref())?;
    let inner = upstream_socket(cx, &at.field("transport_socket"), inner)?;
    if matches!(inner, UpstreamSocket::ProxyProtocol(..)) {
        at.bad("transport_socket", "must not be PROXY protocol again");
    }
    Some(UpstreamSocket::ProxyProtocol(version, Box::new(inner)))
}
