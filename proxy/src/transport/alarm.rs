//! One timer for all deadlines of a connection. It is armed lazily: a later deadline leaves the timer where it is,
//! and an early ring is answered by arming again, so that a request costs no timer operation.

use crate::base::clock::{self, Instant};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::Sleep;

/// A lazily armed timer. It belongs to one task: the waker is registered when it is armed.
#[derive(Debug, Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Completes at the deadline, never without one. Cancel safe.
    pub fn poll_at(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        let sleep = match &mut self.sleep {
            Some(sleep) => sleep,
            none => {
                let sleep = none.insert(Box::pin(tokio::time::sleep_until(deadline)));
                return sleep.as_mut().poll(cx);
            }
        };
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
            return sleep.as_mut().poll(cx);
        }
        while sleep.is_elapsed() {
            if clock::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn deadlines_move_both_ways() {
        let start = clock::now();
        let mut alarm = Alarm::default();
        let at = |ms| Some(start + Duration::from_millis(ms));
        assert!(poll_fn(|cx| Poll::Ready(alarm.poll_at(cx, at(500)))).await.is_pending());
        assert!(poll_fn(|cx| Poll::Ready(alarm.poll_at(cx, None))).await.is_pending());
        poll_fn(|cx| alarm.poll_at(cx, at(800))).await;
        assert_eq!(start.elapsed(), Duration::from_millis(800));
        poll_fn(|cx| alarm.poll_at(cx, at(900))).await;
        poll_fn(|cx| alarm.poll_at(cx, at(850))).await;
        assert_eq!(start.elapsed(), Duration::from_millis(900));
    }
}
