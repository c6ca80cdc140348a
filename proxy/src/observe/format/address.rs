//! Operators that print addresses.

use super::Input;
use super::write::{Kind, number};
use crate::base::addr::Address;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// Whose address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AddressOf {
    UpstreamHost,
    UpstreamLocal,
    Remote,
    DirectRemote,
    Local,
    DirectLocal,
}

/// Which part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Whole,
    WithoutPort,
    Port,
}

/// The address operator of a name.
pub(super) fn named(name: &str) -> Option<(AddressOf, Part)> {
    if name == "UPSTREAM_HOST" {
        return Some((AddressOf::UpstreamHost, Part::Whole));
    }
    let parts =
        [("_ADDRESS_WITHOUT_PORT", Part::WithoutPort), ("_ADDRESS", Part::Whole), ("_PORT", Part::Port)];
    let (stem, part) =
        parts.iter().find_map(|(tail, part)| name.strip_suffix(tail).map(|stem| (stem, *part)))?;
    let of = match stem {
        "UPSTREAM_REMOTE" => AddressOf::UpstreamHost,
        "UPSTREAM_LOCAL" => AddressOf::UpstreamLocal,
        "DOWNSTREAM_REMOTE" => AddressOf::Remote,
        "DOWNSTREAM_DIRECT_REMOTE" => AddressOf::DirectRemote,
        "DOWNSTREAM_LOCAL" => AddressOf::Local,
        "DOWNSTREAM_DIRECT_LOCAL" => AddressOf::DirectLocal,
        _ => return None,
    };
    Some((of, part))
}

/// Appends the address; ports are numbers.
pub(super) fn write(of: AddressOf, part: Part, input: &Input<'_>, out: &mut Vec<u8>) -> Kind {
    let record = input.record;
    let address = match of {
        AddressOf::UpstreamHost => record.upstream.host.as_ref(),
        AddressOf::UpstreamLocal => record.upstream.local.as_ref(),
        AddressOf::Remote => Some(record.remote()),
        AddressOf::DirectRemote => Some(&record.conn.direct_remote),
        AddressOf::Local => Some(&record.conn.local),
        AddressOf::DirectLocal => Some(&record.conn.direct_local),
    };
    match (address, part) {
        (None, _) => Kind::Absent,
        (Some(address), Part::Whole) => {
            whole(address, out);
            Kind::Text
        }
        (Some(address), Part::WithoutPort) => {
            match address {
                Address::Ip(at) => ip(at.ip(), out),
                Address::Unix(_) => whole(address, out),
            }
            Kind::Text
        }
        (Some(address), Part::Port) => match address.port() {
            Some(port) => number(u64::from(port), out),
            None => Kind::Absent,
        },
    }
}

/// Appends `ip:port` or the path.
pub(super) fn whole(address: &Address, out: &mut Vec<u8>) {
    match address {
        Address::Ip(SocketAddr::V4(at)) => {
            ip(IpAddr::V4(*at.ip()), out);
            out.push(b':');
            number(u64::from(at.port()), out);
        }
        // Writing to a Vec cannot fail.
        Address::Ip(SocketAddr::V6(at)) => drop(write!(out, "[{}]:{}", at.ip(), at.port())),
        Address::Unix(path) => out.extend_from_slice(path.as_os_str().as_encoded_bytes()),
    }
}

pub(super) fn ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(v4) => {
            for (i, octet) in v4.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                number(u64::from(octet), out);
            }
        }
        IpAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}
