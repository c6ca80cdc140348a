//! HTTP/2 connections to one host, per worker, each shared by streams up to what its peer takes. One connection is made
//! at a time, in a task of its own that then moves its bytes; requests wait for it together.

use super::cell::ClusterCell;
use super::lease::{ConnectError, Pending, connect, next_connection_id};
use super::pool::HostPool;
use crate::base::addr::Address;
use crate::base::clock::{self, Instant};
use crate::codec::h2::HeadLimits;
use crate::codec::h2::client::{self, Driver, Ended, Session, Stream};
use crate::failure::Reset;
use crate::live::host::Stat;
use crate::live::permit::{Kind, Permit};
use crate::observe::stats::cluster as stat;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tokio::sync::Notify;

/// One connection.
#[derive(Debug)]
pub(super) struct Shared {
    session: Rc<Session>,
    id: u64,
    local: Option<Address>,
    opened: Instant,
    permit: RefCell<Option<Permit>>,
}

/// The HTTP/2 connections of a host.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: RefCell<Vec<Rc<Shared>>>,
    connecting: Cell<bool>,
    /// Number of the last connection that was tried; how it failed.
    attempt: Cell<u64>,
    failed: RefCell<Option<(u64, Reset, Cow<'static, str>)>>,
    /// Told when a connection was made or could not be.
    changed: Notify,
}

impl Sessions {
    /// Ends one that no stream uses; false when there is none.
    pub(super) fn close_one(&self) -> bool {
        let mut open = self.open.borrow_mut();
        let Some(at) = open.iter().position(|shared| shared.session.active() == 0) else { return false };
        let shared = open.remove(at);
        shared.session.stop();
        shared.permit.take();
        true
    }

    /// All of them take no more streams.
    pub(super) fn stop(&self) {
        for shared in self.open.take() {
            shared.session.stop();
        }
    }
}

/// A stream lent for one exchange. Dropping it ends it: with CANCEL where it is not complete.
#[derive(Debug)]
pub struct StreamLease {
    /// The stream.
    pub stream: Stream,
    shared: Rc<Shared>,
    pool: Rc<HostPool>,
    cell: Rc<ClusterCell>,
}

impl StreamLease {
    /// Number of the connection, and our address.
    pub fn facts(&self) -> (u64, Option<Address>) {
        (self.shared.id, self.shared.local.clone())
    }
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        // Another worker waits for a connection, and this one will be idle.
        if self.shared.session.active() <= 1 && self.cell.lender(false).is_wanted(Kind::Connections) {
            self.shared.session.stop();
        }
        if self.pool.waiting.get() > 0 {
            self.pool.returned.notify_one();
        }
    }
}

/// A stream of a connection that is there; `fresh`: of one made after this time.
pub(super) fn lend(
    cell: &Rc<ClusterCell>,
    pool: &Rc<HostPool>,
    fresh: Option<Instant>,
) -> Option<StreamLease> {
    let config = cell.config();
    let http = &config.http;
    let mut open = pool.sessions.open.borrow_mut();
    let mut at = 0;
    loop {
        let shared = open.get(at)?;
        let old = http.max_connection_duration.is_some_and(|most| shared.opened.elapsed() >= most);
        if old {
            cell.stats.inc(stat::UPSTREAM_CX_MAX_DURATION_REACHED);
            shared.session.stop();
        }
        if !shared.session.is_open() {
            open.remove(at);
            continue;
        }
        if shared.session.is_full() || fresh.is_some_and(|since| shared.opened < since) {
            at = at.saturating_add(1);
            continue;
        }
        let shared = shared.clone();
        let stream = shared.session.stream();
        if http.max_requests_per_connection.is_some_and(|most| shared.session.served() >= most) {
            cell.stats.inc(stat::UPSTREAM_CX_MAX_REQUESTS);
            shared.session.retire();
            open.remove(at);
        }
        return Some(StreamLease { stream, shared, pool: pool.clone(), cell: cell.clone() });
    }
}

/// A stream, on a connection that is made for it if need be. Cancel safe: the connection is made all the same.
pub(super) async fn stream(
    cell: &Rc<ClusterCell>,
    pool: &Rc<HostPool>,
    high: bool,
    fresh: Option<Instant>,
) -> Result<StreamLease, ConnectError> {
    let _pending = Pending::enter(cell, high)?;
    let sessions = &pool.sessions;
    loop {
        if let Some(lease) = lend(cell, pool, fresh) {
            return Ok(lease);
        }
        let changed = sessions.changed.notified();
        if !sessions.connecting.get() {
            let Some(permit) = permit(cell, pool, high).await else { continue };
            if sessions.connecting.get() {
                continue;
            }
            start(cell, pool, permit);
        }
        let attempt = sessions.attempt.get();
        changed.await;
        if let Some((failed, reset, reason)) = &*sessions.failed.borrow()
            && *failed == attempt
        {
            return Err(ConnectError { reset: *reset, reason: reason.clone() });
        }
    }
}

