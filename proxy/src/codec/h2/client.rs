//! A connection to an upstream, shared by streams. [`Driver`] moves the bytes in a task of its own; a [`Stream`] is one
//! request and its response.

use super::account::{Account, CONNECTION_WINDOW};
use super::collect::HeadLimits;
use super::core::{Core, Fatal, Link, Role};
use super::flow::Flow;
use super::frames::{MAX_STREAM, Reason};
use super::headers;
use super::keepalive::Keepalive;
use super::streams::{Broken, Entry};
use super::wire::{End, Wire};
use crate::base::clock::{self, Instant};
use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::codec::h1::framing::is_upgrade;
use crate::codec::message::{BodyEvent, Data, RequestHead, ResponseHead};
use crate::failure::Reset;
use crate::model::http::Http2Options;
use crate::observe::metrics::Cells;
use crate::observe::record::WireBytes;
use crate::observe::stats::codec_http2 as stat;
use crate::transport::{Alarm, Io};
use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// A connection to an upstream.
#[derive(Debug)]
pub struct Session {
    link: Rc<Link>,
    account: Rc<Account>,
    most: u32,
    active: Cell<u32>,
    served: Cell<u32>,
    /// Takes no more streams.
    stopped: Cell<bool>,
    /// The stream whose head comes next is the last.
    retiring: Cell<bool>,
    idle_since: Cell<Instant>,
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
    wire: Wire,
    session: Rc<Session>,
    keepalive: Option<Keepalive>,
    alarm: Alarm,
}

/// Sends preface and settings over a fresh connection; streams can be opened at once.
pub fn open(io: Io, options: &Http2Options, limits: HeadLimits, stats: Rc<Cells>) -> (Rc<Session>, Driver) {
    // Streams share the connection's window: a stalled one must not keep the others from theirs.
    let account = Account::new(options, options.connection_window.max(CONNECTION_WINDOW), stats);
    let link = Core::open(Role::Client, options, limits, account.clone());
    let session = Rc::new(Session {
        link: link.clone(),
        account,
        most: options.max_concurrent_streams,
        active: Cell::new(0),
        served: Cell::new(0),
        stopped: Cell::new(false),
        retiring: Cell::new(false),
        idle_since: Cell::new(clock::now()),
    });
    let driver = Driver {
        wire: Wire::new(io, Vec::new(), link),
        session: session.clone(),
        keepalive: options.keepalive.map(Keepalive::new),
        alarm: Alarm::default(),
    };
    (session, driver)
}

impl Driver {
    /// Runs until the connection ends. Streams learn of it by themselves.
    pub async fn run(mut self, idle: Option<Duration>) -> Ended {
        let ended = poll_fn(|cx| self.poll(cx, idle)).await;
        self.session.stopped.set(true);
        ended
    }

    fn poll(&mut self, cx: &mut Context<'_>, idle: Option<Duration>) -> Poll<Ended> {
        let session = self.session.clone();
        session.link.core().grow_windows();
        loop {
            match self.wire.poll(cx) {
                Poll::Ready(Err(End::Closed)) => return Poll::Ready(session.ended_by(Ended::Remote)),
                Poll::Ready(Err(End::Fatal(Fatal::Protocol(_) | Fatal::Flood(_)))) => {
                    return Poll::Ready(Ended::Protocol);
                }
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            let core = &mut *session.link.core();
            if core.peer_last.is_some() {
                session.stopped.set(true);
            }
            if self.keepalive.as_mut().is_some_and(|keepalive| !keepalive.check(core)) {
                session.account.stats().inc(stat::KEEPALIVE_TIMEOUT);
                return Poll::Ready(Ended::Keepalive);
            }
            let unused = session.active.get() == 0;
            if unused && session.stopped.get() {
                if !core.leaving {
                    core.leaving = true;
                    core.goaway(0, Reason::NO_ERROR);
                }
                ready!(self.wire.poll_finish(core, cx));
                return Poll::Ready(Ended::Local);
            }
            let idle_by = idle.filter(|_| unused).map(|t| session.idle_since.get() + t);
            if idle_by.is_some_and(|by| clock::now() >= by) {
                return Poll::Ready(Ended::Idle);
            }
            let by = [idle_by, self.keepalive.as_ref().map(Keepalive::at)].into_iter().flatten().min();
            ready!(self.alarm.poll_at(cx, by));
        }
    }
}

impl Session {
    /// How it ended, where the peer's close may answer ours.
    fn ended_by(&self, otherwise: Ended) -> Ended {
        if self.stopped.get() && self.link.core().peer_last.is_none() { Ended::Local } else { otherwise }
    }

    /// Can it take another stream now?
    pub fn is_open(&self) -> bool {
        let core = self.link.core();
        !self.stopped.get()
            && !self.retiring.get()
            && !core.over
            && core.peer_last.is_none()
            && core.last < MAX_STREAM / 2
    }

    /// Does it take no more streams at once?
    pub fn is_full(&self) -> bool {
        self.active.get() >= self.link.core().peer.streams.min(self.most)
    }

