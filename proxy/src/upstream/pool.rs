//! Connections to one host, per worker. Idle ones are watched by the reactor: a connection on which the peer's close
//! has arrived is never lent, and its age teaches the upstream's idle timeout.

use super::cell::ClusterCell;
use super::origin::Origin;
use super::session::Sessions;
use crate::base::clock::{self, Instant};
use crate::codec::h1::client::Client;
use crate::live::host::{Host, Stat};
use crate::live::permit::{Kind, Permit};
use crate::observe::stats::cluster as stat;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use tokio::sync::Notify;

/// Share of the learnt idle timeout after which a connection is not lent any more, in percent (hardening, pain 1).
const TRUST_PERCENT: u32 = 80;

/// Two closes teach a timeout when their ages differ by no more than this share, in percent.
const ALIKE_PERCENT: u32 = 20;

/// Shorter ages are a restart, no idle timeout.
const LEAST_LEARNT: Duration = Duration::from_millis(50);

/// Told by the reactor that something arrived on an idle connection.
#[derive(Debug)]
struct Watch {
    gone: AtomicBool,
    wanted: Arc<Notify>,
}

impl Wake for Watch {
    fn wake(self: Arc<Self>) {
        self.gone.store(true, Ordering::Release);
        self.wanted.notify_one();
    }
}

/// An HTTP/1 connection with its permit.
#[derive(Debug)]
pub struct Conn {
    /// The codec.
    pub client: Client,
    /// Process-wide number.
    pub id: u64,
    /// Our address.
    pub local: Option<crate::base::addr::Address>,
    permit: Option<Permit>,
    opened: Instant,
    requests: u32,
    watch: Arc<Watch>,
    waker: Waker,
}

impl Conn {
    /// A fresh connection; counted until it is closed with [`HostPool::close`].
    pub(super) fn new(
        mut client: Client,
        permit: Permit,
        cell: &ClusterCell,
        host: &Host,
        id: u64,
    ) -> Box<Conn> {
        let watch = Arc::new(Watch { gone: AtomicBool::new(false), wanted: cell.sweeps.wanted.clone() });
        cell.stats.inc(stat::UPSTREAM_CX_TOTAL);
        cell.stats.inc(stat::UPSTREAM_CX_HTTP1_TOTAL);
        cell.stats.gauge_add(stat::UPSTREAM_CX_ACTIVE, 1);
        host.inc(Stat::CxTotal);
        host.inc(Stat::CxActive);
        let local = client.io().local().ok();
        let waker = Waker::from(watch.clone());
        Box::new(Conn {
            client,
            id,
            local,
            permit: Some(permit),
            opened: clock::now(),
            requests: 0,
            watch,
            waker,
        })
    }

    /// A request begins on it.
    pub(super) fn begin(&mut self) {
        self.requests = self.requests.saturating_add(1);
    }

    /// Looks whether anything really came: the reactor may report bytes that were read before it did. An idle
    /// connection has nothing to say, so that whatever is read is its end.
    fn is_quiet(&mut self) -> bool {
        self.watch.gone.store(false, Ordering::Release);
        let mut cx = Context::from_waker(&self.waker);
        let quiet = self.client.io().poll_read(&mut cx, &mut [0]).is_pending();
        self.watch.gone.fetch_or(!quiet, Ordering::Release);
        quiet
    }

    /// Has it served a request before this one?
    pub fn reused(&self) -> bool {
        self.requests > 1
    }
}

#[derive(Debug)]
struct Idle {
    conn: Box<Conn>,
    since: Instant,
}

/// Connections to one host.
#[derive(Debug)]
pub struct HostPool {
    /// The host.
    pub host: Arc<Host>,
    /// Whom its connections are made for; none: for all clients.
    pub origin: Option<Origin>,
    idle: RefCell<Vec<Idle>>,
    /// Told when a connection becomes idle.
    pub(super) returned: Notify,
    /// Requests that wait here.
    pub(super) waiting: Cell<u32>,
    /// Connections lent or idle.
    open: Cell<u32>,
    /// HTTP/2 connections.
    pub(super) sessions: Sessions,
    learnt: Cell<Option<Duration>>,
    last_close: Cell<Duration>,
}

impl HostPool {
    pub(super) fn new(host: Arc<Host>, origin: Option<Origin>) -> HostPool {
        HostPool {
            host,
            origin,
            idle: RefCell::default(),
            returned: Notify::new(),
            waiting: Cell::new(0),
            open: Cell::new(0),
            sessions: Sessions::default(),
            learnt: Cell::new(None),
            last_close: Cell::new(Duration::ZERO),
        }
    }

    /// Are there no connections?
    pub fn is_empty(&self) -> bool {
        self.open.get() == 0
    }

    pub(super) fn opened(&self) {
        self.open.set(self.open.get().saturating_add(1));
    }

    pub(super) fn closed(&self) {
        self.open.set(self.open.get().saturating_sub(1));
    }

    /// Lends the connection that became idle last.
    pub(super) fn lend(&self, cell: &ClusterCell) -> Option<Box<Conn>> {
        loop {
            let Idle { mut conn, since } = self.idle.borrow_mut().pop()?;
            if conn.watch.gone.load(Ordering::Acquire) && !conn.is_quiet() {
                self.learn(since.elapsed());
                self.close(conn, cell, true);
            } else if self.learnt.get().is_some_and(|limit| since.elapsed() > limit * TRUST_PERCENT / 100) {
                self.close(conn, cell, false);
            } else {
                return Some(conn);
            }
        }
    }

