//! Bytes that were read and not yet used.

use super::Io;
use super::scratch::{self, Scratch};
use std::io;
use std::task::{Context, Poll, ready};

#[derive(Debug, Default)]
enum Store {
    #[default]
    Empty,
    /// The worker's buffer, held only within a poll.
    Shared(Scratch),
    /// Own copy, charged to the worker.
    Own(Vec<u8>),
}

/// Unused bytes of a connection. Between polls it holds an exact copy of what is left ([`Input::stash`]), or
/// nothing.
#[derive(Debug, Default)]
pub struct Input {
    store: Store,
    start: usize,
    end: usize,
}

impl Input {
    /// Bytes that were read before (by a protocol detector, say).
    pub fn with(bytes: Vec<u8>) -> Input {
        scratch::charge(bytes.len());
        let end = bytes.len();
        Input { store: if end == 0 { Store::Empty } else { Store::Own(bytes) }, start: 0, end }
    }

    /// Number of unused bytes.
    pub fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Is nothing left?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The unused bytes.
    pub fn bytes(&self) -> &[u8] {
        let all: &[u8] = match &self.store {
            Store::Empty => &[],
            Store::Shared(s) => s.as_slice(),
            Store::Own(v) => v,
        };
        all.get(self.start..self.end).unwrap_or_default()
    }

    /// The unused bytes, to decode in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let all: &mut [u8] = match &mut self.store {
            Store::Empty => &mut [],
            Store::Shared(s) => s.bytes(),
            Store::Own(v) => v,
        };
        all.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Marks bytes as used; frees the store when none is left.
    pub fn consume(&mut self, bytes: usize) {
        self.start = self.start.saturating_add(bytes).min(self.end);
        if self.start == self.end {
            self.clear();
        }
    }

    fn clear(&mut self) {
        if let Store::Own(v) = &self.store {
            scratch::refund(v.len());
        }
        self.store = Store::Empty;
        self.start = 0;
        self.end = 0;
    }

    /// Turns what is left into an exact copy, so that the worker's buffer is free while the connection waits.
    pub fn stash(&mut self) {
        if let Store::Shared(_) = self.store {
            let copy = self.bytes().to_vec();
            *self = Input::with(copy);
        }
    }

    /// Takes what is left out.
    pub fn take(&mut self) -> Vec<u8> {
        let left = self.bytes().to_vec();
        self.clear();
        left
    }

    /// Reads once, at most `limit` bytes more. 0 is the end of the stream.
    pub fn poll_fill(&mut self, io: &mut Io, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        let mut buffer = Scratch::take();
        let limit = limit.min(scratch::read_limit());
        let space = buffer.bytes().get_mut(..limit).unwrap_or_default();
        let n = ready!(io.poll_read(cx, space))?;
        if n == 0 {
            return Poll::Ready(Ok(0));
        }
        if self.is_empty() {
            self.clear();
            self.store = Store::Shared(buffer);
            self.end = n;
        } else {
            let mut all = self.take();
            all.extend_from_slice(buffer.as_slice().get(..n).unwrap_or_default());
            *self = Input::with(all);
        }
        Poll::Ready(Ok(n))
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.clear();
    }
}
