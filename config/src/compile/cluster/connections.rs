//! `connectionPool`, `outlierDetection` and `retryBudget` of a DestinationRule.

use std::time::Duration;

use weir_proto::envoy::config::cluster::v3 as cluster;
use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::extensions::upstreams::http::v3 as upstream;

use super::super::context::Context;
use super::super::policy::Policy;
use super::super::wire;
use super::protocol::{Upstream, options};
use crate::kinds::destination_rule::{ConnectionPool, OutlierDetection, TcpKeepalive};
use crate::yaml::Spanned;

/// Retries that a budget allows whatever the load (Istio's default).
const DEFAULT_RETRY_CONCURRENCY: u32 = 3;
/// Percent of the requests under way that may be retries (Istio's default).
const DEFAULT_RETRY_PERCENT: f64 = 20.0;

/// Limits that do not limit: what istiod writes when nothing is said.
pub(super) fn unlimited() -> cluster::CircuitBreakers {
    cluster::CircuitBreakers { thresholds: vec![no_limits()], ..cluster::CircuitBreakers::default() }
}

fn no_limits() -> cluster::circuit_breakers::Thresholds {
    let most = || Some(wire::u32v(u32::MAX));
    cluster::circuit_breakers::Thresholds {
        max_connections: most(),
        max_pending_requests: most(),
        max_requests: most(),
        max_retries: most(),
        ..cluster::circuit_breakers::Thresholds::default()
    }
}

/// A limit, if one above 0 is given.
fn positive(field: &Option<Spanned<i32>>) -> Option<u32> {
    field.as_ref().and_then(|value| u32::try_from(value.value).ok()).filter(|value| *value > 0)
}

/// Applies `connectionPool`: limits, timeouts, HTTP options. `outbound` is false for the node's own ports.
pub(super) fn apply_pool(
    built: &mut cluster::Cluster,
    policy: &Policy<'_>,
    speaks: Upstream,
    tls: Option<core::UpstreamHttpProtocolOptions>,
) {
    let mut limits = no_limits();
    if let Some(pool) = policy.pool {
        apply_limits(&mut limits, pool);
        if let Some(tcp) = &pool.tcp {
            if let Some(timeout) = &tcp.connect_timeout {
                built.connect_timeout = Some(wire::duration(timeout.value));
            }
            if let Some(keepalive) = &tcp.tcp_keepalive {
                built.upstream_connection_options = Some(cluster::UpstreamConnectionOptions {
                    tcp_keepalive: Some(tcp_keepalive(keepalive)),
                    ..cluster::UpstreamConnectionOptions::default()
                });
            }
        }
    }
    if let Some(budget) = policy.retry_budget {
        let percent = budget.percent.as_ref().map_or(DEFAULT_RETRY_PERCENT, |percent| percent.value);
        let least = budget.min_retry_concurrency.as_ref();
        limits.retry_budget = Some(cluster::circuit_breakers::thresholds::RetryBudget {
            budget_percent: Some(wire::percent(percent)),
            min_retry_concurrency: Some(wire::u32v(
                least.map_or(DEFAULT_RETRY_CONCURRENCY, |least| least.value),
            )),
            ..cluster::circuit_breakers::thresholds::RetryBudget::default()
        });
    }
    built.circuit_breakers =
        Some(cluster::CircuitBreakers { thresholds: vec![limits], ..cluster::CircuitBreakers::default() });
    apply_http(built, policy.pool, speaks, tls);
}

fn apply_limits(limits: &mut cluster::circuit_breakers::Thresholds, pool: &ConnectionPool) {
    let mut set = |slot: fn(&mut cluster::circuit_breakers::Thresholds) -> &mut Option<_>,
                   value: Option<u32>| {
        if let Some(value) = value {
            *slot(limits) = Some(wire::u32v(value));
        }
    };
    if let Some(http) = &pool.http {
        set(|limits| &mut limits.max_pending_requests, positive(&http.http1_max_pending_requests));
        set(|limits| &mut limits.max_requests, positive(&http.http2_max_requests));
        set(|limits| &mut limits.max_retries, positive(&http.max_retries));
    }
    if let Some(tcp) = &pool.tcp {
        set(|limits| &mut limits.max_connections, positive(&tcp.max_connections));
    }
}

fn tcp_keepalive(keepalive: &TcpKeepalive) -> core::TcpKeepalive {
    let seconds = |field: &Option<Spanned<Duration>>| {
        field.as_ref().map(|value| wire::u32v(u32::try_from(value.as_secs()).unwrap_or(u32::MAX)))
    };
    core::TcpKeepalive {
        keepalive_probes: keepalive.probes.as_ref().map(|probes| wire::u32v(probes.value)),
        keepalive_time: seconds(&keepalive.time),
        keepalive_interval: seconds(&keepalive.interval),
    }
}

