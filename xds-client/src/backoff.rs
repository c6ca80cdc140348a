//! Time between attempts: decorrelated jitter, so that clients that lost their server together come back apart.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Each wait is drawn from between the base and three times the wait before, never beyond the largest.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    last: Duration,
}

impl Backoff {
    /// Envoy's base between two attempts of a gRPC subscription.
    pub const BASE: Duration = Duration::from_millis(500);
    /// Envoy's largest time between two attempts.
    pub const MAX: Duration = Duration::from_secs(30);

    /// Starts at the base.
    pub fn new(base: Duration, max: Duration) -> Self {
        let base = base.max(Duration::from_millis(1));
        Backoff { base, max: max.max(base), last: base }
    }

    /// An attempt was a success: the next failure waits for the shortest time again.
    pub fn reset(&mut self) {
        self.last = self.base;
    }

    /// The time until the next attempt.
    pub fn wait(&mut self) -> Duration {
        self.draw(RandomState::new().build_hasher().finish())
    }

    fn draw(&mut self, random: u64) -> Duration {
        let highest = self.last.saturating_mul(3).min(self.max);
        let span = u64::try_from(highest.saturating_sub(self.base).as_millis()).unwrap_or(u64::MAX);
        let part = u64::try_from((u128::from(random) * u128::from(span)) >> 64).unwrap_or(span);
        self.last = self.base.saturating_add(Duration::from_millis(part)).min(self.max);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_largest_and_stay_between_the_bounds() {
        let (base, max) = (Duration::from_millis(100), Duration::from_secs(2));
        let mut slow = Backoff::new(base, max);
        let waits: Vec<u128> = (0..5).map(|_| slow.draw(u64::MAX).as_millis()).collect();
        assert_eq!(waits, [299, 896, 1999, 1999, 1999], "the highest draw every time");
        slow.reset();
        assert_eq!(slow.draw(0), base);
        for _ in 0..1000 {
            let wait = slow.wait();
            assert!(wait >= base && wait <= max, "{wait:?}");
        }
        assert_eq!(Backoff::new(Duration::ZERO, Duration::ZERO).wait(), Duration::from_millis(1));
    }
}
