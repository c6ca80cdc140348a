//! Transport sockets: what carries the bytes of a connection.

use super::matcher::StringMatch;
use super::pushed::Pushed;
use crate::base::Name;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Settings of TLS on one side. This release holds them and makes no TLS: a connection that would need them fails.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Protocol versions, least and most: 2 or 3 (TLS 1.2, 1.3).
    pub versions: (u8, u8),
    /// Cipher suites of TLS 1.2 in order; empty: the default ones.
    pub suites: Box<[&'static str]>,
    /// Protocols to offer or to take, in order.
    pub alpn: Box<[Box<str>]>,
    /// Own certificates that come as secrets.
    pub certificates: Box<[Pushed]>,
    /// Trusted authorities that come as a secret.
    pub authorities: Option<Pushed>,
    /// The peer's certificate must have one of these names; empty: any.
    pub peers: Box<[StringMatch]>,
    /// A peer whose certificate nobody vouches for is taken all the same.
    pub untrusted_peers: bool,
    /// Name to ask for (upstream); empty: none.
    pub server_name: Box<str>,
    /// A client must show a certificate (downstream).
    pub require_client_certificate: bool,
}

impl Tls {
    /// The secrets that it takes by name.
    pub fn secrets(&self) -> impl Iterator<Item = &Pushed> {
        self.certificates.iter().chain(&self.authorities)
    }
}

/// How connections to a host are made.
#[derive(Clone, Debug)]
pub enum UpstreamSocket {
    /// As they are.
    Plain,
    /// TLS.
    Tls(Arc<Tls>),
    /// A PROXY protocol header, then what is inside.
    ProxyProtocol(ProxyVersion, Box<UpstreamSocket>),
}

/// Version of a PROXY protocol header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyVersion {
    /// Text.
    V1,
    /// Binary.
    V2,
}

impl UpstreamSocket {
    /// Would a connection need TLS?
    pub fn needs_tls(&self) -> bool {
        match self {
            UpstreamSocket::Plain => false,
            UpstreamSocket::Tls(_) => true,
            UpstreamSocket::ProxyProtocol(_, inner) => inner.needs_tls(),
        }
    }

    fn tls(&self) -> Option<&Tls> {
        match self {
            UpstreamSocket::Plain => None,
            UpstreamSocket::Tls(tls) => Some(tls),
            UpstreamSocket::ProxyProtocol(_, inner) => inner.tls(),
        }
    }
}

/// A socket for hosts whose metadata say so.
#[derive(Clone, Debug)]
pub struct SocketMatch {
    /// Its name, for people.
    pub name: Name,
    /// What must stand in the host's metadata; empty fits all.
    pub wanted: Map<String, Value>,
    /// The socket.
    pub socket: UpstreamSocket,
}

/// The sockets of a cluster.
#[derive(Clone, Debug)]
pub struct UpstreamSockets {
    /// Tried in order.
    pub matches: Box<[SocketMatch]>,
    /// When none fits.
    pub default: UpstreamSocket,
}

/// Namespace of a host's metadata that socket matches look at.
const NAMESPACE: &str = "envoy.transport_socket_match";

impl UpstreamSockets {
    /// The secrets that they take by name.
    pub fn secrets(&self) -> impl Iterator<Item = &Pushed> {
        let all = self.matches.iter().map(|m| &m.socket).chain([&self.default]);
        all.filter_map(UpstreamSocket::tls).flat_map(Tls::secrets)
    }

    /// Does one of them tell the upstream where a connection comes from? Then connections are not shared by clients.
    pub fn tell_origin(&self) -> bool {
        let tells = |socket: &UpstreamSocket| matches!(socket, UpstreamSocket::ProxyProtocol(..));
        tells(&self.default) || self.matches.iter().any(|m| tells(&m.socket))
    }

    /// The socket for a host with this metadata: the first whose wants are all met.
    pub fn of(&self, metadata: Option<&Value>) -> &UpstreamSocket {
        let told = metadata.and_then(|metadata| metadata.get(NAMESPACE));
        let fits = |m: &&SocketMatch| {
            m.wanted.iter().all(|(key, want)| told.and_then(|told| told.get(key)) == Some(want))
        };
        self.matches.iter().find(fits).map_or(&self.default, |found| &found.socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_match_whose_wants_are_met_decides() {
        let sockets = UpstreamSockets {
            matches: [
                SocketMatch {
                    name: "tls".into(),
                    wanted: Map::from_iter([("tlsMode".to_owned(), json!("istio"))]),
                    socket: UpstreamSocket::Tls(Arc::default()),
                },
                SocketMatch { name: "plain".into(), wanted: Map::new(), socket: UpstreamSocket::Plain },
            ]
            .into(),
            default: UpstreamSocket::Tls(Arc::default()),
        };
        let is_tls =
            |metadata: Option<Value>| matches!(sockets.of(metadata.as_ref()), UpstreamSocket::Tls(_));
        assert!(is_tls(Some(json!({NAMESPACE: {"tlsMode": "istio", "more": 1}}))));
        assert!(!is_tls(Some(json!({NAMESPACE: {"tlsMode": "disabled"}}))));
        assert!(!is_tls(Some(json!({"tlsMode": "istio"}))));
        assert!(!is_tls(None));
        let alone = UpstreamSockets { matches: Box::default(), ..sockets };
        assert!(matches!(alone.of(None), UpstreamSocket::Tls(_)));
    }
}
