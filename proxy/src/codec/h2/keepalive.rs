//! PING at an interval, and the time for its answer (Envoy's `connection_keepalive`).

use crate::base::clock::{self, Instant};
use h2::{Ping, PingPong};
use std::task::{Context, Poll};
use std::time::Duration;

/// Keepalive of one connection.
pub struct Keepalive {
    pings: PingPong,
    interval: Duration,
    timeout: Duration,
    /// The next PING, or the end of the wait for the answer to one.
    at: Instant,
    waiting: bool,
}

impl std::fmt::Debug for Keepalive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keepalive").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Keepalive {
    /// With interval and timeout.
    pub fn new(pings: PingPong, (interval, timeout): (Duration, Duration)) -> Keepalive {
        Keepalive { pings, interval, timeout, at: clock::now() + interval, waiting: false }
    }

    /// When it has to be polled next.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// Sends what is due; false when an answer is overdue.
    pub fn check(&mut self, cx: &mut Context<'_>) -> bool {
        if self.waiting {
            match self.pings.poll_pong(cx) {
                Poll::Ready(Ok(_)) => {
                    self.waiting = false;
                    self.at = clock::now() + self.interval;
                }
                // The connection tells its own end.
                Poll::Ready(Err(_)) => return true,
                Poll::Pending => return clock::now() < self.at,
            }
        }
        if clock::now() >= self.at {
            if self.pings.send_ping(Ping::opaque()).is_err() {
                return true;
            }
            self.waiting = true;
            self.at = clock::now() + self.timeout;
            return self.check(cx);
        }
        true
    }
}
