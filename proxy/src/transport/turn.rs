//! A worker's turn: the tasks that one look at the reactor made ready. Small writes wait for its end and then leave in
//! a row: a peer on the same machine is woken once for many of them (measured: waking it for each message alone costs
//! more than all that a small request needs of the proxy itself; to look at the reactor again before the turn ends
//! gains nothing more).

use crate::base::clock;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

thread_local! {
    static TURN: Turn = const { Turn { number: Cell::new(0), end: RefCell::new(None), waiting: RefCell::new(Vec::new()) } };
}

/// A thread's turn.
struct Turn {
    /// Number of the present turn; 0 on a thread without turns.
    number: Cell<u64>,
    /// Wakes what ends the turn, behind all tasks that are ready now.
    end: RefCell<Option<Waker>>,
    /// Tasks that wait for the end: each exchange at most twice (for its client and for its upstream), and each
    /// connection that others write to once.
    waiting: RefCell<Vec<Waker>>,
}

/// Ends turns for ever: one local task per worker.
pub async fn run() {
    poll_fn(|cx| {
        TURN.with(|turn| turn.finish(cx.waker()));
        Poll::Pending
    })
    .await
}

impl Turn {
    fn finish(&self, end: &Waker) {
        clock::forget();
        self.number.set(self.number.get().wrapping_add(1).max(1));
        let known = self.end.borrow().as_ref().is_some_and(|known| known.will_wake(end));
        if !known {
            self.end.replace(Some(end.clone()));
        }
        let mut waiting = self.waiting.take();
        waiting.drain(..).for_each(Waker::wake);
        // The list keeps its room.
        self.waiting.replace(waiting);
    }

    fn wait(&self, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty()
            && let Some(end) = &*self.end.borrow()
        {
            end.wake_by_ref();
        }
        waiting.push(waker.clone());
    }
}

/// The end of the turn in which it was first polled.
#[derive(Debug, Default)]
pub struct TurnEnd(u64);

impl TurnEnd {
    /// Ready once the turn is over, at once on a thread without turns. Then it can be used again.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        TURN.with(|turn| {
            let now = turn.number.get();
            match self.0 {
                asked if asked == now && now != 0 => return Poll::Pending,
                0 if now != 0 => {
                    turn.wait(cx.waker());
                    self.0 = now;
                    return Poll::Pending;
                }
                _ => {}
            }
            self.0 = 0;
            Poll::Ready(())
        })
    }

    /// Is it waited for? Then the task that did is woken at the end of the turn.
    pub fn is_awaited(&self) -> bool {
        self.0 != 0 && TURN.with(|turn| turn.number.get() == self.0)
    }
}

/// A task that several others ask to be woken at the end of their turn.
#[derive(Debug, Default)]
pub struct Due(u64);

impl Due {
    /// The task is woken once this turn is over, at once on a thread without turns.
    pub fn ask(&mut self, waker: &Waker) {
        TURN.with(|turn| {
            let now = turn.number.get();
            if now == 0 {
                waker.wake_by_ref();
            } else if self.0 != now {
                self.0 = now;
                turn.wait(waker);
            }
        });
    }

    /// Is the turn over in which it was last asked?
    pub fn is_over(&self) -> bool {
        TURN.with(|turn| self.0 != turn.number.get() || self.0 == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use tokio::task::{LocalSet, spawn_local};

    #[tokio::test]
    async fn a_thread_without_turns_does_not_wait() {
        let mut end = TurnEnd::default();
        poll_fn(|cx| end.poll(cx)).await;
    }

    #[tokio::test]
    async fn all_that_are_ready_come_before_the_first_goes_on() {
        LocalSet::new()
            .run_until(async {
                spawn_local(run());
                tokio::task::yield_now().await;
                let story: Rc<RefCell<Vec<(char, u32)>>> = Rc::default();
                let tasks: Vec<_> = (0..6)
                    .map(|task| {
                        let story = story.clone();
                        spawn_local(async move {
                            let mut end = TurnEnd::default();
                            for _ in 0..2 {
                                story.borrow_mut().push(('a', task));
                                poll_fn(|cx| end.poll(cx)).await;
                                story.borrow_mut().push(('b', task));
                            }
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.unwrap();
                }
                let steps: String = story.borrow().iter().map(|(step, _)| *step).collect();
                assert_eq!(steps, ["a".repeat(6), "ba".repeat(6), "b".repeat(6)].concat());
            })
            .await;
    }
}
