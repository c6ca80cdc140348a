//! One face for the client's side of an exchange, whatever the protocol.

use super::h1::server::Server;
use super::message::{BodyEvent, Data, DownstreamError, ResponseHead};
use crate::base::headers::HeaderBlock;
use std::io;
use std::task::{Context, Poll};

/// The stream that a request came in on.
#[derive(Debug)]
pub enum Downstream<'a> {
    /// An HTTP/1 connection, one exchange at a time.
    H1(&'a mut Server),
}

impl Downstream<'_> {
    /// Next part of the request's body; bytes are lent until [`Downstream::release`]. Cancel safe.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent<'_>, DownstreamError>> {
        match self {
            Downstream::H1(s) => s.poll_body(cx),
        }
    }

    /// Gives lent bytes back.
    pub fn release(&mut self) {
        match self {
            Downstream::H1(s) => s.release(),
        }
    }

    /// Is the request complete?
    pub fn request_done(&self) -> bool {
        match self {
            Downstream::H1(s) => s.request_done(),
        }
    }

    /// Completes when the client goes away, once its request is complete.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Downstream::H1(s) => s.poll_gone(cx),
        }
    }

    /// Sends an interim response.
    pub fn send_interim(&mut self, status: u16, headers: &HeaderBlock) {
        match self {
            Downstream::H1(s) => s.send_interim(status, headers),
        }
    }

    /// Hands the response head over. `upgraded`: bytes pass as they are from now on.
    pub fn send_head(&mut self, head: &ResponseHead, upgraded: bool) {
        match self {
            Downstream::H1(s) => s.send_head(head, upgraded),
        }
    }

    /// Sends body bytes; call only when [`Downstream::drained`].
    pub fn send_data(&mut self, cx: &mut Context<'_>, data: Data<'_>, end: bool) -> io::Result<()> {
        match self {
            Downstream::H1(s) => s.send_data(cx, data.as_slice(), end),
        }
    }

    /// Ends the body with trailers; `forward`: HTTP/1 sends them too.
    pub fn send_trailers(&mut self, cx: &mut Context<'_>, trailers: &HeaderBlock, forward: bool) -> io::Result<()> {
        match self {
            Downstream::H1(s) => s.send_trailers(cx, trailers, forward),
        }
    }

    /// May more be handed over? False while an earlier part is held up.
    pub fn drained(&self) -> bool {
        match self {
            Downstream::H1(s) => s.drained(),
        }
    }

    /// Sends what is kept.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Downstream::H1(s) => s.poll_flush(cx),
        }
    }

    /// Ends our half of a tunnel.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Downstream::H1(s) => s.poll_shutdown(cx),
        }
    }

    /// The connection closes after this response.
    pub fn set_close(&mut self) {
        match self {
            Downstream::H1(s) => s.set_close(),
        }
    }

    /// Ends the stream without a (complete) response.
    pub fn abort(&mut self) {
        match self {
            Downstream::H1(s) => s.set_close(),
        }
    }
}
