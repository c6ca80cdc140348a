//! The client's side of an HTTP/1 connection: one exchange at a time.

use super::framing::{self, BodyLength};
use super::head::{self, HeadRules};
use super::reader::{ReadError, Reader};
use super::write::{self, Framing};
use super::writer::Writer;
use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::codec::message::{BodyEvent, RequestHead, ResponseHead, Traffic};
use crate::failure::Reset;
use crate::observe::record::WireBytes;
use crate::transport::Io;
use std::io;
use std::task::{Context, Poll, ready};

/// An HTTP/1 connection to an upstream.
#[derive(Debug)]
pub struct Client {
    io: Io,
    reader: Reader,
    writer: Writer,
    rules: HeadRules,
    head_request: bool,
    upgrade: bool,
    tunnel: bool,
    keep_alive: bool,
    /// The request is completely handed over.
    request_done: bool,
    /// The final head of the response was read. Until then the connection owes an answer to a request that may have
    /// been given up; lent again, it would give that answer to another request.
    answered: bool,
    /// Bytes of this response seen.
    response_started: bool,
    trailers: bool,
}

impl Client {
    /// Over a fresh connection. `trailers`: forward request trailers.
    pub fn new(io: Io, rules: HeadRules, trailers: bool) -> Client {
        Client {
            io,
            reader: Reader::default(),
            writer: Writer::default(),
            rules,
            head_request: false,
            upgrade: false,
            tunnel: false,
            keep_alive: true,
            request_done: true,
            answered: true,
            response_started: false,
            trailers,
        }
    }

    /// The stream.
    pub fn io(&mut self) -> &mut Io {
        &mut self.io
    }

    /// Buffers a request head; it leaves with the first body bytes or the next flush.
    pub fn send_head(&mut self, head: &RequestHead) {
        self.head_request = head.headers.get(Id::Method) == Some(b"HEAD");
        self.upgrade = framing::is_upgrade(&head.headers);
        self.keep_alive = true;
        self.response_started = false;
        self.answered = false;
        self.request_done = head.end;
        self.writer.written = false;
        let bare_upgrade = self.upgrade && head.end;
        (self.writer.sent, self.reader.received) = (Traffic::default(), Traffic::default());
        self.writer.head(|out| write::request(out, head, bare_upgrade));
    }

    /// Writes body bytes; what the socket does not take is kept.
    pub fn send_data(&mut self, cx: &mut Context<'_>, data: &[u8], end: bool) -> io::Result<()> {
        self.request_done |= end;
        self.writer.data(&mut self.io, cx, data, end)
    }

    /// Ends the body with trailers.
    pub fn send_trailers(&mut self, cx: &mut Context<'_>, trailers: &HeaderBlock) -> io::Result<()> {
        self.request_done = true;
        self.writer.trailers(&mut self.io, cx, trailers, self.trailers)
    }

    /// May more be handed over? False while the socket holds up an earlier write.
    pub fn drained(&self) -> bool {
        !self.writer.output.is_stuck()
    }

