//! The byte stream under the `h2` crate: bytes pass untouched, and every frame among them is charged to the
//! connection's account (the crate shows no PING, SETTINGS, PRIORITY or WINDOW_UPDATE).

use super::account::Account;
use super::frames::{Frames, Head};
use crate::transport::Io;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A metered byte stream.
#[derive(Debug)]
pub struct Meter {
    io: Io,
    /// Bytes read before, and how many of them were given out.
    early: Vec<u8>,
    given: usize,
    inbound: Frames,
    outbound: Frames,
    account: Rc<Account>,
}

impl Meter {
    /// Over a stream of which `early` was read already; the prefaces are that many bytes.
    pub fn new(io: Io, early: Vec<u8>, prefaces: (u32, u32), account: Rc<Account>) -> Meter {
        let (inbound, outbound) = (Frames::after(prefaces.0), Frames::after(prefaces.1));
        Meter { io, early, given: 0, inbound, outbound, account }
    }

    fn arrived(&mut self, bytes: &[u8]) -> io::Result<()> {
        let account = &self.account;
        self.inbound.feed(bytes, |head| account.arrives(head)).map_err(io::Error::other)
    }

    fn left(&mut self, bytes: &[u8]) {
        let account = &self.account;
        let told: Result<(), std::convert::Infallible> = self.outbound.feed(bytes, |head: Head| {
            account.leaves(head);
            Ok(())
        });
        match told {
            Ok(()) => {}
        }
    }

    fn wrote(&mut self, polled: &Poll<io::Result<usize>>) {
        match polled {
            Poll::Pending => self.account.socket_full(),
            Poll::Ready(Ok(n)) => self.account.socket_took(*n, false),
            Poll::Ready(Err(_)) => self.account.socket_took(0, true),
        }
    }
}

impl AsyncRead for Meter {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if this.given < this.early.len() {
            let rest = this.early.get(this.given..).unwrap_or_default();
            let n = rest.len().min(buf.remaining());
            buf.put_slice(rest.get(..n).unwrap_or_default());
            this.given = this.given.saturating_add(n);
            if this.given == this.early.len() {
                this.early = Vec::new();
                this.given = 0;
            }
        } else {
            std::task::ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        }
        let bytes = buf.filled().get(before..).unwrap_or_default();
        Poll::Ready(this.arrived(bytes))
    }
}

impl AsyncWrite for Meter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = self.io.poll_write(cx, bytes);
        if let Poll::Ready(Ok(n)) = polled {
            self.left(bytes.get(..n).unwrap_or_default());
        }
        self.wrote(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.io.poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(n)) = polled {
            let mut rest = n;
            for buf in bufs {
                let taken = rest.min(buf.len());
                self.left(buf.get(..taken).unwrap_or_default());
                rest = rest.saturating_sub(taken);
            }
        }
        self.wrote(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Called when nothing is left in the crate's own buffer.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.account.socket_took(0, true);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_shutdown(cx)
    }
}
