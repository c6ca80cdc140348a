//! One upstream host: found by its address, it outlives the configuration that named it.

use super::worker::{self, PerWorker};
use crate::base::Name;
use crate::base::addr::Address;
use crate::base::clock::{self, Instant};
use arc_swap::ArcSwap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed,
};

/// Reasons for a host's state (Envoy's `Host::HealthFlag`), as bits.
pub mod flag {
    /// Active health checks failed.
    pub const FAILED_ACTIVE_HC: u32 = 1;
    /// Ejected by outlier detection.
    pub const FAILED_OUTLIER: u32 = 1 << 1;
    /// Unhealthy says the control plane.
    pub const FAILED_EDS: u32 = 1 << 2;
    /// Degraded say active health checks.
    pub const DEGRADED_ACTIVE_HC: u32 = 1 << 3;
    /// Degraded says the control plane.
    pub const DEGRADED_EDS: u32 = 1 << 4;
    /// No longer configured, but still healthy to active health checks.
    pub const PENDING_REMOVAL: u32 = 1 << 5;
    /// Asked by the host itself to be left out of the counts (`x-envoy-immediate-health-check-fail`).
    pub const EXCLUDED: u32 = 1 << 6;
    /// Waits for its first active health check.
    pub const PENDING_ACTIVE_HC: u32 = 1 << 7;
    /// No longer part of the cluster: pools close it when idle.
    pub const REMOVED: u32 = 1 << 8;

    /// Any of them makes the host unhealthy.
    pub const UNHEALTHY: u32 = FAILED_ACTIVE_HC | FAILED_OUTLIER | FAILED_EDS;
    /// Any of them makes a host that is not unhealthy degraded.
    pub const DEGRADED: u32 = DEGRADED_ACTIVE_HC | DEGRADED_EDS;
    /// Names as `/clusters` prints them (Envoy's `health_flags`).
    pub const NAMES: [(u32, &str); 7] = [
        (FAILED_ACTIVE_HC, "/failed_active_hc"),
        (FAILED_OUTLIER, "/failed_outlier_check"),
        (FAILED_EDS, "/failed_eds_health"),
        (DEGRADED_ACTIVE_HC, "/degraded_active_hc"),
        (DEGRADED_EDS, "/degraded_eds_health"),
        (PENDING_REMOVAL, "/pending_dynamic_removal"),
        (PENDING_ACTIVE_HC, "/pending_active_hc"),
    ];
}

/// What a balancer makes of a host's flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// First choice.
    Healthy,
    /// Used when healthy ones do not suffice.
    Degraded,
    /// Used in panic only.
    Unhealthy,
}

/// Numbers kept per host, as `/clusters` prints them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Stat {
    CxActive,
    CxTotal,
    CxConnectFail,
    RqActive,
    RqTotal,
    RqSuccess,
    RqError,
    RqTimeout,
}

impl Stat {
    /// With their names in `/clusters`, in its order.
    pub const NAMES: [(Stat, &str); 8] = [
        (Stat::CxActive, "cx_active"),
        (Stat::CxConnectFail, "cx_connect_fail"),
        (Stat::CxTotal, "cx_total"),
        (Stat::RqActive, "rq_active"),
        (Stat::RqError, "rq_error"),
        (Stat::RqSuccess, "rq_success"),
        (Stat::RqTimeout, "rq_timeout"),
        (Stat::RqTotal, "rq_total"),
    ];
}

/// One worker's numbers: one cache line.
type Numbers = [AtomicU64; 8];

/// What configuration says of a host besides address, weight and health.
#[derive(Clone, PartialEq, Debug)]
pub struct Attributes {
    /// Host name; empty when not given.
    pub hostname: Name,
    /// Region, zone, sub zone.
    pub locality: [Name; 3],
    /// Priority.
    pub priority: u32,
    /// `canary` in `envoy.lb`.
    pub canary: bool,
    /// Metadata as JSON by namespace.
    pub metadata: Option<Arc<serde_json::Value>>,
    /// `hash_key` in `envoy.lb`.
    pub hash_key: Option<Name>,
}

impl Default for Attributes {
    fn default() -> Self {
        let empty: Name = "".into();
        Attributes {
            hostname: empty.clone(),
            locality: [empty.clone(), empty.clone(), empty],
            priority: 0,
            canary: false,
            metadata: None,
            hash_key: None,
        }
    }
}

/// State of outlier detection (spec 3.5). The counters are written only when they change.
#[derive(Debug, Default)]
pub struct OutlierState {
    /// 5xx answers in a row.
    pub consecutive_5xx: AtomicU32,
    /// 502, 503, 504 in a row.
    pub consecutive_gateway: AtomicU32,
    /// Local-origin failures in a row.
    pub consecutive_local: AtomicU32,
    /// Ejections so far, for `/clusters` and logs.
    pub ejections: AtomicU32,
    /// The ejection time is multiplied by it.
    pub multiplier: AtomicU32,
    /// When it was ejected last, in milliseconds since the process's first look at the clock; 0 for never.
    pub ejected_at: AtomicU64,
    /// Random addition to the present ejection in milliseconds.
    pub jitter: AtomicU64,
}

