//! All hosts of a cluster as one immutable value: lists by priority, health and locality, with the balancers' tables.
//! Built on the control thread, published by one swap.

use super::balance::{Balancer, SharedPolicy};
use super::edf::Edf;
use super::host::{Health, Host, flag};
use super::load::{Counts, PriorityLoad};
use crate::base::Name;
use std::borrow::Cow;
use std::sync::Arc;

/// Hosts of one locality at one priority.
#[derive(Clone, Debug)]
pub struct LocalityMembers {
    /// Region, zone, sub zone.
    pub name: [Name; 3],
    /// Weight of the locality; 0 when unset.
    pub weight: u32,
    /// Priority.
    pub priority: u32,
    /// Hosts with their weights.
    pub hosts: Vec<(Arc<Host>, u32)>,
}

/// The hosts of a cluster as configured, pushed or resolved.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// Localities in order.
    pub localities: Vec<LocalityMembers>,
    /// Overprovisioning factor in percent; 0 for the default.
    pub overprovisioning: u32,
    /// Shares of requests to drop, in millionths, with their category.
    pub drops: Box<[(Name, u32)]>,
}

impl PartialEq for Members {
    /// The same hosts, by identity.
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (&LocalityMembers, &LocalityMembers)| {
            let hosts = a.hosts.len() == b.hosts.len()
                && a.hosts.iter().zip(&b.hosts).all(|(x, y)| Arc::ptr_eq(&x.0, &y.0) && x.1 == y.1);
            hosts && a.name == b.name && a.weight == b.weight && a.priority == b.priority
        };
        self.overprovisioning == other.overprovisioning
            && self.drops == other.drops
            && self.localities.len() == other.localities.len()
            && self.localities.iter().zip(&other.localities).all(same)
    }
}

impl Members {
    /// Every host, in order.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.localities.iter().flat_map(|l| l.hosts.iter().map(|(host, _)| host))
    }
}

/// How a cluster balances.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The policy.
    pub policy: SharedPolicy,
    /// Below this percentage of usable hosts all are used.
    pub panic_threshold: u32,
    /// Give none instead of all in panic.
    pub fail_traffic_on_panic: bool,
    /// Locality weights count.
    pub locality_weighted: bool,
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.policy.describe() == other.policy.describe()
            && self.panic_threshold == other.panic_threshold
            && self.fail_traffic_on_panic == other.fail_traffic_on_panic
            && self.locality_weighted == other.locality_weighted
    }
}

/// One list of hosts that a balancer chooses from.
#[derive(Debug)]
pub struct HostList {
    /// The hosts.
    pub hosts: Box<[Arc<Host>]>,
    /// Their weights, at least 1; empty when all are equal.
    pub weights: Box<[u32]>,
    /// Their shares of the whole (sum 1), locality weights folded in; only for policies that go by hash.
    pub shares: Box<[f64]>,
    /// Place of the list in a worker's cursor.
    pub slot: usize,
    /// Version of its host set.
    pub version: u64,
    /// Chooses from it.
    pub balancer: Box<dyn Balancer>,
}

#[derive(Debug)]
struct Nobody;

impl Balancer for Nobody {
    fn choose(&self, _: &HostList, _: &super::balance::PickContext<'_>, _: u64, _: u32) -> Option<usize> {
        None
    }
}

impl HostList {
    /// A list with the policy's balancer over it.
    pub fn new(
        hosts: Vec<(Arc<Host>, u32)>,
        shares: Vec<f64>,
        slots: &mut Slots,
        policy: &SharedPolicy,
    ) -> Arc<Self> {
        let first = hosts.first().map(|(_, weight)| *weight);
        let equal = hosts.iter().all(|(_, weight)| Some(*weight) == first);
        let weights = if equal { Box::default() } else { hosts.iter().map(|(_, w)| (*w).max(1)).collect() };
        let mut list = HostList {
            hosts: hosts.into_iter().map(|(host, _)| host).collect(),
            weights,
            shares: shares.into(),
            slot: slots.take(),
            version: slots.version,
            balancer: Box::new(Nobody),
        };
        if !list.hosts.is_empty() {
            list.balancer = policy.over(&list);
        }
        Arc::new(list)
    }

    /// Weight of a host of the list.
    pub fn weight(&self, index: usize) -> u32 {
        self.weights.get(index).copied().unwrap_or(1)
    }
}

/// Numbers the places of a worker's cursor.
#[derive(Debug, Default)]
pub struct Slots {
    next: usize,
    version: u64,
}

impl Slots {
    /// For the lists of a host set of this version.
    pub fn new(version: u64) -> Self {
        Slots { next: 0, version }
    }

    fn take(&mut self) -> usize {
        let slot = self.next;
        self.next = self.next.saturating_add(1);
        slot
    }
}

