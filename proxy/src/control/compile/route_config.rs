//! `RouteConfiguration`.

use super::{Cx, action_parts as parts, header_ops, overrides, route_action, virtual_host, wkt};
use crate::base::Name;
use crate::base::ledger::At;
use crate::model::route::{HostIndex, RouteConfig, VirtualHost};
use crate::model::route_action::Action;
use crate::route::index;
use std::collections::BTreeSet;
use std::sync::Arc;
use weir_proto::envoy::config::route::v3 as route;

/// Envoy's default of `max_direct_response_body_size_bytes`.
const DIRECT_BODY: u32 = 4096;
/// Largest value of it that this release takes.
const DIRECT_BODY_MAX: u32 = 16 << 20;

/// A route configuration. `inline`: it stands in a listener, so that `validate_clusters` is on unless said otherwise.
pub fn route_config(
    cx: &Cx<'_>,
    at: &At<'_>,
    message: &route::RouteConfiguration,
    inline: bool,
) -> Option<Arc<RouteConfig>> {
    crate::ledger!(at, message => route::RouteConfiguration { name, virtual_hosts, internal_only_headers,
        response_headers_to_add, response_headers_to_remove, request_headers_to_add, request_headers_to_remove,
        most_specific_header_mutations_wins, validate_clusters, max_direct_response_body_size_bytes,
        request_mirror_policies, ignore_port_in_host_matching, ignore_path_parameters_in_path_matching,
        typed_per_filter_config }
        refuse { vhds, cluster_specifier_plugins, vhost_header, route_specifiers }
        ignore { metadata });
    let unchecked = cx.unchecked();
    let cx = if wkt::flag(validate_clusters, inline) { cx } else { &unchecked };
    let limit = wkt::u32_in(
        at,
        "max_direct_response_body_size_bytes",
        max_direct_response_body_size_bytes,
        DIRECT_BODY,
        0,
        DIRECT_BODY_MAX,
    ) as usize;
    let internal = internal_only_headers.iter().enumerate();
    let internal = internal.filter_map(|(i, name)| {
        let field = at.item("internal_only_headers", i);
        crate::base::names::HeaderName::parse(name).map_err(|error| field.error(error.to_string())).ok()
    });
    let lists = header_ops::Lists {
        request_add: request_headers_to_add,
        request_remove: request_headers_to_remove,
        response_add: response_headers_to_add,
        response_remove: response_headers_to_remove,
    };
    let hosts = virtual_hosts.iter().enumerate();
    let hosts: Box<[Arc<VirtualHost>]> = hosts
        .filter_map(|(i, m)| virtual_host::virtual_host(cx, &at.item("virtual_hosts", i), m, limit))
        .collect();
    unique_names(at, virtual_hosts);
    Some(Arc::new(RouteConfig {
        name: name.as_str().into(),
        hosts: host_index(at, virtual_hosts),
        virtual_hosts: hosts,
        ignore_port_in_host: *ignore_port_in_host_matching,
        ignore_path_parameters: *ignore_path_parameters_in_path_matching,
        mutations: header_ops::mutations(at, &lists),
        most_specific_wins: *most_specific_header_mutations_wins,
        internal_only_headers: internal.collect(),
        filters: overrides::overrides(cx, at, typed_per_filter_config),
        max_direct_response_body: limit,
        mirrors: parts::mirrors(cx, at, request_mirror_policies),
    }))
}

/// Positions are those of the messages; a virtual host that did not compile makes the whole resource fail anyway.
fn host_index(at: &At<'_>, virtual_hosts: &[route::VirtualHost]) -> HostIndex {
    let domains = virtual_hosts.iter().map(|host| host.domains.iter().map(String::as_str));
    match index::hosts(domains) {
        Ok(index) => index,
        Err(index::DuplicateDomain { domain, virtual_host, at: position }) => {
            at.item("virtual_hosts", virtual_host).item("domains", position).error(format!(
                "Only unique values for domains are permitted. Duplicate entry of domain {}",
                domain.to_ascii_lowercase()
            ));
            HostIndex::default()
        }
    }
}

fn unique_names(at: &At<'_>, virtual_hosts: &[route::VirtualHost]) {
    let mut seen = std::collections::HashSet::new();
    for (i, host) in virtual_hosts.iter().enumerate() {
        if !host.name.is_empty() && !seen.insert(host.name.as_str()) {
            let message = format!("Only a single virtual host with name {} is permitted", host.name);
            at.item("virtual_hosts", i).bad("name", message);
        }
    }
}

/// Names of all clusters that the configuration can reach by name.
pub fn clusters(config: &RouteConfig) -> BTreeSet<Name> {
    let mut all: BTreeSet<Name> = parts::mirror_clusters(&config.mirrors).collect();
    for host in &config.virtual_hosts {
        all.extend(parts::mirror_clusters(&host.mirrors));
        for route in &host.routes {
            if let Action::Forward(forward) = &route.action {
                all.extend(route_action::clusters(forward));
            }
        }
    }
    all
}
