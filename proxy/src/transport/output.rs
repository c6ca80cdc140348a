//! Bytes that are to be written.

use super::Io;
use super::scratch;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

/// Unwritten bytes of a connection; what stays after a write is charged to the worker.
#[derive(Debug, Default)]
pub struct Output {
    buf: Vec<u8>,
    at: usize,
    charged: usize,
}

impl Output {
    /// Number of unwritten bytes.
    pub fn len(&self) -> usize {
        self.buf.len().saturating_sub(self.at)
    }

    /// Is everything written?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Did the socket leave bytes of an earlier write? (What was only appended is not counted: it leaves together
    /// with what is written next.)
    pub fn is_stuck(&self) -> bool {
        self.charged > 0
    }

    /// The buffer to append to.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.buf.capacity() == 0 {
            self.buf = scratch::room();
        }
        &mut self.buf
    }

    /// Appends.
    pub fn push(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.buffer().extend_from_slice(bytes);
        }
    }

    /// Writes what is buffered and then `body` and `tail`, as far as the socket takes it now; the rest is kept.
    /// Errors are the socket's.
    pub fn write(&mut self, io: &mut Io, cx: &mut Context<'_>, body: &[u8], tail: &[u8]) -> io::Result<()> {
        let mut done = 0usize;
        let total = self.len().saturating_add(body.len()).saturating_add(tail.len());
        while done < total {
            let pending = self.buf.get(self.at..).unwrap_or_default();
            let parts = [pending, body, tail];
            let mut slices = [IoSlice::new(&[]); 3];
            let mut skip = done;
            let mut used = 0;
            for part in parts {
                let rest = part.get(skip.min(part.len())..).unwrap_or_default();
                skip = skip.saturating_sub(part.len());
                if let (false, Some(slot)) = (rest.is_empty(), slices.get_mut(used)) {
                    *slot = IoSlice::new(rest);
                    used += 1;
                }
            }
            let polled = match slices {
                [only, _, _] if used == 1 => io.poll_write(cx, &only),
                _ => io.poll_write_vectored(cx, slices.get(..used).unwrap_or_default()),
            };
            match polled {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => done = done.saturating_add(n),
                Poll::Ready(Err(e)) => return Err(e),
                Poll::Pending => break,
            }
        }
        self.keep(done, body, tail);
        Ok(())
    }

    /// Keeps what was not written.
    fn keep(&mut self, done: usize, body: &[u8], tail: &[u8]) {
        let pending = self.len();
        let rest = done.saturating_sub(pending);
        self.at = self.at.saturating_add(done.min(pending));
        self.push(body.get(rest.min(body.len())..).unwrap_or_default());
        let rest = rest.saturating_sub(body.len());
        self.push(tail.get(rest.min(tail.len())..).unwrap_or_default());
        self.settle();
    }

    fn settle(&mut self) {
        if self.is_empty() {
            scratch::leave_room(std::mem::take(&mut self.buf));
            self.at = 0;
        }
        scratch::refund(self.charged);
        self.charged = self.buf.len();
        scratch::charge(self.charged);
    }

    /// Writes until nothing is left.
    pub fn poll_flush(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            match io.poll_write(cx, self.buf.get(self.at..).unwrap_or_default())? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(n) => self.at = self.at.saturating_add(n),
                Poll::Pending => {
                    self.settle();
                    return Poll::Pending;
                }
            }
        }
        if !self.buf.is_empty() {
            self.settle();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        scratch::refund(self.charged);
    }
}