    /// Takes a connection back: kept when it can serve another request, else closed.
    pub(super) fn give_back(&self, mut conn: Box<Conn>, cell: &ClusterCell) {
        let config = cell.config();
        let http = &config.http;
        let worn = http.max_requests_per_connection.is_some_and(|most| conn.requests >= most);
        let old = http.max_connection_duration.is_some_and(|most| conn.opened.elapsed() >= most);
        if worn {
            cell.stats.inc(stat::UPSTREAM_CX_MAX_REQUESTS);
        } else if old {
            cell.stats.inc(stat::UPSTREAM_CX_MAX_DURATION_REACHED);
        }
        let wanted = cell.lender(false).is_wanted(Kind::Connections);
        if worn || old || wanted || self.host.is_removed() || !conn.client.reusable() {
            return self.close(conn, cell, false);
        }
        conn.watch.gone.store(false, Ordering::Release);
        let mut cx = Context::from_waker(&conn.waker);
        if conn.client.io().poll_read_ready(&mut cx).is_ready() && !conn.is_quiet() {
            return self.close(conn, cell, true);
        }
        let since = clock::now();
        if let Some(expiry) = http.idle_timeout.and_then(|most| since.checked_add(most)) {
            cell.sweeps.due_by(expiry);
        }
        self.idle.borrow_mut().push(Idle { conn, since });
        if self.waiting.get() > 0 {
            self.returned.notify_one();
        }
    }

    /// Closes a connection and counts it.
    pub(super) fn close(&self, mut conn: Box<Conn>, cell: &ClusterCell, remote: bool) {
        cell.stats.inc(stat::UPSTREAM_CX_DESTROY);
        cell.stats.inc(if remote {
            stat::UPSTREAM_CX_DESTROY_REMOTE
        } else {
            stat::UPSTREAM_CX_DESTROY_LOCAL
        });
        cell.stats.gauge_sub(stat::UPSTREAM_CX_ACTIVE, 1);
        let age = u64::try_from(conn.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        cell.stats.record(stat::UPSTREAM_CX_LENGTH_MS, age);
        self.host.dec(Stat::CxActive);
        self.closed();
        conn.permit.take();
    }

    /// Closes the connection that is idle longest; false when none is.
    pub(super) fn close_one(&self, cell: &ClusterCell) -> bool {
        let oldest = {
            let mut idle = self.idle.borrow_mut();
            if idle.is_empty() { None } else { Some(idle.remove(0)) }
        };
        let Some(idle) = oldest else { return self.sessions.close_one() };
        self.close(idle.conn, cell, false);
        true
    }

    /// The peer closed after this idle time. Two alike teach its timeout; a longer life forgets it.
    fn learn(&self, age: Duration) {
        let last = self.last_close.replace(age);
        let alike = age.abs_diff(last) <= age * ALIKE_PERCENT / 100;
        if age >= LEAST_LEARNT && alike {
            self.learnt.set(Some(age.min(last)));
        } else if self.learnt.get().is_some_and(|learnt| age > learnt * 2) {
            self.learnt.set(None);
        }
    }

    /// Drops what is to be dropped; when the first of the others will be too old.
    fn sweep(&self, cell: &ClusterCell) -> Option<Instant> {
        let idle_timeout = cell.config().http.idle_timeout;
        let removed = self.host.is_removed();
        if removed {
            self.sessions.stop();
        }
        let all = std::mem::take(&mut *self.idle.borrow_mut());
        for mut idle in all {
            let age = idle.since.elapsed();
            if idle.conn.watch.gone.load(Ordering::Acquire) && !idle.conn.is_quiet() {
                self.learn(age);
                self.close(idle.conn, cell, true);
            } else if idle_timeout.is_some_and(|most| age >= most) {
                cell.stats.inc(stat::UPSTREAM_CX_IDLE_TIMEOUT);
                self.close(idle.conn, cell, false);
            } else if removed {
                self.close(idle.conn, cell, false);
            } else {
                self.idle.borrow_mut().push(idle);
            }
        }
        self.idle.borrow().first().zip(idle_timeout).and_then(|(idle, most)| idle.since.checked_add(most))
    }
}

/// Looks through a cluster's idle connections; when the first that is left will be too old.
pub fn sweep(cell: &ClusterCell) -> Option<Instant> {
    let expiry = cell.pools().iter().filter_map(|pool| pool.sweep(cell)).min();
    cell.forget_pools();
    expiry
}

/// When a worker's idle connections are looked through next.
#[derive(Debug)]
pub struct Sweeps {
    /// Told when an idle connection was closed by its peer, or when the next look is to be sooner.
    pub(super) wanted: Arc<Notify>,
    /// The next look.
    pub(super) due: Cell<Instant>,
}

impl Default for Sweeps {
    fn default() -> Self {
        Sweeps { wanted: Arc::default(), due: Cell::new(clock::now()) }
    }
}

impl Sweeps {
    fn due_by(&self, at: Instant) {
        if at < self.due.get() {
            self.due.set(at);
            self.wanted.notify_one();
        }
    }
}