/// Lists by locality, chosen by effective weight.
#[derive(Debug)]
pub struct Localities {
    /// Place of the turns in a worker's cursor.
    pub slot: usize,
    /// Weight times availability; 0: none of the load.
    pub weights: Box<[f64]>,
    /// A list for each.
    pub lists: Box<[Arc<HostList>]>,
}

impl Localities {
    /// The list whose turn it is.
    pub fn choose(&self, version: u64, ctx: &super::balance::PickContext<'_>) -> Option<&HostList> {
        let turn = ctx.cursor.turns(
            (self.slot, version),
            || Edf::started(&self.weights, ctx.rng),
            |edf| edf.next(|index| self.weights.get(index).copied().unwrap_or(0.0)),
        )?;
        self.lists.get(turn?).map(Arc::as_ref)
    }
}

/// Lists of one priority.
#[derive(Debug)]
pub struct Priority {
    /// Everyone; for policies that go by hash the only list, of those who get traffic.
    pub all: Arc<HostList>,
    /// Healthy hosts.
    pub healthy: Arc<HostList>,
    /// Degraded hosts.
    pub degraded: Arc<HostList>,
    /// Healthy and degraded by locality, when locality weights count.
    pub localities: Option<[Localities; 2]>,
}

/// All hosts of a cluster.
#[derive(Debug)]
pub struct HostSet {
    /// Grows with every publication of the cluster; never 0.
    pub version: u64,
    /// As given.
    pub members: Members,
    /// Lists by priority.
    pub priorities: Box<[Priority]>,
    /// Shares of the priorities.
    pub load: PriorityLoad,
    /// What the shares were made of: hosts of each priority, and the panic threshold in percent.
    counts: (Box<[Counts]>, u32),
    /// Does the policy go by the request's hash?
    pub by_hash: bool,
    /// Give none instead of all in panic.
    pub fail_traffic_on_panic: bool,
    /// The one list that takes all requests, when it is so simple.
    pub only: Option<Arc<HostList>>,
}

impl HostSet {
    /// Builds lists and tables from the hosts' present health. May take long for Maglev and rings: not on a worker.
    pub fn build(version: u64, members: Members, settings: &Settings) -> HostSet {
        let levels =
            members.localities.iter().map(|l| l.priority).max().map_or(1, |p| p.min(MAX_PRIORITY) + 1);
        let of =
            |level: u32| members.localities.iter().filter(move |l| l.priority.min(MAX_PRIORITY) == level);
        let counts: Vec<Counts> = (0..levels).map(|level| count(of(level))).collect();
        let load = PriorityLoad::new(&counts, members.overprovisioning, settings.panic_threshold);
        let mut slots = Slots::new(version);
        let by_hash = settings.policy.by_hash();
        let mut priorities = Vec::new();
        for (level, panic) in (0..levels).zip(&load.panic) {
            let localities: Vec<&LocalityMembers> = of(level).collect();
            priorities.push(if by_hash {
                hashed(&localities, *panic, settings, &mut slots)
            } else {
                plain(&localities, members.overprovisioning, settings, &mut slots)
            });
        }
        let mut set = HostSet {
            version,
            members,
            priorities: priorities.into(),
            load,
            counts: (counts.into(), settings.panic_threshold),
            by_hash,
            fail_traffic_on_panic: settings.fail_traffic_on_panic,
            only: None,
        };
        set.only = set.simple();
        set
    }

    /// The shares when these priorities are passed over; as ever when the others have nobody to use.
    pub fn load_without(&self, passed_over: &[u32]) -> Cow<'_, PriorityLoad> {
        let (counts, threshold) = &self.counts;
        let out = |level: usize| passed_over.iter().any(|p| usize::try_from(*p) == Ok(level));
        let left: Vec<Counts> = counts
            .iter()
            .enumerate()
            .map(|(level, counts)| if out(level) { Counts::default() } else { *counts })
            .collect();
        if passed_over.is_empty() || left.iter().all(|c| c.healthy == 0 && c.degraded == 0) {
            return Cow::Borrowed(&self.load);
        }
        Cow::Owned(PriorityLoad::new(&left, self.members.overprovisioning, *threshold))
    }

    fn simple(&self) -> Option<Arc<HostList>> {
        let first = self.priorities.first()?;
        let all_to_it = self.load.healthy.first() == Some(&100) && self.load.panic.first() == Some(&false);
        (all_to_it && first.localities.is_none()).then(|| first.healthy.clone())
    }

    /// Hosts by health: healthy, degraded, all (`membership_*`).
    pub fn membership(&self) -> (usize, usize, usize) {
        let mut counts = (0usize, 0usize, 0usize);
        for host in self.members.hosts() {
            counts.2 = counts.2.saturating_add(1);
            match host.health() {
                Health::Healthy => counts.0 = counts.0.saturating_add(1),
                Health::Degraded => counts.1 = counts.1.saturating_add(1),
                Health::Unhealthy => {}
            }
        }
        counts
    }
}

