//! A client's connection: request after request on HTTP/1, streams on HTTP/2; idle time, drain, the last goodbye.

use super::exchange::Exchange;
use super::manager::ManagerCell;
use super::reply;
use super::streams::Http2;
use crate::base::clock::{self, Instant};
use crate::base::names::Id;
use crate::codec::h1::head::HeadRules;
use crate::codec::h1::server::Server;
use crate::codec::message::{DownstreamError, RequestHead};
use crate::codec::stream::Downstream;
use crate::failure::{Failure, Flag};
use crate::live::drain;
use crate::live::stay::Stay;
use crate::model::http::{CodecType, ConnectionManager};
use crate::observe::record::{ConnFacts, Protocol, Record};
use crate::observe::stats::http as stat;
use crate::transport::{Alarm, Input, Io};
use crate::upstream::Worker;
use futures_util::FutureExt;
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};

/// What a connection finds when the configuration has changed since its last request.
pub enum Present {
    /// The chain's connection manager now.
    Manager(Arc<ConnectionManager>),
    /// No chain would take this connection any more, or one of another kind: it drains.
    Drain,
}

/// A connection to be served.
pub struct Conn {
    /// The stream.
    pub io: Io,
    /// Bytes that listener filters have read.
    pub read: Vec<u8>,
    /// Its facts.
    pub facts: Rc<ConnFacts>,
    /// The connection manager of the chain that was chosen.
    pub manager: Arc<ConnectionManager>,
    /// The listener's soft limit of buffered bytes.
    pub buffer_limit: usize,
    /// Repeats the choice of the chain from what it was made by.
    pub present: Rc<dyn Fn() -> Present>,
    /// How long it may stay.
    pub stay: Rc<Stay>,
    /// What counts the connection at its listener, until it ends.
    pub hold: Box<dyn std::any::Any>,
}

thread_local! {
    /// Wakers of the worker's connections, by connection id.
    static WAKERS: RefCell<HashMap<u64, Waker, foldhash::fast::RandomState>> = RefCell::default();
}

static NEXT_STREAM: AtomicU64 = AtomicU64::new(1);

/// The next number of a stream.
pub(super) fn next_stream_id() -> u64 {
    NEXT_STREAM.fetch_add(1, Ordering::Relaxed)
}

/// Wakes every connection of this worker, so that idle ones notice a drain.
pub fn wake_all() {
    let all: Vec<Waker> = WAKERS.with_borrow(|wakers| wakers.values().cloned().collect());
    all.into_iter().for_each(Waker::wake);
}

/// Who ended a connection.
#[derive(Clone, Copy)]
pub(super) enum EndedBy {
    /// The client; while a request of it was being served?
    Client { busy: bool },
    /// The proxy.
    Us,
}

/// Counts a connection while it lives.
pub(super) struct Counted {
    by: EndedBy,
    cell: Rc<ManagerCell>,
    id: u64,
    start: Instant,
    h2: bool,
}

impl Counted {
    pub(super) async fn new(cell: Rc<ManagerCell>, facts: &ConnFacts, h2: bool) -> Counted {
        poll_fn(|cx| {
            WAKERS.with_borrow_mut(|wakers| wakers.insert(facts.id, cx.waker().clone()));
            Poll::Ready(())
        })
        .await;
        let stats = &cell.stats;
        stats.inc(stat::DOWNSTREAM_CX_TOTAL);
        stats.gauge_add(stat::DOWNSTREAM_CX_ACTIVE, 1);
        stats.inc(if h2 { stat::DOWNSTREAM_CX_HTTP2_TOTAL } else { stat::DOWNSTREAM_CX_HTTP1_TOTAL });
        stats.gauge_add(
            if h2 { stat::DOWNSTREAM_CX_HTTP2_ACTIVE } else { stat::DOWNSTREAM_CX_HTTP1_ACTIVE },
            1,
        );
        Counted { by: EndedBy::Client { busy: false }, cell, id: facts.id, start: facts.start, h2 }
    }

