//! The process's drain: connections are asked to close, at random over the drain time or all at once.

use crate::base::clock::{self, Instant};
use crate::base::rng;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Of every connection.
static ALL: Drain = Drain::new();

/// Of the connections of inbound listeners.
static INBOUND: Drain = Drain::new();

/// Of idle connections: only once the process ends.
static IDLE: Drain = Drain::new();

/// Told when the process ends.
static ENDS: Notify = Notify::const_new();

/// A connection that has asked nothing yet has this long from the beginning of the end: its first request may be on
/// the way.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// `--drain-time-s` in milliseconds.
static TIME: AtomicU64 = AtomicU64::new(600_000);

/// `--drain-strategy gradual`
static GRADUAL: AtomicBool = AtomicBool::new(true);

/// Sets the time that what is to end is given (`--drain-time-s`), and whether it ends spread over it
/// (`--drain-strategy`).
pub fn set_time(time: Duration, gradual: bool) {
    GRADUAL.store(gradual, Ordering::Relaxed);
    TIME.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// The time that what is to end is given.
pub fn time() -> Duration {
    Duration::from_millis(TIME.load(Ordering::Relaxed))
}

/// The time over which ends are spread; none where all is asked to end at once.
pub fn spread() -> Option<Duration> {
    GRADUAL.load(Ordering::Relaxed).then(time)
}

/// Is it the turn of one of those that are to end since then? With a time, with growing probability over it (Envoy's
/// `gradual`).
pub fn is_due(since: Instant, over: Option<Duration>) -> bool {
    let Some(over) = over.filter(|over| !over.is_zero()) else { return true };
    let most = u64::try_from(over.as_millis()).unwrap_or(u64::MAX).max(1);
    u128::from(rng::with(|r| r.below(most))) < since.elapsed().as_millis()
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
    IDLE.begin(None);
    ENDS.notify_waiters();
}

/// Shall connections close between requests? One that has `asked` for nothing yet is given some time.
pub fn closes_idle(asked: bool) -> bool {
    IDLE.began().is_some_and(|at| asked || at.elapsed() >= FIRST_REQUEST)
}

/// Waits for the first word of a client. None when the process ends, and some time has passed since, before it is there.
///
/// Cancelled, it leaves nothing behind.
pub async fn unless_unasked<T>(word: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        word = word => Some(word),
        () = unasked() => None,
    }
}

async fn unasked() {
    let ends = ENDS.notified();
    let began = match IDLE.began() {
        Some(at) => at,
        None => {
            ends.await;
            clock::now()
        }
    };
    tokio::time::sleep(FIRST_REQUEST.saturating_sub(began.elapsed())).await;
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

    fn going_on(&self) -> Option<(Instant, Option<Duration>)> {
        if !self.on.load(Ordering::Relaxed) {
            return None;
        }
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn began(&self) -> Option<Instant> {
        self.going_on().map(|(start, _)| start)
    }

    fn closes(&self) -> bool {
        self.going_on().is_some_and(|(since, over)| is_due(since, over))
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
