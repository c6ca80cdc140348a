//! A connection to an upstream, shared by streams. [`Driver`] moves the bytes in a task of its own; a [`Stream`] is one
//! request and its response.

use super::account::{Account, CONNECTION_WINDOW};
use super::frames;
use super::half::{self, Broken, Incoming, Outgoing};
use super::headers::{self, HeadLimits};
use super::keepalive::Keepalive;
use super::meter::Meter;
use crate::base::clock::{self, Instant};
use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::codec::h1::framing::is_upgrade;
use crate::codec::message::{BodyEvent, Data, RequestHead, ResponseHead, Traffic};
use crate::failure::Reset;
use crate::model::http::Http2Options;
use crate::observe::metrics::Cells;
use crate::observe::record::WireBytes;
use crate::observe::stats::codec_http2 as stat;
use crate::transport::{Alarm, Io};
use bytes::Bytes;
use h2::Reason;
use h2::client::{Builder, ResponseFuture, SendRequest};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Streams that are opened before the upstream's SETTINGS say how many it takes (RFC 9113 section 6.5.2 recommends no
/// less than 100).
const STREAMS_BEFORE_SETTINGS: usize = 100;

/// Most request bytes of one stream that wait for the socket inside the connection.
const SEND_BUFFER: usize = 64 << 10;

/// A connection to an upstream.
pub struct Session {
    sender: RefCell<Option<SendRequest<Bytes>>>,
    account: Rc<Account>,
    limits: HeadLimits,
    most: u32,
    active: Cell<u32>,
    served: Cell<u32>,
    closed: Cell<bool>,
    /// The stream whose head comes next is the last.
    retiring: Cell<bool>,
    idle_since: Cell<Instant>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("active", &self.active)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The upstream closed it, or it broke.
    Remote,
    /// We closed it.
    Local,
    /// Nothing used it for the idle timeout.
    Idle,
    /// The upstream broke the protocol.
    Protocol,
    /// It did not answer a PING.
    Keepalive,
}

/// Moves a connection's bytes.
#[derive(Debug)]
pub struct Driver {
    inner: h2::client::Connection<Meter, Bytes>,
    session: Rc<Session>,
    keepalive: Option<Keepalive>,
    alarm: Alarm,
}

/// Sends preface and settings over a fresh connection; streams can be opened at once.
pub async fn open(
    io: Io,
    options: &Http2Options,
    limits: HeadLimits,
    stats: Rc<Cells>,
) -> io::Result<(Rc<Session>, Driver)> {
    // Streams share the connection's window: a stalled one must not keep the others from theirs.
    let account = Account::new(options, options.connection_window.max(CONNECTION_WINDOW), stats);
    let meter = Meter::new(io, Vec::new(), (0, frames::PREFACE), account.clone());
    let (stream_window, connection_window) = account.windows();
    let (sender, mut inner) = Builder::new()
        .enable_push(false)
        .initial_max_send_streams(STREAMS_BEFORE_SETTINGS)
        .initial_window_size(stream_window)
        .initial_connection_window_size(connection_window)
        .max_header_list_size(limits.told())
        .header_table_size(options.hpack_table)
        .max_send_buffer_size(SEND_BUFFER)
        .handshake::<_, Bytes>(meter)
        .await
        .map_err(|error| error.into_io().unwrap_or_else(|| io::ErrorKind::InvalidData.into()))?;
    let keepalive = options.keepalive.and_then(|times| Some(Keepalive::new(inner.ping_pong()?, times)));
    let session = Rc::new(Session {
        sender: RefCell::new(Some(sender)),
        account,
        limits,
        most: options.max_concurrent_streams,
        active: Cell::new(0),
        served: Cell::new(0),
        closed: Cell::new(false),
        retiring: Cell::new(false),
        idle_since: Cell::new(clock::now()),
    });
    let driver = Driver { inner, session: session.clone(), keepalive, alarm: Alarm::default() };
    Ok((session, driver))
}

impl Driver {
    /// Runs until the connection ends. Streams learn of it by themselves.
    pub async fn run(mut self, idle: Option<Duration>) -> Ended {
        let ended = poll_fn(|cx| self.poll(cx, idle)).await;
        self.session.closed.set(true);
        self.session.stop();
        self.session.account.settle();
        ended
    }

