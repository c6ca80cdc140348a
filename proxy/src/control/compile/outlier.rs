//! `OutlierDetection` and `CircuitBreakers`.

use super::{Cx, wkt};
use crate::base::ledger::At;
use crate::model::cluster::{Outlier, Thresholds};
use std::time::Duration;
use weir_proto::envoy::config::cluster::v3 as proto;
use weir_proto::envoy::config::cluster::v3::circuit_breakers as breakers;
use weir_proto::envoy::config::cluster::v3::circuit_breakers::thresholds::RetryBudget;
use weir_proto::envoy::config::core::v3::RoutingPriority;
use weir_proto::google::protobuf::UInt32Value;

/// Envoy's default of `max_ejection_time`, unless the base is longer.
const MAX_EJECTION: Duration = Duration::from_secs(300);

/// Outlier detection by consecutive failures.
pub fn outlier(at: &At<'_>, message: &proto::OutlierDetection) -> Outlier {
    crate::ledger!(at, message => proto::OutlierDetection { consecutive_5xx, interval, base_ejection_time,
        max_ejection_percent, enforcing_consecutive_5xx, enforcing_success_rate, consecutive_gateway_failure,
        enforcing_consecutive_gateway_failure, split_external_local_origin_errors,
        consecutive_local_origin_failure, enforcing_consecutive_local_origin_failure,
        enforcing_local_origin_success_rate, enforcing_failure_percentage,
        enforcing_failure_percentage_local_origin, max_ejection_time, max_ejection_time_jitter,
        always_eject_one_host, detect_degraded_hosts }
        refuse { monitors }
        ignore { success_rate_minimum_hosts, success_rate_request_volume, success_rate_stdev_factor,
            failure_percentage_threshold, failure_percentage_minimum_hosts, failure_percentage_request_volume,
            successful_active_health_check_uneject_host });
    for (field, value) in [
        ("enforcing_success_rate", enforcing_success_rate),
        ("enforcing_local_origin_success_rate", enforcing_local_origin_success_rate),
        ("enforcing_failure_percentage", enforcing_failure_percentage),
        ("enforcing_failure_percentage_local_origin", enforcing_failure_percentage_local_origin),
    ] {
        if wkt::u32_opt(value).is_some_and(|v| v > 0) {
            at.field(field)
                .lacks("ejection by rate is not supported by this release", "set it to 0 or remove it");
        }
    }
    at.refuse("detect_degraded_hosts", wkt::flag(detect_degraded_hosts, false));
    let percent =
        |field, value: &Option<UInt32Value>, default| wkt::u32_in(at, field, value, default, 0, 100);
    let base = wkt::positive(at, "base_ejection_time", base_ejection_time).unwrap_or(Duration::from_secs(30));
    let longest = wkt::positive(at, "max_ejection_time", max_ejection_time);
    if longest.is_some_and(|longest| longest < base) {
        at.bad("max_ejection_time", "must be at least base_ejection_time");
    }
    Outlier {
        consecutive_5xx: wkt::u32_opt(consecutive_5xx).unwrap_or(5),
        consecutive_gateway: wkt::u32_opt(consecutive_gateway_failure).unwrap_or(5),
        consecutive_local: wkt::u32_opt(consecutive_local_origin_failure).unwrap_or(5),
        interval: wkt::positive(at, "interval", interval).unwrap_or(Duration::from_secs(10)),
        base_ejection: base,
        max_ejection: longest.unwrap_or(MAX_EJECTION.max(base)),
        max_ejection_jitter: wkt::duration(at, "max_ejection_time_jitter", max_ejection_time_jitter)
            .unwrap_or_default(),
        max_ejection_percent: percent("max_ejection_percent", max_ejection_percent, 10),
        always_eject_one: wkt::flag(always_eject_one_host, false),
        enforce_5xx: percent("enforcing_consecutive_5xx", enforcing_consecutive_5xx, 100),
        enforce_gateway: percent(
            "enforcing_consecutive_gateway_failure",
            enforcing_consecutive_gateway_failure,
            0,
        ),
        enforce_local: percent(
            "enforcing_consecutive_local_origin_failure",
            enforcing_consecutive_local_origin_failure,
            100,
        ),
        split: *split_external_local_origin_errors,
    }
}

/// Limits of the default and the high priority.
pub fn circuit_breakers(
    cx: &Cx<'_>,
    at: &At<'_>,
    name: &str,
    message: Option<&proto::CircuitBreakers>,
) -> [Thresholds; 2] {
    let mut all = [Thresholds::default(); 2];
    if let Some(message) = message {
        crate::ledger!(at, message => proto::CircuitBreakers { thresholds } refuse { per_host_thresholds });
        let mut seen = [false; 2];
        for (i, message) in thresholds.iter().enumerate() {
            let here = at.item("thresholds", i);
            let Some((priority, found)) = threshold(&here, message) else { continue };
            let (Some(slot), Some(seen)) = (all.get_mut(priority), seen.get_mut(priority)) else { continue };
            // The first entry of a priority counts, as in Envoy.
            if !std::mem::replace(seen, true) {
                *slot = found;
            }
        }
    }
    for (slot, priority) in all.iter_mut().zip(["default", "high"]) {
        by_runtime(cx, &format!("circuit_breakers.{name}.{priority}"), slot);
    }
    all
}

fn by_runtime(cx: &Cx<'_>, prefix: &str, slot: &mut Thresholds) {
    if cx.runtime_is_void() {
        return;
    }
    for (key, value) in [
        ("max_connections", &mut slot.max_connections),
        ("max_pending_requests", &mut slot.max_pending),
        ("max_requests", &mut slot.max_requests),
        ("max_retries", &mut slot.max_retries),
    ] {
        if let Some(found) = cx.runtime_u64(&format!("{prefix}.{key}")) {
            *value = u32::try_from(found).unwrap_or(u32::MAX);
        }
    }
}

fn threshold(at: &At<'_>, message: &breakers::Thresholds) -> Option<(usize, Thresholds)> {
    crate::ledger!(at, message => breakers::Thresholds { priority, max_connections, max_pending_requests,
        max_requests, max_retries, retry_budget, track_remaining, max_connection_pools });
    // u32::MAX is Envoy's default and istiod's way to write "no limit".
    at.refuse("max_connection_pools", wkt::u32_opt(max_connection_pools).is_some_and(|n| n != u32::MAX));
    let base = Thresholds::default();
    let priority = match wkt::enumeration(at, "priority", *priority)? {
        RoutingPriority::Default => 0,
        RoutingPriority::High => 1,
    };
    let found = Thresholds {
        max_connections: wkt::u32_opt(max_connections).unwrap_or(base.max_connections),
        max_pending: wkt::u32_opt(max_pending_requests).unwrap_or(base.max_pending),
        max_requests: wkt::u32_opt(max_requests).unwrap_or(base.max_requests),
        max_retries: wkt::u32_opt(max_retries).unwrap_or(base.max_retries),
        retry_budget: retry_budget.as_ref().map(|message| budget(&at.field("retry_budget"), message)),
        track_remaining: *track_remaining,
    };
    Some((priority, found))
}

fn budget(at: &At<'_>, message: &RetryBudget) -> (f64, u32) {
    crate::ledger!(at, message => RetryBudget { budget_percent, min_retry_concurrency } refuse { budget_interval });
    let percent = wkt::percent(at, "budget_percent", budget_percent).unwrap_or(20.0);
    (percent, wkt::u32_opt(min_retry_concurrency).unwrap_or(3))
}
