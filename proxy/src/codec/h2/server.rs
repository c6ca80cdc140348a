//! A client's HTTP/2 connection: it gives out streams, each served by a task of its own, and writes once for all that
//! were ready.

use super::account::{Account, CONNECTION_WINDOW, Flood};
use super::frames;
use super::half::{self, Broken, Incoming, Outgoing};
use super::headers::{self, BadHead, HeadLimits};
use super::keepalive::Keepalive;
use super::meter::Meter;
use crate::base::clock::{self, Instant};
use crate::base::headers::HeaderBlock;
use crate::codec::message::{BodyEvent, Data, DownstreamError, RequestHead, ResponseHead, Traffic};
use crate::failure::Flag;
use crate::model::http::Http2Options;
use crate::observe::record::WireBytes;
use crate::observe::stats::codec_http2 as stat;
use crate::transport::Io;
use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, SendResponse};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Most response bytes of one stream that wait for the socket inside the connection.
const SEND_BUFFER: usize = 64 << 10;

/// Longest time for a header block to become complete.
const HEADER_BLOCK: Duration = Duration::from_secs(10);

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    inner: h2::server::Connection<Meter, Bytes>,
    account: Rc<Account>,
    keepalive: Option<Keepalive>,
    limits: HeadLimits,
    going: bool,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// In good order, or the client went away.
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
        let meter = Meter::new(io, early, (frames::PREFACE, 0), account.clone());
        let (stream_window, connection_window) = account.windows();
        let mut builder = Builder::new();
        builder
            .max_concurrent_streams(options.max_concurrent_streams)
            .initial_window_size(stream_window)
            .initial_connection_window_size(connection_window)
            .max_header_list_size(limits.told())
            .header_table_size(options.hpack_table)
            .max_send_buffer_size(SEND_BUFFER);
        if options.allow_connect {
            builder.enable_connect_protocol();
        }
        let mut inner = builder.handshake::<_, Bytes>(meter).await.ok()?;
        let keepalive = options.keepalive.and_then(|times| Some(Keepalive::new(inner.ping_pong()?, times)));
        Some(Connection { inner, account, keepalive, limits, going: false })
    }

    /// The next stream; drives everything else. An error is the end.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Accepted, Closed>> {
        if let Some(flood) = self.account.flood() {
            self.inner.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            let _ = self.inner.poll_closed(cx);
            return Poll::Ready(Err(Closed::Flood(flood)));
        }
        if let Some((stream, connection)) = self.account.grown_windows() {
            self.inner.set_target_window_size(connection);
            // Refused while an earlier change is unanswered: the next growth brings it.
            let _ = self.inner.set_initial_window_size(stream);
        }
        if self.keepalive.as_mut().is_some_and(|keepalive| !keepalive.check(cx)) {
            self.account.stats().inc(stat::KEEPALIVE_TIMEOUT);
            return Poll::Ready(Err(Closed::Keepalive));
        }
        match self.inner.poll_accept(cx) {
            Poll::Pending if self.account.crate_answered() => {
                self.account.stats().inc(stat::HEADER_OVERFLOW);
                Poll::Ready(Ok(Err(BadHead::FarTooLarge)))
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok((request, respond)))) => Poll::Ready(Ok(self.accepted(request, respond))),
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Err(match (self.account.flood(), Broken::from(&error)) {
                    (Some(flood), _) => Closed::Flood(flood),
                    (None, Broken::Protocol) => Closed::Protocol,
                    (None, _) => Closed::Done,
                }))
            }
            Poll::Ready(None) => Poll::Ready(Err(Closed::Done)),
        }
    }

    fn accepted(&self, request: http::Request<h2::RecvStream>, respond: SendResponse<Bytes>) -> Accepted {
        let (parts, body) = request.into_parts();
        self.account.given_out(respond.stream_id().as_u32());
        let mut incoming = Incoming::new(body, self.account.clone());
        let end = incoming.is_done();
        let head_request = parts.method == http::Method::HEAD;
        let room = self.account.has_room_for_headers();
        let head = headers::request(http::Request::from_parts(parts, ()), end, &self.limits);
        let held = head.as_ref().map_or(0, |head| head.headers.retained());
        self.account.stream_begins(held);
        if let Ok(head) = &head {
            half::fields(&mut incoming.received, head.headers.byte_size());
        }
        let mut stream = Stream {
            account: self.account.clone(),
            limits: self.limits,
            incoming,
            respond,
            outgoing: None,
            head_request,
            held,
            start: clock::now(),
            broken: None,
            failed: false,
        };
        let bad = match head {
            Ok(head) if room => return Ok((head, stream)),
            Ok(_) => BadHead::TooLarge,
            Err(bad) => bad,
        };
        self.account.stats().inc(stat::HEADER_OVERFLOW);
        stream.respond.send_reset(match bad {
            _ if !room => Reason::REFUSED_STREAM,
            BadHead::Malformed => Reason::PROTOCOL_ERROR,
            BadHead::TooManyFields | BadHead::TooLarge | BadHead::FarTooLarge => Reason::INTERNAL_ERROR,
        });
        Err(bad)
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
    pub fn is_going(&self) -> bool {
        self.going
    }

    /// Goes away in two steps: GOAWAY for all streams, then, when the client has answered a PING, for those that have
    /// not come (RFC 9113 section 6.8). It ends with its last stream.
    pub fn go_away(&mut self) {
        if !self.going {
            self.going = true;
            self.inner.graceful_shutdown();
        }
    }

    /// Goes away at once.
    pub fn abandon(&mut self) {
        self.going = true;
        self.inner.abrupt_shutdown(Reason::NO_ERROR);
    }
}

