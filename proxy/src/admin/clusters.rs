//! `/clusters`

use super::Endpoint;
use super::call::{Call, Reply};
use super::listeners::address_json;
use super::state::{ClusterStatus, HealthFlag, HostStatus, ThresholdStatus};
use hyper::StatusCode;
use serde_json::{Map, Value, json};
use std::fmt::Write;

pub(super) const ENDPOINT: Endpoint = Endpoint {
    path: "/clusters",
    changes: false,
    help: "upstream cluster status",
    params: &[
        ("filter", "Regular expression for filtering clusters by name"),
        ("format", "File format to use; One of (text, json)"),
    ],
    answer,
};

fn answer(call: &Call<'_>) -> Reply {
    let filter = match call.query.value("filter").map(regex::Regex::new).transpose() {
        Ok(filter) => filter,
        Err(error) => return Reply::refused(StatusCode::BAD_REQUEST, format!("Invalid regex: {error}\n")),
    };
    let wanted = |name: &str| filter.as_ref().is_none_or(|filter| filter.is_match(name));
    let clusters = call.state.clusters_in_full(&wanted);
    match call.query.value("format") {
        None | Some("text") => {
            let mut out = String::new();
            for cluster in &clusters {
                // Writing to a String cannot fail.
                let _ = text(cluster, &mut out);
            }
            Reply::text(out)
        }
        Some("json") => {
            let shown: Vec<Value> = clusters.iter().map(cluster_json).collect();
            Reply::json(&json!({"cluster_statuses": shown}))
        }
        Some(_) => Reply::refused(StatusCode::BAD_REQUEST, "usage: /clusters?format=(text|json)\n"),
    }
}

/// -1 stands for a rate that is not computed.
fn rate(value: Option<f64>) -> String {
    value.map_or_else(|| "-1".to_owned(), |v| v.to_string())
}

fn text(cluster: &ClusterStatus, out: &mut String) -> std::fmt::Result {
    let name = &cluster.name;
    writeln!(out, "{name}::observability_name::{}", cluster.observability_name)?;
    if let Some(outlier) = &cluster.outlier {
        for (key, value) in [
            ("success_rate_average", outlier.average),
            ("success_rate_ejection_threshold", outlier.threshold),
            ("local_origin_success_rate_average", outlier.local_average),
            ("local_origin_success_rate_ejection_threshold", outlier.local_threshold),
        ] {
            writeln!(out, "{name}::outlier::{key}::{}", rate(value))?;
        }
    }
    for (priority, limits) in ["default", "high"].iter().zip(&cluster.thresholds) {
        for (key, value) in limit_names(limits) {
            writeln!(out, "{name}::{priority}_priority::{key}::{value}")?;
        }
    }
    writeln!(out, "{name}::added_via_api::{}", cluster.added_via_api)?;
    if let Some(service) = &cluster.eds_service_name {
        writeln!(out, "{name}::eds_service_name::{service}")?;
    }
    cluster.hosts.iter().try_for_each(|host| host_text(name, host, out))
}

fn limit_names(limits: &ThresholdStatus) -> [(&'static str, u32); 4] {
    [
        ("max_connections", limits.max_connections),
        ("max_pending_requests", limits.max_pending_requests),
        ("max_requests", limits.max_requests),
        ("max_retries", limits.max_retries),
    ]
}

fn host_text(name: &str, host: &HostStatus, out: &mut String) -> std::fmt::Result {
    let at = &host.address;
    for (key, value) in [
        ("cx_active", host.cx_active),
        ("cx_connect_fail", host.cx_connect_fail),
        ("cx_total", host.cx_total),
        ("rq_active", host.rq_active),
        ("rq_error", host.rq_error),
        ("rq_pending_active", host.rq_pending_active),
        ("rq_success", host.rq_success),
        ("rq_timeout", host.rq_timeout),
        ("rq_total", host.rq_total),
    ] {
        writeln!(out, "{name}::{at}::{key}::{value}")?;
    }
    let [region, zone, sub_zone] = &host.locality;
    writeln!(out, "{name}::{at}::hostname::{}", host.hostname)?;
    writeln!(out, "{name}::{at}::health_flags::{}", health_text(&host.health))?;
    writeln!(out, "{name}::{at}::weight::{}", host.weight)?;
    writeln!(out, "{name}::{at}::region::{region}")?;
    writeln!(out, "{name}::{at}::zone::{zone}")?;
    writeln!(out, "{name}::{at}::sub_zone::{sub_zone}")?;
    writeln!(out, "{name}::{at}::canary::{}", host.canary)?;
    writeln!(out, "{name}::{at}::priority::{}", host.priority)?;
    writeln!(out, "{name}::{at}::success_rate::{}", rate(host.success_rate))?;
    writeln!(out, "{name}::{at}::local_origin_success_rate::{}", rate(host.local_origin_success_rate))
}

/// `healthy`, or every flag with a slash before it.
fn health_text(flags: &[HealthFlag]) -> String {
    if flags.is_empty() {
        return "healthy".into();
    }
    let name = |flag: &HealthFlag| match flag {
        HealthFlag::FailedActive => "/failed_active_hc",
        HealthFlag::FailedOutlier => "/failed_outlier_check",
        HealthFlag::FailedEds => "/failed_eds_health",
        HealthFlag::EdsDraining => "/eds_status_draining",
        HealthFlag::DegradedActive => "/degraded_active_hc",
        HealthFlag::DegradedEds => "/degraded_eds_health",
        HealthFlag::PendingRemoval => "/pending_dynamic_removal",
        HealthFlag::PendingActive => "/pending_active_hc",
        HealthFlag::ExcludedImmediately => "/excluded_via_immediate_hc_fail",
        HealthFlag::ActiveTimeout => "/active_hc_timeout",
    };
    flags.iter().map(name).collect()
}

/// Proto3 JSON leaves zero values out.
fn put(map: &mut Map<String, Value>, key: &str, value: Value) {
    let zero = match &value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) => false,
    };
    if !zero {
        map.insert(key.to_owned(), value);
    }
}

