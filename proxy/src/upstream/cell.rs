//! A worker's cell of a cluster: an identity found by name (pools, cursor, counters) around the present version.

use super::lb;
use super::origin::Origin;
use super::pool::{HostPool, Sweeps};
use crate::base::clock::{self, Instant};
use crate::base::{Name, rng};
use crate::live::balance::{Cursor, PickContext};
use crate::live::cluster::ClusterLive;
use crate::live::host::Host;
use crate::live::hostset::HostSet;
use crate::live::permit::Lender;
use crate::model::cluster::{Cluster, Discovery};
use crate::observe::metrics::{Cells, Registry, sanitized};
use crate::observe::record::ConnFacts;
use crate::observe::stats::cluster as stat;
use crate::observe::stats::codec_http2;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Which hosts a pick avoids.
pub struct Avoid<'a> {
    /// The test.
    pub unwanted: &'a dyn Fn(&Host) -> bool,
    /// How often another host is drawn.
    pub attempts: u32,
    /// Priorities to pass over.
    pub priorities: &'a [u32],
}

/// A cluster on one worker.
#[derive(Debug)]
pub struct ClusterCell {
    /// The cluster's name.
    pub name: Name,
    config: RefCell<Rc<Arc<Cluster>>>,
    /// Snapshot version that the configuration was last compared with.
    pub checked: Cell<u64>,
    live: Arc<ClusterLive>,
    hosts: RefCell<Option<Arc<HostSet>>>,
    cursor: Cursor,
    /// Statistics.
    pub stats: Cells,
    lenders: [Rc<Lender>; 2],
    known: RefCell<lb::original_dst::Known>,
    pools: RefCell<HashMap<u64, Rc<HostPool>, foldhash::fast::RandomState>>,
    /// Pools of one client each.
    own: RefCell<HashMap<(u64, Origin), Rc<HostPool>, foldhash::fast::RandomState>>,
    pub(super) sweeps: Rc<Sweeps>,
    /// Asked for since the last look?
    asked: Cell<bool>,
    /// When it was last seen in use.
    used: Cell<Instant>,
    http2_stats: OnceCell<Rc<Cells>>,
}

impl ClusterCell {
    /// Takes the registry's lock once.
    pub fn new(config: &Arc<Cluster>, sweeps: Rc<Sweeps>) -> Rc<ClusterCell> {
        let [default, high] = &config.live.breakers;
        config.live.enter();
        let prefix = format!("cluster.{}.", sanitized(&config.stat_name));
        config.live.counts(&prefix);
        Rc::new(ClusterCell {
            name: config.name.clone(),
            config: RefCell::new(Rc::new(config.clone())),
            checked: Cell::new(0),
            live: config.live.clone(),
            hosts: RefCell::default(),
            cursor: Cursor::new(),
            stats: Registry::global().cells(&stat::SCHEMA, &prefix),
            lenders: [Lender::new(default.clone()), Lender::new(high.clone())],
            known: RefCell::default(),
            pools: RefCell::default(),
            own: RefCell::default(),
            sweeps,
            asked: Cell::new(true),
            used: Cell::new(clock::now()),
            http2_stats: OnceCell::new(),
        })
    }

    /// Somebody asked for it.
    pub(super) fn touch(&self) {
        self.asked.set(true);
    }

    /// Has nobody asked for it for so long, and is nothing open to its hosts? `holders`: references to the cell that
    /// do not count as use.
    pub(super) fn is_idle(self: &Rc<Self>, holders: usize, most: Duration, now: Instant) -> bool {
        if self.asked.take() || Rc::strong_count(self) > holders {
            self.used.set(now);
            return false;
        }
        now.saturating_duration_since(self.used.get()) >= most
            && self.pools().iter().all(|pool| pool.is_empty())
    }

    /// Takes a version over. Idle connections whose making would be another now are closed.
    pub(super) fn update(&self, config: Arc<Cluster>, version: u64) {
        self.checked.set(version);
        let old = self.config();
        if !Arc::ptr_eq(&old, &config) {
            let same = old.source == config.source && old.keepalive == config.keepalive;
            self.config.replace(Rc::new(config));
            if !same {
                self.yield_idle(usize::MAX);
            }
        }
    }

    /// The present configuration; no shared counter is touched.
    pub fn config(&self) -> Rc<Arc<Cluster>> {
        self.config.borrow().clone()
    }

