//! `RouteAction`: forwarding to a cluster.

use super::action_parts as parts;
use super::{Cx, header_ops, matcher, overrides, retry, wkt};
use crate::base::Name;
use crate::base::ledger::At;
use crate::model::route_action::{
    ClusterChoice, Forward, HostRewrite, MaxStreamDuration, PathRewrite, Weighted, WeightedCluster,
    WeightedEntry,
};
use std::time::Duration;
use weir_proto::envoy::config::core::v3::RoutingPriority;
use weir_proto::envoy::config::route::v3 as route;
use weir_proto::envoy::config::route::v3::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier,
    MaxStreamDuration as ProtoMaxDuration,
};
use weir_proto::envoy::config::route::v3::weighted_cluster::{
    ClusterWeight, RandomValueSpecifier, cluster_weight::HostRewriteSpecifier as WeightHost,
};

/// Envoy's default of `timeout`.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Forwarding.
pub fn forward(cx: &Cx<'_>, at: &At<'_>, message: &route::RouteAction) -> Option<Forward> {
    crate::ledger!(at, message => route::RouteAction { cluster_not_found_response_code, prefix_rewrite,
        regex_rewrite, append_x_forwarded_host, timeout, idle_timeout, retry_policy, request_mirror_policies,
        priority, hash_policy, max_grpc_timeout, grpc_timeout_offset, upgrade_configs, max_stream_duration,
        cluster_specifier, host_rewrite_specifier, cors }
        refuse { metadata_match, path_rewrite_policy, path_rewrite, early_data_policy, retry_policy_typed_config,
            rate_limits, include_vh_rate_limits, internal_redirect_policy, internal_redirect_action,
            max_internal_redirects, hedge_policy, flush_timeout });
    parts::refuse_cors(at, cors.is_some());
    let cluster = at.required("cluster_specifier", cluster_specifier.as_ref());
    let cluster = cluster.and_then(|specifier| choice(cx, at, specifier));
    let retry = retry_policy.as_ref().and_then(|m| retry::policy(cx, &at.field("retry_policy"), m));
    let path_rewrite = path_rewrite(cx, at, prefix_rewrite, regex_rewrite.as_ref());
    let host_rewrite = host_rewrite_specifier.as_ref().and_then(|specifier| host(cx, at, specifier));
    let idle = wkt::duration(at, "idle_timeout", idle_timeout);
    let priority = wkt::enumeration::<RoutingPriority>(at, "priority", *priority);
    let offset = wkt::duration(at, "grpc_timeout_offset", grpc_timeout_offset).unwrap_or_default();
    Some(Forward {
        cluster_not_found_status: not_found_status(at, *cluster_not_found_response_code),
        path_rewrite,
        host_rewrite,
        append_x_forwarded_host: *append_x_forwarded_host,
        timeout: wkt::timeout(at, "timeout", timeout, Some(TIMEOUT)),
        idle_timeout: idle,
        max_stream_duration: max_stream_duration
            .as_ref()
            .map(|m| max_duration(&at.field("max_stream_duration"), m)),
        max_grpc_timeout: wkt::duration(at, "max_grpc_timeout", max_grpc_timeout).map(|max| (max, offset)),
        retry,
        mirrors: parts::mirrors(cx, at, request_mirror_policies),
        hash: parts::hash_policies(cx, at, "hash_policy", hash_policy),
        high_priority: priority == Some(RoutingPriority::High),
        upgrades: parts::upgrades(at, upgrade_configs),
        cluster: cluster?,
    })
}

fn not_found_status(at: &At<'_>, code: i32) -> u16 {
    match wkt::enumeration(at, "cluster_not_found_response_code", code) {
        Some(ClusterNotFoundResponseCode::NotFound) => 404,
        Some(ClusterNotFoundResponseCode::InternalServerError) => 500,
        _ => 503,
    }
}

