//! Clusters of the node's own ports: where a sidecar hands over what was meant for its pod.

use std::collections::BTreeMap;

use weir_proto::envoy::config::cluster::v3 as cluster;
use weir_proto::envoy::config::endpoint::v3 as endpoint;

use super::super::context::Context;
use super::super::node::{Interception, NodeKind};
use super::super::registry::{Address, Port, Service};
use super::super::target::Part;
use super::super::wire;
use super::built_in::inbound_source;
use super::connections;
use super::protocol::Upstream;
use crate::diag::Diagnostic;
use cluster::cluster::{DiscoveryType, LbPolicy};

/// How long the host entry of an inbound connection is kept: for ever (the longest duration of istiod's clock).
const CLEANUP_SECONDS: i64 = 9_223_372_035;

/// One port of the node itself.
pub(crate) struct InboundPort<'a> {
    /// The port the pod listens on.
    pub target: u32,
    /// The services that lead there; the first decides protocol and policy.
    pub services: Vec<(&'a Service, &'a Port)>,
}

/// `inbound|PORT||`.
pub(crate) fn inbound_name(target: u32) -> String {
    format!("inbound|{target}||")
}

/// The ports of the node itself, by the endpoints that have its address.
pub(crate) fn inbound_ports<'a>(ctx: &'a Context<'_>) -> Vec<InboundPort<'a>> {
    if ctx.node.kind != NodeKind::Sidecar {
        return Vec::new();
    }
    let mut ports: BTreeMap<u32, Vec<(&Service, &Port)>> = BTreeMap::new();
    let services = ctx.registry.all().iter().filter(|service| service.namespace == ctx.node.namespace);
    for service in services {
        for one in &service.endpoints {
            let Address::Ip(ip) = &one.address else {
                continue;
            };
            if !ctx.node.ips.contains(ip) {
                continue;
            }
            for (number, target) in &one.ports {
                if let Some(port) = service.port(*number) {
                    ports.entry(*target).or_default().push((service, port));
                }
            }
        }
    }
    let ports = ports.into_iter().map(|(target, mut services)| {
        services.dedup_by(|a, b| std::ptr::eq(a.0, b.0) && a.1 == b.1);
        InboundPort { target, services }
    });
    ports.collect()
}

pub(super) fn build(ctx: &Context<'_>) -> Vec<cluster::Cluster> {
    inbound_ports(ctx).iter().filter_map(|port| one(ctx, port)).collect()
}

fn one(ctx: &Context<'_>, inbound: &InboundPort<'_>) -> Option<cluster::Cluster> {
    let (service, port) = inbound.services.first()?;
    warn_of_differences(ctx, inbound, service, port);
    let name = inbound_name(inbound.target);
    let redirected = ctx.node.interception != Interception::None && ctx.target.has(Part::Interception);
    let kind = if redirected { DiscoveryType::OriginalDst } else { DiscoveryType::Static };
    let mut built = super::base(&name, kind);
    built.common_lb_config = Some(cluster::cluster::CommonLbConfig::default());
    let rule = ctx.rules.of_service(service, ctx.node);
    let policy = rule.effective(port.number, None);
    let speaks = Upstream::of(ctx, port.protocol, &policy, false);
    connections::apply_pool(&mut built, &policy, speaks, None);
    let mut fields = BTreeMap::new();
    fields.insert("services", super::services_value(inbound.services.iter().map(|(service, _)| *service)));
    // Subsets mean nothing to the pod itself: a rule without a policy does not count.
    if let (Some(path), Some(_)) = (rule.path(), rule.policy) {
        fields.insert("config", wire::text(&path));
    }
    built.metadata = Some(wire::istio_metadata(fields));
    if redirected {
        built.lb_policy = LbPolicy::ClusterProvided.into();
        built.cleanup_interval =
            Some(weir_proto::google::protobuf::Duration { seconds: CLEANUP_SECONDS, nanos: 0 });
        built.upstream_bind_config = Some(inbound_source(ctx));
    } else {
        built.load_assignment = Some(local(&name, inbound.target));
    }
    Some(built)
}

/// The application beside the proxy.
fn local(cluster: &str, port: u32) -> endpoint::ClusterLoadAssignment {
    let address = endpoint::Endpoint {
        address: Some(wire::socket_address("127.0.0.1", port)),
        ..endpoint::Endpoint::default()
    };
    let one = endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(address)),
        ..endpoint::LbEndpoint::default()
    };
    endpoint::ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: vec![one],
            ..endpoint::LocalityLbEndpoints::default()
        }],
        ..endpoint::ClusterLoadAssignment::default()
    }
}

fn warn_of_differences(ctx: &Context<'_>, inbound: &InboundPort<'_>, service: &Service, port: &Port) {
    for (other, other_port) in inbound.services.iter().skip(1) {
        if other_port.protocol != port.protocol {
            let message = format!(
                "{} and {} lead to port {} of the same pod with different protocols: that of {} is taken",
                service.hostname, other.hostname, inbound.target, service.hostname
            );
            ctx.report(Diagnostic::warning("protocols-differ", message), other.span);
        }
    }
}