fn percent(value: Option<f64>) -> Value {
    value.map_or(Value::Null, |v| json!({"value": v}))
}

fn cluster_json(cluster: &ClusterStatus) -> Value {
    let mut map = Map::new();
    put(&mut map, "name", json!(cluster.name));
    put(&mut map, "added_via_api", json!(cluster.added_via_api));
    if let Some(outlier) = &cluster.outlier {
        put(&mut map, "success_rate_ejection_threshold", percent(outlier.threshold));
        put(&mut map, "local_origin_success_rate_ejection_threshold", percent(outlier.local_threshold));
    }
    put(&mut map, "host_statuses", cluster.hosts.iter().map(host_json).collect::<Vec<_>>().into());
    let thresholds = ["", "HIGH"].iter().zip(&cluster.thresholds).map(|(priority, limits)| {
        let mut one = Map::new();
        put(&mut one, "priority", json!(priority));
        for (key, value) in limit_names(limits) {
            one.insert(key.to_owned(), json!(value));
        }
        Value::Object(one)
    });
    put(&mut map, "circuit_breakers", json!({"thresholds": thresholds.collect::<Vec<_>>()}));
    put(&mut map, "observability_name", json!(cluster.observability_name));
    put(&mut map, "eds_service_name", json!(cluster.eds_service_name));
    Value::Object(map)
}

fn host_json(host: &HostStatus) -> Value {
    let mut map = Map::new();
    put(&mut map, "address", address_json(&host.address));
    let stat = |name: &str, value: u64, gauge: bool| {
        let mut one = Map::new();
        put(&mut one, "type", json!(if gauge { "GAUGE" } else { "" }));
        put(&mut one, "value", json!(if value == 0 { String::new() } else { value.to_string() }));
        put(&mut one, "name", json!(name));
        Value::Object(one)
    };
    let stats = vec![
        stat("cx_connect_fail", host.cx_connect_fail, false),
        stat("cx_total", host.cx_total, false),
        stat("rq_error", host.rq_error, false),
        stat("rq_success", host.rq_success, false),
        stat("rq_timeout", host.rq_timeout, false),
        stat("rq_total", host.rq_total, false),
        stat("cx_active", host.cx_active, true),
        stat("rq_active", host.rq_active, true),
        stat("rq_pending_active", host.rq_pending_active, true),
    ];
    put(&mut map, "stats", stats.into());
    put(&mut map, "health_status", health_json(&host.health));
    put(&mut map, "success_rate", percent(host.success_rate));
    put(&mut map, "weight", json!(host.weight));
    put(&mut map, "hostname", json!(host.hostname));
    put(&mut map, "priority", json!(host.priority));
    put(&mut map, "local_origin_success_rate", percent(host.local_origin_success_rate));
    let mut locality = Map::new();
    for (key, value) in ["region", "zone", "sub_zone"].iter().zip(&host.locality) {
        put(&mut locality, key, json!(value));
    }
    map.insert("locality".into(), Value::Object(locality));
    Value::Object(map)
}

fn health_json(flags: &[HealthFlag]) -> Value {
    let has = |flag| flags.contains(&flag);
    let mut map = Map::new();
    put(&mut map, "failed_active_health_check", json!(has(HealthFlag::FailedActive)));
    put(&mut map, "failed_outlier_check", json!(has(HealthFlag::FailedOutlier)));
    put(&mut map, "failed_active_degraded_check", json!(has(HealthFlag::DegradedActive)));
    put(&mut map, "pending_dynamic_removal", json!(has(HealthFlag::PendingRemoval)));
    put(&mut map, "pending_active_hc", json!(has(HealthFlag::PendingActive)));
    put(&mut map, "excluded_via_immediate_hc_fail", json!(has(HealthFlag::ExcludedImmediately)));
    put(&mut map, "active_hc_timeout", json!(has(HealthFlag::ActiveTimeout)));
    let eds = if has(HealthFlag::EdsDraining) {
        "DRAINING"
    } else if has(HealthFlag::FailedEds) {
        "UNHEALTHY"
    } else if has(HealthFlag::DegradedEds) {
        "DEGRADED"
    } else {
        "HEALTHY"
    };
    put(&mut map, "eds_health_status", json!(eds));
    Value::Object(map)
}
