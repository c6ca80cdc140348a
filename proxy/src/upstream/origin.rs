//! Whom a connection to the upstream is made for, where the upstream can tell: those are not shared by clients.

use crate::model::transport::{ProxyVersion, UpstreamSockets};
use crate::observe::record::ConnFacts;
use std::net::{IpAddr, SocketAddr};

/// What makes a connection one client's own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Origin {
    /// It comes from this address, with this mark (0: none).
    pub source: Option<(IpAddr, u32)>,
    /// A PROXY protocol header tells these ends of the client's connection; outer none: there is no header, inner
    /// none: they are no IP addresses.
    pub told: Option<Option<(SocketAddr, SocketAddr)>>,
}

impl Origin {
    /// Of a connection to hosts of a cluster with these sockets; none when all clients may share.
    pub fn of(conn: &ConnFacts, sockets: &UpstreamSockets) -> Option<Origin> {
        let source = conn.spoofed.and_then(|mark| Some((conn.remote.ip()?, mark)));
        let told = sockets.tell_origin().then(|| conn.remote.socket().zip(conn.local.socket()));
        (source.is_some() || told.is_some()).then_some(Origin { source, told })
    }
}

/// The signature of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The PROXY protocol header for these ends (HAProxy's specification of 2020-03-05).
pub fn header(version: ProxyVersion, ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let ends = ends.map(|(from, to)| same_family(from, to));
    match (version, ends) {
        (ProxyVersion::V1, Some((from, to))) => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            let (a, b) = (from.ip(), to.ip());
            format!("PROXY {family} {a} {b} {} {}\r\n", from.port(), to.port()).into_bytes()
        }
        (ProxyVersion::V1, None) => b"PROXY UNKNOWN\r\n".to_vec(),
        (ProxyVersion::V2, Some((from, to))) => {
            let mut out = SIGNATURE.to_vec();
            let (family, length) = if from.is_ipv4() { (0x11, 12) } else { (0x21, 36) };
            out.extend([0x21, family, 0, length]);
            for ip in [from.ip(), to.ip()] {
                match ip {
                    IpAddr::V4(ip) => out.extend(ip.octets()),
                    IpAddr::V6(ip) => out.extend(ip.octets()),
                }
            }
            out.extend(from.port().to_be_bytes());
            out.extend(to.port().to_be_bytes());
            out
        }
        (ProxyVersion::V2, None) => [&SIGNATURE[..], &[0x20, 0, 0, 0]].concat(),
    }
}

/// Two IPv6 addresses when one of them is.
fn same_family(from: SocketAddr, to: SocketAddr) -> (SocketAddr, SocketAddr) {
    let six = |addr: SocketAddr| match addr.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), addr.port()),
        IpAddr::V6(_) => addr,
    };
    if from.is_ipv4() == to.is_ipv4() { (from, to) } else { (six(from), six(to)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_as_specified() {
        let ends = |from: &str, to: &str| Some((from.parse().unwrap(), to.parse().unwrap()));
        let v1 = |ends| String::from_utf8(header(ProxyVersion::V1, ends)).unwrap();
        assert_eq!(v1(ends("1.2.3.4:5", "6.7.8.9:80")), "PROXY TCP4 1.2.3.4 6.7.8.9 5 80\r\n");
        assert_eq!(v1(ends("[::1]:5", "[::2]:80")), "PROXY TCP6 ::1 ::2 5 80\r\n");
        assert_eq!(v1(ends("[::1]:5", "6.7.8.9:80")), "PROXY TCP6 ::1 ::ffff:6.7.8.9 5 80\r\n");
        assert_eq!(v1(None), "PROXY UNKNOWN\r\n");
        let v2 = |ends| header(ProxyVersion::V2, ends)[12..].to_vec();
        assert_eq!(
            v2(ends("1.2.3.4:5", "6.7.8.9:80")),
            [0x21, 0x11, 0, 12, 1, 2, 3, 4, 6, 7, 8, 9, 0, 5, 0, 80]
        );
        assert_eq!(v2(ends("[::1]:5", "[::2]:80")).len(), 4 + 36);
        assert_eq!(v2(None), [0x20, 0, 0, 0]);
    }
}
