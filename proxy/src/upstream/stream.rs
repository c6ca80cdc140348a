//! One face for the upstream's side of an exchange, whatever the protocol.

use super::cell::ClusterCell;
use super::lease::{ConnectError, Lease, lease};
use super::pool::HostPool;
use super::session::{self, StreamLease};
use crate::base::addr::Address;
use crate::base::clock::Instant;
use crate::base::headers::HeaderBlock;
use crate::codec::message::{BodyEvent, Data, RequestHead, ResponseHead};
use crate::failure::Reset;
use crate::observe::record::{Protocol, WireBytes};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The stream that a request goes out on.
#[derive(Debug)]
pub enum Upstream {
    /// A lent HTTP/1 connection.
    H1(Lease),
    /// A stream of a shared HTTP/2 connection.
    H2(Box<StreamLease>),
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

/// What a request wants of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// HTTP/2, else HTTP/1.
    pub http2: bool,
    /// High priority.
    pub high: bool,
    /// Not one that was there at this time (replays).
    pub fresh: Option<Instant>,
}

impl Upstream {
    /// A connection that is there.
    pub fn ready(cell: &Rc<ClusterCell>, pool: &Rc<HostPool>, wanted: Wanted) -> Option<Upstream> {
        if wanted.http2 {
            return session::lend(cell, pool, wanted.fresh).map(|stream| Upstream::H2(Box::new(stream)));
        }
        if wanted.fresh.is_some() { None } else { Lease::idle(cell, pool).map(Upstream::H1) }
    }

    /// A connection, within the limits. Cancel safe.
    pub async fn open(
        cell: &Rc<ClusterCell>,
        pool: &Rc<HostPool>,
        wanted: Wanted,
    ) -> Result<Upstream, ConnectError> {
        if wanted.http2 {
            let stream = session::stream(cell, pool, wanted.high, wanted.fresh).await?;
            return Ok(Upstream::H2(Box::new(stream)));
        }
        lease(cell, pool, wanted.high, wanted.fresh.is_some()).await.map(Upstream::H1)
    }

    /// Hands the request head over.
    pub fn send_head(&mut self, head: &RequestHead) {
        match self {
            Upstream::H2(lease) => lease.stream.send_head(head),
            Upstream::H1(lease) => {
                if let Some(client) = lease.client() {
                    client.send_head(head);
                }
            }
        }
    }

    /// Sends body bytes; call only when [`Upstream::drained`].
    pub fn send_data(&mut self, cx: &mut Context<'_>, data: Data<'_>, end: bool) -> io::Result<()> {
        match self {
            Upstream::H2(lease) => lease.stream.send_data(cx, data, end),
            Upstream::H1(lease) => lease.client().ok_or_else(gone)?.send_data(cx, data.as_slice(), end),
        }
    }

    /// Ends the body with trailers.
    pub fn send_trailers(&mut self, cx: &mut Context<'_>, trailers: &HeaderBlock) -> io::Result<()> {
        match self {
            Upstream::H2(lease) => lease.stream.send_trailers(cx, trailers),
            Upstream::H1(lease) => lease.client().ok_or_else(gone)?.send_trailers(cx, trailers),
        }
    }

    /// May more be handed over? False while an earlier part is held up.
    pub fn drained(&mut self) -> bool {
        match self {
            Upstream::H2(lease) => lease.stream.drained(),
            Upstream::H1(lease) => lease.client().is_none_or(|c| c.drained()),
        }
    }

    /// Sends what is kept.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Upstream::H2(lease) => lease.stream.poll_flush(cx),
            Upstream::H1(lease) => match lease.client() {
                Some(client) => client.poll_flush(cx),
                None => Poll::Ready(Err(gone())),
            },
        }
    }

    /// Is something buffered that leaves at the end of the turn? The task that flushed is woken then.
    pub fn is_due(&mut self) -> bool {
        match self {
            Upstream::H2(_) => false,
            Upstream::H1(lease) => lease.client().is_some_and(|c| c.is_due()),
        }
    }

    /// The response head; interim ones come one by one. Cancel safe.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Reset>> {
        match self {
            Upstream::H2(lease) => lease.stream.poll_head(cx),
            Upstream::H1(lease) => match lease.client() {
                Some(client) => client.poll_head(cx),
                None => Poll::Ready(Err(Reset::Termination)),
            },
        }
    }

    /// Next part of the response's body; bytes are lent until [`Upstream::release`]. Cancel safe.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent<'_>, Reset>> {
        match self {
            Upstream::H2(lease) => lease.stream.poll_body(cx),
            Upstream::H1(lease) => match lease.client() {
                Some(client) => client.poll_body(cx),
                None => Poll::Ready(Err(Reset::Termination)),
            },
        }
    }

    /// Gives lent bytes back.
    pub fn release(&mut self) {
        match self {
            // The window is given back when the next part is asked for.
            Upstream::H2(_) => {}
            Upstream::H1(lease) => {
                if let Some(client) = lease.client() {
                    client.release();
                }
            }
        }
    }

    /// Bytes of the exchange.
    pub fn wire(&mut self) -> WireBytes {
        match self {
            Upstream::H2(lease) => lease.stream.wire(),
            Upstream::H1(lease) => lease.client().map(|client| client.wire()).unwrap_or_default(),
        }
    }

    /// Ends our half of a tunnel.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Upstream::H2(lease) => lease.stream.poll_shutdown(cx),
            Upstream::H1(lease) => match lease.client() {
                Some(client) => client.poll_shutdown(cx),
                None => Poll::Ready(Ok(())),
            },
        }
    }

    /// Has any byte of the response arrived?
    pub fn response_started(&mut self) -> bool {
        match self {
            Upstream::H2(lease) => lease.stream.response_started(),
            Upstream::H1(lease) => lease.client().is_some_and(|c| c.response_started()),
        }
    }

    /// Has any byte of the request been written to the peer?
    pub fn request_started(&mut self) -> bool {
        match self {
            Upstream::H2(lease) => lease.stream.request_started(),
            Upstream::H1(lease) => lease.client().is_some_and(|c| c.request_started()),
        }
    }

    /// Did an exchange use this connection before?
    pub fn reused(&mut self) -> bool {
        match self {
            Upstream::H2(lease) => lease.stream.reused(),
            Upstream::H1(lease) => lease.conn().is_some_and(|c| c.reused()),
        }
    }

    /// Number of the connection and our address.
    pub fn facts(&mut self) -> (Option<u64>, Option<Address>, Protocol) {
        match self {
            Upstream::H2(lease) => {
                let (id, local) = lease.facts();
                (Some(id), local, Protocol::Http2)
            }
            Upstream::H1(lease) => {
                let conn = lease.conn();
                (conn.as_ref().map(|c| c.id), conn.and_then(|c| c.local.clone()), Protocol::Http11)
            }
        }
    }
}
