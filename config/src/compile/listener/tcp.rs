//! TCP proxies: which cluster a connection that is not HTTP goes to.

use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::config::listener::v3 as listener;
use weir_proto::envoy::extensions::filters::network::tcp_proxy::v3 as proxy;
use weir_proto::envoy::r#type::v3 as kind;
use weir_proto::google::protobuf as pb;

use super::super::cluster::{BLACK_HOLE, outbound_name};
use super::super::context::Context;
use super::super::place::Says;
use super::super::policy::Policy;
use super::super::registry::{Port, Service};
use super::super::route::source_applies;
use super::super::scope::Egress;
use super::super::target::Part;
use super::super::virtual_service::{MESH, VirtualService, gateway_names};
use super::super::wire;
use super::access_log;
use crate::diag::Diagnostic;
use crate::kinds::virtual_service::{L4Match, RouteDestination, TcpRoute};
use proxy::tcp_proxy::{ClusterSpecifier, TunnelingConfig, WeightedCluster, weighted_cluster};

/// One way that opaque connections go.
pub(super) struct Way {
    /// Metadata of the rule that says so.
    pub metadata: Option<core::Metadata>,
    pub filters: Vec<listener::Filter>,
}

impl Way {
    pub(super) fn chain(self, ctx: &Context<'_>) -> listener::FilterChain {
        listener::FilterChain { metadata: self.metadata, ..super::chain(ctx, self.filters) }
    }
}

/// Connections that no service is for.
pub(super) fn unknown(ctx: &Context<'_>) -> Vec<listener::Filter> {
    plain(ctx, ctx.scope.unknown.as_deref().unwrap_or(BLACK_HOLE))
}

/// To one cluster that no policy speaks of.
pub(super) fn plain(ctx: &Context<'_>, cluster: &str) -> Vec<listener::Filter> {
    filters(
        ctx,
        proxy::TcpProxy {
            stat_prefix: cluster.to_owned(),
            cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
            ..proxy::TcpProxy::default()
        },
    )
}

fn filters(ctx: &Context<'_>, mut config: proxy::TcpProxy) -> Vec<listener::Filter> {
    config.access_log = access_log::of_traffic(ctx);
    let proxy = super::filter("envoy.filters.network.tcp_proxy", wire::any(&config));
    super::stats_filter(ctx).into_iter().chain([proxy]).collect()
}

/// The way to a service port: by the first TCP rule of a VirtualService that applies, else to the service.
pub(super) fn to_service<'w>(ctx: &Context<'w>, egress: &Egress<'w>, service: &Service, port: &Port) -> Way {
    let place = Place { gateway: MESH, port: port.number };
    for from in ctx.rules_of(egress) {
        if !from.hosts.iter().any(|(host, _)| crate::world::host_covers(host, &service.hostname)) {
            continue;
        }
        if let Some(rule) = from.tcp.iter().find(|rule| applies(ctx, rule, from, &place))
            && let Some(way) = by_rule(ctx, &rule.route, from, &place, rule.span)
        {
            return way;
        }
    }
    let cluster = outbound_name(port.number, "", &service.hostname);
    let rule = ctx.rules.of_service(service, ctx.node);
    let policy = rule.effective(port.number, None);
    let mut config = proxy::TcpProxy {
        stat_prefix: cluster.clone(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster)),
        ..proxy::TcpProxy::default()
    };
    apply_policy(ctx, &mut config, &policy);
    let mut metadata = None;
    if let Some(span) = rule.span(None) {
        ctx.locate(&mut metadata, Says::Rule, span);
    }
    Way { metadata, filters: filters(ctx, config) }
}

/// Where TCP rules are looked at.
pub(super) struct Place<'a> {
    pub gateway: &'a str,
    pub port: u32,
}

