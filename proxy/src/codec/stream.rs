//! One face for the client's side of an exchange, whatever the protocol.

use super::h1::server::Server;
use super::h2::server::Stream;
use super::message::{BodyEvent, Data, DownstreamError, ResponseHead};
use crate::base::headers::HeaderBlock;
use crate::failure::{Failure, Flag};
use crate::observe::record::WireBytes;
use std::io;
use std::task::{Context, Poll};

/// The stream that a request came in on.
#[derive(Debug)]
pub enum Downstream<'a> {
    /// An HTTP/1 connection, one exchange at a time.
    H1(&'a mut Server),
    /// An HTTP/2 stream.
    H2(&'a mut Stream),
}

impl Downstream<'_> {
    /// Next part of the request's body: at most `most` bytes of an HTTP/1 body, a DATA frame of an HTTP/2 body. Bytes
    /// are lent until [`Downstream::release`]. Cancel safe.
    pub fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<Result<BodyEvent<'_>, DownstreamError>> {
        match self {
            Downstream::H1(s) => s.poll_body(cx, most),
            Downstream::H2(s) => s.poll_body(cx),
        }
    }

    /// Gives lent bytes back.
    pub fn release(&mut self) {
        match self {
            Downstream::H1(s) => s.release(),
            // The window is given back when the next part is asked for.
            Downstream::H2(_) => {}
        }
    }

    /// Is the request complete?
    pub fn request_done(&self) -> bool {
        match self {
            Downstream::H1(s) => s.request_done(),
            Downstream::H2(s) => s.request_done(),
        }
    }

    /// Can the client's going be seen now? On HTTP/1 only behind a complete request.
    pub fn is_watchable(&self) -> bool {
        match self {
            Downstream::H1(s) => s.request_done(),
            Downstream::H2(_) => true,
        }
    }

    /// Flag and details of the client's going, for the log.
    pub fn gone(&self) -> (Flag, &'static str) {
        match self {
            Downstream::H1(_) => (Flag::DC, "downstream_remote_disconnect"),
            Downstream::H2(s) => s.gone(),
        }
    }

    /// Details of a refusal that is a stream's reset on this protocol (spec 1.8); none where it is answered.
    pub fn refusal(&self, failure: Failure) -> Option<&'static str> {
        match (self, failure) {
            (Downstream::H2(_), Failure::Underscore) => Some("http2.unexpected_underscore"),
            (Downstream::H2(_), Failure::CodecError) => Some("http2.violation.of.messaging.rule"),
            _ => None,
        }
    }

    /// Completes when the client goes away; call only when [`Downstream::is_watchable`].
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Downstream::H1(s) => s.poll_gone(cx),
            Downstream::H2(s) => s.poll_gone(cx),
        }
    }

    /// Sends an interim response.
    pub fn send_interim(&mut self, status: u16, headers: &HeaderBlock) {
        match self {
            Downstream::H1(s) => s.send_interim(status, headers),
            Downstream::H2(s) => s.send_interim(status, headers),
        }
    }

    /// Hands the response head over. `upgraded`: bytes pass as they are from now on.
    pub fn send_head(&mut self, head: &ResponseHead, upgraded: bool) {
        match self {
            Downstream::H1(s) => s.send_head(head, upgraded),
            Downstream::H2(s) => s.send_head(head, upgraded),
        }
    }

    /// Sends body bytes; call only when [`Downstream::drained`].
    pub fn send_data(&mut self, cx: &mut Context<'_>, data: Data<'_>, end: bool) -> io::Result<()> {
        match self {
            Downstream::H1(s) => s.send_data(cx, data.as_slice(), end),
            Downstream::H2(s) => s.send_data(cx, data, end),
        }
    }

    /// Ends the body with trailers; `forward`: HTTP/1 sends them too.
    pub fn send_trailers(
        &mut self,
        cx: &mut Context<'_>,
        trailers: &HeaderBlock,
        forward: bool,
    ) -> io::Result<()> {
        match self {
            Downstream::H1(s) => s.send_trailers(cx, trailers, forward),
            Downstream::H2(s) => s.send_trailers(cx, trailers),
        }
    }

    /// May more be handed over? False while an earlier part is held up.
    pub fn drained(&self) -> bool {
        match self {
            Downstream::H1(s) => s.drained(),
            Downstream::H2(s) => s.drained(),
        }
    }

    /// Is something buffered that leaves at the end of the turn? The task that flushed is woken then.
    pub fn is_due(&self) -> bool {
        match self {
            Downstream::H1(s) => s.is_due(),
            Downstream::H2(_) => false,
        }
    }

    /// Sends what is kept.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Downstream::H1(s) => s.poll_flush(cx),
            Downstream::H2(s) => s.poll_flush(cx),
        }
    }

    /// Ends our half of a tunnel.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Downstream::H1(s) => s.poll_shutdown(cx),
            // The end of a tunnel's half is the end of its data.
            Downstream::H2(_) => Poll::Ready(Ok(())),
        }
    }

    /// Bytes of the exchange.
    pub fn wire(&self) -> WireBytes {
        match self {
            Downstream::H1(s) => s.wire(),
            Downstream::H2(s) => s.wire(),
        }
    }

    /// The connection closes after this response.
    pub fn set_close(&mut self) {
        match self {
            Downstream::H1(s) => s.set_close(),
            // A stream's failure leaves the connection; a drain is the connection's own affair.
            Downstream::H2(_) => {}
        }
    }

    /// Ends the stream without a (complete) response.
    pub fn abort(&mut self) {
        match self {
            Downstream::H1(s) => s.set_close(),
            Downstream::H2(s) => s.abort(),
        }
    }
}
