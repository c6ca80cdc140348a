//! The process's drain: connections are asked to close, at random over the drain time or all at once.

use crate::base::clock::{self, Instant};
use crate::base::rng;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Of every connection.
static ALL: Drain = Drain::new();

/// Of the connections of inbound listeners.
static INBOUND: Drain = Drain::new();

static IDLE: AtomicBool = AtomicBool::new(false);

/// `--drain-time-s` in milliseconds.
static TIME: AtomicU64 = AtomicU64::new(600_000);

/// Sets the time that what is to end is given (`--drain-time-s`).
pub fn set_time(time: Duration) {
    TIME.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// The time that what is to end is given.
pub fn time() -> Duration {
    Duration::from_millis(TIME.load(Ordering::Relaxed))
}

/// The connections that a drain is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// All.
    All,
    /// Those of listeners of traffic direction INBOUND.
    Inbound,
}

/// Begins. With a time, connections close at their responses with growing probability over it (Envoy's `gradual`);
/// without, at the next response.
pub fn begin(reach: Reach, over: Option<Duration>) {
    match reach {
        Reach::All => ALL.begin(over),
        Reach::Inbound => INBOUND.begin(over),
    }
}

/// Ends that of every connection (`/healthcheck/ok`).
pub fn end() {
    ALL.on.store(false, Ordering::Release);
}

/// The process ends: idle connections close too.
pub fn close_idle() {
    IDLE.store(true, Ordering::Release);
}

/// Shall connections close between requests?
pub fn closes_idle() -> bool {
    IDLE.load(Ordering::Relaxed)
}

/// Shall the connection of a response close now?
pub fn should_close(inbound: bool) -> bool {
    ALL.closes() || inbound && INBOUND.closes()
}

/// A drain, which goes on or not.
struct Drain {
    on: AtomicBool,
    since: Mutex<Option<(Instant, Option<Duration>)>>,
}

impl Drain {
    const fn new() -> Self {
        Self { on: AtomicBool::new(false), since: Mutex::new(None) }
    }

    fn begin(&self, over: Option<Duration>) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Some((clock::now(), over));
        self.on.store(true, Ordering::Release);
    }

    fn closes(&self) -> bool {
        if !self.on.load(Ordering::Relaxed) {
            return false;
        }
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        match since {
            Some((start, Some(over))) if !over.is_zero() => {
                let elapsed = start.elapsed().as_millis();
                let point =
                    u128::from(rng::with(|r| r.below(u64::try_from(over.as_millis()).unwrap_or(u64::MAX))));
                point < elapsed
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_close_at_once_or_over_the_time() {
        let drain = Drain::new();
        assert!(!drain.closes());
        drain.begin(None);
        assert!(drain.closes());
        drain.begin(Some(Duration::from_secs(1_000_000)));
        let closed = (0..100).filter(|_| drain.closes()).count();
        assert!(closed < 50, "{closed} of 100 at the beginning of 1,000,000 s");
    }
}
