//! Time: a monotonic instant that tests can hold (tokio's clock), and the wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The monotonic instant used everywhere (paused in tests by `tokio::time::pause`).
pub use tokio::time::Instant;

/// Now, monotonic.
pub fn now() -> Instant {
    Instant::now()
}

/// Now, wall clock, since the Unix epoch; zero before 1970.
pub fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
