//! Addresses, networks, TCP keepalive.

use super::wkt;
use crate::base::addr::Address;
use crate::base::ledger::At;
use crate::model::cluster::LocalAddresses;
use crate::model::listener::Keepalive;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::config::core::v3::address::Address as Kind;
use weir_proto::envoy::config::core::v3::socket_address::{PortSpecifier, Protocol};

/// An address that may still be a name.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// A socket address.
    Address(Address),
    /// A name and a port.
    Name(Box<str>, u16),
}

/// Longest Unix socket path (`sun_path` on Linux: 108 bytes with the final NUL).
const MAX_UNIX_PATH: usize = 107;

/// Any address of this release.
pub fn target(at: &At<'_>, message: &core::Address) -> Option<Target> {
    crate::ledger!(at, message => core::Address { address });
    match at.required("address", address.as_ref())? {
        Kind::SocketAddress(socket) => socket_target(&at.field("socket_address"), socket),
        Kind::Pipe(pipe) => unix(&at.field("pipe"), pipe).map(Target::Address),
        Kind::EnvoyInternalAddress(_) => {
            at.field("envoy_internal_address").unsupported("an internal address");
            None
        }
    }
}

/// An address that must not be a name.
pub fn address(at: &At<'_>, message: &core::Address) -> Option<Address> {
    match target(at, message)? {
        Target::Address(address) => Some(address),
        Target::Name(name, _) => {
            at.field("socket_address").bad("address", malformed(&name));
            None
        }
    }
}

/// Does an IPv6 socket at this address take IPv4 too?
pub fn dual_stack(message: &core::Address) -> bool {
    matches!(&message.address, Some(Kind::SocketAddress(socket)) if socket.ipv4_compat)
}

/// Permissions that a socket file at this address is to have; none: those that the process's umask leaves.
pub fn mode(message: &core::Address) -> Option<u32> {
    match &message.address {
        Some(Kind::Pipe(pipe)) if pipe.mode != 0 => Some(pipe.mode),
        _ => None,
    }
}

fn malformed(name: &str) -> String {
    format!(
        "malformed IP address: {name}. Consider setting resolver_name or setting cluster type to 'STRICT_DNS' or 'LOGICAL_DNS'"
    )
}

fn socket_target(at: &At<'_>, message: &core::SocketAddress) -> Option<Target> {
    crate::ledger!(at, message => core::SocketAddress { protocol, address, ipv4_compat, port_specifier }
        refuse { resolver_name, network_namespace_filepath });
    if wkt::enumeration::<Protocol>(at, "protocol", *protocol)? == Protocol::Udp {
        at.field("protocol").unsupported("UDP");
        return None;
    }
    let port = match at.required("port_specifier", port_specifier.as_ref())? {
        PortSpecifier::PortValue(port) => wkt::port(at, "port_value", *port)?,
        PortSpecifier::NamedPort(_) => {
            at.field("named_port").unsupported("a named port");
            return None;
        }
    };
    let address = at.non_empty("address", address)?;
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) if *ipv4_compat => {
            at.bad("ipv4_compat", "needs an IPv6 address");
            None
        }
        Ok(ip) => Some(Target::Address(Address::Ip(SocketAddr::new(ip, port)))),
        Err(_) => Some(Target::Name(address.into(), port)),
    }
}

fn unix(at: &At<'_>, message: &core::Pipe) -> Option<Address> {
    crate::ledger!(at, message => core::Pipe { path, mode });
    let path = at.non_empty("path", path)?;
    if path.len() > MAX_UNIX_PATH {
        at.bad("path", format!("has {} bytes, a Unix socket path has at most {MAX_UNIX_PATH}", path.len()));
        return None;
    }
    if path.starts_with('@') && *mode != 0 {
        at.bad("mode", "cannot set mode for Abstract AF_UNIX sockets");
    }
    Some(Address::Unix(Path::new(path).into()))
}

