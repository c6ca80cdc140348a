//! What a service port speaks.

/// What a service port speaks, as its declaration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Http,
    Http2,
    Grpc,
    GrpcWeb,
    Https,
    Tls,
    Tcp,
    Mongo,
    Redis,
    Mysql,
    Udp,
    /// Not declared: told apart by the first bytes.
    Auto,
}

impl Protocol {
    /// Reads `appProtocol` and `protocol` values of Istio and Kubernetes; `None` when it is no protocol.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "http" | "http_proxy" | "kubernetes.io/ws" => Self::Http,
            "http2" | "kubernetes.io/h2c" => Self::Http2,
            "grpc" => Self::Grpc,
            "grpc-web" => Self::GrpcWeb,
            "https" | "kubernetes.io/wss" | "hbone" => Self::Https,
            "tls" => Self::Tls,
            "tcp" => Self::Tcp,
            "mongo" => Self::Mongo,
            "redis" => Self::Redis,
            "mysql" => Self::Mysql,
            "udp" => Self::Udp,
            _ => return None,
        })
    }

    /// The protocol of a Kubernetes service port: `appProtocol`, else its name `PROTOCOL[-SUFFIX]`.
    pub(crate) fn of_service_port(transport: Option<&str>, name: &str, app_protocol: Option<&str>) -> Self {
        if transport.is_some_and(|transport| transport.eq_ignore_ascii_case("udp")) {
            return Self::Udp;
        }
        if let Some(word) = app_protocol {
            return Self::parse(word).unwrap_or(Self::Auto);
        }
        let name = name.to_ascii_lowercase();
        if name == "grpc-web" || name.starts_with("grpc-web-") {
            return Self::GrpcWeb;
        }
        let word = name.split('-').next().unwrap_or_default();
        // A UDP name on a TCP port means nothing.
        Self::parse(word).filter(|protocol| *protocol != Self::Udp).unwrap_or(Self::Auto)
    }

    pub(crate) fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_names_declare_the_protocol() {
        let of = |name| Protocol::of_service_port(Some("TCP"), name, None);
        assert_eq!(of("http"), Protocol::Http);
        assert_eq!(of("grpc-web-admin"), Protocol::GrpcWeb);
        assert_eq!(of("grpc-status"), Protocol::Grpc);
        assert_eq!(of("HTTP2-x"), Protocol::Http2);
        assert_eq!(of("app"), Protocol::Auto);
        assert_eq!(of("httpx"), Protocol::Auto);
        assert_eq!(of(""), Protocol::Auto);
        assert_eq!(of("udp-x"), Protocol::Auto);
    }

    #[test]
    fn app_protocol_wins_over_the_name() {
        assert_eq!(Protocol::of_service_port(None, "http", Some("tcp")), Protocol::Tcp);
        assert_eq!(Protocol::of_service_port(None, "tcp", Some("kubernetes.io/h2c")), Protocol::Http2);
        assert_eq!(Protocol::of_service_port(Some("UDP"), "http", None), Protocol::Udp);
    }
}
