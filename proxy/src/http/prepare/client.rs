//! Who the client is, and what it may send: x-forwarded-for, internal or external, `x-envoy-*` (spec 1.2 to 1.5).

use crate::base::addr::Address;
use crate::base::headers::HeaderBlock;
use crate::base::names::{HeaderName, Id};
use crate::model::http::{ClientCert, ConnectionManager, InternalAddresses};
use crate::model::route::RouteConfig;
use crate::observe::record::Record;
use std::net::{IpAddr, SocketAddr};

/// Finds the trusted client address and cleans or sets the headers that depend on it.
pub fn identify(
    headers: &mut HeaderBlock,
    manager: &ConnectionManager,
    routes: Option<&RouteConfig>,
    record: &mut Record,
) {
    let forwarded = headers.has(Id::ForwardedFor);
    headers.join_lines(Id::ForwardedFor);
    let hops = manager.xff_num_trusted_hops as usize;
    let found = forwarded.then(|| trusted(headers, manager.use_remote_address, hops)).flatten();
    if let Some(ip) = found {
        record.remote = Some(Address::Ip(SocketAddr::new(ip, 0)));
    }
    let alone = if manager.use_remote_address {
        !forwarded
    } else {
        found.is_some() && hops == 0 && entries(headers) == 1
    };
    let internal = alone && is_internal(record.remote(), &manager.internal);
    let edge = !internal && manager.use_remote_address;
    if manager.use_remote_address {
        append_forwarded_for(headers, manager, record);
    }
    scheme(headers, manager, record);
    if internal {
        headers.set_id(Id::EnvoyInternal, b"true");
    } else {
        sanitise(headers, edge, routes);
        if edge && let Some(ip) = record.remote().ip() {
            headers.set_id(Id::EnvoyExternalAddress, ip.to_string().as_bytes());
        }
    }
    user_agent(headers, manager);
    via(headers, manager);
    client_cert(headers, manager);
}

/// `via` grows by our name.
fn via(headers: &mut HeaderBlock, manager: &ConnectionManager) {
    if let Some(via) = &manager.via {
        append_via(headers, via);
    }
}

/// Appends to `via`, after `, `.
pub fn append_via(headers: &mut HeaderBlock, via: &str) {
    let mut value = headers.joined(&HeaderName::Known(Id::Via), b",").map(|mut v| {
        v.extend_from_slice(b", ");
        v
    });
    value.get_or_insert_with(Vec::new).extend_from_slice(via.as_bytes());
    headers.set_id(Id::Via, &value.unwrap_or_default());
}

fn entries(headers: &HeaderBlock) -> usize {
    headers.all_of(Id::ForwardedFor).flat_map(|line| line.split(|b| *b == b',')).count()
}

/// The trusted entry of x-forwarded-for: `hops` from the right; with the peer trusted one fewer.
fn trusted(headers: &HeaderBlock, use_remote_address: bool, hops: usize) -> Option<IpAddr> {
    let skip = match (use_remote_address, hops) {
        (true, 0) => return None,
        (true, n) => n - 1,
        (false, n) => n,
    };
    let lines: Vec<&[u8]> = headers.all_of(Id::ForwardedFor).collect();
    let entry = lines.iter().rev().flat_map(|line| line.rsplit(|b| *b == b',')).nth(skip)?;
    std::str::from_utf8(entry.trim_ascii()).ok()?.parse().ok()
}

fn append_forwarded_for(headers: &mut HeaderBlock, manager: &ConnectionManager, record: &Record) {
    let Some(peer) = record.conn.remote.ip() else { return };
    if manager.skip_xff_append {
        return;
    }
    append_address(headers, if peer.is_loopback() { local_address(peer) } else { peer });
}

/// Adds this machine's own address to `x-forwarded-for`.
pub fn append_own_address(headers: &mut HeaderBlock) {
    append_address(headers, local_address(IpAddr::from([127, 0, 0, 1])));
}

fn append_address(headers: &mut HeaderBlock, shown: IpAddr) {
    match headers.joined(&HeaderName::Known(Id::ForwardedFor), b",") {
        Some(mut value) => {
            value.push(b',');
            value.extend_from_slice(shown.to_string().as_bytes());
            headers.set_id(Id::ForwardedFor, &value);
        }
        None => headers.append_id(Id::ForwardedFor, shown.to_string().as_bytes()),
    }
}

