//! Limits of a cluster that are exact for the process although every worker has pools of its own.

use super::wake::{self, Post};
use super::worker::{self, MAX_WORKERS, Padded, PerWorker};
use crate::base::Name;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

/// "No limit", Istio's default: such a limit touches no shared memory.
pub const UNLIMITED: u32 = u32::MAX;

const WORDS: usize = MAX_WORKERS / 64;

/// What is limited (Envoy's `CircuitBreakers.Thresholds`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Connections.
    Connections,
    /// Requests that wait for a connection.
    Pending,
    /// Requests in flight.
    Requests,
    /// Retries in flight.
    Retries,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Connections, Kind::Pending, Kind::Requests, Kind::Retries];
}

/// Where a permit was counted, to be given back there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// In the shared count.
    Shared,
    /// In the worker's cell, while there was no limit.
    Cell,
}

#[derive(Debug)]
struct Shared {
    count: AtomicU32,
    /// Permits may be held that were counted in cells before there was a limit.
    mixed: AtomicBool,
    /// Worker after which the search for a waiter goes on.
    turn: AtomicUsize,
    /// One bit per worker with waiters.
    waiting: [AtomicU64; WORDS],
}

/// One limit: a padded count, and who waits for it.
#[derive(Debug)]
struct Permits {
    shared: Padded<Shared>,
    held: PerWorker<AtomicU64>,
}

impl Permits {
    fn new() -> Self {
        let shared = Shared {
            count: AtomicU32::new(0),
            // Made with the first permit, maybe just when the limit is set.
            mixed: AtomicBool::new(true),
            turn: AtomicUsize::new(0),
            waiting: Default::default(),
        };
        Permits { shared: Padded(shared), held: PerWorker::default() }
    }

    fn in_cells(&self) -> u64 {
        self.held.all().fold(0u64, |sum, cell| sum.wrapping_add(cell.load(Relaxed)))
    }

    fn in_use(&self) -> u64 {
        u64::from(self.shared.0.count.load(Relaxed)).wrapping_add(self.in_cells())
    }

    fn take(&self, limit: u32) -> Option<Counted> {
        let shared = &self.shared.0;
        if limit == UNLIMITED {
            let (cell, own) = self.held.mine()?;
            worker::add(cell, own, 1);
            return Some(Counted::Cell);
        }
        let mut outside = 0;
        if shared.mixed.load(Relaxed) {
            outside = self.in_cells();
            if outside == 0 {
                shared.mixed.store(false, Relaxed);
            }
        }
        let room = u64::from(limit).saturating_sub(outside);
        let below = |count: u32| (u64::from(count) < room).then(|| count.saturating_add(1));
        shared.count.fetch_update(SeqCst, SeqCst, below).ok().map(|_| Counted::Shared)
    }

    fn give(&self, counted: Counted) {
        match counted {
            Counted::Shared => {
                self.shared.0.count.fetch_sub(1, SeqCst);
            }
            Counted::Cell => {
                if let Some((cell, own)) = self.held.mine() {
                    worker::add(cell, own, u64::MAX);
                }
            }
        }
    }

    /// Clears one waiting bit, round robin, and says whose it was.
    fn next_waiter(&self) -> Option<usize> {
        let shared = &self.shared.0;
        if shared.waiting.iter().all(|word| word.load(SeqCst) == 0) {
            return None;
        }
        let start = shared.turn.load(Relaxed);
        for step in 1..=MAX_WORKERS {
            let worker = (start.wrapping_add(step)) % MAX_WORKERS;
            if self.set_waiting(worker, false) {
                shared.turn.store(worker, Relaxed);
                return Some(worker);
            }
        }
        None
    }

    /// Sets or clears a waiting bit and says whether it was set before.
    fn set_waiting(&self, worker: usize, on: bool) -> bool {
        let Some(word) = self.shared.0.waiting.get(worker / 64) else { return false };
        let bit = 1u64 << (worker % 64);
        if !on && word.load(SeqCst) & bit == 0 {
            return false;
        }
        let before = if on { word.fetch_or(bit, SeqCst) } else { word.fetch_and(!bit, SeqCst) };
        before & bit != 0
    }

    fn wanted_by_others(&self, worker: usize) -> bool {
        self.shared.0.waiting.iter().enumerate().any(|(at, word)| {
            let own = if at == worker / 64 { 1u64 << (worker % 64) } else { 0 };
            word.load(Relaxed) & !own != 0
        })
    }
}

fn of<T>(all: &[T; 4], kind: Kind) -> &T {
    let [connections, pending, requests, retries] = all;
    match kind {
        Kind::Connections => connections,
        Kind::Pending => pending,
        Kind::Requests => requests,
        Kind::Retries => retries,
    }
}