    /// `cluster.<name>.http2.`, made with the first HTTP/2 connection.
    pub(super) fn http2_stats(&self) -> Rc<Cells> {
        let make = || {
            let prefix = format!("cluster.{}.http2.", sanitized(&self.config().stat_name));
            Rc::new(Registry::global().cells(&codec_http2::SCHEMA, &prefix))
        };
        self.http2_stats.get_or_init(make).clone()
    }

    /// The live part.
    pub fn live(&self) -> &Arc<ClusterLive> {
        &self.live
    }

    /// Permits of a priority.
    pub fn lender(&self, high: bool) -> &Rc<Lender> {
        let [default, second] = &self.lenders;
        if high { second } else { default }
    }

    /// Has the cluster a host set already?
    pub fn is_warm(&self) -> bool {
        if matches!(self.config().discovery, Discovery::OriginalDst { .. }) {
            return true;
        }
        self.live.refresh(&mut self.hosts.borrow_mut())
    }

    /// Picks a host for a client's connection; none when there is none to use. The cluster must be warm.
    pub fn pick(
        self: &Rc<Self>,
        conn: &ConnFacts,
        hash: Option<u64>,
        avoid: Option<Avoid<'_>>,
    ) -> Option<Rc<HostPool>> {
        if !self.is_warm() {
            return None;
        }
        let hosts = self.hosts.borrow();
        let set = hosts.as_ref()?;
        rng::with(|rng| {
            let mut ctx = PickContext::new(rng, &self.cursor);
            ctx.hash = hash;
            if let Some(avoid) = &avoid {
                ctx.avoid = Some(avoid.unwanted);
                ctx.avoid_attempts = avoid.attempts;
                ctx.passed_over = avoid.priorities;
            }
            let host = lb::pick(set, &ctx);
            if ctx.panic.get() {
                self.stats.inc(stat::LB_HEALTHY_PANIC);
            }
            host.map(|host| self.pool(host, conn))
        })
    }

    /// The pool of an on-demand host (original destination); none, and counted, when there is no address.
    pub fn original(
        self: &Rc<Self>,
        conn: &ConnFacts,
        address: Option<std::net::SocketAddr>,
    ) -> Option<Rc<HostPool>> {
        let found = address.and_then(|address| self.known.borrow_mut().host(&self.live, address));
        if found.is_none() {
            self.stats.inc(stat::ORIGINAL_DST_HOST_INVALID);
        }
        found.map(|host| self.pool(&host, conn))
    }

    /// Share of the requests to drop, in millionths (EDS `drop_overloads`).
    pub fn drops(&self) -> u32 {
        self.is_warm();
        let hosts = self.hosts.borrow();
        hosts.as_ref().map_or(0, |set| {
            set.members.drops.iter().fold(0u32, |sum, (_, share)| sum.saturating_add(*share)).min(1_000_000)
        })
    }

    /// The pool of a host, for a client's connection.
    fn pool(self: &Rc<Self>, host: &Arc<Host>, conn: &ConnFacts) -> Rc<HostPool> {
        if let Some(origin) = Origin::of(conn, &self.config().sockets) {
            let make = || Rc::new(HostPool::new(host.clone(), Some(origin)));
            return self.own.borrow_mut().entry((host.id, origin)).or_insert_with(make).clone();
        }
        if let Some(pool) = self.pools.borrow().get(&host.id) {
            return pool.clone();
        }
        let pool = Rc::new(HostPool::new(host.clone(), None));
        self.pools.borrow_mut().insert(host.id, pool.clone());
        pool
    }

    /// All pools.
    pub fn pools(&self) -> Vec<Rc<HostPool>> {
        let (shared, own) = (self.pools.borrow(), self.own.borrow());
        shared.values().chain(own.values()).cloned().collect()
    }

    /// Forgets the pools of removed hosts, and of single clients, that hold nothing.
    pub(super) fn forget_pools(&self) {
        self.pools.borrow_mut().retain(|_, pool| !(pool.host.is_removed() && pool.is_empty()));
        // A client may never come back.
        self.own.borrow_mut().retain(|_, pool| Rc::strong_count(pool) > 1 || !pool.is_empty());
    }

    /// Closes up to `most` idle connections; how many were.
    pub fn yield_idle(&self, most: usize) -> usize {
        let mut closed = 0;
        for pool in self.pools() {
            while closed < most && pool.close_one(self) {
                closed += 1;
            }
        }
        closed
    }
}

impl Drop for ClusterCell {
    fn drop(&mut self) {
        self.live.leave();
    }
}
