//! Clusters of the services that the node may call.

use std::collections::BTreeMap;

use weir_proto::envoy::config::cluster::v3 as cluster;
use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::config::endpoint::v3 as endpoint;
use weir_proto::google::protobuf as pb;

use super::super::context::Context;
use super::super::endpoints::{self, Selection};
use super::super::gateways;
use super::super::locality::LocalityPolicy;
use super::super::place::Says;
use super::super::policy::{Policy, ServiceRule};
use super::super::protocol::Protocol;
use super::super::registry::{Port, Resolution, Service};
use super::super::target::{Part, Target};
use super::super::wire;
use super::protocol::Upstream;
use super::{balance, connections};
use crate::diag::Diagnostic;
use crate::kinds::destination_rule::{ClientTls, ClientTlsMode, Subset};
use cluster::cluster::{DiscoveryType, LbPolicy};

/// Time between two resolutions of a name whose answer says nothing (Istio), in seconds.
const DNS_REFRESH_SECONDS: u32 = 60;
/// Most by which a resolution is put off at random (Istio).
const DNS_JITTER: std::time::Duration = std::time::Duration::from_millis(100);
/// Queries over one UDP socket of the resolver (Istio).
const UDP_MAX_QUERIES: u32 = 100;

type Built = (Vec<cluster::Cluster>, Vec<endpoint::ClusterLoadAssignment>);

/// How a cluster is named, and what follows from it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// `outbound|...`, chosen by routes.
    Routed,
    /// `outbound_....`, chosen by the SNI of a connection that passes through.
    Sni,
}

pub(super) fn build(ctx: &Context<'_>) -> Built {
    let mut built = Built::default();
    let by_sni = gateways::has_auto_passthrough(ctx);
    for service in ctx.services() {
        let rule = ctx.rules.of_service(service, ctx.node);
        for port in service.ports.iter().filter(|port| port.protocol != Protocol::Udp) {
            let subsets = rule.subsets.iter().copied().map(Some);
            for subset in std::iter::once(None).chain(subsets) {
                let one = One { service, port, subset, rule: &rule };
                one.build(ctx, Naming::Routed, &mut built);
                if by_sni && !service.external {
                    one.build(ctx, Naming::Sni, &mut built);
                }
            }
        }
    }
    built
}

/// One port of one service, or of one subset of it.
struct One<'a, 'w> {
    service: &'a Service,
    port: &'a Port,
    subset: Option<&'w Subset>,
    rule: &'a ServiceRule<'w>,
}