/// A host.
pub struct Host {
    /// Unlike that of any other host of the process, ever: key of a worker's pools.
    pub id: u64,
    /// Its address.
    pub address: Address,
    /// When it was first heard of.
    pub added: Instant,
    attributes: ArcSwap<Attributes>,
    weight: AtomicU32,
    flags: AtomicU32,
    used: AtomicBool,
    /// Outlier detection.
    pub outlier: OutlierState,
    numbers: PerWorker<Numbers>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({}, weight {}, flags {:#x})", self.address, self.weight(), self.flags())
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Host {
    /// A new host; weight 0 counts as 1.
    pub fn new(address: Address, attributes: Attributes, weight: u32, flags: u32) -> Arc<Host> {
        Arc::new(Host {
            id: NEXT_ID.fetch_add(1, Relaxed),
            address,
            added: clock::now(),
            attributes: ArcSwap::from_pointee(attributes),
            weight: AtomicU32::new(weight.max(1)),
            flags: AtomicU32::new(flags),
            used: AtomicBool::new(true),
            outlier: OutlierState::default(),
            numbers: PerWorker::default(),
        })
    }

    /// What configuration says of it now.
    pub fn attributes(&self) -> Arc<Attributes> {
        self.attributes.load_full()
    }

    /// Is it a canary?
    pub fn is_canary(&self) -> bool {
        self.attributes.load().canary
    }

    /// Replaces what configuration says; true when it was something else.
    pub fn configure(&self, attributes: Attributes, weight: u32) -> bool {
        let heavier = self.weight.swap(weight.max(1), Relaxed) != weight.max(1);
        let other = **self.attributes.load() != attributes;
        if other {
            self.attributes.store(Arc::new(attributes));
        }
        heavier || other
    }

    /// Its weight, at least 1.
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    /// Its flags, see [`flag`].
    pub fn flags(&self) -> u32 {
        self.flags.load(Acquire)
    }

    /// Sets flags; true when one of them was not set before.
    pub fn set_flags(&self, bits: u32) -> bool {
        self.flags.fetch_or(bits, AcqRel) & bits != bits
    }

    /// Clears flags; true when one of them was set before.
    pub fn clear_flags(&self, bits: u32) -> bool {
        self.flags.fetch_and(!bits, AcqRel) & bits != 0
    }

    /// Its health.
    pub fn health(&self) -> Health {
        match self.flags() {
            flags if flags & flag::UNHEALTHY != 0 => Health::Unhealthy,
            flags if flags & flag::DEGRADED != 0 => Health::Degraded,
            _ => Health::Healthy,
        }
    }

    /// Is it no longer part of the cluster?
    pub fn is_removed(&self) -> bool {
        self.flags() & flag::REMOVED != 0
    }

    /// The flags as `/clusters` prints them.
    pub fn health_flags(&self) -> String {
        let flags = self.flags();
        let set: String =
            flag::NAMES.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect();
        if set.is_empty() { "healthy".into() } else { set }
    }

    /// Adds one to a number.
    pub fn inc(&self, stat: Stat) {
        self.add(stat, 1);
    }

    /// Takes one from a gauge.
    pub fn dec(&self, stat: Stat) {
        self.add(stat, u64::MAX);
    }

    fn add(&self, stat: Stat, amount: u64) {
        if let Some((numbers, own)) = self.numbers.mine()
            && let Some(cell) = numbers.get(stat as usize)
        {
            worker::add(cell, own, amount);
        }
    }

    /// A number, summed over the workers.
    pub fn stat(&self, stat: Stat) -> u64 {
        let cells = self.numbers.all().filter_map(|numbers| numbers.get(stat as usize));
        cells.fold(0u64, |sum, cell| sum.wrapping_add(cell.load(Relaxed)))
    }

    /// Requests in flight.
    pub fn active(&self) -> u64 {
        self.stat(Stat::RqActive)
    }

    /// Notes that an on-demand host was picked.
    pub fn mark_used(&self) {
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
    }

    /// Was it picked since the last call?
    pub fn take_used(&self) -> bool {
        self.used.swap(false, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Arc<Host> {
        Host::new(Address::Ip(([127, 0, 0, 1], 80).into()), Attributes::default(), 0, 0)
    }

    #[test]
    fn flags_make_health() {
        let host = host();
        assert_eq!(
            (host.health(), host.weight(), host.health_flags().as_str()),
            (Health::Healthy, 1, "healthy")
        );
        assert!(host.set_flags(flag::DEGRADED_EDS) && !host.set_flags(flag::DEGRADED_EDS));
        assert_eq!(host.health(), Health::Degraded);
        host.set_flags(flag::FAILED_OUTLIER);
        assert_eq!(host.health(), Health::Unhealthy);
        assert_eq!(host.health_flags(), "/failed_outlier_check/degraded_eds_health");
        assert!(host.clear_flags(flag::FAILED_OUTLIER) && !host.clear_flags(flag::FAILED_OUTLIER));
    }

    #[test]
    fn a_gauge_raised_here_and_lowered_there_sums_up() {
        let host = host();
        host.inc(Stat::RqActive);
        let there = host.clone();
        std::thread::spawn(move || {
            worker::enter(3);
            there.inc(Stat::RqActive);
            there.dec(Stat::RqActive);
            there.dec(Stat::RqActive);
        })
        .join()
        .unwrap();
        assert_eq!(host.active(), 0);
    }
}
