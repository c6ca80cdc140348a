//! Addresses of peers and sockets.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// A socket address: IP and port, or a Unix path (an abstract one starts with `@`).
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Address {
    /// IPv4 or IPv6 with port.
    Ip(SocketAddr),
    /// Unix stream socket path; empty for an unnamed peer.
    Unix(Arc<Path>),
}

impl Address {
    /// The IP address, none for Unix sockets.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Address::Ip(addr) => Some(addr.ip()),
            Address::Unix(_) => None,
        }
    }

    /// IP address and port, none for Unix sockets.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Address::Ip(addr) => Some(*addr),
            Address::Unix(_) => None,
        }
    }

    /// The port, none for Unix sockets.
    pub fn port(&self) -> Option<u16> {
        match self {
            Address::Ip(addr) => Some(addr.port()),
            Address::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(addr) => addr.fmt(f),
            Address::Unix(path) => f.write_str(&path.to_string_lossy()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Address::Ip(addr)
    }
}

/// The address that this machine would use towards others (no packet is sent); none without a route.
pub fn first_interface_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Connecting a datagram socket only asks the routing table; 192.0.2.1 is documentation space (RFC 5737).
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|addr| addr.ip()).filter(|ip| !ip.is_unspecified())
}