/// The permit for another connection; none when a stream became free first.
async fn permit(cell: &Rc<ClusterCell>, pool: &Rc<HostPool>, high: bool) -> Option<Permit> {
    loop {
        if let Some(permit) = cell.lender(high).take(Kind::Connections) {
            return Some(permit);
        }
        if cell.yield_idle(1) == 0 {
            break;
        }
    }
    cell.stats.inc(stat::UPSTREAM_CX_OVERFLOW);
    pool.waiting.set(pool.waiting.get().saturating_add(1));
    let _waiting = super::lease::Waiting(pool);
    tokio::select! {
        permit = cell.lender(high).wait(Kind::Connections) => permit,
        () = pool.returned.notified() => None,
        () = pool.sessions.changed.notified() => None,
    }
}

/// Makes a connection in a task of its own.
fn start(cell: &Rc<ClusterCell>, pool: &Rc<HostPool>, permit: Permit) {
    let sessions = &pool.sessions;
    sessions.connecting.set(true);
    sessions.attempt.set(sessions.attempt.get().wrapping_add(1));
    tokio::task::spawn_local(run(cell.clone(), pool.clone(), permit));
}

/// Makes the connection and moves its bytes until it ends.
async fn run(cell: Rc<ClusterCell>, pool: Rc<HostPool>, permit: Permit) {
    let sessions = &pool.sessions;
    let config = cell.config();
    let made = make(&cell, &pool).await;
    sessions.connecting.set(false);
    let (session, driver, local) = match made {
        Ok(made) => made,
        Err(error) => {
            sessions.failed.replace(Some((sessions.attempt.get(), error.reset, error.reason)));
            sessions.changed.notify_waiters();
            return;
        }
    };
    let shared = Rc::new(Shared {
        session,
        id: next_connection_id(),
        local,
        opened: clock::now(),
        permit: RefCell::new(Some(permit)),
    });
    pool.opened();
    cell.stats.inc(stat::UPSTREAM_CX_TOTAL);
    cell.stats.inc(stat::UPSTREAM_CX_HTTP2_TOTAL);
    cell.stats.gauge_add(stat::UPSTREAM_CX_ACTIVE, 1);
    pool.host.inc(Stat::CxTotal);
    pool.host.inc(Stat::CxActive);
    sessions.open.borrow_mut().push(shared.clone());
    sessions.changed.notify_waiters();
    let ended = driver.run(config.http.idle_timeout).await;
    sessions.open.borrow_mut().retain(|other| !Rc::ptr_eq(other, &shared));
    count(&cell, &pool, &shared, ended);
    shared.permit.take();
}

async fn make(
    cell: &Rc<ClusterCell>,
    pool: &Rc<HostPool>,
) -> Result<(Rc<Session>, Driver, Option<Address>), ConnectError> {
    let config = cell.config();
    let io = connect(cell, pool, &config).await?;
    let local = io.local().ok();
    let limits =
        HeadLimits { bytes: config.http.max_response_headers, fields: config.http.max_headers_count };
    let (session, driver) = client::open(io, &config.http.http2, limits, cell.http2_stats());
    Ok((session, driver, local))
}

/// Counts a connection that has ended.
fn count(cell: &ClusterCell, pool: &HostPool, shared: &Shared, ended: Ended) {
    let stats = &cell.stats;
    let remote = matches!(ended, Ended::Remote | Ended::Protocol);
    stats.inc(stat::UPSTREAM_CX_DESTROY);
    stats.inc(if remote { stat::UPSTREAM_CX_DESTROY_REMOTE } else { stat::UPSTREAM_CX_DESTROY_LOCAL });
    if shared.session.active() > 0 {
        stats.inc(stat::UPSTREAM_CX_DESTROY_WITH_ACTIVE_RQ);
        stats.inc(match remote {
            true => stat::UPSTREAM_CX_DESTROY_REMOTE_WITH_ACTIVE_RQ,
            false => stat::UPSTREAM_CX_DESTROY_LOCAL_WITH_ACTIVE_RQ,
        });
    }
    match ended {
        Ended::Idle => stats.inc(stat::UPSTREAM_CX_IDLE_TIMEOUT),
        Ended::Protocol => stats.inc(stat::UPSTREAM_CX_PROTOCOL_ERROR),
        Ended::Remote | Ended::Local | Ended::Keepalive => {}
    }
    stats.gauge_sub(stat::UPSTREAM_CX_ACTIVE, 1);
    let age = u64::try_from(shared.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
    stats.record(stat::UPSTREAM_CX_LENGTH_MS, age);
    stats.record(stat::UPSTREAM_RQ_PER_CX, u64::from(shared.session.served()));
    pool.host.dec(Stat::CxActive);
    pool.closed();
}