/// The IP of a source address; its port must be 0 (a fixed one can serve one connection only).
pub fn source_ip(at: &At<'_>, message: &core::SocketAddress) -> Option<IpAddr> {
    match socket_target(at, message)? {
        Target::Address(Address::Ip(found)) if found.port() == 0 => Some(found.ip()),
        Target::Address(_) => {
            at.field("port_value").unsupported("a source port other than 0");
            None
        }
        Target::Name(name, _) => {
            at.bad("address", format!("'{name}' is no IP address"));
            None
        }
    }
}

/// `BindConfig` as far as this release goes: a source address, and one of the other family.
pub fn bind(at: &At<'_>, message: &core::BindConfig) -> Option<LocalAddresses> {
    crate::ledger!(at, message => core::BindConfig { source_address, freebind, extra_source_addresses,
        additional_source_addresses }
        refuse { socket_options, local_address_selector, validate_network_namespaces });
    at.refuse("freebind", wkt::flag(freebind, false));
    let first = source_address.as_ref().and_then(|message| source_ip(&at.field("source_address"), message));
    let mut others = Vec::new();
    for (i, message) in extra_source_addresses.iter().enumerate() {
        let here = at.item("extra_source_addresses", i);
        crate::ledger!(here, message => core::ExtraSourceAddress { address } refuse { socket_options });
        let message = here.required("address", address.as_ref());
        others.extend(message.and_then(|message| source_ip(&here.field("address"), message)));
    }
    for (i, message) in additional_source_addresses.iter().enumerate() {
        others.extend(source_ip(&at.item("additional_source_addresses", i), message));
    }
    let field = if extra_source_addresses.is_empty() {
        "additional_source_addresses"
    } else {
        "extra_source_addresses"
    };
    match (first, &others[..]) {
        (_, []) => {}
        _ if !extra_source_addresses.is_empty() && !additional_source_addresses.is_empty() => {
            at.bad("additional_source_addresses", "cannot stand beside extra_source_addresses");
        }
        (None, _) => at.bad(field, "needs a source_address"),
        (_, [_, _, ..]) => at.bad(field, "has more than one address, and only one is supported"),
        (Some(first), [other]) if first.is_ipv4() == other.is_ipv4() => {
            at.bad(field, "is of the IP version of source_address: one of each is supported");
        }
        (Some(_), [_]) => {}
    }
    Some(LocalAddresses { first: first?, other: others.first().copied() })
}

/// A network; without a length the whole address counts.
pub fn network(at: &At<'_>, message: &core::CidrRange) -> Option<IpNet> {
    crate::ledger!(at, message => core::CidrRange { address_prefix, prefix_len });
    let Ok(ip) = address_prefix.parse::<IpAddr>() else {
        at.bad("address_prefix", format!("malformed IP address: {address_prefix}"));
        return None;
    };
    let full: u32 = if ip.is_ipv4() { 32 } else { 128 };
    let length = wkt::u32_in(at, "prefix_len", prefix_len, 0, 0, full);
    IpNet::new(ip, u8::try_from(length).ok()?).ok().map(|net| net.trunc())
}

/// Networks of a repeated field.
pub fn networks(at: &At<'_>, field: &str, list: &[core::CidrRange]) -> Box<[IpNet]> {
    list.iter().enumerate().filter_map(|(i, range)| network(&at.item(field, i), range)).collect()
}

/// TCP keepalive.
pub fn keepalive(message: &core::TcpKeepalive) -> Keepalive {
    let core::TcpKeepalive { keepalive_probes, keepalive_time, keepalive_interval } = message;
    let seconds = |value: &Option<_>| wkt::u32_opt(value).map(|s| Duration::from_secs(s.into()));
    Keepalive {
        probes: wkt::u32_opt(keepalive_probes),
        time: seconds(keepalive_time),
        interval: seconds(keepalive_interval),
    }
}

/// Resolver addresses.
pub fn resolvers(at: &At<'_>, field: &str, list: &[core::Address]) -> Box<[SocketAddr]> {
    let one = |(i, message): (usize, &core::Address)| {
        let here = at.item(field, i);
        match address(&here, message)? {
            Address::Ip(found) => Some(found),
            Address::Unix(_) => {
                here.error("a DNS resolver must be an IP address and a port");
                None
            }
        }
    };
    list.iter().enumerate().filter_map(one).collect()
}
