//! The connections of the admin interface: nobody keeps it from anybody else. One on which nothing moves is closed
//! soon, and when there are as many as there may be, the one on which nothing has moved for longest gives way to the
//! new one.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Most connections at a time.
pub const MAX_CONNECTIONS: usize = 100;

/// A connection on which no byte moves for so long is closed: between two requests (keep-alive), within one, and when
/// its client does not read.
pub(super) const IDLE: Duration = Duration::from_secs(10);

/// What the rest knows of a connection.
#[derive(Debug)]
struct Pulse {
    moved: Cell<Instant>,
    close: Notify,
}

/// The open ones.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: RefCell<BTreeMap<u64, Rc<Pulse>>>,
    next: Cell<u64>,
}

impl Connections {
    /// Makes room for one more and counts it in, until its place is dropped.
    pub(super) fn enter(self: &Rc<Self>) -> Place {
        let mut open = self.open.borrow_mut();
        if open.len() >= MAX_CONNECTIONS {
            let longest = open.iter().min_by_key(|(_, pulse)| pulse.moved.get()).map(|(id, _)| *id);
            if let Some(pulse) = longest.and_then(|id| open.remove(&id)) {
                pulse.close.notify_one();
            }
        }
        let id = self.next.get();
        self.next.set(id.wrapping_add(1));
        let pulse = Rc::new(Pulse { moved: Cell::new(Instant::now()), close: Notify::new() });
        open.insert(id, pulse.clone());
        Place { all: self.clone(), id, pulse }
    }
}

/// One's place among them.
#[derive(Debug)]
pub(super) struct Place {
    all: Rc<Connections>,
    id: u64,
    pulse: Rc<Pulse>,
}

impl Place {
    /// The connection's bytes, watched.
    pub(super) fn watch<S>(&self, io: S) -> Watched<S> {
        Watched { io, pulse: self.pulse.clone() }
    }

    /// Comes when the connection is to be closed.
    pub(super) async fn lost(&self) {
        let quiet = async {
            while self.pulse.moved.get().elapsed() < IDLE {
                tokio::time::sleep_until(self.pulse.moved.get() + IDLE).await;
            }
        };
        tokio::select! {
            () = self.pulse.close.notified() => {}
            () = quiet => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.open.borrow_mut().remove(&self.id);
    }
}

/// A connection that notes when bytes move.
#[derive(Debug)]
pub(super) struct Watched<S> {
    io: S,
    pulse: Rc<Pulse>,
}

impl<S> Watched<S> {
    fn note(&self, done: &Poll<io::Result<usize>>) {
        if matches!(done, Poll::Ready(Ok(bytes)) if *bytes > 0) {
            self.pulse.moved.set(Instant::now());
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let done = Pin::new(&mut self.io).poll_read(cx, buf);
        let bytes = buf.filled().len().saturating_sub(before);
        self.note(&Poll::Ready(Ok(bytes)));
        done
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(&done);
        done
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.note(&done);
        done
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(start_paused = true)]
    async fn the_one_on_which_nothing_moved_for_longest_gives_way() {
        let all = Rc::new(Connections::default());
        let mut places = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            places.push(all.enter());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        // The first one speaks: the second is now the one that is idle longest.
        let (near, mut far) = tokio::io::duplex(8);
        let mut near = places[0].watch(near);
        far.write_all(b"a").await.unwrap();
        assert_eq!(near.read_u8().await.unwrap(), b'a');
        let _new = all.enter();
        tokio::time::timeout(Duration::from_millis(1), places[1].lost()).await.unwrap();
        for stays in [0, 2, MAX_CONNECTIONS - 1] {
            tokio::time::timeout(Duration::from_millis(1), places[stays].lost()).await.unwrap_err();
        }
        drop(places);
        assert_eq!(all.open.borrow().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_read_is_lost_and_one_that_reads_is_not() {
        let all = Rc::new(Connections::default());
        let place = all.enter();
        let (near, mut far) = tokio::io::duplex(1);
        let mut near = place.watch(near);
        near.write_all(b"a").await.unwrap();
        for _ in 0..4 {
            tokio::time::timeout(IDLE - Duration::from_secs(1), place.lost()).await.unwrap_err();
            far.read_u8().await.unwrap();
            near.write_all(b"a").await.unwrap();
        }
        tokio::select! {
            () = place.lost() => {}
            result = near.write_all(b"b") => panic!("nobody reads: {result:?}"),
        }
    }
}
