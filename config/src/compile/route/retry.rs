//! Retry policies.

use weir_proto::envoy::config::route::v3 as route;
use weir_proto::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use weir_proto::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;

use super::super::context::Context;
use super::super::wire;
use crate::diag::Diagnostic;
use crate::kinds::http_route::HttpRetry;
use route::retry_policy::{RetryBackOff, RetryHostPredicate, RetryPriority};

/// What is retried when no rule says so (Istio).
const DEFAULT_RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
/// How often, in the same case.
const DEFAULT_RETRIES: u32 = 2;
/// How often another host is looked for that was not tried yet (Istio).
const HOST_SELECTION_ATTEMPTS: i64 = 5;
/// Attempts after which priorities are weighed anew (Istio).
const PRIORITY_UPDATE_FREQUENCY: i32 = 2;
/// Condition that goes with status codes.
const STATUS_CODES: &str = "retriable-status-codes";
/// What is retried on the way to the pod itself: connections that died before the request was under way.
pub(crate) const RESET_BEFORE_REQUEST: &str = "reset-before-request";

/// The policy of a route; `None` where its rule wants no retries.
pub(super) fn translate(
    ctx: &Context<'_>,
    rule: Option<&HttpRetry>,
    hashed: bool,
) -> Option<route::RetryPolicy> {
    let mut policy = route::RetryPolicy {
        retry_on: DEFAULT_RETRY_ON.to_owned(),
        num_retries: Some(wire::u32v(DEFAULT_RETRIES)),
        host_selection_retry_max_attempts: HOST_SELECTION_ATTEMPTS,
        // With hashing the same host is the point.
        retry_host_predicate: if hashed { Vec::new() } else { vec![previous_hosts()] },
        ..route::RetryPolicy::default()
    };
    let Some(rule) = rule else {
        return Some(policy);
    };
    let attempts = rule.attempts.as_ref().map_or(0, |attempts| attempts.value);
    policy.num_retries = Some(wire::u32v(u32::try_from(attempts).ok().filter(|attempts| *attempts > 0)?));
    policy.per_try_timeout = rule.per_try_timeout.as_ref().map(|timeout| wire::duration(timeout.value));
    if let Some(words) = rule.retry_on.as_ref().filter(|words| !words.is_empty()) {
        (policy.retry_on, policy.retriable_status_codes) = conditions(words);
    }
    match rule.retry_ignore_previous_hosts.as_ref().map(|ignore| ignore.value) {
        Some(true) => policy.retry_host_predicate = vec![previous_hosts()],
        Some(false) => policy.retry_host_predicate.clear(),
        None => {}
    }
    if rule.retry_remote_localities.as_ref().is_some_and(|remote| remote.value) {
        policy.retry_priority = Some(previous_priorities());
    }
    if let Some(interval) = &rule.backoff {
        policy.retry_back_off =
            Some(RetryBackOff { base_interval: Some(wire::duration(interval.value)), max_interval: None });
    }
    let zero = rule.per_try_timeout.as_ref().is_some_and(|timeout| timeout.is_zero());
    if zero {
        let span = rule.per_try_timeout.as_ref().map_or(rule.span, |timeout| timeout.span);
        ctx.report(Diagnostic::note("zero-timeout", "perTryTimeout 0 stands for no limit"), span);
    }
    Some(policy)
}

/// Envoy's conditions and the status codes among the words; the codes need a condition of their own.
fn conditions(words: &str) -> (String, Vec<u32>) {
    let mut names: Vec<&str> = Vec::new();
    let mut codes = Vec::new();
    for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word.parse::<u32>() {
            Ok(code) => codes.push(code),
            Err(_) => names.push(word),
        }
    }
    if !codes.is_empty() && !names.contains(&STATUS_CODES) {
        names.push(STATUS_CODES);
    }
    (names.join(","), codes)
}

fn previous_hosts() -> RetryHostPredicate {
    RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(route::retry_policy::retry_host_predicate::ConfigType::TypedConfig(wire::any(
            &PreviousHostsPredicate {},
        ))),
    }
}

fn previous_priorities() -> RetryPriority {
    RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(route::retry_policy::retry_priority::ConfigType::TypedConfig(wire::any(
            &PreviousPrioritiesConfig { update_frequency: PRIORITY_UPDATE_FREQUENCY },
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_codes_are_told_from_conditions() {
        assert_eq!(
            conditions("gateway-error, connect-failure,503"),
            ("gateway-error,connect-failure,retriable-status-codes".to_owned(), vec![503])
        );
        assert_eq!(conditions("retriable-status-codes,429,"), (STATUS_CODES.to_owned(), vec![429]));
        assert_eq!(conditions("5xx"), ("5xx".to_owned(), vec![]));
    }
}
