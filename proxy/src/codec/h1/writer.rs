//! Writes a body to a connection; both sides use it.

use super::write::{self, Framing};
use crate::base::headers::HeaderBlock;
use crate::codec::message::Traffic;
use crate::transport::{Io, Output, TurnEnd};
use std::io;
use std::task::{Context, Poll, ready};

/// Messages up to this size are buffered and leave at the end of the turn.
const BUFFERED: usize = 20 << 10;

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
    /// What is buffered does not wait for the end of the turn.
    pub urgent: bool,
    /// The wait for it.
    pub end: TurnEnd,
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

    /// Hands body bytes over: few are buffered and leave with the next flush, many are written at once, and what the
    /// socket does not take is kept. `end`: the body is complete.
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
        if before <= BUFFERED {
            self.output.push(data);
            self.output.push(tail);
            return Ok(());
        }
        let result = self.output.write(io, cx, data, tail);
        self.written |= self.output.len() < before;
        result
    }

    /// Writes what is buffered, at the end of the turn.
    pub fn poll_flush(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.output.len();
        if before == 0 {
            return Poll::Ready(Ok(()));
        }
        if !self.urgent && !self.output.is_stuck() {
            ready!(self.end.poll(cx));
        }
        let polled = self.output.poll_flush(io, cx);
        self.urgent &= polled.is_pending();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::turn;
    use std::future::poll_fn;
    use tokio::io::AsyncReadExt;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    async fn soon(writer: &mut Writer, io: &mut Io) -> Poll<io::Result<()>> {
        poll_fn(|cx| Poll::Ready(writer.poll_flush(io, cx))).await
    }

    async fn hand_over(writer: &mut Writer, io: &mut Io, data: &[u8]) {
        poll_fn(|cx| Poll::Ready(writer.data(io, cx, data, true))).await.unwrap();
    }

    #[tokio::test]
    async fn small_messages_leave_at_the_end_of_the_turn() {
        let story = async {
            spawn_local(turn::run());
            yield_now().await;
            let (near, mut far) = tokio::net::UnixStream::pair().unwrap();
            let (mut io, mut writer) = (Io::Unix(near), Writer::default());
            hand_over(&mut writer, &mut io, b"small").await;
            assert!(soon(&mut writer, &mut io).await.is_pending() && writer.end.is_awaited());
            assert!(soon(&mut writer, &mut io).await.is_pending() && !writer.written, "the same turn");
            poll_fn(|cx| writer.poll_flush(&mut io, cx)).await.unwrap();
            assert!(writer.written && writer.output.is_empty());
            writer.output.push(b"now");
            writer.urgent = true;
            assert!(soon(&mut writer, &mut io).await.is_ready() && !writer.urgent);
            let large = vec![b'x'; BUFFERED];
            hand_over(&mut writer, &mut io, &large).await;
            assert!(!writer.output.is_empty());
            hand_over(&mut writer, &mut io, b"x").await;
            assert!(writer.output.is_empty(), "written at once");
            drop(io);
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            assert_eq!((all.len(), all.get(..8)), (8 + BUFFERED + 1, Some(&b"smallnow"[..])));
        };
        LocalSet::new().run_until(story).await;
    }
}
