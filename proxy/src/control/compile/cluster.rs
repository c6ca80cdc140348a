//! `Cluster`.

use super::balancing::{self, Balancing, Hashing};
use super::upstream_http::{self, Deprecated};
use super::{Cx, address, discovery, endpoints, metadata, network_filters, outlier, source, transport, wkt};
use crate::base::Name;
use crate::base::ledger::At;
use crate::model::cluster::{Assignment, Cluster, Discovery, Dns, LbPolicy};
use crate::model::listener::Keepalive;
use crate::model::pushed::Pushed;
use crate::observe::mesh::Service;
use std::sync::Arc;
use std::time::Duration;
use weir_proto::envoy::config::cluster::v3 as proto;
use weir_proto::envoy::config::cluster::v3::cluster as inner;
use weir_proto::envoy::config::cluster::v3::cluster::common_lb_config as common;

/// Envoy's default of `connect_timeout`.
const CONNECT: Duration = Duration::from_secs(5);
/// Envoy's default of `per_connection_buffer_limit_bytes`.
const BUFFER: u32 = 1 << 20;
/// Envoy's default of `healthy_panic_threshold`.
const PANIC: f64 = 50.0;

/// A cluster.
pub fn cluster(cx: &Cx<'_>, at: &At<'_>, message: &proto::Cluster) -> Option<Arc<Cluster>> {
    crate::ledger!(at, message => proto::Cluster { name, alt_stat_name, connect_timeout, per_connection_buffer_limit_bytes, lb_policy, load_assignment,
        max_requests_per_connection, circuit_breakers, upstream_http_protocol_options,
        common_http_protocol_options, http_protocol_options, http2_protocol_options,
        typed_extension_protocol_options, outlier_detection, upstream_bind_config, common_lb_config,
        transport_socket, transport_socket_matches, filters, metadata, protocol_selection,
        upstream_connection_options, load_balancing_policy, lb_config }
        elsewhere { eds_cluster_config, dns_refresh_rate, dns_jitter, dns_failure_refresh_rate, respect_dns_ttl,
            dns_lookup_family, dns_resolvers, dns_resolution_config, typed_dns_resolver_config,
            cleanup_interval, cluster_discovery_type }
        refuse { transport_socket_matcher, health_checks, use_tcp_for_dns_lookups,
            lb_subset_config, lrs_server, upstream_config, preconnect_policy,
            close_connections_on_host_health_failure, per_connection_buffer_high_watermark_timeout,
            queuing_policies, connection_pool_per_downstream_connection }
        ignore { stats_matcher, wait_for_warm_on_init, ignore_health_on_host_removal, lrs_report_endpoint_metrics,
            track_timeout_budgets, track_cluster_stats });
    let name = at.non_empty("name", name).map(Name::from);
    let sockets = transport::upstream(cx, at, transport_socket.as_ref(), transport_socket_matches);
    let filters = network_filters::upstream(cx, at, filters);
    let own_name = name.clone().unwrap_or_else(|| "".into());
    let discovery = discovery_of(cx, at, message, &own_name);
    let shared = common_lb(cx, at, common_lb_config.as_ref());
    let balancing = match load_balancing_policy {
        Some(message) => balancing::new(&at.field("load_balancing_policy"), message),
        None => balancing::old(at, *lb_policy, lb_config.as_ref(), shared.hashing),
    };
    let assignment = endpoints_of(at, discovery.as_ref(), load_assignment.as_ref());
    let old = Deprecated {
        common: common_http_protocol_options,
        http1: http_protocol_options,
        http2: http2_protocol_options,
        upstream: upstream_http_protocol_options,
        use_downstream: *protocol_selection == inner::ClusterProtocolSelection::UseDownstreamProtocol as i32,
        max_requests: wkt::u32_opt(max_requests_per_connection).filter(|n| *n > 0),
    };
    let http = upstream_http::options(at, typed_extension_protocol_options, &old);
    let source = upstream_bind_config.as_ref();
    let source = source.map_or(cx.default_source, |m| address::bind(&at.field("upstream_bind_config"), m));
    let outlier = outlier_detection.as_ref().map(|m| outlier::outlier(&at.field("outlier_detection"), m));
    let keepalive = connection_options(at, upstream_connection_options.as_ref());
    let connect_timeout = wkt::positive(at, "connect_timeout", connect_timeout).unwrap_or(CONNECT);
    let breakers =
        outlier::circuit_breakers(cx, &at.field("circuit_breakers"), &own_name, circuit_breakers.as_ref());
    let (discovery, balancing) = (discovery?, balancing?);
    check_balancing(at, &discovery, &balancing);
    let live = (cx.live)(&own_name);
    let metadata = metadata::json(metadata);
    let service = Service::of_cluster(&own_name, metadata.as_deref()).map(Arc::new);
    Some(Arc::new(Cluster {
        stat_name: if alt_stat_name.is_empty() { own_name } else { alt_stat_name.as_str().into() },
        discovery,
        assignment,
        connect_timeout,
        lb: balancing.policy,
        slow_start: balancing.slow_start,
        panic_threshold: shared.panic,
        fail_traffic_on_panic: shared.fail_traffic || balancing.fail_traffic_on_panic,
        locality_weighted: shared.locality_weighted || balancing.locality_weighted,
        breakers,
        outlier,
        http: http?,
        sockets,
        filters,
        keepalive,
        source,
        buffer_limit: wkt::u32_opt(per_connection_buffer_limit_bytes).unwrap_or(BUFFER),
        metadata,
        service,
        live,
        name: name?,
    }))
}