/// The numbers of one priority.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limits {
    /// By [`Kind`]; [`UNLIMITED`] for none.
    pub most: [u32; 4],
    /// Retry budget: percent of active and pending requests, and the smallest count; replaces the limit of retries.
    pub retry_budget: Option<(f64, u32)>,
}

/// The circuit breakers of one priority of a cluster. They outlive configuration; a new limit holds from the next
/// permit on.
#[derive(Debug)]
pub struct Breakers {
    /// The cluster.
    pub cluster: Name,
    /// 0: default, 1: high.
    pub priority: usize,
    most: [AtomicU32; 4],
    /// Made with the first permit.
    permits: OnceLock<Box<[Permits; 4]>>,
    /// Percent of the retry budget as bits of an `f64`; NaN when there is none.
    budget: AtomicU64,
    budget_least: AtomicU32,
}

impl Breakers {
    /// Without limits, until [`Breakers::set`].
    pub fn new(cluster: Name, priority: usize) -> Arc<Self> {
        Arc::new(Breakers {
            cluster,
            priority,
            most: [const { AtomicU32::new(UNLIMITED) }; 4],
            permits: OnceLock::new(),
            budget: AtomicU64::new(f64::NAN.to_bits()),
            budget_least: AtomicU32::new(0),
        })
    }

    fn permits(&self, kind: Kind) -> &Permits {
        of(self.permits.get_or_init(|| Box::new(std::array::from_fn(|_| Permits::new()))), kind)
    }

    /// The permits, if there was ever one.
    fn known(&self, kind: Kind) -> Option<&Permits> {
        self.permits.get().map(|permits| of(permits, kind))
    }

    /// New limits. Permits already given stay; who waits for a limit that rose is woken.
    pub fn set(self: &Arc<Self>, limits: &Limits) {
        let (percent, least) = limits.retry_budget.unwrap_or((f64::NAN, 0));
        self.budget.store(percent.to_bits(), Relaxed);
        self.budget_least.store(least, Relaxed);
        for (kind, limit) in Kind::ALL.into_iter().zip(limits.most) {
            let before = of(&self.most, kind).swap(limit, SeqCst);
            let Some(permits) = self.known(kind) else { continue };
            if before == UNLIMITED && limit != UNLIMITED {
                permits.shared.0.mixed.store(true, SeqCst);
            }
            if limit > before {
                while self.wake_one(kind) {}
            }
        }
    }

    /// The limit; retries under a budget: what the budget allows now.
    pub fn limit(&self, kind: Kind) -> u32 {
        if kind == Kind::Retries {
            let percent = f64::from_bits(self.budget.load(Relaxed));
            if !percent.is_nan() {
                let active = self.in_use(Kind::Requests).saturating_add(self.in_use(Kind::Pending));
                let allowed = (active as f64 * percent / 100.0) as u32;
                return allowed.max(self.budget_least.load(Relaxed)).min(UNLIMITED - 1);
            }
        }
        of(&self.most, kind).load(Relaxed)
    }

    /// Permits given and not yet returned, in the whole process.
    pub fn in_use(&self, kind: Kind) -> u64 {
        self.known(kind).map_or(0, Permits::in_use)
    }

    /// Is there none left (gauges `rq_open`, `cx_open`, ...)?
    pub fn is_open(&self, kind: Kind) -> bool {
        let limit = self.limit(kind);
        limit != UNLIMITED && self.in_use(kind) >= u64::from(limit)
    }

    /// Permits left (gauges `remaining_*`).
    pub fn remaining(&self, kind: Kind) -> u64 {
        u64::from(self.limit(kind)).saturating_sub(self.in_use(kind))
    }

    /// Wakes one worker that waits; false when none does.
    pub(super) fn wake_one(self: &Arc<Self>, kind: Kind) -> bool {
        let found = self.known(kind).and_then(Permits::next_waiter);
        if let Some(worker) = found {
            wake::post(worker, Post::Freed(self.clone(), kind));
        }
        found.is_some()
    }

    /// Notes that `worker` waits and tells the others to give up what lies idle.
    pub(super) fn wait(self: &Arc<Self>, kind: Kind, worker: usize) {
        if !self.permits(kind).set_waiting(worker, true) {
            wake::post_others(worker, &Post::Wanted(self.clone(), kind));
        }
    }
}

/// A worker's access to the breakers of a cluster: permits hold it, so that taking one touches no shared counter of
/// references. One per worker, cluster and priority.
#[derive(Debug)]
pub struct Lender {
    breakers: Arc<Breakers>,
}