    /// The connection ends: by the client between requests, unless another is named here.
    pub(super) fn ended(&mut self, by: EndedBy) {
        self.by = by;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        WAKERS.with_borrow_mut(|wakers| wakers.remove(&self.id));
        let stats = &self.cell.stats;
        stats.inc(stat::DOWNSTREAM_CX_DESTROY);
        match self.by {
            EndedBy::Us => stats.inc(stat::DOWNSTREAM_CX_DESTROY_LOCAL),
            EndedBy::Client { busy } => {
                stats.inc(stat::DOWNSTREAM_CX_DESTROY_REMOTE);
                if busy {
                    stats.inc(stat::DOWNSTREAM_CX_DESTROY_ACTIVE_RQ);
                    stats.inc(stat::DOWNSTREAM_CX_DESTROY_REMOTE_ACTIVE_RQ);
                }
            }
        }
        stats.gauge_sub(stat::DOWNSTREAM_CX_ACTIVE, 1);
        stats.gauge_sub(
            if self.h2 { stat::DOWNSTREAM_CX_HTTP2_ACTIVE } else { stat::DOWNSTREAM_CX_HTTP1_ACTIVE },
            1,
        );
        let age = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        stats.record(stat::DOWNSTREAM_CX_LENGTH_MS, age);
    }
}

/// Starts to serve a connection, in a task of its own: as large as its protocol needs, no larger.
pub fn spawn(conn: Conn) {
    let Some(worker) = Worker::current() else { return };
    let place = Place { version: worker.version(), manager: ManagerCell::of(&conn.manager), worker };
    match conn.manager.codec {
        CodecType::Http1 => spawn_as(conn, place, false),
        CodecType::Http2 => spawn_as(conn, place, true),
        CodecType::Auto => _ = tokio::task::spawn_local(told_apart(conn, place)),
    }
}

/// Where a connection was accepted: what it knows of the configuration may be old when its first byte comes.
pub(super) struct Place {
    pub(super) worker: Rc<Worker>,
    pub(super) version: u64,
    pub(super) manager: Rc<ManagerCell>,
}

fn spawn_as(conn: Conn, place: Place, h2: bool) {
    let rest = Rest::of(&conn);
    if h2 {
        let hold = conn.hold;
        tokio::task::spawn_local(async move {
            let _hold = hold;
            Http2::new(place, rest).run(conn.io, conn.read).await;
        });
        return;
    }
    let Place { worker, version, manager } = place;
    let http1 =
        Http1 { worker, version, manager, alarm: Alarm::default(), served: 0, conn: rest, _hold: conn.hold };
    tokio::task::spawn_local(http1.run(Server::new(conn.io, conn.read)));
}

async fn told_apart(mut conn: Conn, place: Place) {
    let (idle_timeout, stay) = (conn.manager.idle_timeout, conn.stay.clone());
    let sniffed = drain::unless_unasked(sniff(&mut conn));
    let sniffed = async {
        match idle_timeout {
            None => Ok(sniffed.await),
            Some(time) => tokio::time::timeout(time, sniffed).await,
        }
    };
    let sniffed = tokio::select! {
        biased;
        sniffed = sniffed => match sniffed {
            Ok(sniffed) => sniffed,
            Err(_) => return place.manager.stats.inc(stat::DOWNSTREAM_CX_IDLE_TIMEOUT),
        },
        () = poll_fn(|cx| stay.poll_over(cx)) => return,
    };
    if let Some(h2) = sniffed {
        spawn_as(conn, place, h2);
    }
}

/// Tells HTTP/2's preface (RFC 9113 section 3.4) from anything else; what was read is kept.
async fn sniff(conn: &mut Conn) -> bool {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut input = Input::with(std::mem::take(&mut conn.read));
    let found = poll_fn(|cx| {
        loop {
            let have = input.len().min(PREFACE.len());
            if have > 0 && input.bytes().get(..have) != PREFACE.get(..have) {
                return Poll::Ready(false);
            }
            if have == PREFACE.len() {
                return Poll::Ready(true);
            }
            let n = ready!(input.poll_fill(&mut conn.io, cx, usize::MAX)).unwrap_or(0);
            input.stash();
            if n == 0 {
                return Poll::Ready(false);
            }
        }
    })
    .await;
    conn.read = input.take();
    found
}

/// What stays of a connection beside its stream.
pub(super) struct Rest {
    pub(super) facts: Rc<ConnFacts>,
    pub(super) buffer_limit: usize,
    pub(super) stay: Rc<Stay>,
    present: Rc<dyn Fn() -> Present>,
}

impl Rest {
    fn of(conn: &Conn) -> Rest {
        Rest {
            facts: conn.facts.clone(),
            buffer_limit: conn.buffer_limit,
            stay: conn.stay.clone(),
            present: conn.present.clone(),
        }
    }

