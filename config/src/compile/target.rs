//! What a compiled resource may hold, by who is going to read it.

/// Who reads the compiled resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Everything that istiod would send: for `weirctl render` and to compare with istiod.
    Istiod,
    /// What this release of weir puts in force: for `--mesh-config`.
    Weir,
}

/// A part of a resource that not every reader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// `transport_socket` and `transport_socket_matches` of clusters, and the HTTP options that go with them.
    UpstreamTls,
    /// `transport_socket` of filter chains, and the chains that need one.
    DownstreamTls,
    /// `transport_socket_connect_timeout` of filter chains.
    HandshakeTimeout,
    /// Choice of the chain by ALPN or SNI, with the listener filters that find them out.
    ChainsByProtocol,
    /// The listeners 15001 and 15006 that redirected traffic arrives on, and those that it is handed to.
    Interception,
    /// `istio.metadata_exchange`, as HTTP filter, network filter and cluster filter.
    PeerMetadata,
    /// `istio.alpn`.
    IstioAlpn,
    /// `istio.stats`.
    IstioStats,
    /// `envoy.filters.http.grpc_stats`.
    GrpcStats,
    /// `tracing` of the connection manager.
    Tracing,
    /// The request id extension when it is the one that is there anyway.
    RequestIdExtension,
    /// `forward_client_cert_details` and what goes with it.
    ClientCertificates,
    /// The choice of c-ares as resolver.
    CaresResolver,
    /// PROXY protocol towards the upstream.
    UpstreamProxyProtocol,
    /// `tunneling_config` of the TCP proxy.
    Tunnelling,
}

/// What weir's engine does not take yet. Each later feature removes its lines here.
const NOT_IN_WEIR: &[Part] = &[
    Part::UpstreamTls,
    Part::DownstreamTls,
    Part::HandshakeTimeout,
    Part::ChainsByProtocol,
    Part::Interception,
    Part::PeerMetadata,
    Part::IstioAlpn,
    Part::IstioStats,
    Part::GrpcStats,
    Part::Tracing,
    Part::RequestIdExtension,
    Part::ClientCertificates,
    Part::CaresResolver,
    Part::UpstreamProxyProtocol,
    Part::Tunnelling,
];

impl Target {
    /// Whether resources for this reader hold the part.
    pub(crate) fn has(self, part: Part) -> bool {
        match self {
            Self::Istiod => true,
            Self::Weir => !NOT_IN_WEIR.contains(&part),
        }
    }
}
