//! `loadBalancer` of a DestinationRule.

use weir_proto::envoy::config::cluster::v3 as cluster;
use weir_proto::envoy::config::core::v3 as core;

use super::super::locality::LocalityPolicy;
use super::super::policy::Policy;
use super::super::wire;
use crate::kinds::load_balancer::{ConsistentHash, LoadBalancer, SimpleLb};
use crate::yaml::Spanned;
use cluster::cluster::{LbConfig, LbPolicy, SlowStartConfig};

/// Least number of entries of a hash ring when the rule gives none (Istio).
const DEFAULT_RING_SIZE: u32 = 1024;
/// Part of its weight a new endpoint begins with when the rule gives none, in percent (Istio).
const DEFAULT_WARMUP_PERCENT: f64 = 10.0;

/// Applies the balancing policy.
pub(super) fn apply(built: &mut cluster::Cluster, policy: &Policy<'_>) {
    built.lb_policy = LbPolicy::LeastRequest.into();
    let Some(balancer) = policy.load_balancer else {
        return;
    };
    if let Some(hash) = &balancer.consistent_hash {
        apply_hash(built, hash);
        return;
    }
    built.lb_policy = match balancer.simple.as_ref().map(|simple| simple.value) {
        Some(SimpleLb::Random) => LbPolicy::Random,
        Some(SimpleLb::RoundRobin) => LbPolicy::RoundRobin,
        // Where PASSTHROUGH can be obeyed, the cluster is of another type.
        Some(
            SimpleLb::LeastRequest | SimpleLb::LeastConn | SimpleLb::Unspecified | SimpleLb::Passthrough,
        )
        | None => LbPolicy::LeastRequest,
    }
    .into();
    let Some(warmup) = slow_start(balancer) else {
        return;
    };
    let is = |policy: LbPolicy| built.lb_policy == i32::from(policy);
    if is(LbPolicy::LeastRequest) {
        let config =
            cluster::cluster::LeastRequestLbConfig { slow_start_config: Some(warmup), ..Default::default() };
        built.lb_config = Some(LbConfig::LeastRequestLbConfig(config));
    } else if is(LbPolicy::RoundRobin) {
        let config = cluster::cluster::RoundRobinLbConfig { slow_start_config: Some(warmup) };
        built.lb_config = Some(LbConfig::RoundRobinLbConfig(config));
    }
}

/// Whether the rule asks for the address the client wanted.
pub(super) fn passthrough<'w>(policy: &Policy<'w>) -> Option<&'w Spanned<SimpleLb>> {
    let simple = policy.load_balancer.and_then(|balancer| balancer.simple.as_ref());
    simple.filter(|simple| simple.value == SimpleLb::Passthrough)
}

fn apply_hash(built: &mut cluster::Cluster, hash: &ConsistentHash) {
    if let Some(maglev) = &hash.maglev {
        built.lb_policy = LbPolicy::Maglev.into();
        if let Some(size) = maglev.table_size.as_ref().filter(|size| size.value > 0) {
            let table_size = Some(wire::u64v(u64::from(size.value)));
            built.lb_config = Some(LbConfig::MaglevLbConfig(cluster::cluster::MaglevLbConfig { table_size }));
        }
        return;
    }
    built.lb_policy = LbPolicy::RingHash.into();
    let size = match &hash.ring_hash {
        Some(ring) => ring.minimum_ring_size.as_ref().map(|size| size.value).filter(|size| *size > 0),
        None => Some(hash.minimum_ring_size.as_ref().map_or(DEFAULT_RING_SIZE, |size| size.value)),
    };
    let config = cluster::cluster::RingHashLbConfig {
        minimum_ring_size: size.map(|size| wire::u64v(u64::from(size))),
        ..cluster::cluster::RingHashLbConfig::default()
    };
    built.lb_config = Some(LbConfig::RingHashLbConfig(config));
}

fn slow_start(balancer: &LoadBalancer) -> Option<SlowStartConfig> {
    let (window, least, aggression) = match (&balancer.warmup, &balancer.warmup_duration_secs) {
        (Some(warmup), _) => (
            warmup.duration.value,
            warmup.minimum_percent.as_ref().map(|percent| percent.value),
            warmup.aggression.as_ref().map(|aggression| aggression.value),
        ),
        (None, Some(window)) => (window.value, None, None),
        (None, None) => return None,
    };
    Some(SlowStartConfig {
        slow_start_window: Some(wire::duration(window)),
        aggression: aggression
            .map(|default_value| core::RuntimeDouble { default_value, runtime_key: String::new() }),
        min_weight_percent: Some(wire::percent(least.unwrap_or(DEFAULT_WARMUP_PERCENT))),
    })
}

/// How the rule treats localities. Failover takes effect only with outlier detection.
pub(super) fn locality<'w>(policy: &Policy<'w>) -> LocalityPolicy<'w> {
    let setting = policy.load_balancer.and_then(|balancer| balancer.locality_lb_setting.as_ref());
    let outliers = policy.outliers.is_some();
    let Some(setting) = setting else {
        // The mesh's own setting is on, without rules: nearest first, where failures are noticed.
        return if outliers { LocalityPolicy::Failover(Vec::new()) } else { LocalityPolicy::None };
    };
    if setting.enabled.as_ref().is_some_and(|enabled| !enabled.value) {
        return LocalityPolicy::None;
    }
    if !setting.distribute.is_empty() {
        let rules = setting.distribute.iter().map(|rule| (rule.from.as_str(), &rule.to));
        return LocalityPolicy::Distribute(rules.collect());
    }
    if !outliers {
        return LocalityPolicy::None;
    }
    if !setting.failover_priority.is_empty() {
        let labels = setting.failover_priority.iter().map(|label| label.as_str());
        return LocalityPolicy::FailoverByLabels(labels.collect());
    }
    let regions = setting.failover.iter().map(|rule| (rule.from.as_str(), rule.to.as_str()));
    LocalityPolicy::Failover(regions.collect())
}

/// Marks a cluster as weighted by locality where the rule asks for it.
pub(super) fn apply_locality(built: &mut cluster::Cluster, locality: &LocalityPolicy<'_>) {
    let weighted = match locality {
        LocalityPolicy::None => false,
        LocalityPolicy::Distribute(_) | LocalityPolicy::FailoverByLabels(_) => true,
        LocalityPolicy::Failover(regions) => !regions.is_empty(),
    };
    if weighted {
        built.common_lb_config.get_or_insert_default().locality_config_specifier =
            Some(cluster::cluster::common_lb_config::LocalityConfigSpecifier::LocalityWeightedLbConfig(
                cluster::cluster::common_lb_config::LocalityWeightedLbConfig {},
            ));
    }
}
