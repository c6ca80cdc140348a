//! `RetryPolicy`.

use super::{Cx, matcher, metadata, wkt};
use crate::base::ledger::At;
use crate::model::retry::{Entries, ResetHeader, RetryOn, RetryPolicy};
use std::sync::Arc;
use std::time::Duration;
use weir_proto::any;
use weir_proto::envoy::config::route::v3 as route;
use weir_proto::envoy::config::route::v3::retry_policy::{
    RateLimitedRetryBackOff, ResetHeader as ProtoResetHeader, ResetHeaderFormat, RetryBackOff,
    RetryHostPredicate, RetryPriority, retry_host_predicate::ConfigType,
    retry_priority::ConfigType as PriorityConfig,
};
use weir_proto::envoy::extensions::retry::host::omit_canary_hosts::v3::OmitCanaryHostsPredicate;
use weir_proto::envoy::extensions::retry::host::omit_host_metadata::v3::OmitHostMetadataConfig;
use weir_proto::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use weir_proto::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use weir_proto::google::protobuf::Any;

/// Longest wait that a reset header may ask for (Envoy's default).
const MAX_RESET_WAIT: Duration = Duration::from_secs(300);
/// Runtime key of the base interval in milliseconds, and its default.
const BASE_KEY: &str = "upstream.base_retry_backoff_ms";

/// A retry policy.
pub fn policy(cx: &Cx<'_>, at: &At<'_>, message: &route::RetryPolicy) -> Option<Arc<RetryPolicy>> {
    crate::ledger!(at, message => route::RetryPolicy { retry_on, num_retries, per_try_timeout, per_try_idle_timeout,
        retry_host_predicate, host_selection_retry_max_attempts, retriable_status_codes, retry_back_off,
        rate_limited_retry_back_off, retriable_headers, retriable_request_headers, retry_priority }
        refuse { retry_options_predicates, refresh_cluster_on_retry });
    let mut policy = RetryPolicy {
        on: RetryOn::parse(retry_on),
        num_retries: wkt::u32_opt(num_retries).unwrap_or(1),
        per_try_timeout: wkt::timeout(at, "per_try_timeout", per_try_timeout, None),
        per_try_idle_timeout: wkt::timeout(at, "per_try_idle_timeout", per_try_idle_timeout, None),
        retriable_status_codes: statuses(at, retriable_status_codes),
        retriable_headers: matcher::headers(cx, at, "retriable_headers", retriable_headers),
        retriable_request_headers: matcher::headers(
            cx,
            at,
            "retriable_request_headers",
            retriable_request_headers,
        ),
        host_selection_attempts: u32::try_from(*host_selection_retry_max_attempts).unwrap_or(0).max(1),
        ..RetryPolicy::default()
    };
    back_off(cx, at, retry_back_off, &mut policy);
    policy.rate_limited = rate_limited_retry_back_off
        .as_ref()
        .and_then(|message| rate_limited(&at.field("rate_limited_retry_back_off"), message));
    for (i, predicate) in retry_host_predicate.iter().enumerate() {
        host_predicate(&at.item("retry_host_predicate", i), predicate, &mut policy);
    }
    policy.avoid_previous_priorities =
        retry_priority.as_ref().and_then(|message| priority(&at.field("retry_priority"), message));
    Some(Arc::new(policy))
}

fn priority(at: &At<'_>, message: &RetryPriority) -> Option<u32> {
    crate::ledger!(at, message => RetryPriority { name, config_type });
    let Some(PriorityConfig::TypedConfig(config)) = config_type else {
        at.unsupported(&format!("the retry priority '{name}' without configuration"));
        return None;
    };
    let here = at.field("typed_config");
    if !wkt::is::<PreviousPrioritiesConfig>(config) {
        here.unsupported(&format!("the retry priority '{}'", any::type_name(config)));
        return None;
    }
    let PreviousPrioritiesConfig { update_frequency } =
        wkt::unpack::<PreviousPrioritiesConfig>(&here, config)?;
    match u32::try_from(update_frequency).ok().filter(|n| *n > 0) {
        None => {
            here.bad("update_frequency", "must be greater than 0");
            None
        }
        found => found,
    }
}