/// A client's stream.
#[derive(Debug)]
pub struct Stream {
    account: Rc<Account>,
    limits: HeadLimits,
    incoming: Incoming,
    respond: SendResponse<Bytes>,
    outgoing: Option<Outgoing>,
    head_request: bool,
    held: usize,
    start: Instant,
    broken: Option<Broken>,
    /// The response could not be handed over.
    failed: bool,
}

impl Stream {
    /// Next part of the request's body; its window is given back with the next call. Cancel safe.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent<'static>, DownstreamError>> {
        match ready!(self.incoming.poll(cx, &self.limits)) {
            Ok(event) => Poll::Ready(Ok(event)),
            Err(broken) => {
                self.broken = Some(broken);
                Poll::Ready(Err(DownstreamError::Gone))
            }
        }
    }

    /// Is the request complete?
    pub fn request_done(&self) -> bool {
        self.incoming.is_done()
    }

    /// Completes when the client resets the stream or goes away.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let broken = match &mut self.outgoing {
            Some(outgoing) if outgoing.is_ended() => return Poll::Pending,
            Some(outgoing) => ready!(outgoing.poll_reset(cx)),
            None => match ready!(self.respond.poll_reset(cx)) {
                Ok(reason) => Broken::Reset(reason),
                Err(error) => Broken::from(&error),
            },
        };
        self.broken = Some(broken);
        Poll::Ready(())
    }

    /// Flag and details of the client's going, for the log.
    pub fn gone(&self) -> (Flag, &'static str) {
        if self.outgoing.as_ref().is_some_and(Outgoing::was_dropped) {
            return (Flag::OM, "overload");
        }
        match self.broken {
            Some(Broken::Reset(Reason::REFUSED_STREAM)) => (Flag::DR, "http2.remote_refuse"),
            Some(Broken::Reset(_)) => (Flag::DR, "http2.remote_reset"),
            Some(Broken::Protocol) => (Flag::DPE, "http2.violation.of.messaging.rule"),
            Some(Broken::Unprocessed | Broken::Ended) | None => (Flag::DC, "downstream_remote_disconnect"),
        }
    }

    /// Sends an interim response.
    pub fn send_interim(&mut self, status: u16, headers: &HeaderBlock) {
        if self.outgoing.is_some() {
            return;
        }
        let head = ResponseHead { status, headers: headers.clone(), end: false };
        // An interim response that cannot be sent is dropped; the final one tells.
        if let Some(response) = headers::to_response(&head) {
            let _ = self.respond.send_informational(response);
        }
    }

    /// Sends the response head. `upgraded`: bytes pass as they are from now on.
    pub fn send_head(&mut self, head: &ResponseHead, upgraded: bool) {
        let bodiless = matches!(head.status, 204 | 304) || self.head_request;
        let end = !upgraded && (head.end || bodiless);
        let sent =
            headers::to_response(head).and_then(|response| self.respond.send_response(response, end).ok());
        match sent {
            Some(stream) => {
                let mut outgoing = Outgoing::new(stream, self.account.clone(), end);
                half::fields(&mut outgoing.sent, head.headers.byte_size().saturating_add(":status200".len()));
                self.outgoing = Some(outgoing);
            }
            None => self.failed = true,
        }
    }

    /// Sends body bytes within the window; the rest is kept.
    pub fn send_data(&mut self, cx: &mut Context<'_>, data: Data<'_>, end: bool) -> io::Result<()> {
        match &mut self.outgoing {
            Some(outgoing) => outgoing.data(cx, data, end),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Ends the body with trailers.
    pub fn send_trailers(&mut self, cx: &mut Context<'_>, trailers: &HeaderBlock) -> io::Result<()> {
        self.account.stats().inc(stat::TRAILERS);
        match &mut self.outgoing {
            Some(outgoing) => outgoing.trailers(cx, trailers),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Bytes of the stream.
    pub fn wire(&self) -> WireBytes {
        let sent = self.outgoing.as_ref().map(|outgoing| outgoing.sent).unwrap_or_default();
        Traffic::wire(sent, self.incoming.received)
    }

    /// Has everything been taken that was handed over?
    pub fn drained(&self) -> bool {
        !self.failed && self.outgoing.as_ref().is_none_or(Outgoing::drained)
    }

    /// Sends what is kept.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.outgoing {
            _ if self.failed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Some(outgoing) => outgoing.poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Resets the stream (Envoy since 1.37: INTERNAL_ERROR), unless it has come to its end.
    pub fn abort(&mut self) {
        match &mut self.outgoing {
            Some(outgoing) if outgoing.is_ended() && self.incoming.is_done() => {}
            Some(outgoing) => outgoing.reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let reset = matches!(self.broken, Some(Broken::Reset(_))).then(|| self.start.elapsed());
        self.account.stream_ends(self.held, reset);
    }
}
