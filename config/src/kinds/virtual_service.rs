//! VirtualService (`networking.istio.io`): which requests and connections go where.
//!
//! HTTP rules are in [`super::http_route`].

use std::collections::BTreeMap;

use super::destination::Destination;
use super::http_route::HttpRoute;
use crate::yaml::Spanned;

fields! {
    /// `spec` of a VirtualService.
    pub struct VirtualService {
        /// The hosts it speaks of: short names, full names, wildcards. A delegate has none.
        hosts: Vec<Spanned<String>> = "hosts",
        /// Gateways it is bound to, `namespace/name` or `name`; `mesh` for all sidecars, which is the default.
        gateways: Vec<Spanned<String>> = "gateways",
        /// HTTP rules, first match wins.
        http: Vec<HttpRoute> = "http",
        /// Rules for TLS that passes through.
        tls: Vec<TlsRoute> = "tls",
        /// Rules for opaque TCP.
        tcp: Vec<TcpRoute> = "tcp",
        /// Namespaces that see it: `.`, `*`, `~` or names.
        export_to: Vec<Spanned<String>> = "exportTo",
    }

    /// A rule of `tls`.
    pub struct TlsRoute {
        /// Conditions, any of which suffices.
        matches: Vec<TlsMatch> = "match",
        /// Where to.
        route: Vec<RouteDestination> = "route",
    }

    /// A condition of a TLS rule; all its parts must hold.
    pub struct TlsMatch {
        /// SNI names, exact or `*.suffix`.
        sni_hosts: Vec<Spanned<String>> = "sniHosts",
        /// Destination addresses, CIDR.
        destination_subnets: Vec<Spanned<String>> = "destinationSubnets",
        /// Destination port.
        port: Option<Spanned<u32>> = "port",
        /// Labels of the workloads it applies to.
        source_labels: BTreeMap<String, String> = "sourceLabels",
        /// Gateways it applies to, in place of the resource's own.
        gateways: Vec<Spanned<String>> = "gateways",
        /// Namespace of the workloads it applies to.
        source_namespace: Option<Spanned<String>> = "sourceNamespace",
    }

    /// A rule of `tcp`.
    pub struct TcpRoute {
        /// Conditions, any of which suffices; with none, all connections.
        matches: Vec<L4Match> = "match",
        /// Where to.
        route: Vec<RouteDestination> = "route",
    }

    /// A condition of a TCP rule; all its parts must hold.
    pub struct L4Match {
        /// Destination addresses, CIDR.
        destination_subnets: Vec<Spanned<String>> = "destinationSubnets",
        /// Destination port.
        port: Option<Spanned<u32>> = "port",
        /// Source addresses, CIDR (Istio does not implement it).
        source_subnet: Option<Spanned<String>> = "sourceSubnet",
        /// Labels of the workloads it applies to.
        source_labels: BTreeMap<String, String> = "sourceLabels",
        /// Gateways it applies to, in place of the resource's own.
        gateways: Vec<Spanned<String>> = "gateways",
        /// Namespace of the workloads it applies to.
        source_namespace: Option<Spanned<String>> = "sourceNamespace",
    }

    /// A destination of a TLS or TCP rule.
    pub struct RouteDestination {
        /// Where to.
        destination: Destination = "destination",
        /// Its share, relative to the sum over the rule; 0 if it is not alone and has none.
        weight: Option<Spanned<i32>> = "weight",
    }
}