fn statuses(at: &At<'_>, codes: &[u32]) -> Box<[u16]> {
    let one = |(i, code): (usize, &u32)| {
        let found = u16::try_from(*code).ok().filter(|c| (100..600).contains(c));
        if found.is_none() {
            at.item("retriable_status_codes", i).error(format!("{code} is no HTTP status (100 to 599)"));
        }
        found
    };
    codes.iter().enumerate().filter_map(one).collect()
}

fn back_off(cx: &Cx<'_>, at: &At<'_>, message: &Option<RetryBackOff>, policy: &mut RetryPolicy) {
    let base = cx.runtime_u64(BASE_KEY).map_or(policy.back_off_base, Duration::from_millis);
    (policy.back_off_base, policy.back_off_max) = (base, base.saturating_mul(10));
    let Some(message) = message else { return };
    let at = &at.field("retry_back_off");
    crate::ledger!(at, message => RetryBackOff { base_interval, max_interval });
    let base = wkt::positive(at, "base_interval", base_interval);
    if base_interval.is_none() {
        at.bad("base_interval", "must be set");
    }
    let Some(base) = base else { return };
    // Envoy rounds a base below 1 ms up to 1 ms.
    let base = base.max(Duration::from_millis(1));
    let max = wkt::positive(at, "max_interval", max_interval).unwrap_or(base.saturating_mul(10));
    if max < base {
        at.bad("max_interval", "must be greater than or equal to the base_interval");
    }
    (policy.back_off_base, policy.back_off_max) = (base, max);
}

fn rate_limited(at: &At<'_>, message: &RateLimitedRetryBackOff) -> Option<(Box<[ResetHeader]>, Duration)> {
    crate::ledger!(at, message => RateLimitedRetryBackOff { reset_headers, max_interval });
    if reset_headers.is_empty() {
        at.bad("reset_headers", "must have at least one entry");
    }
    let one = |(i, header): (usize, &ProtoResetHeader)| {
        let here = at.item("reset_headers", i);
        crate::ledger!(here, header => ProtoResetHeader { name, format });
        let format = wkt::enumeration::<ResetHeaderFormat>(&here, "format", *format)?;
        let name = wkt::header_name(&here, "name", name)?;
        Some(ResetHeader { name, unix_timestamp: format == ResetHeaderFormat::UnixTimestamp })
    };
    let headers = reset_headers.iter().enumerate().filter_map(one).collect();
    Some((headers, wkt::positive(at, "max_interval", max_interval).unwrap_or(MAX_RESET_WAIT)))
}

fn host_predicate(at: &At<'_>, message: &RetryHostPredicate, policy: &mut RetryPolicy) {
    crate::ledger!(at, message => RetryHostPredicate { name, config_type });
    // Envoy takes the extension by its name when there is no typed configuration; istiod writes the name alone.
    let of_name = match name.as_str() {
        "envoy.retry_host_predicates.previous_hosts" => wkt::type_name::<PreviousHostsPredicate>(),
        "envoy.retry_host_predicates.omit_canary_hosts" => wkt::type_name::<OmitCanaryHostsPredicate>(),
        other => other.to_owned(),
    };
    let kind = match config_type {
        Some(ConfigType::TypedConfig(config)) => any::type_name(config).to_owned(),
        None => of_name,
    };
    if kind == wkt::type_name::<PreviousHostsPredicate>() {
        policy.avoid_previous_hosts = true;
    } else if kind == wkt::type_name::<OmitCanaryHostsPredicate>() {
        policy.omit_canary_hosts = true;
    } else if let (Some(ConfigType::TypedConfig(config)), true) =
        (config_type, kind == wkt::type_name::<OmitHostMetadataConfig>())
    {
        policy.omit_metadata = omitted(&at.field("typed_config"), config).unwrap_or_default();
    } else {
        at.unsupported(&format!("the retry host predicate '{kind}'"));
    }
}

/// Entries of `envoy.lb`, which is what the balancer's metadata is called.
fn omitted(at: &At<'_>, config: &Any) -> Option<Entries> {
    let OmitHostMetadataConfig { metadata_match } = wkt::unpack::<OmitHostMetadataConfig>(at, config)?;
    let all = metadata_match?.filter_metadata;
    let serde_json::Value::Object(entries) = metadata::structure(all.get("envoy.lb")?) else { return None };
    Some(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}