impl<'w> One<'_, 'w> {
    fn build(&self, ctx: &Context<'_>, naming: Naming, built: &mut Built) {
        let subset = self.subset.map_or("", |subset| subset.name.as_str());
        let (port, host) = (self.port.number, self.service.hostname.as_str());
        let name = match naming {
            Naming::Routed => super::outbound_name(port, subset, host),
            Naming::Sni => super::sni_name(port, subset, host),
        };
        let policy = self.rule.effective(port, self.subset);
        let passes = balance::passthrough(&policy);
        let resolution = match ctx.resolution(self.service) {
            _ if passes.is_some() && (ctx.target == Target::Istiod || ctx.is_redirected()) => {
                Resolution::Passthrough
            }
            other => other,
        };
        if let Some(simple) = passes.filter(|_| resolution != Resolution::Passthrough) {
            let message = format!(
                "PASSTHROUGH of {host} goes to the address that the client asks for, which is not known without \
                 interception: LEAST_REQUEST is taken"
            );
            let remedy = "choose another `simple`, such as LEAST_REQUEST";
            ctx.report(Diagnostic::warning("no-interception", message).remedy(remedy), simple.span);
        }
        let locality = balance::locality(&policy);
        let assignment = self.assignment(ctx, &name, naming, &policy, locality.clone());
        let by_name = matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        if by_name && assignment.endpoints.iter().all(|group| group.lb_endpoints.is_empty()) {
            let message =
                format!("{host} is found by DNS, and has no name to resolve: {name} does not exist");
            ctx.report(Diagnostic::warning("no-name-to-resolve", message), self.service.span);
            return;
        }
        let mut cluster = super::base(&name, kind_of(resolution));
        self.apply_common(ctx, &mut cluster, &policy, &locality);
        if resolution == Resolution::Passthrough {
            cluster.lb_policy = LbPolicy::ClusterProvided.into();
            cluster.lb_config = None;
        }
        match resolution {
            Resolution::Endpoints => {
                cluster.eds_cluster_config = Some(cluster::cluster::EdsClusterConfig {
                    eds_config: Some(wire::ads()),
                    service_name: name,
                });
                built.1.push(assignment);
            }
            Resolution::Dns | Resolution::DnsRoundRobin => {
                cluster.load_assignment = Some(assignment);
                apply_dns(ctx, &mut cluster);
            }
            Resolution::Passthrough => {}
        }
        built.0.push(cluster);
    }

    fn assignment(
        &self,
        ctx: &Context<'_>,
        name: &str,
        naming: Naming,
        policy: &Policy<'_>,
        locality: LocalityPolicy<'_>,
    ) -> endpoint::ClusterLoadAssignment {
        let empty = BTreeMap::new();
        let own = policy
            .tls
            .and_then(|tls| tls.mode.as_ref())
            .is_none_or(|mode| mode.value == ClientTlsMode::IstioMutual);
        // A service that takes the client's destination lists nothing for a gateway.
        if self.service.resolution == Resolution::Passthrough && !self.service.headless {
            return endpoint::ClusterLoadAssignment {
                cluster_name: name.to_owned(),
                ..endpoint::ClusterLoadAssignment::default()
            };
        }
        let selection = Selection {
            service: self.service,
            port: self.port.number,
            subset: self.subset.map_or(&empty, |subset| &subset.labels),
            mark_mutual_tls: own && ctx.target.has(Part::UpstreamTls),
            only_mutual_tls: naming == Naming::Sni,
            locality,
        };
        endpoints::assignment(name, &selection, ctx.node)
    }

    fn apply_common(
        &self,
        ctx: &Context<'_>,
        cluster: &mut cluster::Cluster,
        policy: &Policy<'w>,
        locality: &LocalityPolicy<'_>,
    ) {
        cluster.common_lb_config = Some(cluster::cluster::CommonLbConfig {
            healthy_panic_threshold: Some(wire::percent(0.0)),
            ..cluster::cluster::CommonLbConfig::default()
        });
        let tls = policy.tls.and_then(|tls| self.tls_options(ctx, tls));
        let speaks = Upstream::of(ctx, self.port.protocol, policy, true);
        connections::apply_pool(cluster, policy, speaks, tls);
        if let Some(outliers) = policy.outliers {
            connections::apply_outliers(ctx, cluster, outliers);
        }
        balance::apply(cluster, policy);
        balance::apply_locality(cluster, locality);
        if let Some(proxy) = policy.proxy_protocol {
            let consequence = "connections begin without a PROXY protocol header";
            ctx.not_yet("proxyProtocol", consequence, proxy.span);
        }
        cluster.filters.extend(peer_metadata_filter(ctx));
        cluster.metadata = Some(self.metadata(policy));
        ctx.locate(&mut cluster.metadata, Says::Service, self.service.span);
        if let Some(span) = self.rule.span(self.subset) {
            ctx.locate(&mut cluster.metadata, Says::Rule, span);
        }
    }

    /// The HTTP options that go with TLS that is not the mesh's own: the name to ask for follows the request
    /// where the rule gives none.
    fn tls_options(&self, ctx: &Context<'_>, tls: &ClientTls) -> Option<core::UpstreamHttpProtocolOptions> {
        let mode = tls.mode.as_ref().map(|mode| mode.value);
        if !matches!(mode, None | Some(ClientTlsMode::Disable)) {
            ctx.not_yet("tls", "connections to the service are not encrypted", tls.span);
        }
        if !matches!(mode, Some(ClientTlsMode::Simple | ClientTlsMode::Mutual))
            || !ctx.target.has(Part::UpstreamTls)
        {
            return None;
        }
        let auto_sni = tls.sni.as_ref().is_none_or(|sni| sni.is_empty());
        let options = core::UpstreamHttpProtocolOptions {
            auto_sni,
            auto_san_validation: auto_sni && tls.subject_alt_names.is_empty(),
            ..core::UpstreamHttpProtocolOptions::default()
        };
        (options != core::UpstreamHttpProtocolOptions::default()).then_some(options)
    }

    fn metadata(&self, policy: &Policy<'_>) -> core::Metadata {
        let mut fields = BTreeMap::from([("services", super::services_value(std::iter::once(self.service)))]);
        if let Some(path) = self.rule.path() {
            fields.insert("config", wire::text(&path));
        }
        if let Some(subset) = self.subset {
            fields.insert("subset", wire::text(&subset.name));
        }
        if self.service.external {
            fields.insert("external", wire::flag(true));
        }
        let mode = policy.tls.and_then(|tls| tls.mode.as_ref()).map(|mode| mode.value);
        if matches!(mode, Some(ClientTlsMode::Simple | ClientTlsMode::Mutual)) {
            fields.insert("alpn_override", wire::text("false"));
        }
        wire::istio_metadata(fields)
    }
}

