//! Original destination: a host for each address that a connection was meant for, made on demand (spec 3.1).

use crate::base::addr::Address;
use crate::live::ClusterLive;
use crate::live::host::{Attributes, Host, Stat, flag};
use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

/// Most hosts of one such cluster; beyond it there is none (503, flag `UH`) until unused ones are dropped.
pub const MAX_HOSTS: usize = 65_536;

/// Time between two looks for unused hosts (Envoy's `cleanup_interval`).
pub const CLEANUP_INTERVAL: Duration = Duration::from_secs(5);

fn lock(live: &ClusterLive) -> MutexGuard<'_, std::collections::HashMap<SocketAddr, Arc<Host>>> {
    live.on_demand.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Parses the address of a header such as `x-envoy-original-dst-host`: IP and port, no name. None counts as
/// `original_dst_host_invalid`.
pub fn parse(value: &[u8]) -> Option<SocketAddr> {
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// The host of an address. Takes a lock of the cluster: workers keep what they got (see [`Known`]).
pub fn host(live: &ClusterLive, address: SocketAddr) -> Option<Arc<Host>> {
    let mut hosts = lock(live);
    if let Some(host) = hosts.get(&address) {
        host.mark_used();
        return Some(host.clone());
    }
    if hosts.len() >= MAX_HOSTS {
        return None;
    }
    let host = Host::new(Address::Ip(address), Attributes::default(), 1, 0);
    hosts.insert(address, host.clone());
    live.host_count
        .store(u32::try_from(hosts.len()).unwrap_or(u32::MAX), std::sync::atomic::Ordering::Relaxed);
    Some(host)
}

/// What a worker keeps of a cluster's on-demand hosts, so that a lock is taken once per address. Not larger than
/// the cluster's own table: removed hosts are forgotten when it has grown to twice what was left at the last look.
#[derive(Debug, Default)]
pub struct Known {
    hosts: std::collections::HashMap<SocketAddr, Arc<Host>, foldhash::fast::RandomState>,
    sweep_at: usize,
}

impl Known {
    /// The host of an address, as [`host`].
    pub fn host(&mut self, live: &ClusterLive, address: SocketAddr) -> Option<Arc<Host>> {
        if let Some(host) = self.hosts.get(&address).filter(|host| !host.is_removed()) {
            host.mark_used();
            return Some(host.clone());
        }
        let found = host(live, address)?;
        if self.hosts.len() >= self.sweep_at {
            self.hosts.retain(|_, host| !host.is_removed());
            self.sweep_at = self.hosts.len().saturating_mul(2).max(64);
        }
        self.hosts.insert(address, found.clone());
        Some(found)
    }
}

/// Drops hosts that were not picked since the last call and have no request nor connection in use. To be called each
/// cleanup interval by one thread. Returns how many went.
pub fn clean(live: &ClusterLive) -> usize {
    let mut hosts = lock(live);
    let before = hosts.len();
    hosts.retain(|_, host| {
        let keep = host.take_used() || host.active() > 0 || host.stat(Stat::CxActive) > 0;
        if !keep {
            host.set_flags(flag::REMOVED);
            live.return_ejection(host);
        }
        keep
    });
    live.host_count
        .store(u32::try_from(hosts.len()).unwrap_or(u32::MAX), std::sync::atomic::Ordering::Relaxed);
    before.saturating_sub(hosts.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_live_while_they_are_used() {
        let live = ClusterLive::new("dst".into());
        let address: SocketAddr = "127.0.0.9:80".parse().unwrap();
        let mut known = Known::default();
        let first = known.host(&live, address).unwrap();
        assert!(Arc::ptr_eq(&first, &host(&live, address).unwrap()));
        assert_eq!(clean(&live), 0);
        known.host(&live, address).unwrap();
        assert_eq!(clean(&live), 0);
        first.inc(Stat::CxActive);
        assert_eq!(clean(&live), 0);
        first.dec(Stat::CxActive);
        assert_eq!((clean(&live), first.is_removed()), (1, true));
        assert!(!Arc::ptr_eq(&first, &known.host(&live, address).unwrap()));
    }

    #[test]
    fn addresses_in_headers() {
        assert_eq!(parse(b"127.0.0.1:80"), Some("127.0.0.1:80".parse().unwrap()));
        assert_eq!(parse(b"[::1]:80"), Some("[::1]:80".parse().unwrap()));
        for bad in [&b"example.com:80"[..], b"127.0.0.1", b"127.0.0.1:99999", b"", b"\xff"] {
            assert_eq!(parse(bad), None);
        }
    }
}
