//! Bytes that wait for the socket, in order. Small parts are gathered in one buffer; large ones are kept as they came.

use super::frames;
use crate::transport::{Io, scratch};
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

/// From this size on a part is kept instead of copied.
const LARGE: usize = 8 << 10;

/// Most parts of one system call.
const PARTS: usize = 32;

/// A piece of what waits.
#[derive(Debug)]
enum Piece {
    /// Small things, gathered.
    Small(Vec<u8>),
    /// Head of a frame whose bytes come next.
    Head([u8; frames::HEAD]),
    /// Bytes of a body, as they came.
    Body(Bytes),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Small(bytes) => bytes,
            Piece::Head(bytes) => bytes,
            Piece::Body(bytes) => bytes,
        }
    }
}

/// What waits for the socket.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Piece>,
    /// Small things behind the pieces.
    tail: Vec<u8>,
    /// Bytes of the first piece (or of the tail) that have left.
    left: usize,
    len: usize,
    /// Bytes that have left since the connection began.
    gone: u64,
    /// The socket took nothing when it was last tried.
    full: bool,
    /// Bytes charged to the worker: those that wait for a full socket.
    charged: usize,
}

impl Outbox {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Does nothing wait?
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Did the socket take nothing when it was last tried?
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Where the next byte stands in all that the connection has ever sent.
    pub(super) fn place(&self) -> u64 {
        self.gone.saturating_add(self.len as u64)
    }

    /// Has the byte at that place left?
    pub(super) fn has_left(&self, place: u64) -> bool {
        self.gone > place
    }

    /// Writes small things.
    pub(super) fn write<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        if self.tail.capacity() == 0 {
            self.tail = scratch::room();
        }
        let before = self.tail.len();
        let result = write(&mut self.tail);
        self.len = self.len.saturating_add(self.tail.len().saturating_sub(before));
        result
    }

    /// Adds a frame with a copy of its payload.
    pub(super) fn frame(&mut self, head: [u8; frames::HEAD], payload: &[u8]) {
        if payload.len() >= LARGE {
            return self.large_frame(head, Bytes::copy_from_slice(payload));
        }
        self.write(|out| {
            out.extend_from_slice(&head);
            out.extend_from_slice(payload);
        });
    }

    /// Adds a frame with its payload.
    pub(super) fn own_frame(&mut self, head: [u8; frames::HEAD], payload: Bytes) {
        if payload.len() < LARGE {
            self.frame(head, &payload);
        } else {
            self.large_frame(head, payload);
        }
    }

    fn large_frame(&mut self, head: [u8; frames::HEAD], payload: Bytes) {
        if !self.tail.is_empty() {
            self.pieces.push_back(Piece::Small(std::mem::take(&mut self.tail)));
        }
        self.len = self.len.saturating_add(payload.len()).saturating_add(frames::HEAD);
        self.pieces.push_back(Piece::Head(head));
        self.pieces.push_back(Piece::Body(payload));
    }

    /// Writes until nothing is left. The end of the wait is told by the socket.
    pub(super) fn poll_write(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.poll_pieces(io, cx);
        scratch::refund(self.charged);
        self.charged = if self.full { self.len } else { 0 };
        scratch::charge(self.charged);
        polled
    }

    fn poll_pieces(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let polled = if self.pieces.is_empty() {
                io.poll_write(cx, self.tail.get(self.left..).unwrap_or_default())
            } else {
                let mut parts = self.pieces.iter().map(Piece::bytes).chain([&self.tail[..]]);
                let first = parts.next().and_then(|first| first.get(self.left..)).unwrap_or_default();
                let slices: SmallVec<[IoSlice<'_>; PARTS]> =
                    [first].into_iter().chain(parts).take(PARTS).map(IoSlice::new).collect();
                io.poll_write_vectored(cx, &slices)
            };
            self.full = polled.is_pending();
            match ready!(polled)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => self.took(taken),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn took(&mut self, taken: usize) {
        self.gone = self.gone.saturating_add(taken as u64);
        self.len = self.len.saturating_sub(taken);
        self.left = self.left.saturating_add(taken);
        while let Some(piece) = self.pieces.front() {
            let size = piece.bytes().len();
            if self.left < size {
                return;
            }
            self.left = self.left.saturating_sub(size);
            if let Some(Piece::Small(small)) = self.pieces.pop_front() {
                scratch::leave_room(small);
            }
        }
        if self.left >= self.tail.len() {
            self.left = 0;
            scratch::leave_room(std::mem::take(&mut self.tail));
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        scratch::refund(self.charged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn what_goes_in_comes_out_in_order() {
        let (near, mut far) = tokio::net::UnixStream::pair().unwrap();
        let (mut io, mut out) = (Io::Unix(near), Outbox::default());
        let mut want = Vec::new();
        for round in 0..200u8 {
            let head = [round; frames::HEAD];
            let payload = vec![round; if round.is_multiple_of(3) { LARGE + usize::from(round) } else { 5 }];
            want.extend_from_slice(&head);
            want.extend_from_slice(&payload);
            match round % 2 {
                0 => out.frame(head, &payload),
                _ => out.own_frame(head, payload.into()),
            }
            out.write(|out| out.push(round));
            want.push(round);
        }
        assert_eq!((out.len(), out.place()), (want.len(), want.len() as u64));
        let total = want.len();
        let reader = async move {
            let mut got = vec![0; total];
            far.read_exact(&mut got).await.unwrap();
            got
        };
        let writer = std::future::poll_fn(|cx| out.poll_write(&mut io, cx));
        let (wrote, got) = tokio::join!(writer, reader);
        wrote.unwrap();
        assert!(got == want && out.is_empty() && out.has_left(total as u64 - 1));
    }
}
