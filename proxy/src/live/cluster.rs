//! The live part of a cluster: hosts, permits, health. Found by name, outlives versions of the configuration.

use super::host::{Attributes, Host, flag};
use super::hostset::{HostSet, LocalityMembers, Members, Settings};
use super::permit::Breakers;
use super::registry;
use crate::base::Name;
use crate::base::addr::Address;
use crate::observe::metrics::{Registry, Scope};
use arc_swap::ArcSwapOption;
use std::collections::HashMap;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed,
    Ordering::SeqCst,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;

/// One host as it shall be.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Address.
    pub address: Address,
    /// Weight, at least 1.
    pub weight: u32,
    /// [`flag::FAILED_EDS`], [`flag::DEGRADED_EDS`] or nothing; and flags that only a new host gets.
    pub flags: u32,
    /// The rest.
    pub attributes: Attributes,
}

/// One locality as it shall be.
#[derive(Clone, Debug)]
pub struct WantedLocality {
    /// Region, zone, sub zone.
    pub name: [Name; 3],
    /// Weight; 0 when unset.
    pub weight: u32,
    /// Priority.
    pub priority: u32,
    /// Hosts.
    pub hosts: Vec<Wanted>,
}

/// Outlier detection's counters (`cluster.NAME.outlier_detection.*`); they change rarely, so they are shared.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct OutlierCounters {
    pub detected_5xx: AtomicU64,
    pub detected_gateway: AtomicU64,
    pub detected_local: AtomicU64,
    pub enforced_5xx: AtomicU64,
    pub enforced_gateway: AtomicU64,
    pub enforced_local: AtomicU64,
    pub enforced_total: AtomicU64,
    pub overflow: AtomicU64,
}

impl OutlierCounters {
    /// All are zero from here on.
    pub fn reset(&self) {
        let Self {
            detected_5xx,
            detected_gateway,
            detected_local,
            enforced_5xx,
            enforced_gateway,
            enforced_local,
            enforced_total,
            overflow,
        } = self;
        let detected = [detected_5xx, detected_gateway, detected_local];
        let enforced = [enforced_5xx, enforced_gateway, enforced_local, enforced_total, overflow];
        detected.into_iter().chain(enforced).for_each(|counter| counter.store(0, Relaxed));
    }
}

/// What publishing works on, under one lock that no worker takes.
#[derive(Debug, Default)]
struct Desk {
    known: HashMap<Address, Weak<Host>>,
    members: Members,
    settings: Option<Settings>,
    version: u64,
}

/// Hosts, permits and health of one cluster name.
#[derive(Debug)]
pub struct ClusterLive {
    /// The cluster's name.
    pub name: Name,
    hosts: ArcSwapOption<HostSet>,
    version: AtomicU64,
    /// Circuit breakers: default and high priority.
    pub breakers: [Arc<Breakers>; 2],
    desk: Mutex<Desk>,
    /// Hosts in the present set.
    pub host_count: AtomicU32,
    /// Hosts ejected now (`ejections_active`).
    pub ejected: AtomicU32,
    /// Outlier detection's counters.
    pub outlier: OutlierCounters,
    /// Hosts made on demand (original destination).
    pub on_demand: Mutex<HashMap<std::net::SocketAddr, Arc<Host>>>,
    /// Workers' cells that use it.
    users: Mutex<u32>,
    /// Keep what was counted under its names in statistics (it may change its name): none before it is used.
    scopes: Mutex<Vec<Scope>>,
    /// Was it ever hot?
    touched: AtomicBool,
    dirty: AtomicBool,
    asked: AtomicBool,
    ready: Notify,
}

impl ClusterLive {
    /// A cold cluster: no host set, no limits. [`super::registry::Clusters::get_or_make`] is the door.
    pub fn new(name: Name) -> Arc<Self> {
        Arc::new(ClusterLive {
            breakers: [Breakers::new(name.clone(), 0), Breakers::new(name.clone(), 1)],
            name,
            hosts: ArcSwapOption::empty(),
            version: AtomicU64::new(0),
            desk: Mutex::default(),
            host_count: AtomicU32::new(0),
            ejected: AtomicU32::new(0),
            outlier: OutlierCounters::default(),
            on_demand: Mutex::default(),
            users: Mutex::new(0),
            scopes: Mutex::default(),
            touched: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            ready: Notify::new(),
        })
    }

    /// The present hosts; none while the cluster is cold.
    pub fn hosts(&self) -> Option<Arc<HostSet>> {
        self.hosts.load_full()
    }

    /// Version of the present hosts; 0 while the cluster is cold. One atomic load: compared at every pick.
    pub fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    /// Brings a worker's own reference up to date; false while the cluster is cold.
    pub fn refresh(&self, own: &mut Option<Arc<HostSet>>) -> bool {
        if own.as_ref().map_or(0, |set| set.version) != self.version() {
            *own = self.hosts();
        }
        own.is_some()
    }

    /// Waits until the cluster has a host set, and asks `control` to make it. Cancel-safe; bound it by the connect
    /// timeout.
    pub async fn ready(self: &Arc<Self>) {
        loop {
            let ready = self.ready.notified();
            tokio::pin!(ready);
            ready.as_mut().enable();
            if self.version() != 0 {
                return;
            }
            if !self.asked.swap(true, AcqRel) {
                registry::ask(self.clone());
            }
            ready.await;
        }
    }