fn choice(cx: &Cx<'_>, at: &At<'_>, specifier: &ClusterSpecifier) -> Option<ClusterChoice> {
    match specifier {
        ClusterSpecifier::Cluster(name) => {
            parts::known_cluster(cx, at, "cluster", name).map(ClusterChoice::Fixed)
        }
        ClusterSpecifier::ClusterHeader(name) => {
            wkt::header_name(at, "cluster_header", name).map(ClusterChoice::Header)
        }
        ClusterSpecifier::WeightedClusters(message) => {
            weighted(cx, &at.field("weighted_clusters"), message).map(ClusterChoice::Weighted)
        }
        ClusterSpecifier::ClusterSpecifierPlugin(_) | ClusterSpecifier::InlineClusterSpecifierPlugin(_) => {
            at.field("cluster_specifier_plugin").unsupported("a cluster specifier plugin");
            None
        }
    }
}

fn weighted(cx: &Cx<'_>, at: &At<'_>, message: &route::WeightedCluster) -> Option<Weighted> {
    crate::ledger!(at, message => route::WeightedCluster { clusters, total_weight, runtime_key_prefix,
        random_value_specifier });
    if clusters.is_empty() {
        at.bad("clusters", "must have at least one entry");
        return None;
    }
    let entries = clusters.iter().enumerate();
    let entries: Box<[_]> =
        entries.filter_map(|(i, m)| entry(cx, &at.item("clusters", i), m, runtime_key_prefix)).collect();
    let total: u64 = entries.iter().map(|entry| u64::from(entry.weight)).sum();
    if let Some(want) = wkt::u32_opt(total_weight) {
        if want == 0 {
            at.bad("total_weight", "must be at least 1");
        } else if u64::from(want) != total {
            at.bad("total_weight", format!("is {want}, the weights of the clusters add up to {total}"));
        }
    }
    if total == 0 && entries.len() == clusters.len() {
        at.bad("clusters", "Sum of weights in the weighted_cluster must be greater than 0.");
        return None;
    }
    if total > u64::from(u32::MAX) {
        at.bad(
            "clusters",
            format!("The sum of weights of all weighted clusters exceeds {}: {total}", u32::MAX),
        );
        return None;
    }
    let (header, use_hash_policy) = match random_value_specifier {
        Some(RandomValueSpecifier::HeaderName(name)) => {
            (Some(wkt::header_name(at, "header_name", name)?), false)
        }
        Some(RandomValueSpecifier::UseHashPolicy(flag)) => (None, flag.value),
        None => (None, false),
    };
    Some(Weighted { entries, total, header, use_hash_policy })
}

fn entry(cx: &Cx<'_>, at: &At<'_>, message: &ClusterWeight, prefix: &str) -> Option<WeightedEntry> {
    crate::ledger!(at, message => ClusterWeight { name, cluster_header, weight, request_headers_to_add,
        request_headers_to_remove, response_headers_to_add, response_headers_to_remove, typed_per_filter_config,
        host_rewrite_specifier } refuse { metadata_match });
    let cluster = match (name.as_str(), cluster_header.as_str()) {
        ("", "") => {
            at.error("one of name and cluster_header must be set");
            None
        }
        (name, "") => parts::known_cluster(cx, at, "name", name).map(WeightedCluster::Fixed),
        ("", header) => wkt::header_name(at, "cluster_header", header).map(WeightedCluster::Header),
        _ => {
            at.error("only one of name and cluster_header may be set");
            None
        }
    };
    let by_runtime = Some(prefix).filter(|p| !p.is_empty());
    let by_runtime = by_runtime.and_then(|p| cx.runtime_u64(&format!("{p}.{name}")));
    if weight.is_none() {
        at.bad("weight", "must be set");
    }
    let lists = header_ops::Lists {
        request_add: request_headers_to_add,
        request_remove: request_headers_to_remove,
        response_add: response_headers_to_add,
        response_remove: response_headers_to_remove,
    };
    let host_rewrite = host_rewrite_specifier.as_ref().and_then(|WeightHost::HostRewriteLiteral(host)| {
        let host = at.non_empty("host_rewrite_literal", at.one_line("host_rewrite_literal", host));
        host.map(|host| host.as_bytes().into())
    });
    Some(WeightedEntry {
        weight: by_runtime
            .map_or(wkt::u32_opt(weight).unwrap_or(0), |w| u32::try_from(w).unwrap_or(u32::MAX)),
        mutations: header_ops::mutations(at, &lists),
        filters: overrides::overrides(cx, at, typed_per_filter_config),
        host_rewrite,
        cluster: cluster?,
    })
}

