//! The process's drain: connections are asked to close, at random over the drain time or all at once.

use crate::base::clock::{self, Instant};
use crate::base::rng;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

static ON: AtomicBool = AtomicBool::new(false);
static IDLE: AtomicBool = AtomicBool::new(false);
static SINCE: Mutex<Option<(Instant, Option<Duration>)>> = Mutex::new(None);

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

/// Begins. With a time, connections close at their responses with growing probability over it (Envoy's `gradual`);
/// without, at the next response.
pub fn begin(over: Option<Duration>) {
    *SINCE.lock().unwrap_or_else(PoisonError::into_inner) = Some((clock::now(), over));
    ON.store(true, Ordering::Release);
}

/// Ends (`/healthcheck/ok`).
pub fn end() {
    ON.store(false, Ordering::Release);
}

/// The process ends: idle connections close too.
pub fn close_idle() {
    IDLE.store(true, Ordering::Release);
}

/// Shall connections close between requests?
pub fn closes_idle() -> bool {
    IDLE.load(Ordering::Relaxed)
}

/// Is a drain going on?
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Shall the connection of a response close now?
pub fn should_close() -> bool {
    if !is_on() {
        return false;
    }
    let since = *SINCE.lock().unwrap_or_else(PoisonError::into_inner);
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
