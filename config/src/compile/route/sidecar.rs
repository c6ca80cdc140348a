//! Route configurations of a sidecar: one per port with HTTP, one per service port of undeclared protocol.

use std::collections::{BTreeMap, BTreeSet};

use weir_proto::envoy::config::route::v3 as route;

use super::super::cluster::outbound_name;
use super::super::context::Context;
use super::super::host::by_specificity;
use super::super::place::Says;
use super::super::protocol::Protocol;
use super::super::registry::{Port, Service};
use super::super::scope::Egress;
use super::super::target::Part;
use super::super::virtual_service::{MESH, VirtualService};
use super::place::Place;
use super::rule;
use super::{domains, retry};
use crate::world::{host_covers, is_wildcard};

/// The port on which hosts that no service has are served too: Istio's convention for plain HTTP.
const HTTP_PORT: u32 = 80;

/// How a service port is listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// HTTP, together with all other HTTP services of the port.
    Http,
    /// HTTP or not, told apart by the first bytes.
    Detected,
    /// TLS, told apart by SNI.
    Tls,
    /// Opaque bytes.
    Tcp,
    /// Not at all (UDP).
    Skipped,
}

/// How a service port is listened on.
pub(crate) fn shape(ctx: &Context<'_>, protocol: Protocol) -> Shape {
    match protocol {
        protocol if protocol.is_http() => Shape::Http,
        // Without detection a port of undeclared protocol is taken for what most of them are.
        Protocol::Auto if ctx.target.has(Part::Interception) => Shape::Detected,
        Protocol::Auto => Shape::Http,
        protocol if protocol.is_tls() => Shape::Tls,
        Protocol::Udp => Shape::Skipped,
        _ => Shape::Tcp,
    }
}

pub(super) fn build(ctx: &Context<'_>) -> Vec<route::RouteConfiguration> {
    let mut ports = BTreeSet::new();
    let mut built: BTreeMap<String, route::RouteConfiguration> = BTreeMap::new();
    for egress in &ctx.scope.egress {
        for service in egress.services() {
            for port in &service.ports {
                match shape(ctx, port.protocol) {
                    Shape::Http => {
                        ports.insert(port.number);
                    }
                    // A service with an address of its own is found by it; others share the port with HTTP services.
                    Shape::Detected if has_address(ctx, egress, service) => {
                        let one = of_detected(ctx, egress, service, port);
                        built.extend(one.map(|one| (one.name.clone(), one)));
                    }
                    Shape::Detected => {
                        ports.insert(port.number);
                    }
                    Shape::Tls | Shape::Tcp | Shape::Skipped => {}
                }
            }
        }
    }
    for port in ports {
        let Some(egress) = ctx.scope.egress_of(port) else { continue };
        let services: Vec<&Service> = egress.services().collect();
        let mut hosts = virtual_hosts(ctx, egress, port, &services);
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        hosts.push(catch_all(ctx));
        built.insert(port.to_string(), super::configuration(&port.to_string(), hosts));
    }
    built.into_values().collect()
}

/// Whether a listener of its own is found by address.
fn has_address(ctx: &Context<'_>, egress: &Egress<'_>, service: &Service) -> bool {
    egress.bind().is_some() || egress.is_bound(ctx.node) || service.vips().next().is_some()
}

/// One service by itself: whatever name it is asked by.
fn of_detected<'w>(
    ctx: &Context<'w>,
    egress: &Egress<'w>,
    service: &Service,
    port: &Port,
) -> Option<route::RouteConfiguration> {
    let name = format!("{}:{}", service.hostname, port.number);
    let mut own =
        virtual_hosts(ctx, egress, port.number, &[service]).into_iter().find(|host| host.name == name)?;
    own.domains = vec!["*".to_owned()];
    Some(super::configuration(&name, vec![own]))
}

/// What is not known passes through, where the Sidecar does not refuse it.
fn catch_all(ctx: &Context<'_>) -> route::VirtualHost {
    if let Some(unknown) = ctx.scope.unknown.as_deref().filter(|_| ctx.target.has(Part::Interception)) {
        let passes = super::everything("allow_any", unknown);
        return super::virtual_host("allow_any".to_owned(), vec!["*".to_owned()], vec![passes]);
    }
    // Without interception the address that the client wanted is the proxy's own: there is nowhere to go.
    let refuses = route::Route {
        name: "block_all".to_owned(),
        r#match: Some(super::matches::any()),
        action: Some(route::route::Action::DirectResponse(route::DirectResponseAction {
            status: 502,
            ..route::DirectResponseAction::default()
        })),
        ..route::Route::default()
    };
    super::virtual_host("block_all".to_owned(), vec!["*".to_owned()], vec![refuses])
}

