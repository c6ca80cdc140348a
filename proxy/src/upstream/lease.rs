//! A connection lent for one exchange, and how one is had: idle, fresh, or after waiting within the limits.

use super::cell::ClusterCell;
use super::origin;
use super::pool::{Conn, HostPool};
use crate::base::clock;
use crate::codec::h1::client::Client;
use crate::codec::h1::head::HeadRules;
use crate::failure::{Reset, TLS_NOT_AVAILABLE};
use crate::live::host::Stat;
use crate::live::permit::{Kind, Permit};
use crate::model::cluster::Cluster;
use crate::model::transport::UpstreamSocket;
use crate::network;
use crate::observe::metrics::Registry;
use crate::observe::stats::cluster as stat;
use crate::observe::stats::tls as tls_stat;
use crate::transport::Io;
use crate::transport::io::Source;
use std::borrow::Cow;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The next number of an upstream connection.
pub fn next_connection_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

/// Why no connection could be had.
#[derive(Debug)]
pub struct ConnectError {
    /// As a reset reason.
    pub reset: Reset,
    /// The system's words, for the log.
    pub reason: Cow<'static, str>,
}

/// A lent HTTP/1 connection. Dropping it gives it back: to the pool at a message boundary, else it is closed.
#[derive(Debug)]
pub struct Lease {
    conn: Option<Box<Conn>>,
    pool: Rc<HostPool>,
    cell: Rc<ClusterCell>,
}

impl Lease {
    fn new(mut conn: Box<Conn>, pool: &Rc<HostPool>, cell: &Rc<ClusterCell>) -> Lease {
        conn.begin();
        Lease { conn: Some(conn), pool: pool.clone(), cell: cell.clone() }
    }

    /// An idle connection of the pool.
    pub fn idle(cell: &Rc<ClusterCell>, pool: &Rc<HostPool>) -> Option<Lease> {
        pool.lend(cell).map(|conn| Lease::new(conn, pool, cell))
    }

    /// The connection.
    pub fn conn(&mut self) -> Option<&mut Conn> {
        self.conn.as_deref_mut()
    }

    /// The codec.
    pub fn client(&mut self) -> Option<&mut Client> {
        self.conn.as_mut().map(|conn| &mut conn.client)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.pool.give_back(conn, &self.cell);
        }
    }
}

/// Counts a request as pending while it waits for a connection.
pub(crate) struct Pending {
    cell: Rc<ClusterCell>,
    _permit: Permit,
}

impl Pending {
    pub(crate) fn enter(cell: &Rc<ClusterCell>, high: bool) -> Result<Pending, ConnectError> {
        let Some(permit) = cell.lender(high).take(Kind::Pending) else {
            cell.stats.inc(stat::UPSTREAM_RQ_PENDING_OVERFLOW);
            return Err(ConnectError {
                reset: Reset::Overflow,
                reason: Cow::Borrowed("max_pending_requests"),
            });
        };
        cell.stats.inc(stat::UPSTREAM_RQ_PENDING_TOTAL);
        cell.stats.gauge_add(stat::UPSTREAM_RQ_PENDING_ACTIVE, 1);
        Ok(Pending { cell: cell.clone(), _permit: permit })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.cell.stats.gauge_sub(stat::UPSTREAM_RQ_PENDING_ACTIVE, 1);
    }
}