/// The way that the first TCP rule for a gateway's port says.
pub(super) fn of_gateway(
    ctx: &Context<'_>,
    place: &Place<'_>,
    hosts: impl Fn(&VirtualService<'_>) -> bool,
) -> Option<Way> {
    for from in ctx.virtual_services.bound_to(place.gateway, &ctx.node.namespace) {
        if !hosts(from) {
            continue;
        }
        if let Some(rule) = from.tcp.iter().find(|rule| applies(ctx, rule, from, place)) {
            return by_rule(ctx, &rule.route, from, place, rule.span);
        }
    }
    None
}

fn applies(ctx: &Context<'_>, rule: &TcpRoute, from: &VirtualService<'_>, place: &Place<'_>) -> bool {
    rule.matches.is_empty() || rule.matches.iter().any(|one| condition(ctx, one, from, place))
}

fn condition(ctx: &Context<'_>, one: &L4Match, from: &VirtualService<'_>, place: &Place<'_>) -> bool {
    if let Some(subnet) = one.destination_subnets.first() {
        ctx.not_yet("match.destinationSubnets", "the condition holds for every address", subnet.span);
    }
    if let Some(subnet) = &one.source_subnet {
        ctx.not_yet("match.sourceSubnet", "the condition holds for every source, as in Istio", subnet.span);
    }
    one.port.as_ref().is_none_or(|port| port.value == place.port)
        && source_applies(
            ctx,
            &gateway_names(one.gateways.iter().map(|name| name.as_str()), &from.namespace),
            one.gateways.is_empty(),
            &one.source_labels,
            one.source_namespace.as_ref().map(|name| name.as_str()),
            place.gateway,
        )
}

/// The way to the destinations of a TCP or TLS rule; `None`, with a diagnostic, if none has a weight.
pub(super) fn by_rule(
    ctx: &Context<'_>,
    destinations: &[RouteDestination],
    from: &VirtualService<'_>,
    place: &Place<'_>,
    span: crate::yaml::Span,
) -> Option<Way> {
    let mut config = proxy::TcpProxy::default();
    match destinations {
        [one] => {
            let cluster = cluster(ctx, one, from, place);
            config.stat_prefix.clone_from(&cluster);
            config.cluster_specifier = Some(ClusterSpecifier::Cluster(cluster));
            if let Some(service) = ctx.service(&ctx.host(&one.destination.host, &from.namespace)) {
                let rules = ctx.rules.of_service(service, ctx.node);
                let subset = one.destination.subset.as_ref().and_then(|name| rules.subset(name));
                let port = one.destination.port.as_ref().and_then(|port| port.number()).unwrap_or(place.port);
                apply_policy(ctx, &mut config, &rules.effective(port, subset));
            }
        }
        several => {
            let weighted = several.iter().filter_map(|one| {
                let weight = one.weight.as_ref().and_then(|weight| u32::try_from(weight.value).ok());
                let weight = weight.filter(|weight| *weight > 0)?;
                let name = cluster(ctx, one, from, place);
                Some(weighted_cluster::ClusterWeight { name, weight, metadata_match: None })
            });
            let clusters: Vec<_> = weighted.collect();
            if clusters.is_empty() {
                let message = "no destination of this rule has a weight: the rule is left out";
                ctx.report(Diagnostic::warning("no-weight", message), span);
                return None;
            }
            config.stat_prefix = format!("{}.{}", from.name, from.namespace);
            config.cluster_specifier = Some(ClusterSpecifier::WeightedClusters(WeightedCluster { clusters }));
        }
    }
    let fields = [("config", wire::text(&from.path()))].into();
    let mut metadata = Some(wire::istio_metadata(fields));
    ctx.locate(&mut metadata, Says::Rule, span);
    Some(Way { metadata, filters: filters(ctx, config) })
}

fn cluster(
    ctx: &Context<'_>,
    one: &RouteDestination,
    from: &VirtualService<'_>,
    place: &Place<'_>,
) -> String {
    let to = &one.destination;
    let host = ctx.host(&to.host, &from.namespace);
    let only = || match ctx.service(&host).map(|service| service.ports.as_slice()) {
        Some([port]) => Some(port.number),
        _ => None,
    };
    let port = to.port.as_ref().and_then(|port| port.number()).or_else(only).unwrap_or(place.port);
    outbound_name(port, to.subset.as_ref().map_or("", |subset| subset.as_str()), &host)
}

/// What a DestinationRule says to opaque connections.
fn apply_policy(ctx: &Context<'_>, config: &mut proxy::TcpProxy, policy: &Policy<'_>) {
    if let Some(tcp) = policy.pool.and_then(|pool| pool.tcp.as_ref()) {
        let duration = |field: &Option<crate::yaml::Spanned<std::time::Duration>>| -> Option<pb::Duration> {
            field.as_ref().map(|value| wire::duration(value.value))
        };
        config.idle_timeout = duration(&tcp.idle_timeout);
        config.max_downstream_connection_duration = duration(&tcp.max_connection_duration);
    }
    let hash = policy.load_balancer.and_then(|balancer| balancer.consistent_hash.as_ref());
    if hash.and_then(|hash| hash.use_source_ip.as_ref()).is_some_and(|by_source| by_source.value) {
        config.hash_policy.push(kind::HashPolicy {
            policy_specifier: Some(kind::hash_policy::PolicySpecifier::SourceIp(
                kind::hash_policy::SourceIp {},
            )),
        });
    }
    if let Some(tunnel) = policy.tunnel {
        let consequence = "connections go to the service without a tunnel";
        if ctx.has_or_says(Part::Tunnelling, "tunnel", consequence, tunnel.span) {
            let post = tunnel.protocol.as_ref().is_some_and(|protocol| protocol.value == "POST");
            config.tunneling_config = Some(TunnelingConfig {
                hostname: format!("{}:{}", tunnel.target_host, tunnel.target_port),
                use_post: post,
                ..TunnelingConfig::default()
            });
        }
    }
}