    fn poll(&mut self, cx: &mut Context<'_>, idle: Option<Duration>) -> Poll<Ended> {
        if let Some((stream, connection)) = self.session.account.grown_windows() {
            self.inner.set_target_window_size(connection);
            // Refused while an earlier change is unanswered: the next growth brings it.
            let _ = self.inner.set_initial_window_size(stream);
        }
        if let Poll::Ready(result) = Pin::new(&mut self.inner).poll(cx) {
            let stopped = self.session.sender.borrow().is_none();
            return Poll::Ready(match result.as_ref().map_err(Broken::from) {
                Err(Broken::Protocol) => Ended::Protocol,
                Ok(()) if stopped => Ended::Local,
                Ok(()) | Err(_) => Ended::Remote,
            });
        }
        if self.session.account.goaway() {
            self.session.stop();
        }
        loop {
            if self.keepalive.as_mut().is_some_and(|keepalive| !keepalive.check(cx)) {
                self.session.account.stats().inc(stat::KEEPALIVE_TIMEOUT);
                return Poll::Ready(Ended::Keepalive);
            }
            let unused = self.session.active.get() == 0;
            let idle_by = idle.filter(|_| unused).map(|t| self.session.idle_since.get() + t);
            if idle_by.is_some_and(|by| clock::now() >= by) {
                return Poll::Ready(Ended::Idle);
            }
            let by = [idle_by, self.keepalive.as_ref().map(Keepalive::at)].into_iter().flatten().min();
            ready!(self.alarm.poll_at(cx, by));
        }
    }
}

impl Session {
    /// Can it take another stream now?
    pub fn is_open(&self) -> bool {
        !self.closed.get() && !self.retiring.get() && !self.account.goaway() && self.sender.borrow().is_some()
    }

    /// Does it take no more streams at once?
    pub fn is_full(&self) -> bool {
        let theirs = self.sender.borrow().as_ref().map_or(0, SendRequest::current_max_send_streams);
        self.active.get() as usize >= theirs.min(self.most as usize)
    }

    /// Opens a stream; the request's head is handed over later.
    pub fn stream(self: &Rc<Self>) -> Stream {
        self.active.set(self.active.get().saturating_add(1));
        self.served.set(self.served.get().saturating_add(1));
        self.account.stream_begins(0);
        Stream {
            session: self.clone(),
            first: self.served.get() == 1,
            response: None,
            outgoing: None,
            incoming: None,
            upgrade: None,
            held: None,
            head_request: false,
            head_bytes: 0,
            response_started: false,
            error: None,
        }
    }

    /// Streams in use.
    pub fn active(&self) -> u32 {
        self.active.get()
    }

    /// Streams opened so far.
    pub fn served(&self) -> u32 {
        self.served.get()
    }

    /// Takes no more streams once the last one's head is handed over.
    pub fn retire(&self) {
        self.retiring.set(true);
    }

    /// Takes no more streams; the connection ends with its last one.
    pub fn stop(&self) {
        self.sender.borrow_mut().take();
    }
}

/// One request and its response.
#[derive(Debug)]
pub struct Stream {
    session: Rc<Session>,
    first: bool,
    response: Option<ResponseFuture>,
    outgoing: Option<Outgoing>,
    incoming: Option<Incoming>,
    /// The request is an upgrade to this.
    upgrade: Option<Vec<u8>>,
    /// The extended CONNECT, which has to wait for the upstream's SETTINGS (RFC 8441 section 3).
    held: Option<Box<http::Request<()>>>,
    head_request: bool,
    /// Bytes of the request's fields.
    head_bytes: usize,
    response_started: bool,
    error: Option<Reset>,
}

