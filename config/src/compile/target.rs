//! What a compiled resource may hold, by who is going to read it.

use std::collections::HashSet;

/// Who reads the compiled resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Everything that istiod would send: for `weirctl render` and to compare with istiod.
    Istiod,
    /// What this release of weir puts in force: for `--mesh-config`.
    Weir,
    /// What an Envoy puts in force, without the extensions that it lacks: for `weirctl serve`.
    Envoy(Lacking),
}

/// Which of the extensions that istiod makes use of an Envoy lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lacking([bool; EXTENSIONS.len()]);

/// A part of a resource that not every reader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// `transport_socket` and `transport_socket_matches` of clusters, and the HTTP options that go with them.
    UpstreamTls,
    /// `transport_socket` of filter chains, and the chains that need one.
    DownstreamTls,
    /// `transport_socket_connect_timeout` of filter chains.
    HandshakeTimeout,
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
    /// The request id extension when it is the one that is there anyway.
    RequestIdExtension,
    /// `forward_client_cert_details` and what goes with it.
    ClientCertificates,
    /// The choice of c-ares as resolver.
    CaresResolver,
    /// `tunneling_config` of the TCP proxy.
    Tunnelling,
}

/// What weir's engine does not obey yet, and how the pages call it. Each later feature removes its lines here.
const NOT_IN_WEIR: &[(Part, &str)] = &[
    (Part::UpstreamTls, UPSTREAM_TLS),
    (Part::DownstreamTls, DOWNSTREAM_TLS),
    (Part::HandshakeTimeout, "transport_socket_connect_timeout"),
    (Part::Interception, "listeners of redirected connections"),
    // It chooses what TLS offers.
    (Part::IstioAlpn, "istio.alpn"),
    // Request ids are UUIDs anyway.
    (Part::RequestIdExtension, "request_id_extension"),
    (Part::ClientCertificates, "forward_client_cert_details"),
    (Part::CaresResolver, "typed_dns_resolver_config"),
    (Part::Tunnelling, "tunneling_config"),
];

/// What the compiler says nothing of yet, so that an Envoy that it programs is not sent half of it: the settings of TLS.
const NOT_MADE: &[(Part, &str)] = &[(Part::UpstreamTls, UPSTREAM_TLS), (Part::DownstreamTls, DOWNSTREAM_TLS)];

const UPSTREAM_TLS: &str = "TLS towards services";
const DOWNSTREAM_TLS: &str = "TLS of listeners";

/// Extensions that not every Envoy has, by the type of their settings. Without one of a part the whole part is left out.
const EXTENSIONS: [(Part, &str); 7] = [
    (Part::PeerMetadata, "io.istio.http.peer_metadata.Config"),
    (Part::PeerMetadata, "envoy.tcp.metadataexchange.config.MetadataExchange"),
    (Part::IstioAlpn, "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"),
    (Part::IstioStats, "stats.PluginConfig"),
    (Part::GrpcStats, "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"),
    (Part::RequestIdExtension, "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"),
    (Part::CaresResolver, "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"),
];

impl Lacking {
    /// Of an Envoy that lists the types of its extensions' settings. One that lists none lacks nothing.
    #[must_use]
    pub fn of(types: &HashSet<&str>) -> Self {
        Self(EXTENSIONS.map(|(_, name)| !types.is_empty() && !types.contains(name)))
    }

    /// The types of what is lacking.
    fn types(self) -> impl Iterator<Item = &'static str> {
        EXTENSIONS.into_iter().zip(self.0).filter(|(_, lacks)| *lacks).map(|((_, name), _)| name)
    }

    fn includes(self, part: Part) -> bool {
        EXTENSIONS.iter().zip(self.0).any(|((of, _), lacks)| lacks && *of == part)
    }
}

impl Target {
    /// Whether resources for this reader hold the part.
    pub(crate) fn has(self, part: Part) -> bool {
        match self {
            Self::Istiod => true,
            Self::Weir => NOT_IN_WEIR.iter().all(|(not, _)| *not != part),
            Self::Envoy(lacking) => NOT_MADE.iter().all(|(not, _)| *not != part) && !lacking.includes(part),
        }
    }

    /// What is left out for this reader: extensions by the type of their settings, other parts by a name.
    #[must_use]
    pub fn left_out(self) -> Vec<&'static str> {
        let (parts, lacking) = match self {
            Self::Istiod => (&[][..], Lacking::default()),
            Self::Weir => (NOT_IN_WEIR, Lacking::default()),
            Self::Envoy(lacking) => (NOT_MADE, lacking),
        };
        parts.iter().map(|(_, name)| *name).chain(lacking.types()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envoy_gets_what_it_lists() {
        let all: HashSet<&str> = EXTENSIONS.iter().map(|(_, name)| *name).collect();
        let plain: HashSet<&str> = all.iter().copied().filter(|name| name.starts_with("envoy.ext")).collect();
        let parts = [Part::PeerMetadata, Part::IstioAlpn, Part::IstioStats, Part::GrpcStats];
        let has = |types: &HashSet<&str>| parts.map(|part| Target::Envoy(Lacking::of(types)).has(part));
        assert_eq!(has(&all), [true; 4]);
        assert_eq!(has(&HashSet::new()), [true; 4], "it does not say");
        assert_eq!(has(&plain), [false, false, false, true]);
        assert_eq!(Target::Envoy(Lacking::of(&plain)).left_out().len(), NOT_MADE.len() + 4);
        assert!(Target::Istiod.left_out().is_empty());
        assert!(Target::Weir.left_out().contains(&DOWNSTREAM_TLS));
        assert!(
            !Target::Envoy(Lacking::default()).has(Part::DownstreamTls),
            "no port without the TLS it needs"
        );
    }
}