    /// Takes the present configuration over. One that has no place any more keeps what it has while it stays.
    pub(super) fn refresh(&self, worker: &Worker, version: &mut u64, manager: &mut Rc<ManagerCell>) {
        let now = worker.version();
        if now == *version {
            return;
        }
        *version = now;
        if let Present::Manager(config) = (self.present)()
            && !Arc::ptr_eq(&config, &manager.config)
        {
            *manager = ManagerCell::of(&config);
        }
    }

    /// Shall the connection close with this response, for a drain of the process or of what it came by?
    pub(super) fn drains(&self, manager: &ManagerCell) -> bool {
        let drains = self.stay.should_close() || drain::should_close(self.facts.inbound);
        if drains {
            manager.stats.inc(stat::DOWNSTREAM_CX_DRAIN_CLOSE);
        }
        drains
    }
}

struct Http1 {
    worker: Rc<Worker>,
    version: u64,
    manager: Rc<ManagerCell>,
    alarm: Alarm,
    served: u32,
    conn: Rest,
    _hold: Box<dyn std::any::Any>,
}

enum Next {
    Request(RequestHead),
    Bad(Failure),
    Close(EndedBy),
}

/// How a connection stands after a request.
enum After {
    Again,
    Close,
    Gone,
}

impl Http1 {
    /// Not an `async fn`: what it takes would be held twice for as long as the connection lives.
    fn run(self, server: Server) -> impl Future<Output = ()> {
        let (mut this, mut server) = (self, server);
        async move {
            let mut counted = Counted::new(this.manager.clone(), &this.conn.facts, false).await;
            loop {
                let idle_since = clock::now();
                let mut first_byte = None;
                let next = poll_fn(|cx| this.poll_next(&mut server, cx, idle_since, &mut first_byte)).await;
                this.conn.refresh(&this.worker, &mut this.version, &mut this.manager);
                match next {
                    Next::Close(by) => return counted.ended(by),
                    Next::Bad(failure) => {
                        counted.ended(EndedBy::Us);
                        return Box::pin(this.goodbye(&mut server, failure, first_byte)).await;
                    }
                    Next::Request(head) => {
                        let stay = this.conn.stay.clone();
                        let served = AssertUnwindSafe(Box::pin(this.exchange(&mut server, head)));
                        let served = tokio::select! {
                            biased;
                            served = served.catch_unwind() => served,
                            () = poll_fn(|cx| stay.poll_over(cx)) => Ok(After::Close),
                        };
                        let after = served.unwrap_or_else(|_| {
                            this.manager.stats.inc(stat::WEIR_PANICS);
                            After::Close
                        });
                        counted.ended(match after {
                            After::Again => continue,
                            After::Close => EndedBy::Us,
                            After::Gone => EndedBy::Client { busy: true },
                        });
                        return Box::pin(this.linger(&mut server)).await;
                    }
                }
            }
        }
    }

    /// The next request head, within idle, head and connection times; a drain ends the wait between requests.
    fn poll_next(
        &mut self,
        server: &mut Server,
        cx: &mut Context<'_>,
        idle_since: Instant,
        first_byte: &mut Option<Instant>,
    ) -> Poll<Next> {
        let config = &self.manager.config;
        let rules = HeadRules {
            max_bytes: config.max_request_headers,
            max_fields: config.max_headers_count,
            accept_http_10: config.http1.accept_http_10,
            allow_chunked_length: config.http1.allow_chunked_length,
        };
        match server.poll_head(cx, &rules) {
            Poll::Ready(Ok(Some(head))) => return Poll::Ready(Next::Request(head)),
            Poll::Ready(Ok(None) | Err(DownstreamError::Gone)) => {
                return Poll::Ready(Next::Close(EndedBy::Client { busy: server.has_input() }));
            }
            Poll::Ready(Err(DownstreamError::Bad(failure))) => return Poll::Ready(Next::Bad(failure)),
            Poll::Pending => {}
        }
        if server.has_input() && first_byte.is_none() {
            *first_byte = Some(clock::now());
        }
        if self.conn.stay.poll_over(cx).is_ready()
            || first_byte.is_none() && drain::closes_idle(self.served > 0)
        {
            return Poll::Ready(Next::Close(EndedBy::Us));
        }
        let head_by = first_byte.zip(config.request_headers_timeout).map(|(at, t)| at + t);
        let idle_by = config.idle_timeout.map(|t| idle_since + t);
        let old_by = config.max_connection_duration.map(|t| self.conn.facts.start + t);
        let first = [head_by, idle_by, old_by].into_iter().flatten().min();
        ready!(self.alarm.poll_at(cx, first));
        if head_by.is_some() && head_by == first {
            self.manager.stats.inc(stat::DOWNSTREAM_RQ_HEADER_TIMEOUT);
            return Poll::Ready(Next::Bad(Failure::RequestHeaderTimeout));
        }
        let idle = idle_by == first;
        self.manager.stats.inc(if idle {
            stat::DOWNSTREAM_CX_IDLE_TIMEOUT
        } else {
            stat::DOWNSTREAM_CX_MAX_DURATION_REACHED
        });
        Poll::Ready(Next::Close(EndedBy::Us))
    }

