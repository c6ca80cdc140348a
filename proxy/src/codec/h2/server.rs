//! A client's HTTP/2 connection: it gives out streams, each served by a task of its own, and writes once for all that
//! were ready.

use super::account::{Account, CONNECTION_WINDOW, Flood};
use super::collect::{BadHead, HeadLimits};
use super::core::{Core, Fatal, Link, Ping, Role};
use super::flow::Flow;
use super::frames::{MAX_STREAM, Reason};
use super::keepalive::Keepalive;
use super::streams::Broken;
use super::wire::{End, Wire};
use crate::base::clock::{self, Instant};
use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::codec::message::{BodyEvent, Data, DownstreamError, RequestHead, ResponseHead};
use crate::failure::Flag;
use crate::model::http::Http2Options;
use crate::observe::record::WireBytes;
use crate::observe::stats::codec_http2 as stat;
use crate::transport::Io;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Longest time for a header block to become complete.
const HEADER_BLOCK: Duration = Duration::from_secs(10);

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    link: Rc<Link>,
    wire: Wire,
    account: Rc<Account>,
    keepalive: Option<Keepalive>,
    /// It goes away; the last GOAWAY has been said.
    going: bool,
    closing: bool,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// The client went away.
    Gone,
    /// We went away, with the last stream.
    Done,
    /// The client broke the protocol.
    Protocol,
    /// The client overdid something.
    Flood(Flood),
    /// It did not answer a PING.
    Keepalive,
}

/// A stream that the client opened, with its head; or why the head is refused (the stream has ended already).
pub type Accepted = Result<(RequestHead, Stream), BadHead>;

impl Connection {
    /// Reads the preface (of which `early` may hold a part) and sends our settings. None: it was no preface, or the
    /// client went away. Bound the time.
    pub async fn open(
        io: Io,
        early: Vec<u8>,
        options: &Http2Options,
        limits: HeadLimits,
    ) -> Option<Connection> {
        let account = Account::new(options, CONNECTION_WINDOW, super::downstream_stats());
        let link = Core::open(Role::Server, options, limits, account.clone());
        let mut wire = Wire::new(io, early, link.clone());
        let keepalive = options.keepalive.map(Keepalive::new);
        poll_fn(|cx| wire.poll_preface(cx)).await.then_some(Connection {
            link,
            wire,
            account,
            keepalive,
            going: false,
            closing: false,
        })
    }

    /// The next stream; drives everything else. An error is the end.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Accepted, Closed>> {
        if let Err(closed) = self.look_after(cx) {
            return Poll::Ready(Err(closed));
        }
        loop {
            if let Some(accepted) = self.arrived() {
                return Poll::Ready(Ok(accepted));
            }
            match self.wire.poll(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(End::Closed)) => return Poll::Ready(Err(Closed::Gone)),
                Poll::Ready(Err(End::Fatal(Fatal::Protocol(_)))) => {
                    return Poll::Ready(Err(Closed::Protocol));
                }
                Poll::Ready(Err(End::Fatal(Fatal::Flood(flood)))) => {
                    return Poll::Ready(Err(Closed::Flood(flood)));
                }
                Poll::Pending => break,
            }
        }
        if self.going && !self.closing && self.link.core().answered == Some(Ping::Going) {
            self.abandon();
        }
        let core = &mut *self.link.core();
        if self.closing && core.streams.is_empty() {
            ready!(self.wire.poll_finish(core, cx));
            return Poll::Ready(Err(Closed::Done));
        }
        Poll::Pending
    }

    /// What the connection does by itself.
    fn look_after(&mut self, cx: &mut Context<'_>) -> Result<(), Closed> {
        if let Some(flood) = self.account.flood() {
            self.wire.fail(Fatal::Flood(flood), cx);
            return Err(Closed::Flood(flood));
        }
        let core = &mut *self.link.core();
        core.grow_windows();
        if self.keepalive.as_mut().is_some_and(|keepalive| !keepalive.check(core)) {
            self.account.stats().inc(stat::KEEPALIVE_TIMEOUT);
            return Err(Closed::Keepalive);
        }
        Ok(())
    }

    /// The next stream that has arrived.
    fn arrived(&mut self) -> Option<Accepted> {
        let (key, head, reset) = {
            let core = &mut *self.link.core();
            let (key, head) = core.arrived.pop_front()?;
            let broken = core.streams.entry(key).and_then(|entry| entry.broken);
            let reset = matches!(broken, Some(Broken::Reset(_)));
            let crowded = head.is_ok() && !reset && !core.account.has_room_for_headers();
            if crowded {
                core.account.stats().inc(stat::HEADER_OVERFLOW);
                core.reset(key, Reason::REFUSED_STREAM, Broken::Ours);
            }
            let head = match head {
                Ok(_) if reset => Err(BadHead::Reset),
                Ok(_) if crowded => Err(BadHead::TooLarge),
                head => head,
            };
            (key, head, reset)
        };
        let held = head.as_ref().map_or(0, |head| head.headers.retained());
        self.account.stream_begins(held);
        let mut stream = Stream {
            account: self.account.clone(),
            flow: Flow::new(self.link.clone(), key),
            answered: false,
            head_request: false,
            held,
            start: clock::now(),
            broken: reset.then_some(Broken::Reset(Reason::CANCEL)),
        };
        Some(head.map(|head| {
            stream.head_request = head.headers.get(Id::Method) == Some(b"HEAD");
            stream.flow.received_head(head.headers.byte_size());
            (head, stream)
        }))
    }

    /// When it has to be polled at the latest, whatever arrives.
    pub fn poll_by(&self) -> Option<Instant> {
        let block = self.account.block_since().map(|since| since + HEADER_BLOCK);
        [self.keepalive.as_ref().map(Keepalive::at), block].into_iter().flatten().min()
    }

    /// Is a header block overdue?
    pub fn is_stuck(&self) -> bool {
        self.account.block_since().is_some_and(|since| since.elapsed() >= HEADER_BLOCK)
    }

    /// Streams that are served now.
    pub fn streams(&self) -> u32 {
        self.account.streams()
    }

    /// Is it going away?
    #[cfg(test)]
    pub fn is_going(&self) -> bool {
        self.going
    }

    /// Goes away in two steps: GOAWAY for all streams, then, when the client has answered a PING, for those that have
    /// not come (RFC 9113 section 6.8). It ends with its last stream.
    pub fn go_away(&mut self) {
        if !self.going {
            self.going = true;
            let core = &mut *self.link.core();
            core.leaving = true;
            core.goaway(MAX_STREAM, Reason::NO_ERROR);
            core.ping(Ping::Going);
        }
    }

    /// Goes away at once: streams that have not come are not looked at.
    pub fn abandon(&mut self) {
        self.going = true;
        self.closing = true;
        let core = &mut *self.link.core();
        core.leaving = true;
        core.goaway(core.last_of_peer(), Reason::NO_ERROR);
    }
}

