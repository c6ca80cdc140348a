//! Writes a body to a connection; both sides use it.

use super::write::{self, Framing};
use crate::base::headers::HeaderBlock;
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
}

impl Writer {
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
            write::chunk_head(self.output.buffer(), data.len());
        }
        self.write(io, cx, data, tail)
    }

    fn write(&mut self, io: &mut Io, cx: &mut Context<'_>, data: &[u8], tail: &[u8]) -> io::Result<()> {
        let before = self.output.len().saturating_add(data.len()).saturating_add(tail.len());
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
            write::last_chunk(self.output.buffer(), forward.then_some(trailers));
        }
        self.write(io, cx, &[], &[])
    }
}
