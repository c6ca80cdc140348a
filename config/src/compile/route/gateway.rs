//! Route configurations of a gateway: one per plain port, one per server with TLS.

use std::collections::{BTreeMap, BTreeSet};

use weir_proto::envoy::config::route::v3 as route;

use super::super::context::Context;
use super::super::gateways;
use super::super::host;
use super::super::server::{Protocol, Server};
use super::super::target::Part;
use super::place::Place;
use super::rule;

pub(super) fn build(ctx: &Context<'_>) -> Vec<route::RouteConfiguration> {
    let mut by_name: BTreeMap<String, Vec<Server<'_>>> = BTreeMap::new();
    for server in gateways::by_port(ctx).into_values().flatten() {
        if server.protocol == Protocol::Https && !ctx.target.has(Part::DownstreamTls) {
            continue;
        }
        if let Some(name) = server.route_name() {
            by_name.entry(name).or_default().push(server);
        }
    }
    by_name
        .into_iter()
        .map(|(name, servers)| super::configuration(&name, virtual_hosts(ctx, &servers)))
        .collect()
}

/// Virtual hosts by the hosts that servers and VirtualServices have in common.
fn virtual_hosts(ctx: &Context<'_>, servers: &[Server<'_>]) -> Vec<route::VirtualHost> {
    let services = ctx.services().into_iter().map(|service| (service.hostname.as_str(), service)).collect();
    let port = servers.first().map_or(0, |server| server.port);
    let mut hosts: Vec<(String, route::VirtualHost)> = Vec::new();
    // A VirtualService may be bound to several Gateways of one port: it serves a host once.
    let mut served: BTreeSet<(String, String)> = BTreeSet::new();
    for server in servers {
        let (redirects, port) = (server.redirects_to_https(), server.port);
        for from in ctx.virtual_services.bound_to(&server.gateway, &ctx.node.namespace) {
            let common = host::intersection(&server.hosts_for(&from.namespace), &from.host_names());
            if common.is_empty() {
                continue;
            }
            let tls = server.protocol == Protocol::Https;
            let place = Place { gateway: &server.gateway, port, tls, services: &services };
            let routes = rule::routes(ctx, from, &place);
            if routes.is_empty() {
                continue;
            }
            for name in common {
                if !served.insert((name.clone(), from.path())) {
                    continue;
                }
                match hosts.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, built)) => {
                        built.routes.extend(routes.iter().cloned());
                        require_tls(built, redirects);
                    }
                    None => {
                        let mut built = host_of(&name, port, routes.clone());
                        require_tls(&mut built, redirects);
                        hosts.push((name, built));
                    }
                }
            }
        }
        for (_, name) in server.hosts.iter().filter(|_| redirects) {
            match hosts.iter_mut().find(|(known, _)| known == name) {
                Some((_, built)) => require_tls(built, true),
                None => {
                    let mut built = host_of(name, port, Vec::new());
                    require_tls(&mut built, true);
                    hosts.push((name.clone(), built));
                }
            }
        }
    }
    if hosts.is_empty() {
        return vec![route::VirtualHost {
            name: format!("blackhole:{port}"),
            domains: vec!["*".to_owned()],
            ..route::VirtualHost::default()
        }];
    }
    let mut merged = merge(hosts.into_iter().map(|(_, built)| built));
    merged.sort_by(|a, b| a.name.cmp(&b.name));
    merged
}

fn host_of(name: &str, port: u32, routes: Vec<route::Route>) -> route::VirtualHost {
    super::virtual_host(format!("{name}:{port}"), vec![name.to_owned()], routes)
}

fn require_tls(built: &mut route::VirtualHost, redirects: bool) {
    if redirects {
        built.require_tls = route::virtual_host::TlsRequirementType::All.into();
    }
}

/// Virtual hosts that say the same become one with all of their names. In each, routes that take every request
/// go last: those of another VirtualService would never be reached.
fn merge(hosts: impl Iterator<Item = route::VirtualHost>) -> Vec<route::VirtualHost> {
    let mut merged: Vec<route::VirtualHost> = Vec::new();
    for mut host in hosts {
        host.routes.sort_by_key(super::takes_all);
        let same = merged.iter_mut().find(|known| {
            !host.routes.is_empty() && known.routes == host.routes && known.require_tls == host.require_tls
        });
        match same {
            Some(known) => known.domains.append(&mut host.domains),
            None => merged.push(host),
        }
    }
    merged
}
