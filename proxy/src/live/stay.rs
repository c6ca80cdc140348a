//! How long a connection may stay where it was accepted. When its listener or its filter chain has gone it is asked to
//! leave, and at the end of the drain time it has to.

use super::drain;
use crate::base::clock::{self, Instant};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Of one connection; its worker's alone.
#[derive(Debug)]
pub struct Stay {
    leaving: Cell<Option<Instant>>,
    over: Cell<bool>,
    waker: RefCell<Waker>,
}

impl Stay {
    /// Of a connection whose place is there.
    pub fn new() -> Rc<Stay> {
        Rc::new(Stay {
            leaving: Cell::default(),
            over: Cell::default(),
            waker: RefCell::new(Waker::noop().clone()),
        })
    }

    /// Its place is gone.
    pub fn leave(&self) {
        if self.leaving.get().is_none() {
            self.leaving.set(Some(clock::now()));
        }
    }

    /// Was its place gone at some time?
    pub fn is_leaving(&self) -> bool {
        self.leaving.get().is_some()
    }

    /// Shall it close with this response? By the drain strategy: at once, or with growing probability over the drain
    /// time, so that the clients of a listener do not all come back at the same moment.
    pub fn should_close(&self) -> bool {
        self.leaving.get().is_some_and(|since| drain::is_due(since, drain::spread()))
    }

    /// Its time is over.
    pub fn end(&self) {
        self.over.set(true);
        self.waker.borrow().wake_by_ref();
    }

    /// Must it end now? One task may wait.
    pub fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.over.get() {
            return Poll::Ready(());
        }
        self.waker.borrow_mut().clone_from(cx.waker());
        Poll::Pending
    }
}
