//! The server's side of an HTTP/1 connection.

use super::head::{self, HeadRules};
use super::reader::{ReadError, Reader};
use super::write::{self, Answering, Framing};
use super::writer::Writer;
use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::codec::message::{BodyEvent, DownstreamError, RequestHead, ResponseHead, Traffic};
use crate::failure::Failure;
use crate::observe::record::{Protocol, WireBytes};
use crate::transport::Io;
use std::io;
use std::task::{Context, Poll, ready};

/// Bytes that may arrive while a response is awaited (pipelining) before we stop reading.
pub const MAX_PIPELINED: usize = 16 << 10;

/// An HTTP/1 connection that requests come in on.
#[derive(Debug)]
pub struct Server {
    io: Io,
    reader: Reader,
    writer: Writer,
    /// Bytes of an incomplete head that were searched for its end.
    searched: usize,
    /// Bytes of an incomplete head that were tried.
    tried: usize,
    answering: Answering,
    keep_alive: bool,
    tunnel: bool,
    head_sent: bool,
}

impl Server {
    /// Over a stream, with bytes that were read before.
    pub fn new(io: Io, read: Vec<u8>) -> Server {
        Server {
            io,
            reader: Reader::with(read),
            writer: Writer::default(),
            searched: 0,
            tried: 0,
            answering: Answering { protocol: Protocol::Http11, head: false, close: false },
            keep_alive: true,
            tunnel: false,
            head_sent: false,
        }
    }

    /// The stream, for socket options.
    pub fn io(&self) -> &Io {
        &self.io
    }

    /// Has a request begun to arrive?
    pub fn has_input(&self) -> bool {
        !self.reader.input.is_empty()
    }

