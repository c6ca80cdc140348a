//! The times of one exchange; the earliest one rings.

use super::exchange::Interrupt;
use crate::base::clock::{self, Instant};
use crate::failure::Failure;
use crate::model::http::ConnectionManager;
use std::time::Duration;

/// All deadlines of an exchange.
#[derive(Debug)]
pub struct Deadlines {
    /// When a byte moved last.
    last: Instant,
    idle: Option<Duration>,
    /// The request must be complete.
    pub request: Option<Instant>,
    stream: Option<Instant>,
    /// The response must be complete.
    pub route: Option<Instant>,
    per_try: Option<Instant>,
    per_try_idle: Option<Duration>,
    /// The upstream's stream must have ended.
    upstream: Option<Instant>,
}

impl Deadlines {
    /// At the start of a request. `complete`: it has no body.
    pub fn new(manager: &ConnectionManager, start: Instant, complete: bool) -> Deadlines {
        Deadlines {
            last: start,
            idle: manager.stream_idle_timeout,
            request: manager.request_timeout.filter(|_| !complete).map(|t| start + t),
            stream: manager.max_stream_duration.map(|t| start + t),
            route: None,
            per_try: None,
            per_try_idle: None,
            upstream: None,
        }
    }

    /// The time that counts as now: of the last movement.
    pub fn now(&self) -> Instant {
        self.last
    }

    /// A byte moved.
    pub fn moved(&mut self) {
        self.last = clock::now();
    }

    /// What the route says of idle time and duration of the stream.
    pub fn set_stream(&mut self, idle: Option<Duration>, stream: Option<Duration>, start: Instant) {
        if let Some(idle) = idle {
            self.idle = Some(idle).filter(|t| !t.is_zero());
        }
        if let Some(stream) = stream {
            self.stream = Some(stream).filter(|t| !t.is_zero()).map(|t| start + t);
        }
    }

    /// An attempt has its connection.
    pub fn attempt_begins(
        &mut self,
        per_try: Option<Duration>,
        idle: Option<Duration>,
        longest: Option<Duration>,
    ) {
        if per_try.is_some() || idle.is_some() || longest.is_some() {
            self.moved();
        }
        self.per_try = per_try.map(|t| self.last + t);
        self.per_try_idle = idle;
        self.upstream = longest.map(|t| self.last + t);
    }

    /// Between attempts.
    pub fn attempt_ends(&mut self) {
        self.upstream = None;
        self.per_try = None;
        self.per_try_idle = None;
    }

    /// The response head is there: the try's time is over, the route's goes on.
    pub fn response_begins(&mut self) {
        self.moved();
        self.per_try = None;
    }

    /// A tunnel is bounded by idle time and duration alone.
    pub fn tunnel(&mut self) {
        self.route = None;
        self.per_try = None;
        self.request = None;
    }

    /// The earliest deadline and what it means. 504 when the request is complete, 408 else: Envoy's rule.
    pub fn next(&self) -> (Option<Instant>, Option<Interrupt>) {
        let all = [
            (self.route, Interrupt::Route),
            (self.per_try, Interrupt::PerTry),
            (self.per_try_idle.map(|t| self.last + t), Interrupt::PerTryIdle),
            (self.idle.map(|t| self.last + t), Interrupt::Failure(Failure::StreamIdleTimeout)),
            (self.request, Interrupt::Failure(Failure::RequestTimeout)),
            (self.stream, Interrupt::Failure(Failure::MaxDuration)),
            (self.upstream, Interrupt::Failure(Failure::UpstreamMaxDuration)),
        ];
        let mut first: (Option<Instant>, Option<Interrupt>) = (None, None);
        for (at, what) in all {
            if let Some(at) = at
                && first.0.is_none_or(|best| at < best)
            {
                first = (Some(at), Some(what));
            }
        }
        first
    }
}
