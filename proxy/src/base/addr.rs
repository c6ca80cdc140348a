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
