//! One timer for all deadlines of a connection. It is armed lazily: a later deadline leaves the timer where it is,
//! and an early ring is answered by arming again, so that a request costs no timer operation.

use crate::base::clock::{self, Instant};
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::Sleep;

/// Alarms that a worker keeps for the next short-lived task.
const KEPT: usize = 1024;

thread_local! {
    static FREE: RefCell<Vec<Pin<Box<Sleep>>>> = const { RefCell::new(Vec::new()) };
}

/// A lazily armed timer. It belongs to one task: the waker is registered when it is armed.
#[derive(Debug, Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// The timer was another task's: this one's waker is not registered yet.
    foreign: bool,
}

impl Alarm {
    /// For a short-lived task (a stream): an armed timer that another one has left, if there is one.
    pub fn take() -> Alarm {
        let sleep = FREE.with_borrow_mut(Vec::pop);
        Alarm { foreign: sleep.is_some(), sleep }
    }

    /// Leaves the timer, armed as it is, for the next task.
    pub fn leave(mut self) {
        if let Some(sleep) = self.sleep.take() {
            FREE.with_borrow_mut(|free| {
                if free.len() < KEPT {
                    free.push(sleep);
                }
            });
        }
    }

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
        if std::mem::take(&mut self.foreign) {
            // Registers this task's waker; what it says is looked at below.
            let _ = sleep.as_mut().poll(cx);
        }
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
    async fn a_timer_serves_task_after_task() {
        let start = clock::now();
        let at = move |ms| Some(start + Duration::from_millis(ms));
        let mut first = Alarm::take();
        assert!(poll_fn(|cx| Poll::Ready(first.poll_at(cx, at(100)))).await.is_pending());
        first.leave();
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let second = tokio::task::spawn_local(async move {
                    let mut alarm = Alarm::take();
                    assert!(alarm.foreign);
                    poll_fn(|cx| alarm.poll_at(cx, at(300))).await;
                    alarm.leave();
                });
                second.await.unwrap();
                assert_eq!(start.elapsed(), Duration::from_millis(300));
            })
            .await;
    }

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
