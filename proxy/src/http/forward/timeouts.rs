//! The router's times (spec 2.5): route timeout, per-try timeout, gRPC's, from route and headers.

use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::http::reply::is_grpc;
use crate::model::retry::RetryPolicy;
use crate::model::route_action::{Forward, MaxStreamDuration};
use std::time::Duration;

/// Times of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the end of the request to the end of the response.
    pub route: Option<Duration>,
    /// One try.
    pub per_try: Option<Duration>,
    /// One try without a byte.
    pub per_try_idle: Option<Duration>,
    /// From the start of the stream, in the place of the connection manager's (0: unlimited).
    pub stream: Option<Duration>,
}

fn millis(headers: &HeaderBlock, id: Id) -> Option<Duration> {
    headers.get_str(id)?.parse::<u64>().ok().map(Duration::from_millis)
}

/// `grpc-timeout` (gRPC over HTTP/2: up to 8 digits and a unit); parts of milliseconds round up, as in Envoy.
pub fn grpc_timeout(headers: &HeaderBlock) -> Option<Duration> {
    let text = headers.get_str(Id::GrpcTimeout)?;
    let unit = text.chars().last()?;
    let digits = text.get(..text.len().checked_sub(unit.len_utf8())?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(Duration::from_millis(match unit {
        'H' => n.saturating_mul(3_600_000),
        'M' => n.saturating_mul(60_000),
        'S' => n.saturating_mul(1_000),
        'm' => n,
        'u' => n.div_ceil(1_000),
        'n' => n.div_ceil(1_000_000),
        _ => return None,
    }))
}

impl Timeouts {
    /// From route, policy and headers; `grpc-timeout` is rewritten where the deprecated cap says so.
    pub fn new(
        forward: &Forward,
        retry: Option<&RetryPolicy>,
        headers: &mut HeaderBlock,
        respect_expected: bool,
    ) -> Timeouts {
        let grpc = is_grpc(headers);
        let mut times = Timeouts { route: forward.timeout, ..Timeouts::default() };
        if let Some(limits) = &forward.max_stream_duration {
            times.by_duration(limits, grpc, headers);
        } else if let (true, Some((cap, offset))) = (grpc, forward.max_grpc_timeout) {
            times.old_grpc(cap, offset, headers);
        }
        if let Some(wanted) = millis(headers, Id::EnvoyTimeout) {
            times.route = Some(wanted).filter(|t| !t.is_zero());
            headers.remove_id(Id::EnvoyTimeout);
        }
        if respect_expected && let Some(wanted) = millis(headers, Id::EnvoyExpectedTimeout) {
            times.route = Some(wanted).filter(|t| !t.is_zero());
        }
        times.per_try = retry.and_then(|r| r.per_try_timeout);
        times.per_try_idle = retry.and_then(|r| r.per_try_idle_timeout);
        if let Some(wanted) = millis(headers, Id::EnvoyPerTryTimeout) {
            times.per_try = Some(wanted).filter(|t| !t.is_zero());
            headers.remove_id(Id::EnvoyPerTryTimeout);
        }
        if times.per_try.zip(times.route).is_some_and(|(one, all)| one >= all) {
            times.per_try = None;
        }
        times
    }

    /// These limits take the place of the route's timeout, whatever they say. The cap holds for a `grpc-timeout` that
    /// was sent, the duration where there is none; a gRPC upstream is told.
    fn by_duration(&mut self, limits: &MaxStreamDuration, grpc: bool, headers: &mut HeaderBlock) {
        self.route = None;
        self.stream = match limits.grpc_timeout_max.zip(grpc_timeout(headers)) {
            Some((cap, wanted)) => {
                let capped = if cap.is_zero() { wanted } else { wanted.min(cap) };
                Some(capped.saturating_sub(limits.grpc_timeout_offset))
            }
            None => limits.max,
        };
        if let (true, Some(time)) = (grpc, self.stream.filter(|time| !time.is_zero())) {
            headers.set_id(Id::GrpcTimeout, format!("{}m", time.as_millis()).as_bytes());
        }
    }

    fn old_grpc(&mut self, cap: Duration, offset: Duration, headers: &mut HeaderBlock) {
        let wanted = grpc_timeout(headers).unwrap_or(Duration::ZERO);
        let limited = match (wanted.is_zero(), cap.is_zero()) {
            (true, true) => None,
            (true, false) => Some(cap),
            (false, true) => Some(wanted),
            (false, false) => Some(wanted.min(cap)),
        };
        self.route = limited.map(|t| t.saturating_sub(offset)).filter(|t| !t.is_zero());
        if let Some(time) = self.route {
            headers.set_id(Id::GrpcTimeout, format!("{}m", time.as_millis()).as_bytes());
        }
    }

    /// `x-envoy-expected-rq-timeout-ms` for an attempt that begins `elapsed` after the request's end.
    pub fn expected(&self, elapsed: Duration) -> Option<u64> {
        let left = self.route.map(|all| all.saturating_sub(elapsed));
        let time = match (self.per_try, left) {
            (Some(one), Some(left)) => one.min(left),
            (Some(one), None) => one,
            (None, left) => left?,
        };
        u64::try_from(time.as_micros().div_ceil(1000)).ok().filter(|ms| *ms > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_times() {
        for (text, ms) in [
            ("5S", Some(5000)),
            ("1500u", Some(2)),
            ("1n", Some(1)),
            ("1H", Some(3_600_000)),
            ("123456789S", None),
            ("S", None),
            ("5", None),
        ] {
            let mut headers = HeaderBlock::new();
            headers.append_id(Id::GrpcTimeout, text.as_bytes());
            assert_eq!(grpc_timeout(&headers).map(|d| d.as_millis()), ms, "{text}");
        }
    }

    #[test]
    fn grpc_durations_as_envoy_tells_them() {
        let ms = Duration::from_millis;
        let limits = |max, cap, offset| MaxStreamDuration {
            max,
            grpc_timeout_max: cap,
            grpc_timeout_offset: ms(offset),
        };
        for (limits, sent, told) in [
            (limits(Some(ms(300)), None, 0), None, Some("300m")),
            (limits(Some(ms(300)), None, 0), Some("5S"), Some("300m")),
            (limits(Some(ms(0)), None, 0), Some("5S"), Some("5S")),
            (limits(Some(ms(300)), Some(ms(200)), 0), None, Some("300m")),
            (limits(Some(ms(300)), Some(ms(200)), 0), Some("5S"), Some("200m")),
            (limits(None, Some(ms(200)), 50), None, None),
            (limits(None, Some(ms(200)), 50), Some("100m"), Some("50m")),
            (limits(None, Some(ms(0)), 0), Some("5S"), Some("5000m")),
        ] {
            let mut headers = HeaderBlock::new();
            if let Some(sent) = sent {
                headers.append_id(Id::GrpcTimeout, sent.as_bytes());
            }
            Timeouts::default().by_duration(&limits, true, &mut headers);
            assert_eq!(headers.get_str(Id::GrpcTimeout), told, "{limits:?} {sent:?}");
        }
    }

    #[test]
    fn expected_times() {
        let mut times = Timeouts { route: Some(Duration::from_secs(15)), ..Timeouts::default() };
        assert_eq!(times.expected(Duration::ZERO), Some(15_000));
        assert_eq!(times.expected(Duration::from_millis(105)), Some(14_895));
        times.per_try = Some(Duration::from_millis(700));
        assert_eq!(times.expected(Duration::ZERO), Some(700));
        times.route = None;
        times.per_try = None;
        assert_eq!(times.expected(Duration::ZERO), None);
    }
}