fn path_rewrite(
    cx: &Cx<'_>,
    at: &At<'_>,
    prefix: &str,
    regex: Option<&weir_proto::envoy::r#type::matcher::v3::RegexMatchAndSubstitute>,
) -> Option<PathRewrite> {
    if !prefix.is_empty() && regex.is_some() {
        at.bad("regex_rewrite", "Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy");
        return None;
    }
    match regex {
        Some(message) => {
            let (regex, replacement) = matcher::substitution(cx, &at.field("regex_rewrite"), message)?;
            Some(PathRewrite::Regex(regex, replacement))
        }
        None if prefix.is_empty() => None,
        None => Some(PathRewrite::Prefix(at.one_line("prefix_rewrite", prefix).as_bytes().into())),
    }
}

fn host(cx: &Cx<'_>, at: &At<'_>, specifier: &HostRewriteSpecifier) -> Option<HostRewrite> {
    match specifier {
        HostRewriteSpecifier::HostRewriteLiteral(text) => {
            let text = at.non_empty("host_rewrite_literal", at.one_line("host_rewrite_literal", text))?;
            Some(HostRewrite::Literal(text.as_bytes().into()))
        }
        HostRewriteSpecifier::AutoHostRewrite(flag) => flag.value.then_some(HostRewrite::Auto),
        HostRewriteSpecifier::HostRewriteHeader(name) => {
            wkt::header_name(at, "host_rewrite_header", name).map(HostRewrite::Header)
        }
        HostRewriteSpecifier::HostRewritePathRegex(message) => {
            let (regex, replacement) =
                matcher::substitution(cx, &at.field("host_rewrite_path_regex"), message)?;
            Some(HostRewrite::PathRegex(regex, replacement))
        }
        HostRewriteSpecifier::HostRewrite(_) => {
            at.field("host_rewrite").unsupported("a host rewrite with a format");
            None
        }
    }
}

fn max_duration(at: &At<'_>, message: &ProtoMaxDuration) -> MaxStreamDuration {
    crate::ledger!(at, message => ProtoMaxDuration { max_stream_duration, grpc_timeout_header_max,
        grpc_timeout_header_offset });
    MaxStreamDuration {
        max: wkt::duration(at, "max_stream_duration", max_stream_duration),
        grpc_timeout_max: wkt::duration(at, "grpc_timeout_header_max", grpc_timeout_header_max),
        grpc_timeout_offset: wkt::duration(at, "grpc_timeout_header_offset", grpc_timeout_header_offset)
            .unwrap_or_default(),
    }
}

/// Names of the clusters that a forwarding action can reach by name.
pub fn clusters(forward: &Forward) -> Vec<Name> {
    let fixed = match &forward.cluster {
        ClusterChoice::Fixed(name) => vec![name.clone()],
        ClusterChoice::Header(_) => Vec::new(),
        ClusterChoice::Weighted(weighted) => {
            let all = weighted.entries.iter().filter_map(|entry| match &entry.cluster {
                WeightedCluster::Fixed(name) => Some(name.clone()),
                WeightedCluster::Header(_) => None,
            });
            all.collect()
        }
    };
    fixed.into_iter().chain(parts::mirror_clusters(&forward.mirrors)).collect()
}
