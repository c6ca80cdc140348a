//! `TcpProxy`.

use super::{Cx, access_log, wkt};
use crate::base::ledger::At;
use crate::model::listener::TcpProxy;
use crate::observe::metrics::Registry;
use std::sync::Arc;
use std::time::Duration;
use weir_proto::envoy::extensions::filters::network::tcp_proxy::v3 as proto;
use weir_proto::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy as inner;
use weir_proto::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::weighted_cluster::ClusterWeight;
use weir_proto::envoy::r#type::v3::HashPolicy;
use weir_proto::envoy::r#type::v3::hash_policy::PolicySpecifier;

/// Envoy's default of `idle_timeout`.
const IDLE: Duration = Duration::from_secs(3600);

/// A TCP proxy.
pub fn tcp_proxy(cx: &Cx<'_>, at: &At<'_>, message: &proto::TcpProxy) -> Option<Arc<TcpProxy>> {
    crate::ledger!(at, message => proto::TcpProxy { stat_prefix, idle_timeout, access_log, max_connect_attempts,
        hash_policy, max_downstream_connection_duration, access_log_options, upstream_connect_mode,
        cluster_specifier }
        refuse { on_demand, metadata_match, downstream_idle_timeout, upstream_idle_timeout, backoff_options,
            tunneling_config, max_downstream_connection_duration_jitter_percentage, access_log_flush_interval,
            flush_access_log_on_connected, proxy_protocol_tlvs, proxy_protocol_tlv_merge_policy,
            max_early_data_bytes }
        ignore { check_drain_close });
    if let Some(message) = access_log_options {
        let here = at.field("access_log_options");
        crate::ledger!(here, message => inner::TcpAccessLogOptions {}
            refuse { access_log_flush_interval, flush_access_log_on_connected, flush_access_log_on_start });
    }
    if *upstream_connect_mode != proto::UpstreamConnectMode::Immediate as i32 {
        at.field("upstream_connect_mode").unsupported("a mode other than IMMEDIATE");
    }
    let stat_prefix = at.non_empty("stat_prefix", stat_prefix);
    let clusters = at.required("cluster_specifier", cluster_specifier.as_ref());
    let clusters = clusters.and_then(|specifier| clusters_of(at, specifier));
    let max_duration =
        wkt::positive(at, "max_downstream_connection_duration", max_downstream_connection_duration);
    let (stat_prefix, clusters) = (stat_prefix?, clusters?);
    Some(Arc::new(TcpProxy {
        total_weight: clusters.iter().map(|(_, weight)| u64::from(*weight)).sum(),
        clusters,
        idle_timeout: wkt::timeout(at, "idle_timeout", idle_timeout, Some(IDLE)),
        max_duration,
        max_connect_attempts: wkt::u32_in(at, "max_connect_attempts", max_connect_attempts, 1, 1, u32::MAX),
        hash_source_ip: hash(at, hash_policy),
        logs: access_log::logs(cx, at, "access_log", access_log),
        scope: Registry::global().scope(&format!("tcp.{stat_prefix}.")),
        stat_prefix: stat_prefix.into(),
    }))
}

fn clusters_of(at: &At<'_>, specifier: &inner::ClusterSpecifier) -> Option<Box<[(crate::base::Name, u32)]>> {
    let message = match specifier {
        inner::ClusterSpecifier::Cluster(name) => {
            return Some([(at.non_empty("cluster", name)?.into(), 1)].into());
        }
        inner::ClusterSpecifier::WeightedClusters(message) => message,
    };
    let at = &at.field("weighted_clusters");
    crate::ledger!(at, message => inner::WeightedCluster { clusters });
    if clusters.is_empty() {
        at.bad("clusters", "must have at least one entry");
        return None;
    }
    let one = |(i, message): (usize, &ClusterWeight)| {
        let here = at.item("clusters", i);
        crate::ledger!(here, message => ClusterWeight { name, weight } refuse { metadata_match });
        if *weight == 0 {
            here.bad("weight", "must be at least 1");
        }
        Some((here.non_empty("name", name)?.into(), *weight))
    };
    let all: Box<[_]> = clusters.iter().enumerate().filter_map(one).collect();
    let total: u64 = all.iter().map(|(_, weight): &(crate::base::Name, u32)| u64::from(*weight)).sum();
    if total > u64::from(u32::MAX) {
        at.bad("clusters", format!("the sum of weights exceeds {}: {total}", u32::MAX));
    }
    Some(all)
}

/// True when the source address is hashed.
fn hash(at: &At<'_>, policies: &[HashPolicy]) -> bool {
    if policies.len() > 1 {
        at.bad("hash_policy", "may have one entry");
    }
    let Some(policy) = policies.first() else { return false };
    let at = &at.item("hash_policy", 0);
    crate::ledger!(at, policy => HashPolicy { policy_specifier });
    match policy_specifier {
        Some(PolicySpecifier::SourceIp(_)) => true,
        Some(PolicySpecifier::FilterState(_)) => {
            at.field("filter_state").unsupported("hashing filter state");
            false
        }
        None => {
            at.bad("policy_specifier", "must be set");
            false
        }
    }
}