/// Largest priority (Envoy's own bound on `LocalityLbEndpoints.priority`); larger ones count as it.
pub const MAX_PRIORITY: u32 = 128;

fn count<'a>(localities: impl Iterator<Item = &'a LocalityMembers>) -> Counts {
    let mut counts = Counts::default();
    for (host, _) in localities.flat_map(|l| &l.hosts) {
        counts.hosts = counts.hosts.saturating_add(1);
        if host.flags() & flag::EXCLUDED != 0 {
            counts.excluded = counts.excluded.saturating_add(1);
        }
        match host.health() {
            Health::Healthy => counts.healthy = counts.healthy.saturating_add(1),
            Health::Degraded => counts.degraded = counts.degraded.saturating_add(1),
            Health::Unhealthy => {}
        }
    }
    counts
}

fn with_health(localities: &[&LocalityMembers], health: Option<Health>) -> Vec<(Arc<Host>, u32)> {
    let all = localities.iter().flat_map(|l| l.hosts.iter().cloned());
    all.filter(|(host, _)| health.is_none_or(|h| host.health() == h)).collect()
}

fn plain(localities: &[&LocalityMembers], factor: u32, settings: &Settings, slots: &mut Slots) -> Priority {
    let policy = &settings.policy;
    let all = with_health(localities, None);
    let healthy = with_health(localities, Some(Health::Healthy));
    let degraded = with_health(localities, Some(Health::Degraded));
    let everyone_well = healthy.len() == all.len();
    let all = HostList::new(all, Vec::new(), slots, policy);
    let healthy = if everyone_well {
        slots.take();
        all.clone()
    } else {
        HostList::new(healthy, Vec::new(), slots, policy)
    };
    let degraded = HostList::new(degraded, Vec::new(), slots, policy);
    let weighted = settings.locality_weighted && localities.iter().any(|l| l.weight > 0);
    let localities = weighted.then(|| {
        [Health::Healthy, Health::Degraded]
            .map(|health| by_locality(localities, health, factor, settings, slots))
    });
    Priority { all, healthy, degraded, localities }
}

fn by_locality(
    localities: &[&LocalityMembers],
    health: Health,
    factor: u32,
    settings: &Settings,
    slots: &mut Slots,
) -> Localities {
    let factor = f64::from(if factor == 0 { super::load::OVERPROVISIONING } else { factor }) / 100.0;
    let slot = slots.take();
    let mut weights = Vec::new();
    let mut lists = Vec::new();
    for locality in localities {
        let counts = count(std::iter::once(*locality));
        let of = counts.hosts.saturating_sub(counts.excluded);
        let part = if health == Health::Healthy { counts.healthy } else { counts.degraded };
        let available = if of == 0 { 0.0 } else { (factor * part as f64 / of as f64).min(1.0) };
        weights.push(f64::from(locality.weight) * available);
        lists.push(HostList::new(
            with_health(&[locality], Some(health)),
            Vec::new(),
            slots,
            &settings.policy,
        ));
    }
    Localities { slot, weights: weights.into(), lists: lists.into() }
}

/// The one list of a policy that goes by hash: healthy hosts, or all in panic, with their shares.
fn hashed(localities: &[&LocalityMembers], panic: bool, settings: &Settings, slots: &mut Slots) -> Priority {
    let wanted = if panic { None } else { Some(Health::Healthy) };
    let weighted = settings.locality_weighted && localities.iter().any(|l| l.weight > 0);
    let mut hosts = Vec::new();
    let mut shares = Vec::new();
    if weighted {
        let parts: Vec<_> = localities.iter().map(|l| (l.weight, with_health(&[l], wanted))).collect();
        let sum: u64 = parts.iter().filter(|(_, hosts)| !hosts.is_empty()).map(|(w, _)| u64::from(*w)).sum();
        for (weight, part) in parts.into_iter().filter(|(weight, _)| *weight > 0) {
            add_shares(&part, f64::from(weight) / sum as f64, &mut shares);
            hosts.extend(part);
        }
    } else {
        hosts = with_health(localities, wanted);
        add_shares(&hosts, 1.0, &mut shares);
    }
    let list = HostList::new(hosts, shares, slots, &settings.policy);
    Priority { all: list.clone(), healthy: list.clone(), degraded: list, localities: None }
}

fn add_shares(hosts: &[(Arc<Host>, u32)], of: f64, shares: &mut Vec<f64>) {
    let sum: u64 = hosts.iter().map(|(_, weight)| u64::from(*weight)).sum();
    shares.extend(hosts.iter().map(|(_, weight)| f64::from(*weight) * of / sum as f64));
}
