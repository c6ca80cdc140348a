//! A response body held to a rate (the fault filter's `response_rate_limit`): slices at sixteen ticks a second.

use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// Time between slices (Envoy: 16 a second).
const TICK: Duration = Duration::from_micros(62_500);

/// Bytes that wait for their tick; at most one read of the upstream.
#[derive(Debug)]
pub struct Throttle {
    per_tick: usize,
    pending: Bytes,
    end: bool,
    sleep: Pin<Box<Sleep>>,
}

impl Throttle {
    /// At so many bytes a second.
    pub fn new(bytes_per_second: u64) -> Throttle {
        let per_tick = usize::try_from(bytes_per_second / 16).unwrap_or(usize::MAX).max(1);
        Throttle {
            per_tick,
            pending: Bytes::new(),
            end: false,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }

    /// Is nothing waiting?
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes the next part of the body; call only when empty.
    pub fn push(&mut self, bytes: Bytes, end: bool) {
        self.pending = bytes;
        self.end = end;
    }

    /// The next slice, when its time has come, and whether the body ends with it. Cancel safe.
    pub fn poll_slice(&mut self, cx: &mut Context<'_>) -> Poll<(Bytes, bool)> {
        ready!(self.sleep.as_mut().poll(cx));
        self.sleep.as_mut().reset(tokio::time::Instant::now() + TICK);
        let slice = self.pending.split_to(self.per_tick.min(self.pending.len()));
        Poll::Ready((slice, self.end && self.pending.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn a_kibibyte_a_second() {
        let start = tokio::time::Instant::now();
        let mut throttle = Throttle::new(1024);
        throttle.push(Bytes::from(vec![b'x'; 2048]), true);
        let mut sent = 0;
        loop {
            let (slice, end) = poll_fn(|cx| throttle.poll_slice(cx)).await;
            sent += slice.len();
            if end {
                break;
            }
        }
        assert_eq!(sent, 2048);
        assert!(
            start.elapsed() >= Duration::from_millis(1900) && start.elapsed() < Duration::from_millis(2100)
        );
    }
}