    /// Serves one request; may the connection go on?
    async fn exchange(&mut self, server: &mut Server, head: RequestHead) -> After {
        self.served = self.served.saturating_add(1);
        let worn = self.manager.config.max_requests_per_connection.is_some_and(|most| self.served >= most);
        if worn {
            self.manager.stats.inc(stat::DOWNSTREAM_CX_MAX_REQUESTS_REACHED);
        }
        if self.conn.drains(&self.manager) || worn {
            server.set_close();
        }
        let mut record = Box::new(Record::new(self.conn.facts.clone(), clock::now(), clock::wall()));
        record.stream_id = next_stream_id();
        record.moments.request_headers_received = Some(std::time::Duration::ZERO);
        let mut exchange = Exchange::new(
            Downstream::H1(server),
            head,
            record,
            self.manager.clone(),
            self.worker.clone(),
            &mut self.alarm,
            self.conn.buffer_limit,
        );
        exchange.serve().await;
        let gone = exchange.record.flags.has(Flag::DC);
        drop(exchange);
        match server.keep_alive() && server.request_done() && server.flushed() {
            true => After::Again,
            false if gone => After::Gone,
            false => After::Close,
        }
    }

    /// Answers bytes that are no request, and closes. `began`: when the first of them came, if it was before now.
    async fn goodbye(&mut self, server: &mut Server, failure: Failure, began: Option<Instant>) {
        self.manager.stats.inc(stat::DOWNSTREAM_RQ_TOTAL);
        self.manager.stats.inc(stat::DOWNSTREAM_CX_PROTOCOL_ERROR);
        self.manager.response_code(failure.row().status);
        let took = began.map(|at| clock::now().saturating_duration_since(at)).unwrap_or_default();
        let begun = clock::wall().saturating_sub(took);
        let mut record = Record::new(self.conn.facts.clone(), began.unwrap_or_else(clock::now), begun);
        record.protocol = Some(Protocol::Http11);
        record.moments.end = Some(took);
        record.response.append_id(Id::Server, self.manager.config.server_name.as_bytes());
        let row = failure.row();
        record.status = row.status;
        record.details = row.details.into();
        record.local_body = row.body.into();
        if let Some(flag) = row.flag {
            record.flags.set(flag);
        }
        record.bytes_sent = row.body.len() as u64;
        server.send_raw(&reply::raw(failure, &self.manager.config.server_name));
        let by = clock::now() + GOODBYE;
        poll_fn(|cx| {
            if server.poll_flush(cx).is_ready() {
                return Poll::Ready(());
            }
            self.alarm.poll_at(cx, Some(by))
        })
        .await;
        record.wire = server.wire();
        for log in &self.manager.config.logs {
            log.log(&record);
        }
        self.linger(server).await;
    }

    /// Ends our side, and waits a little for the client's end, so that it can read our last bytes before a reset.
    async fn linger(&mut self, server: &mut Server) {
        let delay = self.manager.config.delayed_close_timeout;
        let by = clock::now() + delay.unwrap_or(GOODBYE);
        poll_fn(|cx| {
            if !server.flushed() {
                let flushed = server.poll_flush(cx).is_ready();
                if !server.drained() {
                    return Poll::Ready(());
                }
                if !flushed {
                    return self.alarm.poll_at(cx, Some(by));
                }
            }
            if delay.is_none() || server.poll_linger(cx).is_ready() {
                return Poll::Ready(());
            }
            let late = self.alarm.poll_at(cx, Some(by));
            if late.is_ready() {
                self.manager.stats.inc(stat::DOWNSTREAM_CX_DELAYED_CLOSE_TIMEOUT);
            }
            late
        })
        .await;
    }
}

/// Longest time for the last words to a client that broke the protocol.
const GOODBYE: std::time::Duration = std::time::Duration::from_secs(5);
