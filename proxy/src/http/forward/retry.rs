//! Whether an attempt is made again (spec 2.6), and the proof that it may be: what was flushed, what was seen.

use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::base::rng;
use crate::failure::Reset;
use crate::model::retry::{RetryOn, RetryPolicy};
use crate::observe::record::WITHHELD;
use std::sync::Arc;
use std::time::Duration;

/// Methods that may be sent twice (RFC 9110 section 9.2.2).
pub fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
}

/// What is known of a failed attempt.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    /// Why it ended.
    pub reset: Reset,
    /// A byte of the request was written.
    pub request_started: bool,
    /// A byte of the response was read.
    pub response_started: bool,
}

impl Evidence {
    /// Is it certain that the upstream application did not see the request?
    pub fn unseen(&self) -> bool {
        match self.reset {
            Reset::ConnectFailure
            | Reset::LocalConnectFailure
            | Reset::ConnectTimeout
            | Reset::RemoteRefused => true,
            _ => !self.request_started && !self.response_started,
        }
    }
}

/// What to do after an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Again, by policy, after a back-off.
    Retry,
    /// Again at once, by proof, without any policy.
    Replay,
    /// Not again, and why.
    No(&'static str),
}

/// Retry state of one request.
#[derive(Debug)]
pub struct Retries {
    on: RetryOn,
    left: u32,
    policy: Option<Arc<RetryPolicy>>,
    extra_codes: Vec<u16>,
    extra_headers: Vec<String>,
    idempotent: bool,
    /// Envoy's behaviour without weir's caution (`weir.retry_as_envoy`).
    as_envoy: bool,
    replayed: bool,
    /// Retries made.
    pub made: u32,
}

impl Retries {
    /// From policy and the headers of an internal client, which are removed.
    pub fn new(policy: Option<&Arc<RetryPolicy>>, headers: &mut HeaderBlock, as_envoy: bool) -> Retries {
        let method = headers.get(Id::Method).unwrap_or_default();
        let idempotent = is_idempotent(method);
        let applies = policy.filter(|p| {
            p.retriable_request_headers.is_empty()
                || p.retriable_request_headers.iter().any(|m| m.matches(headers))
        });
        let mut on = applies.map_or(RetryOn::default(), |p| p.on);
        for id in [Id::EnvoyRetryOn, Id::EnvoyRetryGrpcOn] {
            if let Some(text) = headers.get_str(id) {
                on = on.with(RetryOn::parse(text));
                headers.remove_id(id);
            }
        }
        let mut left = applies.map_or(1, |p| p.num_retries);
        if let Some(wanted) = headers.get_str(Id::EnvoyMaxRetries).and_then(|t| t.parse().ok()) {
            left = wanted;
        }
        let list =
            |id| headers.get_str(id).map(|t| t.split(',').map(|s| s.trim().to_owned()).collect::<Vec<_>>());
        let extra_codes = list(Id::EnvoyRetriableStatus)
            .unwrap_or_default()
            .iter()
            .filter_map(|c| c.parse().ok())
            .collect();
        let extra_headers = list(Id::EnvoyRetriableHeaders).unwrap_or_default();
        for id in [Id::EnvoyMaxRetries, Id::EnvoyRetriableStatus, Id::EnvoyRetriableHeaders] {
            headers.remove_id(id);
        }
        Retries {
            on,
            left,
            policy: applies.cloned(),
            extra_codes,
            extra_headers,
            idempotent,
            as_envoy,
            replayed: false,
            made: 0,
        }
    }

    /// Is there any policy?
    pub fn has_policy(&self) -> bool {
        self.on.0 != 0
    }

    /// The policy.
    pub fn policy(&self) -> Option<&Arc<RetryPolicy>> {
        self.policy.as_ref()
    }

    /// The policy's wish was a reset that it names, but the request may have been seen and nobody opted in.
    fn cautious(&self) -> bool {
        !self.as_envoy && !self.idempotent && self.on.is_istio_default()
    }

    /// Does the policy want another try after a reset?
    fn wants_reset(&self, e: &Evidence) -> bool {
        if e.reset == Reset::Overflow {
            return false;
        }
        let connect =
            matches!(e.reset, Reset::ConnectFailure | Reset::LocalConnectFailure | Reset::ConnectTimeout);
        self.on.has(RetryOn::FIVE_XX.with(RetryOn::GATEWAY_ERROR).with(RetryOn::RESET))
            || (connect && self.on.has(RetryOn::CONNECT_FAILURE))
            || (e.reset == Reset::RemoteRefused && self.on.has(RetryOn::REFUSED_STREAM))
            || (!e.request_started && self.on.has(RetryOn::RESET_BEFORE_REQUEST))
    }

