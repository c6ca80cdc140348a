//! Time: a monotonic instant that tests can hold (tokio's clock), and the wall clock.
//!
//! A worker looks at the clocks once for a few requests, as event loops do: what it sees is forgotten when it has
//! slept, at the end of a turn, and after [`READS`] uses. Other threads look every time.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The monotonic instant used everywhere (paused in tests by `tokio::time::pause`).
pub use tokio::time::Instant;

/// How often what was seen is used: about two requests, some ten microseconds.
const READS: u8 = 32;

struct Seen {
    /// Is this a worker?
    kept: Cell<bool>,
    left: Cell<u8>,
    clocks: Cell<Option<(Instant, Duration)>>,
}

thread_local! {
    static SEEN: Seen = const { Seen { kept: Cell::new(false), left: Cell::new(0), clocks: Cell::new(None) } };
}

/// From now on this thread keeps what it sees; it has to call [`forget`] whenever it has slept.
pub fn keep() {
    SEEN.with(|seen| seen.kept.set(true));
}

/// The next use looks at the clocks.
pub fn forget() {
    SEEN.with(|seen| seen.left.set(0));
}

impl Seen {
    fn clocks(&self) -> Option<(Instant, Duration)> {
        if !self.kept.get() {
            return None;
        }
        match self.left.get() {
            0 => {
                self.left.set(READS);
                self.clocks.set(Some((Instant::now(), system())));
            }
            left => self.left.set(left.wrapping_sub(1)),
        }
        self.clocks.get()
    }
}

/// Now, monotonic.
pub fn now() -> Instant {
    SEEN.with(Seen::clocks).map_or_else(Instant::now, |(now, _)| now)
}

/// Now, wall clock, since the Unix epoch; zero before 1970.
pub fn wall() -> Duration {
    SEEN.with(Seen::clocks).map_or_else(system, |(_, wall)| wall)
}

fn system() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_used_for_a_while() {
        keep();
        let (first, wall_first) = (now(), wall());
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!((now(), wall()), (first, wall_first));
        forget();
        let later = now();
        assert!(later >= first + Duration::from_millis(2) && wall() > wall_first);
        std::thread::sleep(Duration::from_millis(2));
        assert!((0..=READS).map(|_| now()).any(|now| now > later));
    }
}