/// HTTP version and timeouts; nothing is written when all of it is Envoy's default.
fn apply_http(
    built: &mut cluster::Cluster,
    pool: Option<&ConnectionPool>,
    speaks: Upstream,
    tls: Option<core::UpstreamHttpProtocolOptions>,
) {
    let common = pool.map(common_options).unwrap_or_default();
    let has_common = common != core::HttpProtocolOptions::default();
    if speaks == Upstream::Http1 && !has_common && tls.is_none() {
        return;
    }
    let mut http = upstream::HttpProtocolOptions {
        common_http_protocol_options: has_common.then_some(common),
        upstream_http_protocol_options: tls,
        ..speaks.message()
    };
    let streams =
        pool.and_then(|pool| pool.http.as_ref()).and_then(|http| positive(&http.max_concurrent_streams));
    if let (Some(streams), Some(options)) = (streams, explicit_http2(&mut http)) {
        options.max_concurrent_streams = Some(wire::u32v(streams));
    }
    built.typed_extension_protocol_options = options(&http);
}

fn common_options(pool: &ConnectionPool) -> core::HttpProtocolOptions {
    let (http, tcp) = (pool.http.as_ref(), pool.tcp.as_ref());
    let idle = http.and_then(|http| http.idle_timeout.as_ref());
    let idle = idle.or(tcp.and_then(|tcp| tcp.idle_timeout.as_ref()));
    core::HttpProtocolOptions {
        idle_timeout: idle.map(|timeout| wire::duration(timeout.value)),
        max_connection_duration: tcp
            .and_then(|tcp| tcp.max_connection_duration.as_ref())
            .map(|duration| wire::duration(duration.value)),
        max_requests_per_connection: http
            .and_then(|http| positive(&http.max_requests_per_connection))
            .map(wire::u32v),
        ..core::HttpProtocolOptions::default()
    }
}

fn explicit_http2(http: &mut upstream::HttpProtocolOptions) -> Option<&mut core::Http2ProtocolOptions> {
    use upstream::http_protocol_options::UpstreamProtocolOptions;
    use upstream::http_protocol_options::explicit_http_config::ProtocolConfig;
    let Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) = &mut http.upstream_protocol_options
    else {
        return None;
    };
    match &mut explicit.protocol_config {
        Some(ProtocolConfig::Http2ProtocolOptions(options)) => Some(options),
        _ => None,
    }
}

/// Applies `outlierDetection`.
pub(super) fn apply_outliers(ctx: &Context<'_>, built: &mut cluster::Cluster, outliers: &OutlierDetection) {
    if let Some(old) = &outliers.consecutive_errors {
        ctx.not_yet("consecutiveErrors", "write consecutive5xxErrors or consecutiveGatewayErrors", old.span);
    }
    let enforce = |value: u32| Some(wire::u32v(if value > 0 { 100 } else { 0 }));
    let mut detection = cluster::OutlierDetection {
        // Success-rate ejection is not in Istio's model.
        enforcing_success_rate: Some(wire::u32v(0)),
        interval: outliers.interval.as_ref().map(|interval| wire::duration(interval.value)),
        base_ejection_time: outliers.base_ejection_time.as_ref().map(|time| wire::duration(time.value)),
        max_ejection_percent: positive(&outliers.max_ejection_percent).map(wire::u32v),
        ..cluster::OutlierDetection::default()
    };
    if let Some(errors) = &outliers.consecutive_5xx_errors {
        detection.consecutive_5xx = Some(wire::u32v(errors.value));
        detection.enforcing_consecutive_5xx = enforce(errors.value);
    }
    if let Some(errors) = &outliers.consecutive_gateway_errors {
        detection.consecutive_gateway_failure = Some(wire::u32v(errors.value));
        detection.enforcing_consecutive_gateway_failure = enforce(errors.value);
    }
    if outliers.split_external_local_origin_errors.as_ref().is_some_and(|split| split.value) {
        detection.split_external_local_origin_errors = true;
        detection.enforcing_local_origin_success_rate = Some(wire::u32v(0));
        let failures =
            outliers.consecutive_local_origin_failures.as_ref().map_or(0, |failures| failures.value);
        if failures > 0 {
            detection.consecutive_local_origin_failure = Some(wire::u32v(failures));
            detection.enforcing_consecutive_local_origin_failure = Some(wire::u32v(100));
        }
    }
    built.outlier_detection = Some(detection);
    if let Some(percent) = positive(&outliers.min_health_percent) {
        built.common_lb_config.get_or_insert_default().healthy_panic_threshold =
            Some(wire::percent(f64::from(percent)));
    }
}