    /// Reads the next request head. `None`: the client closed between requests. After an error the connection is to
    /// be answered and closed. Cancel safe.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        rules: &HeadRules,
    ) -> Poll<Result<Option<RequestHead>, DownstreamError>> {
        loop {
            if let Some(head) = self.parse_head(rules).map_err(DownstreamError::Bad)? {
                return Poll::Ready(Ok(Some(head)));
            }
            if self.reader.ended {
                let clean = self.reader.input.is_empty();
                return Poll::Ready(if clean { Ok(None) } else { Err(DownstreamError::Gone) });
            }
            self.reader.input.stash();
            match ready!(self.reader.input.poll_fill(&mut self.io, cx, usize::MAX)) {
                Ok(0) => self.reader.ended = true,
                Ok(_) => {}
                Err(_) => return Poll::Ready(Err(DownstreamError::Gone)),
            }
        }
    }

    fn parse_head(&mut self, rules: &HeadRules) -> Result<Option<RequestHead>, Failure> {
        let bytes = self.reader.input.bytes();
        if bytes.is_empty() {
            return Ok(None);
        }
        let blank = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let Some(end) = head::end_of_head(bytes, self.searched.max(blank)) else {
            if bytes.len() > rules.max_bytes {
                return Err(Failure::HeadersTooLarge);
            }
            self.searched = bytes.len();
            // Tried again only when it has doubled: the total work stays linear.
            if bytes.len() >= self.tried.saturating_mul(2) {
                self.tried = bytes.len();
                if let Some(failure) = head::hopeless(bytes.get(blank..).unwrap_or_default(), rules) {
                    return Err(failure);
                }
            }
            return Ok(None);
        };
        if end > rules.max_bytes {
            return Err(Failure::HeadersTooLarge);
        }
        let result = head::request(bytes.get(..end).unwrap_or_default(), rules);
        self.searched = 0;
        self.tried = 0;
        self.head_sent = false;
        self.writer.framing = Framing::Raw;
        (self.writer.sent, self.reader.received) = (Traffic::default(), Traffic::default());
        let parsed = result.inspect_err(|_| self.keep_alive = false)?;
        self.reader.received.head(parsed.used, parsed.fields);
        self.reader.input.consume(parsed.used);
        self.reader.input.stash();
        self.reader.begin(parsed.body);
        self.keep_alive = parsed.keep_alive;
        let is_head = parsed.head.headers.get(Id::Method) == Some(b"HEAD");
        self.answering = Answering { protocol: parsed.head.protocol, head: is_head, close: false };
        Ok(Some(parsed.head))
    }

    /// Does the client want the connection kept?
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// The response will say `connection: close`.
    pub fn set_close(&mut self) {
        self.keep_alive = false;
    }

    /// Is the request's body complete?
    pub fn request_done(&self) -> bool {
        self.reader.is_done() && !self.tunnel
    }

    /// Next part of the request's body, at most `most` bytes (but not of a tunnel); they are lent until
    /// [`Server::release`]. Cancel safe.
    pub fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<Result<BodyEvent<'_>, DownstreamError>> {
        let polled = match self.tunnel {
            true => self.reader.poll_raw(&mut self.io, cx),
            false => self.reader.poll_body(&mut self.io, cx, most),
        };
        polled.map_err(|error| {
            self.keep_alive = false;
            match error {
                ReadError::Ended => DownstreamError::Gone,
                ReadError::Framing => DownstreamError::Bad(Failure::CodecError),
            }
        })
    }

    /// Gives lent bytes back.
    pub fn release(&mut self) {
        self.reader.release();
    }

    /// Waits for the client to go away while nothing else is read. Pipelined bytes are kept, within
    /// [`MAX_PIPELINED`].
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.reader.ended {
                return Poll::Ready(());
            }
            if self.reader.input.len() >= MAX_PIPELINED {
                return Poll::Pending;
            }
            match ready!(self.reader.input.poll_fill(&mut self.io, cx, MAX_PIPELINED)) {
                Ok(0) | Err(_) => self.reader.ended = true,
                Ok(_) => self.reader.input.stash(),
            }
        }
    }

    /// Buffers an interim response (100); the next flush does not wait for the end of the turn.
    pub fn send_interim(&mut self, status: u16, headers: &HeaderBlock) {
        let head = ResponseHead { status, headers: headers.clone(), end: true };
        if self.answering.protocol != Protocol::Http10 {
            let answering = Answering { close: false, ..self.answering };
            self.writer.head(|out| write::response(out, &head, answering));
            self.writer.urgent = true;
        }
    }

    /// Buffers the response head; it leaves with the first body bytes or the next flush. `upgraded`: everything
    /// after it is passed as it is.
    pub fn send_head(&mut self, head: &ResponseHead, upgraded: bool) {
        let framed =
            head.end || head.headers.has(Id::ContentLength) || head.status == 204 || head.status == 304;
        if self.answering.protocol == Protocol::Http10 && !framed {
            self.keep_alive = false;
        }
        self.answering.close = !self.keep_alive && !upgraded;
        self.writer.head(|out| write::response(out, head, self.answering));
        self.head_sent = true;
        if upgraded {
            self.tunnel = true;
            self.writer.framing = Framing::Raw;
            self.keep_alive = false;
        }
    }

    /// Hands body bytes over: few leave with the next flush, many are written at once, and what the socket does not take
    /// is kept. `end`: the body is complete.
    pub fn send_data(&mut self, cx: &mut Context<'_>, data: &[u8], end: bool) -> io::Result<()> {
        let data: &[u8] = if self.answering.head { &[] } else { data };
        self.writer.data(&mut self.io, cx, data, end)
    }

    /// Ends the body with trailers (dropped unless it is chunked and `forward`).
    pub fn send_trailers(
        &mut self,
        cx: &mut Context<'_>,
        trailers: &HeaderBlock,
        forward: bool,
    ) -> io::Result<()> {
        self.writer.trailers(&mut self.io, cx, trailers, forward)
    }

    /// May more be handed over? False while the socket holds up an earlier write.
    pub fn drained(&self) -> bool {
        !self.writer.output.is_stuck()
    }

    /// Is something buffered that leaves at the end of the turn? The task that flushed is woken then.
    pub fn is_due(&self) -> bool {
        self.writer.end.is_awaited()
    }

    /// Is everything written that was handed over?
    pub fn flushed(&self) -> bool {
        self.writer.output.is_empty()
    }

    /// Buffers bytes as they are (the answer to what is no request).
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.keep_alive = false;
        self.writer.raw(bytes);
    }

    /// Writes what is kept.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.poll_flush(&mut self.io, cx)
    }

    /// Bytes of the present exchange.
    pub fn wire(&self) -> WireBytes {
        Traffic::wire(self.writer.sent, self.reader.received)
    }

    /// Was the response head handed over?
    pub fn head_sent(&self) -> bool {
        self.head_sent
    }

    /// Writes what is buffered, ends the write side and reads (bounded by the caller's time) until the client closes, so that it can read
    /// our last bytes before a reset.
    pub fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if ready!(self.poll_shutdown(cx)).is_err() || self.reader.ended {
            return Poll::Ready(());
        }
        loop {
            self.reader.input.take();
            match ready!(self.reader.input.poll_fill(&mut self.io, cx, usize::MAX)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    }

    /// Ends the write side behind what is buffered.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        self.io.poll_shutdown(cx)
    }

    /// The stream and what was read of it, after an upgrade.
    pub fn into_parts(mut self) -> (Io, Vec<u8>) {
        (self.io, self.reader.input.take())
    }
}