fn kind_of(resolution: Resolution) -> DiscoveryType {
    match resolution {
        Resolution::Endpoints => DiscoveryType::Eds,
        Resolution::Dns => DiscoveryType::StrictDns,
        Resolution::DnsRoundRobin => DiscoveryType::LogicalDns,
        Resolution::Passthrough => DiscoveryType::OriginalDst,
    }
}

fn apply_dns(ctx: &Context<'_>, cluster: &mut cluster::Cluster) {
    cluster.dns_lookup_family = lookup_family(ctx).into();
    cluster.dns_refresh_rate = Some(wire::seconds(DNS_REFRESH_SECONDS));
    cluster.dns_jitter = Some(wire::duration(DNS_JITTER));
    cluster.respect_dns_ttl = true;
    if ctx.target.has(Part::CaresResolver) {
        let cares = weir_proto::envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig {
            udp_max_queries: Some(wire::u32v(UDP_MAX_QUERIES)),
            ..Default::default()
        };
        cluster.typed_dns_resolver_config = Some(core::TypedExtensionConfig {
            name: "envoy.network.dns_resolver.cares".to_owned(),
            typed_config: Some(wire::any(&cares)),
        });
    }
}

/// The family of the addresses that the node itself has.
fn lookup_family(ctx: &Context<'_>) -> cluster::cluster::DnsLookupFamily {
    use cluster::cluster::DnsLookupFamily;
    let is_v4 = |ip: &String| ip.parse::<std::net::Ipv4Addr>().is_ok();
    match (ctx.node.ips.iter().any(is_v4), ctx.node.ips.iter().all(is_v4)) {
        (true, true) => DnsLookupFamily::V4Only,
        (true, false) => DnsLookupFamily::All,
        (false, _) => DnsLookupFamily::V6Only,
    }
}

/// `istio.metadata_exchange` on the connections to an upstream.
pub(super) fn peer_metadata_filter(ctx: &Context<'_>) -> Option<cluster::Filter> {
    ctx.target.has(Part::PeerMetadata).then(|| cluster::Filter {
        name: "istio.metadata_exchange".to_owned(),
        typed_config: Some(peer_exchange()),
        ..cluster::Filter::default()
    })
}

/// The settings of Istio's exchange of metadata over TCP.
pub(crate) fn peer_exchange() -> pb::Any {
    let config = wire::structure([
        ("enable_discovery", wire::flag(true)),
        ("protocol", wire::text("istio-peer-exchange")),
    ]);
    wire::typed_struct("envoy.tcp.metadataexchange.config.MetadataExchange", &config)
}
