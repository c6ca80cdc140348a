//! Sidecar (`networking.istio.io`): what the proxies of some pods see of the mesh, and which ports they open.

use std::net::SocketAddr;

use super::destination::Destination;
use super::destination_rule::ConnectionPool;
use super::gateway::ServerTls;
use super::service_entry::WorkloadSelector;
use crate::yaml::Spanned;

fields! {
    /// `spec` of a Sidecar.
    pub struct Sidecar {
        /// Labels of the pods it applies to; without it, all of the namespace (of all namespaces: in the root one).
        workload_selector: Option<WorkloadSelector> = "workloadSelector",
        /// Ports of the pod; with none, those that services lead to.
        ingress: Vec<IngressListener> = "ingress",
        /// What the pod may call; with none, everything.
        egress: Vec<EgressListener> = "egress",
        /// Limits and timeouts of the connections to the pod.
        inbound_connection_pool: Option<ConnectionPool> = "inboundConnectionPool",
        /// What becomes of calls to what is not known.
        outbound_traffic_policy: Option<OutboundTrafficPolicy> = "outboundTrafficPolicy",
    }

    /// A port of the pod.
    pub struct IngressListener {
        /// Which.
        port: SidecarPort = "port",
        /// Address to listen on; the pod's own if it is not there.
        bind: Option<Spanned<String>> = "bind",
        /// How connections get there.
        capture_mode: Option<Spanned<CaptureMode>> = "captureMode",
        /// Where the application listens: `127.0.0.1:PORT`, `0.0.0.0:PORT` (the pod's address), `unix://PATH`.
        default_endpoint: Option<Spanned<String>> = "defaultEndpoint",
        /// TLS of clients outside of the mesh.
        tls: Option<ServerTls> = "tls",
        /// Limits and timeouts of the connections to the application.
        connection_pool: Option<ConnectionPool> = "connectionPool",
    }

    /// What the pod may call, on one port or on all others.
    pub struct EgressListener {
        /// The port; without it, all that have no listener of their own.
        port: Option<SidecarPort> = "port",
        /// Address to listen on.
        bind: Option<Spanned<String>> = "bind",
        /// How connections get there.
        capture_mode: Option<Spanned<CaptureMode>> = "captureMode",
        /// Services and VirtualServices: `NAMESPACE/NAME`. The namespace may be `.` (the proxy's own), `*` (any) or `~`
        /// (none), the name a wildcard.
        hosts: Vec<Spanned<String>> = "hosts",
    }

    /// Number and protocol.
    pub struct SidecarPort {
        /// 1 to 65535; none with a Unix socket.
        number: Option<Spanned<u32>> = "number",
        /// HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP, TLS; found out if it is not there.
        protocol: Option<Spanned<String>> = "protocol",
        /// A name for it.
        name: Option<Spanned<String>> = "name",
        /// Deprecated.
        target_port: Option<Spanned<u32>> = "targetPort",
    }

    /// What becomes of calls to what is not known.
    pub struct OutboundTrafficPolicy {
        /// Whether they pass.
        mode: Option<Spanned<OutboundMode>> = "mode",
        /// Where they go, in the place of where they wanted to.
        egress_proxy: Option<Destination> = "egressProxy",
    }
}

choices! {
    /// How connections get to a listener.
    pub enum CaptureMode {
        /// As the proxy's interception mode says.
        Default = "DEFAULT",
        /// Redirected.
        Iptables = "IPTABLES",
        /// The application talks to the listener's own port.
        None = "NONE",
    }

    /// Whether calls to what is not known pass.
    pub enum OutboundMode {
        /// They are refused.
        RegistryOnly = "REGISTRY_ONLY",
        /// They pass.
        AllowAny = "ALLOW_ANY",
    }
}

impl OutboundTrafficPolicy {
    /// Whether calls to what is not known pass. A policy that does not say so refuses them.
    #[must_use]
    pub fn allows_any(&self) -> bool {
        self.mode.as_ref().is_some_and(|mode| mode.value == OutboundMode::AllowAny)
    }
}

impl EgressListener {
    /// Number of its own port.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        self.port.as_ref()?.number.as_ref().map(|number| number.value).filter(|number| *number > 0)
    }

    /// What is spoken on its own port; empty if that is to be found out.
    #[must_use]
    pub fn protocol(&self) -> &str {
        self.port.as_ref().map_or("", SidecarPort::protocol)
    }

    /// Whether its port is an HTTP proxy for everything.
    #[must_use]
    pub fn is_proxy(&self) -> bool {
        self.protocol() == "HTTP_PROXY"
    }
}

impl SidecarPort {
    /// What is spoken there; empty if that is to be found out.
    #[must_use]
    pub fn protocol(&self) -> &str {
        self.protocol.as_ref().map_or("", |word| word.as_str())
    }
}

/// Begins the path of a Unix socket.
pub const UNIX: &str = "unix://";

/// Where an application listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DefaultEndpoint {
    /// On the loopback address.
    Loopback(SocketAddr),
    /// On the pod's own address, at a port.
    Pod(u16),
    /// At a Unix socket.
    Socket(String),
}

impl DefaultEndpoint {
    /// Reads `127.0.0.1:PORT`, `0.0.0.0:PORT` (both in IPv6 too) or `unix://PATH`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return (!path.is_empty()).then(|| Self::Socket(path.to_owned()));
        }
        let address: SocketAddr = text.parse().ok().filter(|address: &SocketAddr| address.port() > 0)?;
        match address.ip() {
            ip if ip.is_loopback() => Some(Self::Loopback(address)),
            ip if ip.is_unspecified() => Some(Self::Pod(address.port())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications_listen_on_loopback_on_the_pod_or_at_a_socket() {
        let of = DefaultEndpoint::parse;
        assert_eq!(of("127.0.0.1:80"), Some(DefaultEndpoint::Loopback(([127, 0, 0, 1], 80).into())));
        assert_eq!(of("0.0.0.0:8080"), Some(DefaultEndpoint::Pod(8080)));
        assert_eq!(of("[::]:8080"), Some(DefaultEndpoint::Pod(8080)));
        assert_eq!(of("unix:///run/app"), Some(DefaultEndpoint::Socket("/run/app".to_owned())));
        for bad in ["", "unix://", "127.0.0.1", "127.0.0.1:0", "10.1.1.1:80", "localhost:80", ":80"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