/// The virtual hosts of a port: what VirtualServices say first, then the services that none speaks of.
fn virtual_hosts<'w>(
    ctx: &Context<'w>,
    egress: &Egress<'w>,
    port: u32,
    services: &[&Service],
) -> Vec<route::VirtualHost> {
    let here: BTreeMap<&str, &Service> = services
        .iter()
        .filter(|service| {
            service
                .port(port)
                .is_some_and(|port| matches!(shape(ctx, port.protocol), Shape::Http | Shape::Detected))
        })
        .map(|service| (service.hostname.as_str(), *service))
        .collect();
    let rules = ctx.rules_of(egress);
    let mut list = List { ctx, port, here: &here, taken: BTreeSet::new(), hosts: Vec::new() };
    for one in &rules {
        let (known, unknown) = split(one, &rules, &here);
        if known.is_empty() && port != HTTP_PORT {
            continue;
        }
        let place = Place { gateway: MESH, port, tls: false, services: &here };
        let routes = rule::routes(ctx, one, &place);
        if routes.is_empty() {
            continue;
        }
        for host in unknown {
            list.add(&host, vec![host.clone()], &routes);
        }
        for service in known {
            list.add(&service.hostname, domains::of_service(ctx, service), &routes);
        }
    }
    for service in here.values() {
        let name = format!("{}:{port}", service.hostname);
        if !list.hosts.iter().any(|host| host.name == name) {
            list.add(&service.hostname, domains::of_service(ctx, service), &[plain(ctx, service, port)]);
        }
    }
    list.hosts
}

/// The virtual hosts of one port while they are collected.
struct List<'a, 'w> {
    ctx: &'a Context<'w>,
    port: u32,
    here: &'a BTreeMap<&'a str, &'a Service>,
    /// Names that are given away.
    taken: BTreeSet<String>,
    hosts: Vec<route::VirtualHost>,
}

impl List<'_, '_> {
    /// Adds a virtual host with those of the names that no other has: neither an earlier virtual host, nor a
    /// service whose full name it is.
    fn add(&mut self, host: &str, domains: Vec<String>, routes: &[route::Route]) {
        let name = format!("{host}:{}", self.port);
        if self.hosts.iter().any(|known| known.name == name) {
            return;
        }
        let free = |domain: &String| {
            !self.taken.contains(domain) && (domain == host || !self.here.contains_key(domain.as_str()))
        };
        let domains: Vec<String> = domains.into_iter().filter(free).collect();
        if domains.is_empty() {
            return;
        }
        self.taken.extend(domains.iter().cloned());
        let mut built = super::virtual_host(name, domains, routes.to_vec());
        built.include_request_attempt_count = self.ctx.node.kind == super::NodeKind::Sidecar;
        self.hosts.push(built);
    }
}

/// The services of the port that a VirtualService speaks of, and those of its hosts that none has. A wildcard
/// speaks of the services that no VirtualService names more narrowly.
fn split<'a>(
    one: &VirtualService<'_>,
    all: &[&VirtualService<'_>],
    here: &BTreeMap<&str, &'a Service>,
) -> (Vec<&'a Service>, Vec<String>) {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for (host, _) in &one.hosts {
        if !is_wildcard(host) {
            match here.get(host.as_str()) {
                Some(service) => known.push(*service),
                None => unknown.push(host.clone()),
            }
            continue;
        }
        let covered: Vec<&'a Service> =
            here.values().copied().filter(|service| host_covers(host, &service.hostname)).collect();
        if covered.is_empty() {
            unknown.push(host.clone());
        }
        known.extend(
            covered.into_iter().filter(|service| narrowest(all, &service.hostname) == Some(host.as_str())),
        );
    }
    (known, unknown)
}

/// The narrowest host of any VirtualService that takes in a name.
fn narrowest<'a>(all: &'a [&VirtualService<'_>], name: &str) -> Option<&'a str> {
    let hosts = all.iter().flat_map(|one| &one.hosts).map(|(host, _)| host.as_str());
    hosts.filter(|host| host_covers(host, name)).min_by(|a, b| by_specificity(a, b))
}

/// A service without rules: all requests go to it.
fn plain(ctx: &Context<'_>, service: &Service, port: u32) -> route::Route {
    let mut built = super::everything("default", &outbound_name(port, "", &service.hostname));
    let rules = ctx.rules.of_service(service, ctx.node);
    if let Some(route::route::Action::Route(action)) = &mut built.action {
        let hash = super::hash::of_destination(&rules, None, Some(port));
        ctx.locate(&mut built.metadata, Says::Rule, hash.map_or(service.span, |hash| hash.span));
        action.hash_policy.extend(hash.and_then(super::hash::of_policy));
        action.retry_policy = retry::translate(ctx, None, !action.hash_policy.is_empty());
    }
    let operation = rule::operation(&built, &service.hostname, port);
    built.decorator = Some(route::Decorator { operation, propagate: None });
    built
}
