//! Writes a body to a connection; both sides use it.

use super::write::{self, Framing};
use crate::base::headers::HeaderBlock;
use crate::codec::message::Traffic;
use crate::transport::{Io, Output};
use std::io;
use std::task::{Context, Poll};

/// Output of a connection and the framing of the body that is written to it.
#[derive(Debug, Default)]
pub struct Writer {
    /// Unwritten bytes; heads are appended here.
    pub output: Output,
    /// Framing of the present body.
    pub framing: Framing,
    /// Has any byte been written since this was reset?
    pub written: bool,
    /// Bytes of the present message that were handed over.
    pub sent: Traffic,
}

impl Writer {
    /// Buffers a head that `write` appends, and takes its framing.
    pub fn head(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Framing) {
        let buffer = self.output.buffer();
        let before = buffer.len();
        self.framing = write(buffer);
        let head = buffer.get(before..).unwrap_or_default();
        // Neither the first line nor the empty one is a field.
        let rest =
            memchr::memchr(b'\n', head).map_or(0, |at| head.len().saturating_sub(at.saturating_add(3)));
        self.sent.head(head.len(), rest);
    }

    /// Buffers bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.output.push(bytes);
        self.sent.body(bytes.len());
    }

    /// Writes body bytes after what is buffered; what the socket does not take is kept. `end`: the body is complete.
    pub fn data(&mut self, io: &mut Io, cx: &mut Context<'_>, data: &[u8], end: bool) -> io::Result<()> {
        if self.framing == Framing::Raw {
            return self.write(io, cx, data, &[]);
        }
        let tail: &[u8] = match (data.is_empty(), end) {
            (true, true) => b"0\r\n\r\n",
            (true, false) => b"",
            (false, true) => b"\r\n0\r\n\r\n",
            (false, false) => b"\r\n",
        };
        if !data.is_empty() {
            let before = self.output.len();
            write::chunk_head(self.output.buffer(), data.len());
            self.sent.body(self.output.len().saturating_sub(before));
        }
        self.write(io, cx, data, tail)
    }

    fn write(&mut self, io: &mut Io, cx: &mut Context<'_>, data: &[u8], tail: &[u8]) -> io::Result<()> {
        let new = data.len().saturating_add(tail.len());
        self.sent.body(new);
        let before = self.output.len().saturating_add(new);
        let result = self.output.write(io, cx, data, tail);
        self.written |= self.output.len() < before;
        result
    }

    /// Writes what is kept.
    pub fn poll_flush(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.output.len();
        let polled = self.output.poll_flush(io, cx);
        self.written |= self.output.len() < before;
        polled
    }

    /// Ends the body with trailers; they are dropped unless it is chunked and `forward`.
    pub fn trailers(
        &mut self,
        io: &mut Io,
        cx: &mut Context<'_>,
        trailers: &HeaderBlock,
        forward: bool,
    ) -> io::Result<()> {
        if self.framing == Framing::Chunked {
            let before = self.output.len();
            write::last_chunk(self.output.buffer(), forward.then_some(trailers));
            let new = self.output.len().saturating_sub(before);
            self.sent.head(new, new.saturating_sub("0\r\n\r\n".len()));
        }
        self.write(io, cx, &[], &[])
    }
}