impl Lender {
    /// For the calling worker.
    pub fn new(breakers: Arc<Breakers>) -> Rc<Self> {
        Rc::new(Lender { breakers })
    }

    /// The breakers.
    pub fn breakers(&self) -> &Arc<Breakers> {
        &self.breakers
    }

    /// A permit, or none when the limit is reached.
    pub fn take(self: &Rc<Self>, kind: Kind) -> Option<Permit> {
        let counted = self.breakers.permits(kind).take(self.breakers.limit(kind))?;
        Some(Permit { lender: self.clone(), kind, counted })
    }

    /// Waits for a permit, in the order of the worker's own waiters. Dropping the future gives the place up. On a
    /// thread that is no worker it ends with none at once when the limit is reached.
    pub fn wait(self: &Rc<Self>, kind: Kind) -> super::wait::Wait {
        super::wait::Wait::new(self.clone(), kind)
    }

    /// Does another worker wait for permits of this kind? Then a connection that becomes idle is closed, not kept.
    pub fn is_wanted(&self, kind: Kind) -> bool {
        let permits = self.breakers.permits(kind);
        worker::index().is_some_and(|worker| permits.wanted_by_others(worker))
    }
}

/// The right to one connection, pending request, request or retry; given back when dropped.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    lender: Rc<Lender>,
    kind: Kind,
    counted: Counted,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let permits = self.lender.breakers.permits(self.kind);
        permits.give(self.counted);
        if self.counted == Counted::Shared || permits.shared.0.mixed.load(Relaxed) {
            self.lender.breakers.wake_one(self.kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(most: [u32; 4]) -> Limits {
        Limits { most, retry_budget: None }
    }

    #[test]
    fn a_limit_is_exact_over_threads() {
        let breakers = Breakers::new("exact".into(), 0);
        breakers.set(&limits([UNLIMITED, UNLIMITED, 7, UNLIMITED]));
        let inside = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..4)
            .map(|index| {
                let (breakers, inside) = (breakers.clone(), inside.clone());
                std::thread::spawn(move || {
                    worker::enter(200 + index);
                    let lender = Lender::new(breakers);
                    let mut taken = 0u64;
                    for _ in 0..20_000 {
                        let held: Vec<_> = (0..4).filter_map(|_| lender.take(Kind::Requests)).collect();
                        let now = inside.fetch_add(held.len() as u32, SeqCst) + held.len() as u32;
                        assert!(now <= 7, "{now} permits of 7");
                        taken += held.len() as u64;
                        inside.fetch_sub(held.len() as u32, SeqCst);
                    }
                    taken
                })
            })
            .collect();
        assert!(threads.into_iter().map(|t| t.join().unwrap()).sum::<u64>() > 0);
        assert_eq!(breakers.in_use(Kind::Requests), 0);
    }

    #[test]
    fn unlimited_ones_are_counted_and_a_new_limit_counts_them() {
        let breakers = Breakers::new("mixed".into(), 0);
        let lender = Lender::new(breakers.clone());
        let held: Vec<_> = (0..5).map(|_| lender.take(Kind::Requests).unwrap()).collect();
        assert_eq!(breakers.in_use(Kind::Requests), 5);
        assert_eq!(breakers.permits(Kind::Requests).shared.0.count.load(Relaxed), 0);
        breakers.set(&limits([1, 1, 6, 1]));
        let sixth = lender.take(Kind::Requests).unwrap();
        assert!(lender.take(Kind::Requests).is_none() && breakers.is_open(Kind::Requests));
        drop(held);
        assert_eq!(breakers.in_use(Kind::Requests), 1);
        let more: Vec<_> = (0..9).filter_map(|_| lender.take(Kind::Requests)).collect();
        assert_eq!((more.len(), breakers.remaining(Kind::Requests)), (5, 0));
        breakers.set(&limits([UNLIMITED; 4]));
        let free = lender.take(Kind::Requests).unwrap();
        drop((more, sixth, free));
        assert_eq!(breakers.in_use(Kind::Requests), 0);
    }

    #[test]
    fn a_retry_budget_follows_the_requests() {
        let breakers = Breakers::new("budget".into(), 0);
        breakers.set(&Limits { most: [UNLIMITED, UNLIMITED, UNLIMITED, 1], retry_budget: Some((20.0, 3)) });
        let lender = Lender::new(breakers.clone());
        assert_eq!(breakers.limit(Kind::Retries), 3);
        let _held: Vec<_> = (0..30).map(|_| lender.take(Kind::Requests).unwrap()).collect();
        assert_eq!(breakers.limit(Kind::Retries), 6);
        let retries: Vec<_> = (0..9).filter_map(|_| lender.take(Kind::Retries)).collect();
        assert_eq!(retries.len(), 6);
    }
}