    /// After an attempt without response. `resendable`: the request is still here in full.
    pub fn after_reset(&mut self, e: &Evidence, resendable: bool) -> Decision {
        if e.response_started && e.reset != Reset::Protocol && !self.wants_reset(e) {
            return Decision::No("response_started");
        }
        if !resendable {
            return Decision::No("body_not_kept");
        }
        if self.wants_reset(e) {
            if self.cautious() && !e.unseen() {
                return Decision::No(WITHHELD);
            }
            return self.spend();
        }
        if self.as_envoy || self.replayed || e.reset == Reset::Overflow {
            return Decision::No("no_policy");
        }
        let broke = e.reset == Reset::Termination && !e.response_started && self.idempotent;
        let fresh_host = matches!(e.reset, Reset::ConnectFailure | Reset::RemoteRefused)
            || (e.unseen() && e.reset == Reset::Termination);
        if broke || fresh_host {
            self.replayed = true;
            return Decision::Replay;
        }
        Decision::No(if self.idempotent { "no_policy" } else { "may_have_been_seen" })
    }

    /// After a try's own timeout.
    pub fn after_try_timeout(&mut self, resendable: bool) -> Decision {
        if !self.on.has(RetryOn::FIVE_XX.with(RetryOn::GATEWAY_ERROR).with(RetryOn::RESET)) {
            return Decision::No("no_policy");
        }
        if !resendable { Decision::No("body_not_kept") } else { self.spend() }
    }

    /// After a response head.
    pub fn after_response(
        &mut self,
        status: u16,
        headers: &HeaderBlock,
        trailers_only: bool,
        resendable: bool,
    ) -> Decision {
        if !self.has_policy() {
            return Decision::No("no_policy");
        }
        let limited = headers.has(Id::EnvoyRateLimited);
        if limited && !self.on.has(RetryOn::ENVOY_RATELIMITED) {
            return Decision::No("rate_limited");
        }
        let grpc = headers.get_str(Id::GrpcStatus).and_then(|t| t.parse::<u32>().ok());
        if !(limited || self.wants_status(status, headers) || self.wants_grpc(grpc)) {
            return Decision::No("status_not_retriable");
        }
        if self.cautious() && !(grpc == Some(14) && trailers_only) {
            return Decision::No(WITHHELD);
        }
        if !resendable {
            return Decision::No("body_not_kept");
        }
        self.spend()
    }

    fn wants_status(&self, status: u16, headers: &HeaderBlock) -> bool {
        let codes = self.policy.as_ref().map_or(&[][..], |p| &p.retriable_status_codes);
        let listed = codes.contains(&status) || self.extra_codes.contains(&status);
        (self.on.has(RetryOn::FIVE_XX) && (500..600).contains(&status))
            || (self.on.has(RetryOn::GATEWAY_ERROR) && (502..=504).contains(&status))
            || (self.on.has(RetryOn::RETRIABLE_4XX) && status == 409)
            || (self.on.has(RetryOn::RETRIABLE_STATUS_CODES) && listed)
            || (self.on.has(RetryOn::RETRIABLE_HEADERS) && self.wants_header(headers))
    }

    fn wants_header(&self, headers: &HeaderBlock) -> bool {
        let by_policy =
            self.policy.as_ref().is_some_and(|p| p.retriable_headers.iter().any(|m| m.matches(headers)));
        let named = |name: &String| headers.iter().any(|(_, n, _)| n.eq_ignore_ascii_case(name.as_bytes()));
        by_policy || self.extra_headers.iter().any(named)
    }

    fn wants_grpc(&self, grpc: Option<u32>) -> bool {
        let bit = match grpc {
            Some(1) => RetryOn::GRPC_CANCELLED,
            Some(4) => RetryOn::GRPC_DEADLINE_EXCEEDED,
            Some(8) => RetryOn::GRPC_RESOURCE_EXHAUSTED,
            Some(13) => RetryOn::GRPC_INTERNAL,
            Some(14) => RetryOn::GRPC_UNAVAILABLE,
            _ => return false,
        };
        self.on.has(bit)
    }

    fn spend(&mut self) -> Decision {
        if self.left == 0 {
            return Decision::No("limit_reached");
        }
        self.left = self.left.saturating_sub(1);
        self.made = self.made.saturating_add(1);
        Decision::Retry
    }

