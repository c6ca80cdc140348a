//! Clusters of the node's own ports: where a sidecar hands over what was meant for its pod.

use std::collections::BTreeMap;
use std::rc::Rc;

use weir_proto::envoy::config::cluster::v3 as cluster;
use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::config::endpoint::v3 as endpoint;

use super::super::context::Context;
use super::super::node::NodeKind;
use super::super::place::Says;
use super::super::policy::ServiceRule;
use super::super::protocol::Protocol;
use super::super::registry::{Address, Port, Service};
use super::super::wire;
use super::built_in::inbound_source;
use super::connections;
use super::protocol::Upstream;
use crate::diag::Diagnostic;
use crate::kinds::sidecar::{DefaultEndpoint, IngressListener};
use crate::yaml::Span;
use cluster::cluster::{DiscoveryType, LbPolicy};

/// How long the host entry of an inbound connection is kept: for ever (the longest duration of istiod's clock).
const CLEANUP_SECONDS: i64 = 9_223_372_035;
/// Where applications listen when nothing is said.
const LOOPBACK: &str = "127.0.0.1";

/// One port of the node itself.
pub(crate) struct InboundPort<'a> {
    /// The port that connections to the pod are meant for.
    pub target: u32,
    /// The service's port; for a port that the Sidecar declares, that one.
    pub number: u32,
    /// The service's name, else the Sidecar's.
    pub host: String,
    pub protocol: Protocol,
    /// The services that lead there; of several the first decides protocol and policy.
    pub services: Vec<(&'a Service, &'a Port)>,
    /// What the Sidecar says of it, if it declares the ports of the pod.
    pub ingress: Option<&'a IngressListener>,
}

impl InboundPort<'_> {
    /// Where it was declared.
    pub(crate) fn span(&self) -> Option<Span> {
        let service = self.services.first().map(|(service, _)| service.span);
        self.ingress.map(|ingress| ingress.span).or(service)
    }
}

/// `inbound|PORT||`.
pub(crate) fn inbound_name(target: u32) -> String {
    format!("inbound|{target}||")
}

/// The ports of the node itself: those that its Sidecar declares, else those of the endpoints that have its address.
pub(crate) fn inbound_ports<'a>(ctx: &'a Context<'_>) -> Vec<InboundPort<'a>> {
    if ctx.node.kind != NodeKind::Sidecar {
        return Vec::new();
    }
    let mut led = led_ports(ctx);
    let Some(sidecar) = ctx.scope.sidecar.filter(|sidecar| !sidecar.spec.ingress.is_empty()) else {
        return led.into_iter().filter_map(|(target, services)| of_services(target, services)).collect();
    };
    let mut declared: Vec<InboundPort<'a>> = Vec::new();
    for ingress in &sidecar.spec.ingress {
        let Some(target) = ingress.port.number.as_ref().map(|number| number.value) else { continue };
        if declared.iter().any(|port| port.target == target) {
            continue;
        }
        let services = led.remove(&target).unwrap_or_default();
        let host = services.first().map_or_else(
            || format!("{}.{}", sidecar.meta.name.value, sidecar.meta.namespace),
            |(service, _)| service.hostname.clone(),
        );
        let protocol = Protocol::parse(ingress.port.protocol()).unwrap_or(Protocol::Auto);
        declared.push(InboundPort {
            target,
            number: target,
            host,
            protocol,
            services,
            ingress: Some(ingress),
        });
    }
    declared
}

fn of_services<'a>(target: u32, services: Vec<(&'a Service, &'a Port)>) -> Option<InboundPort<'a>> {
    let (service, port) = *services.first()?;
    let (host, number, protocol) = (service.hostname.clone(), port.number, port.protocol);
    Some(InboundPort { target, number, host, protocol, services, ingress: None })
}

/// The ports of the endpoints that have the node's address, and the services that they are of.
fn led_ports<'a>(ctx: &'a Context<'_>) -> BTreeMap<u32, Vec<(&'a Service, &'a Port)>> {
    let mut ports: BTreeMap<u32, Vec<(&Service, &Port)>> = BTreeMap::new();
    let services = ctx.registry.all().iter().map(Rc::as_ref);
    for service in services.filter(|service| service.namespace == ctx.node.namespace) {
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
    for services in ports.values_mut() {
        services.dedup_by(|a, b| std::ptr::eq(a.0, b.0) && a.1 == b.1);
    }
    ports
}