/// A connection to the pool's host: an idle one, or a fresh one within the limit, or whichever comes first while
/// waiting. `fresh`: never an idle one (replays). Cancel safe: a half-made connection is closed.
pub async fn lease(
    cell: &Rc<ClusterCell>,
    pool: &Rc<HostPool>,
    high: bool,
    fresh: bool,
) -> Result<Lease, ConnectError> {
    let _pending = Pending::enter(cell, high)?;
    let permit = loop {
        if let Some(lease) = (!fresh).then(|| Lease::idle(cell, pool)).flatten() {
            return Ok(lease);
        }
        if let Some(permit) = cell.lender(high).take(Kind::Connections) {
            break permit;
        }
        if cell.yield_idle(1) > 0 {
            continue;
        }
        cell.stats.inc(stat::UPSTREAM_CX_OVERFLOW);
        pool.waiting.set(pool.waiting.get().saturating_add(1));
        let _waiting = Waiting(pool);
        tokio::select! {
            permit = cell.lender(high).wait(Kind::Connections) => if let Some(permit) = permit { break permit },
            () = pool.returned.notified(), if !fresh => {}
        }
    };
    let config = cell.config();
    let io = connect(cell, pool, &config).await?;
    pool.opened();
    let rules = HeadRules {
        max_bytes: config.http.max_response_headers,
        max_fields: config.http.max_headers_count,
        accept_http_10: true,
        allow_chunked_length: false,
    };
    let client = Client::new(io, rules, config.http.http1.trailers);
    Ok(Lease::new(Conn::new(client, permit, cell, &pool.host, next_connection_id()), pool, cell))
}

/// Counts a request as waiting at a pool.
pub(super) struct Waiting<'a>(pub(super) &'a HostPool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get().saturating_sub(1));
    }
}

/// Connects within the cluster's `connect_timeout`; counts what comes of it.
pub async fn connect(cell: &ClusterCell, pool: &HostPool, config: &Cluster) -> Result<Io, ConnectError> {
    let attributes = pool.host.attributes();
    let socket = config.sockets.of(attributes.metadata.as_deref());
    if socket.needs_tls() {
        // Never in plain text what was to be encrypted.
        cell.stats.inc(stat::UPSTREAM_CX_CONNECT_FAIL);
        pool.host.inc(Stat::CxConnectFail);
        Registry::global().cells(&tls_stat::SCHEMA, "weir.tls.").inc(tls_stat::NOT_AVAILABLE);
        return Err(ConnectError { reset: Reset::ConnectFailure, reason: Cow::Borrowed(TLS_NOT_AVAILABLE) });
    }
    let start = clock::now();
    let result = timeout(config.connect_timeout, open(pool, config, socket)).await;
    let error = match result {
        Ok(Ok(io)) => {
            let took = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            cell.stats.record(stat::UPSTREAM_CX_CONNECT_MS, took);
            if let (Some(keepalive), Io::Tcp(stream)) = (&config.keepalive, &io) {
                crate::transport::io::set_keepalive(
                    stream,
                    keepalive.probes,
                    keepalive.time,
                    keepalive.interval,
                );
            }
            network::opened(&config.filters);
            return Ok(io);
        }
        Ok(Err(error)) => {
            cell.stats.inc(stat::UPSTREAM_CX_CONNECT_FAIL);
            let reason = format!("delayed_connect_error:_{}", words(&error));
            ConnectError { reset: Reset::ConnectFailure, reason: reason.into() }
        }
        Err(_) => {
            cell.stats.inc(stat::UPSTREAM_CX_CONNECT_FAIL);
            cell.stats.inc(stat::UPSTREAM_CX_CONNECT_TIMEOUT);
            ConnectError { reset: Reset::ConnectTimeout, reason: Cow::Borrowed("") }
        }
    };
    pool.host.inc(Stat::CxConnectFail);
    Err(error)
}

/// Opens a connection, and tells the upstream whom it is for.
async fn open(pool: &HostPool, config: &Cluster, socket: &UpstreamSocket) -> std::io::Result<Io> {
    let spoofed = pool.origin.and_then(|origin| origin.source);
    let from = match spoofed {
        Some((address, mark)) => Some(Source { address, spoofed: true, mark }),
        None => config.source.map(|own| Source::own(own.towards(&pool.host.address))),
    };
    let mut io = Io::connect(&pool.host.address, from).await?;
    if let UpstreamSocket::ProxyProtocol(version, _) = socket {
        let header = origin::header(*version, pool.origin.and_then(|origin| origin.told).flatten());
        io.write_all(&header).await?;
    }
    Ok(io)
}

/// The system's words without Rust's additions: `Connection refused`.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).replace(' ', "_")
}
