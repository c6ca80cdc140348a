//! The tasks that serve HTTP/2 streams, one stream after the other: a task has room for all that an exchange may need,
//! so that making one for each stream costs more than waking one that waits.

use super::connection::next_stream_id;
use super::exchange::Exchange;
use super::manager::ManagerCell;
use crate::base::clock;
use crate::codec::h2::server::Stream;
use crate::codec::message::RequestHead;
use crate::codec::stream::Downstream;
use crate::observe::record::{ConnFacts, Record};
use crate::observe::stats::http as stat;
use crate::transport::Alarm;
use crate::upstream::Worker;
use futures_util::FutureExt;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Tasks that a worker keeps for the streams to come.
const KEPT: usize = 256;

thread_local! {
    static WAITING: RefCell<Vec<Rc<Inbox>>> = const { RefCell::new(Vec::new()) };
}

/// A stream to be served.
pub(super) struct Arrived {
    pub(super) stream: Stream,
    pub(super) head: RequestHead,
    pub(super) facts: Rc<ConnFacts>,
    pub(super) manager: Rc<ManagerCell>,
    pub(super) worker: Rc<Worker>,
    pub(super) buffer_limit: usize,
}

/// Where a task finds its next stream.
struct Inbox {
    arrived: Cell<Option<Arrived>>,
    waker: Cell<Option<Waker>>,
}

impl Inbox {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Arrived> {
        match self.arrived.take() {
            Some(arrived) => Poll::Ready(arrived),
            None => {
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

/// Serves a stream in a task of its own while it lasts.
pub(super) fn serve(arrived: Arrived) {
    match WAITING.with_borrow_mut(Vec::pop) {
        Some(inbox) => {
            inbox.arrived.set(Some(arrived));
            if let Some(waker) = inbox.waker.take() {
                waker.wake();
            }
        }
        None => {
            let inbox = Inbox { arrived: Cell::new(Some(arrived)), waker: Cell::new(None) };
            // Boxed before it is spawned: the runtime would move the whole of it from hand to hand.
            tokio::task::spawn_local(Box::pin(run(Rc::new(inbox))));
        }
    }
}

/// Streams one by one, while the task is among those that are kept.
async fn run(inbox: Rc<Inbox>) {
    loop {
        let arrived = poll_fn(|cx| inbox.poll(cx)).await;
        one(arrived).await;
        let kept = WAITING.with_borrow_mut(|waiting| {
            let room = waiting.len() < KEPT;
            if room {
                waiting.push(inbox.clone());
            }
            room
        });
        if !kept {
            return;
        }
    }
}

/// One stream, to its log line.
async fn one(arrived: Arrived) {
    let Arrived { mut stream, head, facts, manager, worker, buffer_limit } = arrived;
    let record = Box::new(record(facts));
    let mut alarm = Alarm::take();
    let down = Downstream::H2(&mut stream);
    let mut exchange = Exchange::new(down, head, record, manager.clone(), worker, &mut alarm, buffer_limit);
    let served = AssertUnwindSafe(exchange.serve()).catch_unwind().await;
    drop(exchange);
    if served.is_err() {
        manager.stats.inc(stat::WEIR_PANICS);
        stream.abort();
    }
    alarm.leave();
}

/// The record of a stream whose head has come.
pub(super) fn record(facts: Rc<ConnFacts>) -> Record {
    let mut record = Record::new(facts, clock::now(), clock::wall());
    record.stream_id = next_stream_id();
    record.moments.request_headers_received = Some(Duration::ZERO);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, F>(_: impl Fn(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn tasks_that_wait_hold_little() {
        assert!(size(run) <= 8 << 10, "{} bytes", size(run));
    }
}