/// How the cluster finds its hosts.
// Some of these fields are deprecated and known to control planes all the same.
#[allow(deprecated)]
fn discovery_of(cx: &Cx<'_>, at: &At<'_>, message: &proto::Cluster, name: &Name) -> Option<Discovery> {
    let dns = discovery::DnsFields {
        refresh: &message.dns_refresh_rate,
        jitter: &message.dns_jitter,
        failure: &message.dns_failure_refresh_rate,
        respect_ttl: message.respect_dns_ttl,
        family: message.dns_lookup_family,
        resolvers: &message.dns_resolvers,
        resolution: &message.dns_resolution_config,
        typed: &message.typed_dns_resolver_config,
    };
    let kind = discovery::Kind {
        specifier: message.cluster_discovery_type.as_ref(),
        eds: message.eds_cluster_config.as_ref(),
        cleanup: &message.cleanup_interval,
        lb_config: message.lb_config.as_ref(),
    };
    discovery::discovery(at, name, &kind, &dns).map(|found| with_resolvers(cx, found))
}

/// A cluster with names and no resolvers of its own takes the bootstrap's.
fn with_resolvers(cx: &Cx<'_>, discovery: Discovery) -> Discovery {
    match discovery {
        Discovery::Dns(dns) if dns.resolvers.is_empty() => {
            Discovery::Dns(Dns { resolvers: cx.resolvers.into(), ..dns })
        }
        other => other,
    }
}

fn check_balancing(at: &At<'_>, discovery: &Discovery, balancing: &Balancing) {
    let original = matches!(discovery, Discovery::OriginalDst { .. });
    let provided = balancing.policy == LbPolicy::ClusterProvided;
    if original && !provided {
        at.bad("lb_policy", "a cluster of type ORIGINAL_DST needs the policy CLUSTER_PROVIDED");
    }
    if provided && !original {
        at.bad("lb_policy", "CLUSTER_PROVIDED needs a cluster of type ORIGINAL_DST");
    }
}

