//! Load-balancing settings of DestinationRules.

use super::{Findings, Registry};
use crate::kinds::load_balancer::{ConsistentHash, LoadBalancer, LocalityLb};
use crate::world::World;

/// Largest ring (Envoy's RingHashLbConfig.maximum_ring_size).
const MAX_RING: u32 = 8 << 20;
/// Largest table of Maglev (Envoy's MaglevLbConfig.table_size).
const MAX_TABLE: u32 = 5_000_011;

pub(super) fn check(world: &World, _: &Registry<'_>, findings: &mut Findings<'_>) {
    for rule in &world.destination_rules {
        let subsets = rule.spec.subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref());
        for policy in rule.spec.traffic_policy.iter().chain(subsets) {
            let ports = policy.port_level_settings.iter().filter_map(|port| port.load_balancer.as_ref());
            for balancer in policy.load_balancer.iter().chain(ports) {
                one(balancer, findings);
                if let Some(locality) = &balancer.locality_lb_setting {
                    self::locality(locality, policy.outlier_detection.is_some(), findings);
                }
            }
        }
    }
}

fn one(balancer: &LoadBalancer, findings: &mut Findings<'_>) {
    if let (Some(simple), Some(_)) = (&balancer.simple, &balancer.consistent_hash) {
        let message = "a load balancer is one of simple, consistentHash";
        findings.error("one-of", simple.span, message, "keep one of them");
    }
    balancer.consistent_hash.iter().for_each(|hash| self::hash(hash, findings));
    if let (Some(old), Some(_)) = (&balancer.warmup_duration_secs, &balancer.warmup) {
        let message = "warmupDurationSecs and warmup exclude each other";
        findings.error("one-of", old.span, message, "keep `warmup`");
    }
    if let Some(warmup) = &balancer.warmup {
        let share = warmup.minimum_percent.as_ref().filter(|share| !(0.0..=100.0).contains(&share.value));
        if let Some(share) = share {
            findings.error(
                "out-of-range",
                share.span,
                "minimumPercent must be between 0 and 100",
                "write a value between 0 and 100",
            );
        }
        if let Some(curve) = warmup.aggression.as_ref().filter(|curve| curve.value < 1.0) {
            findings.error(
                "out-of-range",
                curve.span,
                "aggression must be 1 or more",
                "write a value of 1 or more",
            );
        }
    }
}

fn hash(hash: &ConsistentHash, findings: &mut Findings<'_>) {
    let keys = usize::from(hash.http_header_name.is_some())
        + usize::from(hash.http_cookie.is_some())
        + usize::from(hash.use_source_ip.as_ref().is_some_and(|on| on.value))
        + usize::from(hash.http_query_parameter_name.is_some());
    if keys != 1 {
        let message = "consistentHash hashes exactly one thing";
        let remedy = "keep or add one of: httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName";
        findings.error("one-of", hash.span, message, remedy);
    }
    if hash.ring_hash.is_some() && hash.maglev.is_some() {
        findings.error(
            "one-of",
            hash.span,
            "consistentHash uses one of ringHash, maglev",
            "keep one of them",
        );
    }
    let ring = hash
        .ring_hash
        .as_ref()
        .and_then(|ring| ring.minimum_ring_size.as_ref())
        .or(hash.minimum_ring_size.as_ref());
    if let Some(size) = ring.filter(|size| size.value > MAX_RING) {
        let message = format!("a ring of {size} is too large");
        findings.error("out-of-range", size.span, message, format!("write {MAX_RING} or less"));
    }
    if let Some(size) = hash.maglev.as_ref().and_then(|maglev| maglev.table_size.as_ref())
        && (size.value > MAX_TABLE || !is_prime(size.value))
    {
        let message =
            format!("the size of Maglev's table must be a prime of at most {MAX_TABLE}, this is {size}");
        findings.error("out-of-range", size.span, message, "65537 is a good one");
    }
}

/// By trial division; the caller bounds the number.
fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..)
            .take_while(|divisor: &u32| divisor.saturating_mul(*divisor) <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

fn locality(locality: &LocalityLb, outlier: bool, findings: &mut Findings<'_>) {
    let set = usize::from(!locality.distribute.is_empty())
        + usize::from(!locality.failover.is_empty() || !locality.failover_priority.is_empty());
    if set > 1 {
        let message = "localityLbSetting is one of distribute, failover";
        findings.error("one-of", locality.span, message, "keep one of them");
    }
    for part in &locality.distribute {
        let sum: u64 = part.to.values().map(|share| u64::from(share.value)).sum();
        if sum != 100 {
            let message = format!("the shares of `{}` sum up to {sum}, not to 100", part.from);
            findings.error("weights-sum", part.span, message, "make them sum up to 100");
        }
    }
    for part in locality.failover.iter().filter(|part| part.from == part.to) {
        let message = format!("`{}` fails over to itself", part.from);
        findings.error("no-effect", part.span, message, "name another region");
    }
    if !outlier && (!locality.failover.is_empty() || !locality.failover_priority.is_empty()) {
        let message = "failover has no effect without outlierDetection: no endpoint is ever seen to fail";
        findings.warning("no-effect", locality.span, message, "add `outlierDetection:` to the same policy");
    }
}