pub(super) fn build(ctx: &Context<'_>) -> Vec<cluster::Cluster> {
    inbound_ports(ctx).iter().map(|port| one(ctx, port)).collect()
}

fn one(ctx: &Context<'_>, inbound: &InboundPort<'_>) -> cluster::Cluster {
    warn_of_differences(ctx, inbound);
    let name = inbound_name(inbound.target);
    let redirected = ctx.is_redirected();
    let backend = backend(ctx, inbound, redirected);
    let kind = if backend.is_some() { DiscoveryType::Static } else { DiscoveryType::OriginalDst };
    let mut built = super::base(&name, kind);
    built.common_lb_config = Some(cluster::cluster::CommonLbConfig::default());
    let first = inbound.services.first();
    let rule = first.map(|(service, _)| ctx.rules.of_service(service, ctx.node)).unwrap_or_default();
    let mut policy = first.map(|(_, port)| rule.effective(port.number, None)).unwrap_or_default();
    policy.pool = ctx.scope.inbound_pool(inbound.target).or(policy.pool);
    let speaks = Upstream::of(ctx, inbound.protocol, &policy, false);
    connections::apply_pool(&mut built, &policy, speaks, None);
    built.metadata = metadata(inbound, &rule);
    if let Some(span) = inbound.span() {
        ctx.locate(&mut built.metadata, Says::Service, span);
    }
    if let Some(span) = rule.span(None).filter(|_| inbound.ingress.is_none()) {
        ctx.locate(&mut built.metadata, Says::Rule, span);
    }
    // Connections to the loopback address are not redirected again.
    let loopback = matches!(&backend, Some(backend) if backend.loopback);
    if redirected && !loopback {
        built.upstream_bind_config = Some(inbound_source(ctx));
    }
    if let Some(backend) = backend {
        built.load_assignment = Some(assignment(&name, backend.address));
    } else {
        built.lb_policy = LbPolicy::ClusterProvided.into();
        built.cleanup_interval =
            Some(weir_proto::google::protobuf::Duration { seconds: CLEANUP_SECONDS, nanos: 0 });
    }
    built
}

fn metadata(inbound: &InboundPort<'_>, rule: &ServiceRule<'_>) -> Option<core::Metadata> {
    if inbound.services.is_empty() {
        return None;
    }
    let mut fields = BTreeMap::new();
    fields.insert("services", super::services_value(inbound.services.iter().map(|(service, _)| *service)));
    // Subsets mean nothing to the pod itself: a rule without a policy does not count.
    if let (Some(path), Some(_)) = (rule.path(), rule.policy) {
        fields.insert("config", wire::text(&path));
    }
    Some(wire::istio_metadata(fields))
}

/// Where the application listens.
struct Backend {
    address: core::Address,
    loopback: bool,
}

/// Where the Sidecar says that the application listens, else on the loopback address; where connections are
/// redirected: at the address that they were meant for (`None`).
fn backend(ctx: &Context<'_>, inbound: &InboundPort<'_>, redirected: bool) -> Option<Backend> {
    let at = |ip: &str, port: u32, loopback| Backend { address: wire::socket_address(ip, port), loopback };
    let declared = inbound.ingress.and_then(|ingress| ingress.default_endpoint.as_ref());
    match declared.and_then(|text| DefaultEndpoint::parse(text)) {
        Some(DefaultEndpoint::Loopback(to)) => Some(at(&to.ip().to_string(), u32::from(to.port()), true)),
        Some(DefaultEndpoint::Pod(port)) => {
            let ip = ctx.node.ips.first().map_or(LOOPBACK, String::as_str);
            Some(at(ip, u32::from(port), false))
        }
        Some(DefaultEndpoint::Socket(path)) => Some(Backend { address: wire::pipe(&path), loopback: false }),
        None if redirected => None,
        None => Some(at(LOOPBACK, inbound.target, true)),
    }
}

fn assignment(cluster: &str, address: core::Address) -> endpoint::ClusterLoadAssignment {
    let address = endpoint::Endpoint { address: Some(address), ..endpoint::Endpoint::default() };
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

fn warn_of_differences(ctx: &Context<'_>, inbound: &InboundPort<'_>) {
    let Some((service, port)) = inbound.services.first().filter(|_| inbound.ingress.is_none()) else {
        return;
    };
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