    /// Writes what is kept.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.poll_flush(&mut self.io, cx)
    }

    /// Is something buffered that leaves at the end of the turn? The task that flushed is woken then.
    pub fn is_due(&self) -> bool {
        self.writer.end.is_awaited()
    }

    /// Has a byte of the response arrived?
    pub fn response_started(&self) -> bool {
        self.response_started
    }

    /// Has any byte of the request been written?
    pub fn request_started(&self) -> bool {
        self.writer.written
    }

    /// Reads the response head; interim responses come one by one. Cancel safe.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Reset>> {
        loop {
            let bytes = self.reader.input.bytes();
            if let Some(end) = head::end_of_head(bytes, 0) {
                return Poll::Ready(self.take_head(end));
            }
            if bytes.len() > self.rules.max_bytes || (!bytes.is_empty() && !plausible(bytes)) {
                self.keep_alive = false;
                return Poll::Ready(Err(Reset::Protocol));
            }
            self.reader.input.stash();
            match ready!(self.reader.input.poll_fill(&mut self.io, cx, usize::MAX)) {
                Ok(0) | Err(_) => {
                    self.keep_alive = false;
                    // An end within a head breaks the protocol (Envoy: 502 UPE).
                    let cut = !self.reader.input.is_empty();
                    return Poll::Ready(Err(if cut { Reset::Protocol } else { Reset::Termination }));
                }
                Ok(_) => self.response_started = true,
            }
        }
    }

    fn take_head(&mut self, end: usize) -> Result<ResponseHead, Reset> {
        let bytes = self.reader.input.bytes().get(..end).unwrap_or_default();
        let parsed = if end > self.rules.max_bytes {
            None
        } else {
            head::response(bytes, &self.rules, self.head_request)
        };
        let Some(parsed) = parsed else {
            self.keep_alive = false;
            return Err(Reset::Protocol);
        };
        self.reader.received.head(end, parsed.fields);
        self.reader.input.consume(end);
        self.response_started = true;
        if parsed.head.status == 101 {
            if !self.upgrade {
                self.keep_alive = false;
                return Err(Reset::Protocol);
            }
            self.tunnel = true;
            self.keep_alive = false;
            self.writer.framing = Framing::Raw;
        } else if parsed.head.status >= 200 {
            self.answered = true;
            self.reader.begin(parsed.body);
            self.keep_alive &= parsed.keep_alive && parsed.body != BodyLength::UntilClose;
        }
        Ok(parsed.head)
    }

    /// Next part of the response's body; bytes are lent until [`Client::release`]. Cancel safe.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent<'_>, Reset>> {
        let polled = match self.tunnel {
            true => self.reader.poll_raw(&mut self.io, cx),
            false => self.reader.poll_body(&mut self.io, cx, usize::MAX),
        };
        polled.map_err(|error| {
            self.keep_alive = false;
            match error {
                // A body cut short breaks the framing that was promised (Envoy: UPE).
                ReadError::Ended | ReadError::Framing => Reset::Protocol,
            }
        })
    }

    /// Gives lent bytes back.
    pub fn release(&mut self) {
        self.reader.release();
    }

    /// Bytes of the present exchange.
    pub fn wire(&self) -> WireBytes {
        Traffic::wire(self.writer.sent, self.reader.received)
    }

    /// Can the next request use this connection? True at a message boundary with nothing left over.
    pub fn reusable(&self) -> bool {
        self.keep_alive
            && !self.tunnel
            && self.request_done
            && self.answered
            && self.reader.is_done()
            && !self.reader.ended
            && self.reader.input.is_empty()
            && self.writer.output.is_empty()
    }

    /// Was the connection switched to another protocol?
    pub fn is_tunnel(&self) -> bool {
        self.tunnel
    }

    /// Ends the write side of a tunnel behind what is buffered.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        self.io.poll_shutdown(cx)
    }
}

/// Could the bytes become a status line?
fn plausible(bytes: &[u8]) -> bool {
    let start = b"HTTP/1.";
    let n = bytes.len().min(start.len());
    let bare_lf = memchr::memchr_iter(b'\n', bytes).any(|at| at == 0 || bytes.get(at - 1) != Some(&b'\r'));
    bytes.get(..n) == start.get(..n) && !bare_lf
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::record::Protocol;
    use std::future::poll_fn;
    use tokio::io::AsyncWriteExt;

    /// An exchange that its client gave up: the answer that is still to come must not meet the next request.
    #[tokio::test]
    async fn a_connection_that_owes_a_response_is_not_reused() {
        let (near, mut far) = tokio::net::UnixStream::pair().unwrap();
        let rules = HeadRules {
            max_bytes: 60_000,
            max_fields: 100,
            accept_http_10: true,
            allow_chunked_length: false,
        };
        let mut client = Client::new(Io::Unix(near), rules, false);
        assert!(client.reusable(), "fresh");
        for _ in 0..2 {
            let request = RequestHead { protocol: Protocol::Http11, headers: HeaderBlock::new(), end: true };
            client.send_head(&request);
            assert!(!client.reusable(), "handed over");
            poll_fn(|cx| client.poll_flush(cx)).await.unwrap();
            assert!(!client.reusable(), "sent, not answered");
            far.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").await.unwrap();
            assert_eq!(poll_fn(|cx| client.poll_head(cx)).await.unwrap().status, 103);
            assert!(!client.reusable(), "an interim response is no answer");
            far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            assert_eq!(poll_fn(|cx| client.poll_head(cx)).await.unwrap().status, 200);
            assert!(client.reusable(), "answered");
        }
    }
}
