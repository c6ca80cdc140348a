//! PING at an interval, and the time for its answer (Envoy's `connection_keepalive`).

use super::core::{Core, Ping};
use crate::base::clock::{self, Instant};
use std::time::Duration;

/// Keepalive of one connection.
#[derive(Debug)]
pub(super) struct Keepalive {
    interval: Duration,
    timeout: Duration,
    /// The next PING, or the end of the wait for the answer to one.
    at: Instant,
    waiting: bool,
}

impl Keepalive {
    /// With interval and timeout.
    pub(super) fn new((interval, timeout): (Duration, Duration)) -> Keepalive {
        Keepalive { interval, timeout, at: clock::now() + interval, waiting: false }
    }

    /// When it has to be looked at next.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// Sends what is due; false when an answer is overdue.
    pub(super) fn check(&mut self, core: &mut Core) -> bool {
        let now = clock::now();
        if self.waiting {
            if core.answered != Some(Ping::Alive) {
                return now < self.at;
            }
            self.waiting = false;
            self.at = now + self.interval;
        }
        if now >= self.at {
            core.ping(Ping::Alive);
            self.waiting = true;
            self.at = now + self.timeout;
        }
        true
    }
}