fn endpoints_of(
    at: &At<'_>,
    discovery: Option<&Discovery>,
    message: Option<&weir_proto::envoy::config::endpoint::v3::ClusterLoadAssignment>,
) -> Assignment {
    let names = match discovery {
        Some(Discovery::Dns(_)) => endpoints::Names::Resolve,
        Some(Discovery::Static) => endpoints::Names::Refuse,
        Some(Discovery::Eds(_) | Discovery::OriginalDst { .. }) => {
            at.refuse("load_assignment", message.is_some_and(|m| !m.endpoints.is_empty()));
            return Assignment::default();
        }
        None => return Assignment::default(),
    };
    if matches!(discovery, Some(Discovery::Dns(dns)) if dns.logical) {
        let localities = message.map(|m| m.endpoints.as_slice()).unwrap_or_default();
        if !matches!(localities, [only] if only.lb_endpoints.len() == 1) {
            at.bad(
                "load_assignment",
                "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint",
            );
        }
    }
    message.map(|m| endpoints::assignment(&at.field("load_assignment"), m, names)).unwrap_or_default()
}

/// `common_lb_config`, compiled.
struct Shared {
    panic: u32,
    fail_traffic: bool,
    locality_weighted: bool,
    hashing: Hashing,
}

fn common_lb(cx: &Cx<'_>, at: &At<'_>, message: Option<&inner::CommonLbConfig>) -> Shared {
    let by_runtime = cx.runtime_u64("upstream.healthy_panic_threshold").map(|p| p.min(100) as f64);
    let whole = |percent: f64| percent.clamp(0.0, 100.0) as u32;
    let mut found = Shared {
        panic: whole(by_runtime.unwrap_or(PANIC)),
        fail_traffic: false,
        locality_weighted: false,
        hashing: Hashing::default(),
    };
    let Some(message) = message else { return found };
    let at = &at.field("common_lb_config");
    crate::ledger!(at, message => inner::CommonLbConfig { healthy_panic_threshold, consistent_hashing_lb_config,
        locality_config_specifier }
        refuse { override_host_status, close_connections_on_host_set_change, ignore_new_hosts_until_first_hc }
        ignore { update_merge_window });
    let threshold = wkt::percent(at, "healthy_panic_threshold", healthy_panic_threshold);
    found.panic = whole(by_runtime.or(threshold).unwrap_or(PANIC));
    if let Some(message) = consistent_hashing_lb_config {
        let here = at.field("consistent_hashing_lb_config");
        crate::ledger!(here, message => common::ConsistentHashingLbConfig { use_hostname_for_hashing,
            hash_balance_factor });
        found.hashing = Hashing {
            use_hostname: *use_hostname_for_hashing,
            balance_factor: balancing::factor(&here, "hash_balance_factor", hash_balance_factor),
        };
    }
    match locality_config_specifier {
        Some(common::LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => found.locality_weighted = true,
        Some(common::LocalityConfigSpecifier::ZoneAwareLbConfig(message)) => {
            let here = at.field("zone_aware_lb_config");
            crate::ledger!(here, message => common::ZoneAwareLbConfig { routing_enabled, fail_traffic_on_panic }
                ignore { min_cluster_size });
            balancing::zone_aware(&here, routing_enabled);
            found.fail_traffic = *fail_traffic_on_panic;
        }
        None => {}
    }
    found
}

fn connection_options(at: &At<'_>, message: Option<&proto::UpstreamConnectionOptions>) -> Option<Keepalive> {
    let message = message?;
    let at = &at.field("upstream_connection_options");
    crate::ledger!(at, message => proto::UpstreamConnectionOptions { tcp_keepalive }
        ignore { set_local_interface_name_on_upstream_connections, happy_eyeballs_config });
    tcp_keepalive.as_ref().map(address::keepalive)
}

/// EDS endpoints come from whatever feeds this proxy.
pub fn eds_service(at: &At<'_>, name: &Name, message: Option<&inner::EdsClusterConfig>) -> Option<Pushed> {
    let message = at.required("eds_cluster_config", message)?;
    let at = &at.field("eds_cluster_config");
    let inner::EdsClusterConfig { eds_config, service_name } = message;
    let (source, fetch) = source::pushed(&at.field("eds_config"), eds_config.as_ref());
    Some(Pushed {
        name: if service_name.is_empty() { name.clone() } else { service_name.as_str().into() },
        source,
        fetch,
    })
}
