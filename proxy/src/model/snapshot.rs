//! One version of everything, published as a whole.

pub use super::by_name::ByName;
use super::cluster::Cluster;
use super::listener::Listener;
use super::route::RouteConfig;
use super::runtime::Runtime;
use crate::base::Name;
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The name of the listener at an address.
pub type Addresses = HashMap<SocketAddr, Name, foldhash::fast::RandomState>;

/// Everything in force. Immutable; workers hold their own `Arc`.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with every publication.
    pub version: u64,
    /// Listeners by name.
    pub listeners: ByName<Listener>,
    /// The name of the listener at an address, whether it has a socket there or not.
    pub addresses: Arc<Addresses>,
    /// Named route configurations.
    pub routes: ByName<RouteConfig>,
    /// Clusters by name.
    pub clusters: ByName<Cluster>,
    /// Runtime values.
    pub runtime: Arc<Runtime>,
}

impl Snapshot {
    /// The listener that a connection to this address is for: the one with exactly this address, else the one with
    /// this port on all addresses.
    pub fn listener_at(&self, to: SocketAddr) -> Option<&Arc<Listener>> {
        let any: IpAddr =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let everywhere = SocketAddr::new(any, to.port());
        let name = self.addresses.get(&to).or_else(|| self.addresses.get(&everywhere))?;
        self.listeners.get(name)
    }
}

/// The one place where the snapshot in force is found. `control` publishes; everybody else reads.
#[derive(Debug, Default)]
pub struct Published {
    current: ArcSwap<Snapshot>,
    version: AtomicU64,
}

impl Published {
    /// An empty snapshot of version 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// The snapshot in force.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Its version: one atomic load, compared at every request with the version that a worker holds.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Brings a worker's own reference up to date; true when it changed.
    pub fn refresh(&self, own: &mut Arc<Snapshot>) -> bool {
        if own.version == self.version() {
            return false;
        }
        *own = self.load();
        true
    }

    /// Puts a snapshot in force. For `control` alone: it is the single writer.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        let version = snapshot.version;
        self.current.store(snapshot);
        self.version.store(version, Ordering::Release);
    }
}