    /// Opens a stream; the request's head is handed over later.
    pub fn stream(self: &Rc<Self>) -> Stream {
        self.active.set(self.active.get().saturating_add(1));
        self.served.set(self.served.get().saturating_add(1));
        self.account.stream_begins(0);
        Stream {
            session: self.clone(),
            first: self.served.get() == 1,
            flow: None,
            upgrade: None,
            held: None,
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
        if !self.stopped.replace(true) {
            self.link.core().wake_driver();
        }
    }
}

/// One request and its response.
#[derive(Debug)]
pub struct Stream {
    session: Rc<Session>,
    first: bool,
    flow: Option<Flow>,
    /// The request is an upgrade to this.
    upgrade: Option<Vec<u8>>,
    /// The extended CONNECT, which has to wait for the upstream's SETTINGS (RFC 8441 section 3).
    held: Option<Box<HeaderBlock>>,
    response_started: bool,
    error: Option<Reset>,
}

/// A stream's failure as the upstream's reset.
fn reset(broken: Broken) -> Reset {
    match broken {
        Broken::Reset(Reason::REFUSED_STREAM) | Broken::Unprocessed => Reset::RemoteRefused,
        Broken::Reset(_) => Reset::Remote,
        Broken::Protocol => Reset::Protocol,
        Broken::Ours => Reset::Local,
        Broken::Ended => Reset::Termination,
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl Stream {
    /// Hands the request head over.
    pub fn send_head(&mut self, head: &RequestHead) {
        if !headers::is_sendable(head) {
            self.error = Some(Reset::Local);
        } else if is_upgrade(&head.headers) {
            self.upgrade = Some(head.headers.get(Id::Upgrade).unwrap_or_default().to_vec());
            self.held = Some(Box::new(head.headers.clone()));
        } else {
            self.send(&head.headers, head.end);
        }
    }

    /// Sends the extended CONNECT that waits, once it is known whether the upstream takes it.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(headers) = &self.held else { return Poll::Ready(()) };
        let taken = {
            let core = &mut *self.session.link.core();
            if !core.is_settled(cx) {
                return Poll::Pending;
            }
            core.peer.connect || core.over
        };
        let headers = headers.clone();
        self.held = None;
        if taken {
            self.send(&headers, false);
        } else {
            self.error = Some(Reset::Local);
        }
        Poll::Ready(())
    }

    fn send(&mut self, headers: &HeaderBlock, end: bool) {
        let key = {
            let core = &mut *self.session.link.core();
            // Nothing is sent: another connection may have it.
            let refused = core.over
                || core.peer_last.is_some()
                || self.session.stopped.get()
                || core.streams.open >= core.peer.streams;
            let next = if core.last == 0 { Some(1) } else { core.last.checked_add(2) };
            match next.filter(|next| !refused && *next <= MAX_STREAM) {
                Some(id) => {
                    core.last = id;
                    core.account.opens();
                    let mut entry = Entry::new(id, core.account.windows().0, core.peer.window);
                    entry.bodiless = headers.get(Id::Method) == Some(b"HEAD");
                    Some(core.streams.add(entry))
                }
                None => None,
            }
        };
        if self.session.retiring.get() {
            self.session.stop();
        }
        match key {
            Some(key) => {
                let mut flow = Flow::new(self.session.link.clone(), key);
                flow.send_request(headers, end);
                self.flow = Some(flow);
            }
            None => self.error = Some(Reset::RemoteRefused),
        }
    }

    /// Sends body bytes within the window; the rest is kept.
    pub fn send_data(&mut self, cx: &mut Context<'_>, data: Data<'_>, end: bool) -> io::Result<()> {
        self.flow.as_mut().ok_or_else(gone)?.send_data(cx, data, end)
    }

    /// Ends the body with trailers.
    pub fn send_trailers(&mut self, cx: &mut Context<'_>, trailers: &HeaderBlock) -> io::Result<()> {
        self.flow.as_mut().ok_or_else(gone)?.send_trailers(cx, trailers)
    }

    /// Has everything been taken that was handed over?
    pub fn drained(&self) -> bool {
        self.flow.as_ref().is_some_and(Flow::drained)
    }

    /// Sends what is kept.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(cx));
        match &mut self.flow {
            Some(flow) => flow.poll_flush(cx),
            None => Poll::Ready(Err(gone())),
        }
    }

    /// Ends our half of a tunnel.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.flow {
            Some(flow) => Poll::Ready(flow.send_data(cx, Data::Borrowed(&[]), true)),
            None => Poll::Ready(Ok(())),
        }
    }

    /// The response head; interim ones come one by one. Cancel safe.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Reset>> {
        ready!(self.poll_held(cx));
        if let Some(error) = self.error {
            return Poll::Ready(Err(error));
        }
        let Some(flow) = &mut self.flow else { return Poll::Ready(Err(Reset::Termination)) };
        let mut head = match ready!(flow.poll_head(cx)) {
            Ok(head) => head,
            Err(broken) => return Poll::Ready(Err(reset(broken))),
        };
        self.response_started = true;
        if let Some(protocol) = &self.upgrade {
            headers::answer_upgrade(&mut head, protocol);
        }
        Poll::Ready(Ok(head))
    }

    /// Next part of the response's body; its window is given back with the next call. Cancel safe.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent<'static>, Reset>> {
        match &mut self.flow {
            Some(flow) => flow.poll_body(cx).map_err(reset),
            None => Poll::Ready(Err(Reset::Termination)),
        }
    }

    /// Bytes of the stream.
    pub fn wire(&self) -> WireBytes {
        self.flow.as_ref().map(Flow::wire).unwrap_or_default()
    }

    /// Has any byte of the response arrived?
    pub fn response_started(&self) -> bool {
        self.response_started
    }

    /// Have we begun to write the request to the socket?
    pub fn request_started(&self) -> bool {
        self.flow.as_ref().is_some_and(Flow::has_begun)
    }

    /// Did another stream use this connection before?
    pub fn reused(&self) -> bool {
        !self.first
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.flow = None;
        self.session.account.stream_ends(0, None);
        let active = self.session.active.get().saturating_sub(1);
        self.session.active.set(active);
        if active == 0 {
            if self.session.retiring.get() {
                // The last stream is gone, its head sent or not.
                self.session.stop();
            }
            if self.session.stopped.get() {
                self.session.link.core().wake_driver();
            }
            self.session.idle_since.set(clock::now());
        }
    }
}
