//! A server of a Gateway or an Ingress.

use crate::kinds::gateway::{ServerTls, ServerTlsMode};
use crate::yaml::Span;

/// What a server of a gateway takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1 and HTTP/2 without TLS.
    Http,
    /// HTTP inside TLS that ends here.
    Https,
    /// TLS: ends here around opaque bytes, or passes through.
    Tls,
    /// Opaque bytes.
    Tcp,
}

/// One server of one Gateway or Ingress.
#[derive(Debug, Clone)]
pub(crate) struct Server<'w> {
    /// `namespace/name`.
    pub gateway: String,
    /// Age of the Gateway, then its name.
    pub order: (String, String, String),
    /// The port that it declares.
    pub port: u32,
    /// The port that connections arrive at: behind a Service of the gateway's pods, that one's target.
    pub listen: u32,
    pub port_name: String,
    pub protocol: Protocol,
    /// Address to listen on, if not all.
    pub bind: Option<&'w str>,
    /// Namespace (`*` for any) of the VirtualServices that may serve a host, and the host.
    pub hosts: Vec<(String, String)>,
    pub tls: Option<&'w ServerTls>,
    pub span: Span,
}

impl Server<'_> {
    pub(crate) fn mode(&self) -> Option<ServerTlsMode> {
        self.tls.and_then(|tls| tls.mode.as_ref()).map(|mode| mode.value)
    }

    /// Whether plain requests are sent to https.
    pub(crate) fn redirects_to_https(&self) -> bool {
        self.tls.and_then(|tls| tls.https_redirect.as_ref()).is_some_and(|redirect| redirect.value)
    }

    /// The hosts that VirtualServices of a namespace may serve.
    pub(crate) fn hosts_for(&self, namespace: &str) -> Vec<String> {
        let open = self.hosts.iter().filter(|(of, _)| of == "*" || of == namespace);
        open.map(|(_, host)| host.clone()).collect()
    }

    /// Name of the route configuration of this server; `None` where there are no HTTP routes.
    pub(crate) fn route_name(&self) -> Option<String> {
        let bind = self.bind.map_or_else(String::new, |bind| format!(".{bind}"));
        match self.protocol {
            Protocol::Http => Some(format!("http.{}{bind}", self.listen)),
            Protocol::Https if self.mode() != Some(ServerTlsMode::Passthrough) => {
                let (namespace, name) = self.gateway.split_once('/').unwrap_or(("", &self.gateway));
                Some(format!("https.{}.{}.{name}.{namespace}{bind}", self.port, self.port_name))
            }
            Protocol::Https | Protocol::Tls | Protocol::Tcp => None,
        }
    }
}