/// A client's stream.
#[derive(Debug)]
pub struct Stream {
    account: Rc<Account>,
    flow: Flow,
    /// The response's head was handed over.
    answered: bool,
    head_request: bool,
    held: usize,
    start: Instant,
    broken: Option<Broken>,
}

impl Stream {
    /// Next part of the request's body; its window is given back with the next call. Cancel safe.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent<'static>, DownstreamError>> {
        match ready!(self.flow.poll_body(cx)) {
            Ok(event) => Poll::Ready(Ok(event)),
            Err(broken) => {
                self.broken = Some(broken);
                Poll::Ready(Err(DownstreamError::Gone))
            }
        }
    }

    /// Is the request complete?
    pub fn request_done(&self) -> bool {
        self.flow.is_done()
    }

    /// Completes when the client resets the stream or goes away.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.broken = Some(ready!(self.flow.poll_broken(cx)));
        Poll::Ready(())
    }

    /// Flag and details of the client's going, for the log.
    pub fn gone(&self) -> (Flag, &'static str) {
        if self.flow.was_dropped() {
            return (Flag::OM, "overload");
        }
        match self.broken {
            Some(Broken::Reset(Reason::REFUSED_STREAM)) => (Flag::DR, "http2.remote_refuse"),
            Some(Broken::Reset(_)) => (Flag::DR, "http2.remote_reset"),
            Some(Broken::Protocol) => (Flag::DPE, "http2.violation.of.messaging.rule"),
            Some(Broken::Unprocessed | Broken::Ours | Broken::Ended) | None => {
                (Flag::DC, "downstream_remote_disconnect")
            }
        }
    }

    /// Sends an interim response.
    pub fn send_interim(&mut self, status: u16, headers: &HeaderBlock) {
        if !self.answered {
            self.flow.send_interim(&ResponseHead { status, headers: headers.clone(), end: false });
        }
    }

    /// Sends the response head. `upgraded`: bytes pass as they are from now on.
    pub fn send_head(&mut self, head: &ResponseHead, upgraded: bool) {
        let bodiless = matches!(head.status, 204 | 304) || self.head_request;
        self.answered = true;
        self.flow.send_response(head, !upgraded && (head.end || bodiless));
    }

    /// Sends body bytes within the window; the rest is kept.
    pub fn send_data(&mut self, cx: &mut Context<'_>, data: Data<'_>, end: bool) -> io::Result<()> {
        self.flow.send_data(cx, data, end)
    }

    /// Ends the body with trailers.
    pub fn send_trailers(&mut self, cx: &mut Context<'_>, trailers: &HeaderBlock) -> io::Result<()> {
        self.account.stats().inc(stat::TRAILERS);
        self.flow.send_trailers(cx, trailers)
    }

    /// Bytes of the stream.
    pub fn wire(&self) -> WireBytes {
        self.flow.wire()
    }

    /// Has everything been taken that was handed over?
    pub fn drained(&self) -> bool {
        !self.answered || self.flow.drained()
    }

    /// Sends what is kept.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.answered { self.flow.poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }

    /// Resets the stream (Envoy since 1.37: INTERNAL_ERROR), unless it has come to its end.
    pub fn abort(&mut self) {
        self.flow.reset(Reason::INTERNAL_ERROR);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let reset = matches!(self.broken, Some(Broken::Reset(_))).then(|| self.start.elapsed());
        self.account.stream_ends(self.held, reset);
    }
}