    /// Does a request wait for the first host set?
    pub fn is_asked(&self) -> bool {
        self.asked.load(Acquire)
    }

    /// Was it ever hot? What never was is not shown among the statistics.
    pub fn is_touched(&self) -> bool {
        self.touched.load(Relaxed)
    }

    /// Somebody counts under this prefix: what is counted stays for as long as this lives.
    pub fn counts(&self, prefix: &str) {
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        if scopes.iter().all(|scope| scope.prefix() != prefix) {
            scopes.push(Registry::global().scope(prefix));
        }
    }

    /// A worker uses it from now on.
    pub fn enter(&self) {
        self.touched.store(true, Relaxed);
        let mut users = self.users();
        *users = users.saturating_add(1);
    }

    /// A worker uses it no more. When none does, `control` is told and may make it cold.
    pub fn leave(self: &Arc<Self>) {
        let mut users = self.users();
        *users = users.saturating_sub(1);
        if *users == 0 && self.version() != 0 {
            registry::left(self.clone());
        }
    }

    /// Makes the cluster cold again unless somebody uses it or hosts are ejected: the next request asks for its hosts.
    /// Counters of hosts that nobody holds are forgotten. True when it is cold.
    pub fn cool(&self) -> bool {
        let users = self.users();
        if *users > 0 || self.ejected.load(Acquire) > 0 {
            return false;
        }
        let mut desk = self.desk();
        desk.members = Members::default();
        desk.known = HashMap::new();
        // First: who sees that it is cold has to ask.
        self.asked.store(false, SeqCst);
        self.version.store(0, SeqCst);
        self.hosts.store(None);
        true
    }

    fn users(&self) -> MutexGuard<'_, u32> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes hosts and settings. A host whose address is known keeps its state; one that is gone is marked
    /// removed. With `dedupe` a second mention of an address is left out (pushed and resolved hosts). What is equal to
    /// what is in force changes nothing.
    pub fn publish(&self, wanted: Vec<WantedLocality>, rest: Members, settings: Settings, dedupe: bool) {
        let mut desk = self.desk();
        let mut seen: HashMap<Address, Arc<Host>> = HashMap::new();
        let mut changed = desk.settings.as_ref() != Some(&settings) || self.version() == 0;
        let mut localities = Vec::with_capacity(wanted.len());
        for mut locality in wanted {
            let mut hosts = Vec::with_capacity(locality.hosts.len());
            for want in std::mem::take(&mut locality.hosts) {
                match seen.get(&want.address) {
                    Some(_) if dedupe => {}
                    Some(host) => hosts.push((host.clone(), want.weight.max(1))),
                    None => {
                        let weight = want.weight.max(1);
                        let host = desk.adopt(want, &mut changed);
                        seen.insert(host.address.clone(), host.clone());
                        hosts.push((host, weight));
                    }
                }
            }
            let WantedLocality { name, weight, priority, .. } = locality;
            localities.push(LocalityMembers { name, weight, priority, hosts });
        }
        let old = std::mem::replace(&mut desk.members, Members { localities, ..rest });
        changed |= old != desk.members;
        for host in old.hosts().filter(|host| !seen.contains_key(&host.address)) {
            host.set_flags(flag::REMOVED);
            self.return_ejection(host);
        }
        desk.known = seen.iter().map(|(address, host)| (address.clone(), Arc::downgrade(host))).collect();
        self.host_count.store(u32::try_from(seen.len()).unwrap_or(u32::MAX), Relaxed);
        desk.settings = Some(settings);
        if changed {
            self.swap(&mut desk);
        }
    }

    /// Takes an ejection back, if there is one; the caller sees to a rebuild.
    pub fn return_ejection(&self, host: &Host) -> bool {
        let was = host.clear_flags(flag::FAILED_OUTLIER);
        if was {
            self.ejected.fetch_sub(1, AcqRel);
        }
        was
    }

    /// Rebuilds the lists after health changed, on the calling thread. Does nothing while the cluster is cold.
    pub fn rebuild(&self) {
        self.dirty.swap(false, AcqRel);
        let mut desk = self.desk();
        if self.version() != 0 {
            self.swap(&mut desk);
        }
    }

    /// Asks the thread that watches [`registry`] to rebuild the lists.
    pub fn health_changed(self: &Arc<Self>) {
        if !self.dirty.swap(true, AcqRel) {
            registry::health_changed(self.clone());
        }
    }

    fn swap(&self, desk: &mut Desk) {
        let Some(settings) = &desk.settings else { return };
        desk.version = desk.version.saturating_add(1);
        let set = HostSet::build(desk.version, desk.members.clone(), settings);
        self.touched.store(true, Relaxed);
        self.hosts.store(Some(Arc::new(set)));
        self.version.store(desk.version, std::sync::atomic::Ordering::Release);
        self.ready.notify_waiters();
    }
}

impl Desk {
    fn adopt(&mut self, want: Wanted, changed: &mut bool) -> Arc<Host> {
        const PUSHED: u32 = flag::FAILED_EDS | flag::DEGRADED_EDS;
        let Some(host) = self.known.get(&want.address).and_then(Weak::upgrade) else {
            *changed = true;
            return Host::new(want.address, want.attributes, want.weight, want.flags);
        };
        *changed |= host.configure(want.attributes, want.weight);
        *changed |= host.clear_flags((PUSHED & !want.flags) | flag::REMOVED);
        *changed |= host.set_flags(PUSHED & want.flags);
        host
    }
}