/// A half's failure as the upstream's reset.
fn reset(broken: Broken) -> Reset {
    match broken {
        Broken::Reset(Reason::REFUSED_STREAM) | Broken::Unprocessed => Reset::RemoteRefused,
        Broken::Reset(_) => Reset::Remote,
        Broken::Protocol => Reset::Protocol,
        Broken::Ended => Reset::Termination,
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl Stream {
    /// Hands the request head over.
    pub fn send_head(&mut self, head: &RequestHead) {
        self.head_request = head.headers.get(Id::Method) == Some(b"HEAD");
        self.head_bytes = head.headers.byte_size();
        self.upgrade =
            is_upgrade(&head.headers).then(|| head.headers.get(Id::Upgrade).unwrap_or_default().to_vec());
        match headers::to_request(head) {
            None => self.error = Some(Reset::Local),
            Some(request) if self.upgrade.is_some() => self.held = Some(Box::new(request)),
            Some(request) => self.send(request, head.end),
        }
    }

    /// Sends the extended CONNECT that waits, once it is known whether the upstream takes it.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.held.is_none() {
            return Poll::Ready(());
        }
        ready!(self.session.account.poll_settled(cx));
        let sender = self.session.sender.borrow();
        let taken = sender.as_ref().is_none_or(SendRequest::is_extended_connect_protocol_enabled);
        drop(sender);
        match self.held.take() {
            Some(request) if taken => self.send(*request, false),
            _ => self.error = Some(Reset::Local),
        }
        Poll::Ready(())
    }

    fn send(&mut self, request: http::Request<()>, end: bool) {
        // A clone of its own: one that queues requests would refuse the next.
        let sender = self.session.sender.borrow().clone();
        let Some(mut sender) = sender else {
            self.error = Some(Reset::RemoteRefused);
            return;
        };
        if self.session.retiring.get() {
            self.session.stop();
        }
        match sender.send_request(request, end) {
            Ok((response, stream)) => {
                self.response = Some(response);
                let mut outgoing = Outgoing::new(stream, self.session.account.clone(), end);
                half::fields(&mut outgoing.sent, self.head_bytes);
                self.outgoing = Some(outgoing);
            }
            Err(error) => {
                // Nothing was sent: another connection may have it.
                let broken = Broken::from(&error);
                self.error =
                    Some(if broken == Broken::Protocol { Reset::Local } else { Reset::RemoteRefused });
            }
        }
    }

    /// Sends body bytes within the window; the rest is kept.
    pub fn send_data(&mut self, cx: &mut Context<'_>, data: Data<'_>, end: bool) -> io::Result<()> {
        self.outgoing.as_mut().ok_or_else(gone)?.data(cx, data, end)
    }

    /// Ends the body with trailers.
    pub fn send_trailers(&mut self, cx: &mut Context<'_>, trailers: &HeaderBlock) -> io::Result<()> {
        self.outgoing.as_mut().ok_or_else(gone)?.trailers(cx, trailers)
    }

    /// Has everything been taken that was handed over?
    pub fn drained(&self) -> bool {
        self.outgoing.as_ref().is_some_and(Outgoing::drained)
    }

    /// Sends what is kept.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(cx));
        match &mut self.outgoing {
            Some(outgoing) => outgoing.poll_flush(cx),
            None => Poll::Ready(Err(gone())),
        }
    }

    /// Ends our half of a tunnel.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.outgoing {
            Some(outgoing) => Poll::Ready(outgoing.data(cx, Data::Borrowed(&[]), true)),
            None => Poll::Ready(Ok(())),
        }
    }

    /// The response head; interim ones come one by one. Cancel safe.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Reset>> {
        ready!(self.poll_held(cx));
        if let Some(error) = self.error {
            return Poll::Ready(Err(error));
        }
        let limits = self.session.limits;
        let Some(response) = &mut self.response else { return Poll::Ready(Err(Reset::Termination)) };
        match response.poll_informational(cx) {
            Poll::Ready(Some(Ok(interim))) => {
                self.response_started = true;
                return Poll::Ready(
                    headers::response(interim, false, None, &limits).map_err(|_| Reset::Protocol),
                );
            }
            // Nothing has come: it wakes us for the response too.
            Poll::Pending => return Poll::Pending,
            Poll::Ready(_) => {}
        }
        let (parts, body) = match ready!(Pin::new(response).poll(cx)) {
            Ok(response) => response.into_parts(),
            Err(error) => return Poll::Ready(Err(reset(Broken::from(&error)))),
        };
        self.response_started = true;
        let mut incoming = Incoming::new(body, self.session.account.clone());
        let end = incoming.is_done() || self.head_request;
        let response = http::Response::from_parts(parts, ());
        let head = headers::response(response, end, self.upgrade.as_deref(), &limits);
        if let Ok(head) = &head {
            half::fields(&mut incoming.received, head.headers.byte_size().saturating_add(":status200".len()));
        }
        self.incoming = Some(incoming);
        Poll::Ready(head.map_err(|_| Reset::Protocol))
    }

    /// Next part of the response's body; its window is given back with the next call. Cancel safe.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent<'static>, Reset>> {
        match &mut self.incoming {
            Some(incoming) => incoming.poll(cx, &self.session.limits).map_err(reset),
            None => Poll::Ready(Err(Reset::Termination)),
        }
    }

    /// Bytes of the stream.
    pub fn wire(&self) -> WireBytes {
        let sent = self.outgoing.as_ref().map(|outgoing| outgoing.sent).unwrap_or_default();
        let received = self.incoming.as_ref().map(|incoming| incoming.received).unwrap_or_default();
        Traffic::wire(sent, received)
    }

    /// Has any byte of the response arrived?
    pub fn response_started(&self) -> bool {
        self.response_started
    }

    /// Have we begun to write the request to the socket?
    pub fn request_started(&self) -> bool {
        self.outgoing.as_ref().is_some_and(|outgoing| self.session.account.headers_written(outgoing.id()))
    }

    /// Did another stream use this connection before?
    pub fn reused(&self) -> bool {
        !self.first
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The halves give their bytes back before the stream is counted out.
        self.incoming = None;
        self.outgoing = None;
        self.response = None;
        self.session.account.stream_ends(0, None);
        let active = self.session.active.get().saturating_sub(1);
        self.session.active.set(active);
        if active == 0 {
            if self.session.retiring.get() {
                // The last stream is gone, its head sent or not.
                self.session.stop();
            }
            self.session.idle_since.set(clock::now());
        }
    }
}
