//! DestinationRules: their hosts, subsets and limits.

use std::collections::{BTreeMap, HashSet};

use super::{Findings, Registry};
use crate::kinds::Resource;
use crate::kinds::destination_rule::{ConnectionPool, DestinationRule, OutlierDetection, TrafficPolicy};
use crate::world::{World, is_wildcard};
use crate::yaml::{Span, Spanned};

pub(super) fn check(world: &World, registry: &Registry<'_>, findings: &mut Findings<'_>) {
    let mut first: BTreeMap<(String, &str), &Resource<DestinationRule>> = BTreeMap::new();
    for rule in &world.destination_rules {
        let spec = &rule.spec;
        let host = registry.resolve(&spec.host, &rule.meta.namespace);
        known(rule, &host, registry, findings);
        subset_names(spec, findings);
        let subsets = spec.subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref());
        for policy in spec.traffic_policy.iter().chain(subsets) {
            self::policy(policy, findings);
        }
        if spec.workload_selector.is_none()
            && let Some(other) = first.insert((host, &rule.meta.namespace), rule)
        {
            overlap(rule, other, findings);
        }
    }
}

fn known(rule: &Resource<DestinationRule>, host: &str, registry: &Registry<'_>, findings: &mut Findings<'_>) {
    if host.is_empty() {
        findings.error("bad-host", rule.spec.host.span, "the host is empty", "name a service");
    } else if !registry.is_empty() {
        let found = if is_wildcard(host) { registry.any_under(host) } else { registry.find(host).is_some() };
        if !found {
            let message = format!("there is no service `{host}`: the rule has no effect");
            findings.warning("missing-host", rule.spec.host.span, message, registry.remedy(host));
        }
    }
}

fn subset_names(spec: &DestinationRule, findings: &mut Findings<'_>) {
    let mut names = HashSet::new();
    for subset in &spec.subsets {
        if !names.insert(subset.name.as_str()) {
            let message = format!("the subset `{}` is defined twice", subset.name);
            findings.error("duplicate-subset", subset.name.span, message, "rename or remove one of them");
        }
        if subset.name.is_empty() {
            findings.error("missing-field", subset.span, "a subset needs a name", "add `name:`");
        }
    }
}

/// Istio merges the subsets of several rules for one host; of the policies the older one's counts.
fn overlap(rule: &Resource<DestinationRule>, other: &Resource<DestinationRule>, findings: &mut Findings<'_>) {
    if rule.meta.name.value == other.meta.name.value {
        return;
    }
    let place = findings.place(other.meta.span);
    let title = other.meta.title();
    if rule.spec.traffic_policy.is_some() && other.spec.traffic_policy.is_some() {
        let message =
            format!("{title} ({place}) has a policy for the same host: only the older one's is in force");
        findings.warning(
            "rule-conflict",
            rule.spec.host.span,
            message,
            "put all policies for a host into one DestinationRule",
        );
    }
    for subset in &rule.spec.subsets {
        if other.spec.subsets.iter().any(|peer| peer.name == subset.name) {
            let message = format!(
                "{title} ({place}) defines the subset `{}` of the same host too: only the older one is in force",
                subset.name
            );
            findings.warning("rule-conflict", subset.name.span, message, "define each subset once");
        }
    }
}

fn policy(policy: &TrafficPolicy, findings: &mut Findings<'_>) {
    let ports = &policy.port_level_settings;
    for port in ports {
        match port.port.as_ref().and_then(|selector| selector.number.as_ref()) {
            None => findings.error(
                "missing-field",
                port.span,
                "these settings name no port",
                "add `port: {number: N}`",
            ),
            Some(number) if !(1..=65535).contains(&number.value) => {
                findings.error(
                    "bad-port",
                    number.span,
                    format!("{number} is no port"),
                    "write a number between 1 and 65535",
                );
            }
            Some(_) => {}
        }
    }
    for pool in
        policy.connection_pool.iter().chain(ports.iter().filter_map(|port| port.connection_pool.as_ref()))
    {
        connection_pool(pool, findings);
    }
    for outlier in
        policy.outlier_detection.iter().chain(ports.iter().filter_map(|port| port.outlier_detection.as_ref()))
    {
        outlier_detection(outlier, findings);
    }
    if let Some(budget) = &policy.retry_budget
        && let Some(share) = budget.percent.as_ref().filter(|share| !(0.0..=100.0).contains(&share.value))
    {
        range(share.span, "percent", "between 0 and 100", findings);
    }
}

fn connection_pool(pool: &ConnectionPool, findings: &mut Findings<'_>) {
    let tcp = pool.tcp.iter().flat_map(|tcp| [("maxConnections", &tcp.max_connections)]);
    let http = pool.http.iter().flat_map(|http| {
        [
            ("http1MaxPendingRequests", &http.http1_max_pending_requests),
            ("http2MaxRequests", &http.http2_max_requests),
            ("maxRequestsPerConnection", &http.max_requests_per_connection),
            ("maxRetries", &http.max_retries),
            ("maxConcurrentStreams", &http.max_concurrent_streams),
        ]
    });
    for (name, value) in tcp.chain(http) {
        if let Some(value) = value.as_ref().filter(|value| value.value < 0) {
            range(value.span, name, "0 or more", findings);
        }
    }
    if let Some(timeout) =
        pool.tcp.as_ref().and_then(|tcp| tcp.connect_timeout.as_ref()).filter(|timeout| timeout.is_zero())
    {
        range(timeout.span, "connectTimeout", "1ms or more", findings);
    }
    if let Some(http) = pool.http.as_ref().filter(|http| http.h2_upgrade_policy.is_some())
        && let Some(both) = http.use_client_protocol.as_ref().filter(|both| both.value)
    {
        let message = "useClientProtocol and h2UpgradePolicy exclude each other";
        findings.error("one-of", both.span, message, "keep one of them");
    }
}

fn outlier_detection(outlier: &OutlierDetection, findings: &mut Findings<'_>) {
    let shares = [
        ("maxEjectionPercent", &outlier.max_ejection_percent),
        ("minHealthPercent", &outlier.min_health_percent),
    ];
    for (name, share) in shares {
        if let Some(share) = share.as_ref().filter(|share: &&Spanned<i32>| !(0..=100).contains(&share.value))
        {
            range(share.span, name, "between 0 and 100", findings);
        }
    }
    for (name, time) in [("interval", &outlier.interval), ("baseEjectionTime", &outlier.base_ejection_time)] {
        if let Some(time) = time.as_ref().filter(|time| time.as_millis() == 0) {
            range(time.span, name, "1ms or more", findings);
        }
    }
}

fn range(span: Span, name: &str, allowed: &str, findings: &mut Findings<'_>) {
    findings.error(
        "out-of-range",
        span,
        format!("{name} must be {allowed}"),
        format!("write a value {allowed}"),
    );
}