    /// Time before the present retry: uniform in `[0, min(max, base * 2^(k-1)))`, or what the upstream asked for.
    pub fn back_off(&self, response: Option<&HeaderBlock>) -> (Duration, bool) {
        let asked = self.policy.as_ref().and_then(|p| p.rate_limited.as_ref()).zip(response).and_then(
            |((names, max), h)| {
                names.iter().find_map(|reset| {
                    let value: u64 = std::str::from_utf8(h.find(&reset.name)?).ok()?.trim().parse().ok()?;
                    let now = crate::base::clock::wall().as_secs();
                    let wait = Duration::from_secs(if reset.unix_timestamp {
                        value.saturating_sub(now)
                    } else {
                        value
                    });
                    (wait <= *max).then_some(wait)
                })
            },
        );
        if let Some(wait) = asked {
            let extra =
                rng::with(|r| r.below(u64::try_from(wait.as_millis() / 2).unwrap_or(u64::MAX).max(1)));
            return (wait.saturating_add(Duration::from_millis(extra)), true);
        }
        let (base, max) = self
            .policy
            .as_ref()
            .map_or((25, 250), |p| (p.back_off_base.as_millis(), p.back_off_max.as_millis()));
        let doubled = base.checked_shl(self.made.saturating_sub(1).min(32)).unwrap_or(max).min(max);
        let bound = u64::try_from(doubled).unwrap_or(u64::MAX);
        (Duration::from_millis(rng::with(|r| r.below(bound))), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(method: &str, on: &str) -> Retries {
        let mut headers = HeaderBlock::new();
        headers.append_id(Id::Method, method.as_bytes());
        let policy = (!on.is_empty()).then(|| {
            Arc::new(RetryPolicy {
                on: RetryOn::parse(on),
                num_retries: 2,
                retriable_status_codes: [503].into(),
                ..RetryPolicy::default()
            })
        });
        Retries::new(policy.as_ref(), &mut headers, false)
    }

    fn evidence(reset: Reset, request: bool, response: bool) -> Evidence {
        Evidence { reset, request_started: request, response_started: response }
    }

    #[test]
    fn proof_comes_without_policy() {
        for (method, reset, request, response, want) in [
            ("GET", Reset::Termination, true, false, Decision::Replay),
            ("GET", Reset::Termination, true, true, Decision::No("response_started")),
            ("POST", Reset::Termination, true, false, Decision::No("may_have_been_seen")),
            ("POST", Reset::Termination, false, false, Decision::Replay),
            ("POST", Reset::ConnectFailure, false, false, Decision::Replay),
            ("POST", Reset::RemoteRefused, true, false, Decision::Replay),
            ("GET", Reset::Overflow, false, false, Decision::No("no_policy")),
        ] {
            let got = retries(method, "").after_reset(&evidence(reset, request, response), true);
            assert_eq!(got, want, "{method} {reset:?} {request} {response}");
        }
        let mut once = retries("GET", "");
        assert_eq!(once.after_reset(&evidence(Reset::Termination, true, false), true), Decision::Replay);
        assert_eq!(
            once.after_reset(&evidence(Reset::Termination, true, false), true),
            Decision::No("no_policy")
        );
    }

    #[test]
    fn istios_default_is_not_an_opt_in_for_posts() {
        let on = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
        let mut post = retries("POST", on);
        let empty = HeaderBlock::new();
        assert_eq!(post.after_response(503, &empty, true, true), Decision::No(WITHHELD));
        assert_eq!(post.after_reset(&evidence(Reset::ConnectFailure, false, false), true), Decision::Retry);
        let mut grpc = HeaderBlock::new();
        grpc.append_id(Id::GrpcStatus, b"14");
        assert_eq!(post.after_response(200, &grpc, true, true), Decision::Retry);
        assert_eq!(post.after_response(200, &grpc, true, true), Decision::No("limit_reached"));
        assert_eq!(retries("GET", on).after_response(503, &empty, true, true), Decision::Retry);
        assert_eq!(retries("POST", "5xx").after_response(503, &empty, true, true), Decision::Retry);
    }

    #[test]
    fn tokens_of_the_table() {
        let empty = HeaderBlock::new();
        for (on, status, want) in [
            ("5xx", 500, true),
            ("gateway-error", 500, false),
            ("gateway-error", 502, true),
            ("retriable-4xx", 409, true),
            ("retriable-4xx", 404, false),
            ("retriable-status-codes", 503, true),
        ] {
            let again = retries("GET", on).after_response(status, &empty, false, true) == Decision::Retry;
            assert_eq!(again, want, "{on} {status}");
        }
        assert_eq!(retries("GET", "5xx").after_try_timeout(true), Decision::Retry);
        assert_eq!(retries("GET", "connect-failure").after_try_timeout(true), Decision::No("no_policy"));
    }
}
