//! Retry policy (Envoy's `RetryPolicy`).

use super::matcher::HeaderMatch;
use std::time::Duration;

/// The tokens of `retry_on` and `retry_grpc_on`, as bits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RetryOn(pub u32);

macro_rules! tokens {
    ($($konst:ident = $bit:literal, $token:literal;)+) => {
        impl RetryOn {
            $(#[doc = concat!("`", $token, "`")] pub const $konst: RetryOn = RetryOn(1 << $bit);)+

            /// Every token with its bit.
            pub const TOKENS: &'static [(&'static str, RetryOn)] = &[$(($token, RetryOn::$konst)),+];
        }
    };
}

tokens! {
    FIVE_XX = 0, "5xx";
    GATEWAY_ERROR = 1, "gateway-error";
    RESET = 2, "reset";
    RESET_BEFORE_REQUEST = 3, "reset-before-request";
    CONNECT_FAILURE = 4, "connect-failure";
    ENVOY_RATELIMITED = 5, "envoy-ratelimited";
    RETRIABLE_4XX = 6, "retriable-4xx";
    REFUSED_STREAM = 7, "refused-stream";
    RETRIABLE_STATUS_CODES = 8, "retriable-status-codes";
    RETRIABLE_HEADERS = 9, "retriable-headers";
    HTTP3_POST_CONNECT_FAILURE = 10, "http3-post-connect-failure";
    GRPC_CANCELLED = 11, "cancelled";
    GRPC_DEADLINE_EXCEEDED = 12, "deadline-exceeded";
    GRPC_INTERNAL = 13, "internal";
    GRPC_RESOURCE_EXHAUSTED = 14, "resource-exhausted";
    GRPC_UNAVAILABLE = 15, "unavailable";
}

impl RetryOn {
    /// Parses a comma-separated list; unknown tokens are ignored, as Envoy does.
    pub fn parse(text: &str) -> RetryOn {
        let found =
            text.split(',').filter_map(|token| Self::TOKENS.iter().find(|(name, _)| *name == token.trim()));
        found.fold(RetryOn::default(), |all, (_, bit)| RetryOn(all.0 | bit.0))
    }

    /// Is any bit of `other` set?
    pub const fn has(self, other: RetryOn) -> bool {
        self.0 & other.0 != 0
    }

    /// Both.
    pub const fn with(self, other: RetryOn) -> RetryOn {
        RetryOn(self.0 | other.0)
    }

    /// Is it one of the strings that istiod writes when the operator asked for nothing?
    /// (`connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes`, `reset-before-request`)
    pub fn is_istio_default(self) -> bool {
        let outbound = RetryOn::CONNECT_FAILURE.0
            | RetryOn::REFUSED_STREAM.0
            | RetryOn::GRPC_UNAVAILABLE.0
            | RetryOn::GRPC_CANCELLED.0
            | RetryOn::RETRIABLE_STATUS_CODES.0;
        self.0 == outbound || self.0 == RetryOn::RESET_BEFORE_REQUEST.0
    }
}

/// How long to wait when the upstream says so in a header.
#[derive(Clone, Debug)]
pub struct ResetHeader {
    /// The header's name.
    pub name: crate::base::names::HeaderName,
    /// The value is a Unix time stamp instead of seconds.
    pub unix_timestamp: bool,
}

/// Entries of metadata: key and value.
pub type Entries = Box<[(Box<str>, serde_json::Value)]>;

/// A compiled retry policy.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// When to retry.
    pub on: RetryOn,
    /// Most retries (Envoy's default 1).
    pub num_retries: u32,
    /// Time for one try; none: the route's timeout alone.
    pub per_try_timeout: Option<Duration>,
    /// Time without a byte for one try.
    pub per_try_idle_timeout: Option<Duration>,
    /// Statuses for `retriable-status-codes`.
    pub retriable_status_codes: Box<[u16]>,
    /// Response headers for `retriable-headers`.
    pub retriable_headers: Box<[HeaderMatch]>,
    /// The policy holds only for requests that match one of these (when any).
    pub retriable_request_headers: Box<[HeaderMatch]>,
    /// Base interval (25 ms).
    pub back_off_base: Duration,
    /// Largest interval (10 x base).
    pub back_off_max: Duration,
    /// Headers that name the time to wait, with their largest value.
    pub rate_limited: Option<(Box<[ResetHeader]>, Duration)>,
    /// Avoid hosts that were tried (`previous_hosts`).
    pub avoid_previous_hosts: bool,
    /// Avoid priorities that were tried, looked at anew after this many attempts (`previous_priorities`).
    pub avoid_previous_priorities: Option<u32>,
    /// Avoid canary hosts (`omit_canary_hosts`).
    pub omit_canary_hosts: bool,
    /// Avoid hosts with these entries in their metadata for the balancer (`omit_host_metadata`); none when empty.
    pub omit_metadata: Entries,
    /// How often another host is drawn (1).
    pub host_selection_attempts: u32,
}

impl RetryPolicy {
    /// Does the policy pass over hosts with this metadata? An entry that is a list holds each of its values.
    pub fn omits(&self, metadata: Option<&serde_json::Value>) -> bool {
        let told = metadata.and_then(|all| all.get("envoy.lb"));
        let holds = |(key, want): &(Box<str>, serde_json::Value)| match told.and_then(|t| t.get(&**key)) {
            Some(serde_json::Value::Array(list)) => list.contains(want),
            found => found == Some(want),
        };
        !self.omit_metadata.is_empty() && self.omit_metadata.iter().all(holds)
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            on: RetryOn::default(),
            num_retries: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            retriable_status_codes: Box::default(),
            retriable_headers: Box::default(),
            retriable_request_headers: Box::default(),
            back_off_base: Duration::from_millis(25),
            back_off_max: Duration::from_millis(250),
            rate_limited: None,
            avoid_previous_hosts: false,
            avoid_previous_priorities: None,
            omit_canary_hosts: false,
            omit_metadata: Box::default(),
            host_selection_attempts: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hosts_are_known_by_their_metadata() {
        let entries = [("a".into(), json!("1")), ("b".into(), json!(true))];
        let policy = RetryPolicy { omit_metadata: entries.into(), ..RetryPolicy::default() };
        for (told, omitted) in [
            (json!({"envoy.lb": {"a": "1", "b": true, "c": 2}}), true),
            (json!({"envoy.lb": {"a": ["0", "1"], "b": true}}), true),
            (json!({"envoy.lb": {"a": "1"}}), false),
            (json!({"other": {"a": "1", "b": true}}), false),
        ] {
            assert_eq!(policy.omits(Some(&told)), omitted, "{told}");
        }
        assert!(!policy.omits(None) && !RetryPolicy::default().omits(Some(&json!({"envoy.lb": {}}))));
    }
}