/// The machine's own address, which stands for a loopback peer (Envoy's local info address).
fn local_address(loopback: IpAddr) -> IpAddr {
    static LOCAL: std::sync::OnceLock<Option<IpAddr>> = std::sync::OnceLock::new();
    LOCAL.get_or_init(crate::base::addr::first_interface_address).unwrap_or(loopback)
}

fn is_internal(address: &Address, internal: &InternalAddresses) -> bool {
    match address {
        Address::Ip(addr) => internal.networks.iter().any(|net| net.contains(&addr.ip())),
        Address::Unix(_) => internal.unix_sockets,
    }
}

fn scheme(headers: &mut HeaderBlock, manager: &ConnectionManager, record: &Record) {
    let overwrite = manager.use_remote_address && manager.xff_num_trusted_hops == 0;
    if let Some(scheme) = &manager.scheme_override {
        headers.set_id(Id::ForwardedProto, scheme.as_bytes());
    } else if overwrite || !headers.has(Id::ForwardedProto) {
        headers.set_id(Id::ForwardedProto, b"http");
    }
    if manager.append_x_forwarded_port
        && (overwrite || !headers.has(Id::ForwardedPort))
        && let Some(port) = record.conn.local.port()
    {
        headers.set_id(Id::ForwardedPort, port.to_string().as_bytes());
    }
    let proto = headers.get(Id::ForwardedProto).unwrap_or(b"http");
    let scheme: &[u8] = if proto.eq_ignore_ascii_case(b"https") { b"https" } else { b"http" };
    if !headers.has(Id::Scheme) || manager.scheme_override.is_some() {
        headers.set_id(Id::Scheme, scheme);
    }
}

fn sanitise(headers: &mut HeaderBlock, edge: bool, routes: Option<&RouteConfig>) {
    headers.remove_ids(&[
        Id::EnvoyRetriableStatus,
        Id::EnvoyRetriableHeaders,
        Id::EnvoyRetryOn,
        Id::EnvoyRetryGrpcOn,
        Id::EnvoyMaxRetries,
        Id::EnvoyAltStatName,
        Id::EnvoyTimeout,
        Id::EnvoyPerTryTimeout,
        Id::EnvoyTimeoutAltResponse,
        Id::EnvoyExpectedTimeout,
        Id::EnvoyForceTrace,
        Id::EnvoyIpTags,
        Id::EnvoyOriginalUrl,
        Id::EnvoyHedge,
    ]);
    if edge {
        headers.remove_ids(&[
            Id::EnvoyDecorator,
            Id::EnvoyDownstreamCluster,
            Id::EnvoyDownstreamNode,
            Id::EnvoyOriginalPath,
            Id::EnvoyOriginalHost,
        ]);
    }
    for name in routes.map_or(&[][..], |r| &r.internal_only_headers) {
        headers.remove(name);
    }
}

fn user_agent(headers: &mut HeaderBlock, manager: &ConnectionManager) {
    let Some((node, cluster)) = &manager.add_user_agent else { return };
    headers.set_id(Id::EnvoyDownstreamCluster, cluster.as_bytes());
    if !headers.has(Id::UserAgent) {
        headers.set_id(Id::UserAgent, cluster.as_bytes());
    }
    if !node.is_empty() {
        headers.set_id(Id::EnvoyDownstreamNode, node.as_bytes());
    }
}

/// Without a client certificate only `ALWAYS_FORWARD_ONLY` lets the header through.
fn client_cert(headers: &mut HeaderBlock, manager: &ConnectionManager) {
    if manager.client_cert != ClientCert::AlwaysForwardOnly {
        headers.remove_id(Id::ForwardedClientCert);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(lines: &[&str]) -> HeaderBlock {
        let mut block = HeaderBlock::new();
        for line in lines {
            block.append_id(Id::ForwardedFor, line.as_bytes());
        }
        block
    }

    #[test]
    fn trusted_entries() {
        let xff = block(&["1.1.1.1, 10.0.0.9", "10.0.0.1"]);
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert_eq!(trusted(&xff, false, 0), ip("10.0.0.1"));
        assert_eq!(trusted(&xff, false, 1), ip("10.0.0.9"));
        assert_eq!(trusted(&xff, true, 1), ip("10.0.0.1"));
        assert_eq!(trusted(&xff, true, 0), None);
        assert_eq!(trusted(&xff, false, 3), None);
        assert_eq!(trusted(&block(&["x"]), false, 0), None);
        assert_eq!(entries(&xff), 3);
    }
}
