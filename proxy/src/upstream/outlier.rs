//! Outlier detection: hosts that fail again and again are set aside for a while (spec 3.5).
//!
//! Workers count and decide; the thread that runs [`super::watch::run`] rebuilds the lists at once and gives hosts back in time.

use crate::base::clock::{self, Instant};
use crate::base::rng::Rng;
use crate::live::ClusterLive;
use crate::live::host::{Host, flag};
use crate::model::cluster::{Cluster, Outlier};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::AcqRel, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// How an attempt ended, for the host's record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The host answered with this status (a gRPC status converted).
    Status(u16),
    /// The connection for a request was made; the status follows.
    Connected,
    /// No connection, or it was lost before an answer.
    ConnectFailure,
    /// No answer in time.
    Timeout,
    /// A connection of a protocol without status: made, or ended well.
    Success,
    /// The peer ended a transaction of a protocol without status badly.
    Failure,
}

/// Which count reached its threshold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Status5xx,
    Gateway,
    Local,
}

/// Milliseconds since the process first looked; never 0.
fn millis(at: Instant) -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(clock::now);
    u64::try_from(at.saturating_duration_since(*START).as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

/// Notes how an attempt at a host ended, and ejects it when a count has just reached its threshold. Cheap when
/// nothing fails: up to three loads.
pub fn report(cluster: &Cluster, host: &Host, outcome: Outcome, rng: &Rng) {
    if let Some(outlier) = &cluster.outlier {
        note(&cluster.live, outlier, host, outcome, rng);
    }
}

fn note(live: &Arc<ClusterLive>, outlier: &Outlier, host: &Host, outcome: Outcome, rng: &Rng) {
    let count = Count { live, outlier, host, rng };
    match (outcome, outlier.split) {
        (Outcome::Status(status), _) => count.status(status),
        (Outcome::Failure, _) => count.status(500),
        (Outcome::Connected, false) => {}
        (Outcome::ConnectFailure, false) => count.status(503),
        (Outcome::Timeout, false) => count.status(504),
        (Outcome::Success, false) => count.status(200),
        (Outcome::Connected | Outcome::Success, true) => reset(&host.outlier.consecutive_local),
        (Outcome::ConnectFailure | Outcome::Timeout, true) => count.up(Kind::Local),
    }
}

fn reset(counter: &AtomicU32) {
    if counter.load(Relaxed) != 0 {
        counter.store(0, Relaxed);
    }
}

struct Count<'a> {
    live: &'a Arc<ClusterLive>,
    outlier: &'a Outlier,
    host: &'a Host,
    rng: &'a Rng,
}

impl Count<'_> {
    fn status(&self, status: u16) {
        let state = &self.host.outlier;
        if !(500..600).contains(&status) {
            reset(&state.consecutive_5xx);
            return reset(&state.consecutive_gateway);
        }
        if matches!(status, 502..=504) {
            self.up(Kind::Gateway);
        } else {
            reset(&state.consecutive_gateway);
        }
        self.up(Kind::Status5xx);
    }

    /// One more in a row. Only the one that reaches the threshold acts, so that a burst acts once.
    fn up(&self, kind: Kind) {
        let (state, outlier, seen) = (&self.host.outlier, self.outlier, &self.live.outlier);
        let (counter, threshold, chance, detected, enforced) = match kind {
            Kind::Status5xx => (
                &state.consecutive_5xx,
                outlier.consecutive_5xx,
                outlier.enforce_5xx,
                &seen.detected_5xx,
                &seen.enforced_5xx,
            ),
            Kind::Gateway => (
                &state.consecutive_gateway,
                outlier.consecutive_gateway,
                outlier.enforce_gateway,
                &seen.detected_gateway,
                &seen.enforced_gateway,
            ),
            Kind::Local => (
                &state.consecutive_local,
                outlier.consecutive_local,
                outlier.enforce_local,
                &seen.detected_local,
                &seen.enforced_local,
            ),
        };
        let now = counter.fetch_add(1, Relaxed).wrapping_add(1);
        if threshold == 0 || now != threshold || self.host.flags() & flag::FAILED_OUTLIER != 0 {
            return;
        }
        detected.fetch_add(1, Relaxed);
        self.eject(chance, enforced);
        counter.store(0, Relaxed);
    }

    fn eject(&self, chance: u32, enforced: &AtomicU64) {
        let hosts = self.live.host_count.load(Relaxed);
        let allowed =
            |ejected: u32| may_eject(self.outlier, ejected, hosts).then(|| ejected.saturating_add(1));
        if !may_eject(self.outlier, self.live.ejected.load(Relaxed), hosts) {
            self.live.outlier.overflow.fetch_add(1, Relaxed);
            return;
        }
        if self.rng.below(100) >= u64::from(chance) || self.host.is_removed() {
            return;
        }
        // The cap is a true ceiling: two workers that eject at once cannot both take the last place.
        if self.live.ejected.fetch_update(AcqRel, Relaxed, allowed).is_err() {
            self.live.outlier.overflow.fetch_add(1, Relaxed);
            return;
        }
        self.time();
        if !self.host.set_flags(flag::FAILED_OUTLIER) {
            // Another worker was quicker.
            self.live.ejected.fetch_sub(1, AcqRel);
            return;
        }
        enforced.fetch_add(1, Relaxed);
        self.live.outlier.enforced_total.fetch_add(1, Relaxed);
        self.host.outlier.ejections.fetch_add(1, Relaxed);
        self.live.health_changed();
    }

    /// Starts the ejection's time: one more base time than the last, up to the longest.
    fn time(&self) {
        let (state, outlier) = (&self.host.outlier, self.outlier);
        let (base, max) = (outlier.base_ejection, outlier.max_ejection.max(outlier.base_ejection));
        state.ejected_at.store(millis(clock::now()), Relaxed);
        let jitter = self.rng.below(outlier.max_ejection_jitter.as_millis().saturating_add(1) as u64);
        state.jitter.store(jitter, Relaxed);
        let multiplier = state.multiplier.load(Relaxed);
        if base.saturating_mul(multiplier) < max.saturating_add(base) {
            state.multiplier.store(multiplier.saturating_add(1), Relaxed);
        }
    }
}

/// May one more of `hosts` be ejected when `ejected` are?
fn may_eject(outlier: &Outlier, ejected: u32, hosts: u32) -> bool {
    let percent = 100.0 * (f64::from(ejected) + 1.0) / f64::from(hosts.max(1));
    percent <= f64::from(outlier.max_ejection_percent.min(100)) || (outlier.always_eject_one && ejected == 0)
}

/// Gives hosts of a cluster back whose time is over, and lets the multipliers of the others decay. To be called once
/// each interval, by one thread. Without a configuration every ejection ends. Rebuilds the lists when one came back.
pub fn sweep(live: &ClusterLive, outlier: Option<&Outlier>, now: Instant) {
    let hosts: Vec<Arc<Host>> = match live.hosts() {
        Some(set) => set.members.hosts().cloned().collect(),
        None => return,
    };
    let mut back = false;
    for host in hosts.iter().chain(on_demand(live).iter()) {
        let state = &host.outlier;
        if host.flags() & flag::FAILED_OUTLIER == 0 {
            let multiplier = state.multiplier.load(Relaxed);
            if multiplier > 0 {
                state.multiplier.store(multiplier.saturating_sub(1), Relaxed);
            }
            continue;
        }
        if outlier.is_none_or(|outlier| is_over(host, outlier, now)) {
            for counter in [&state.consecutive_5xx, &state.consecutive_gateway, &state.consecutive_local] {
                counter.store(0, Relaxed);
            }
            back |= live.return_ejection(host);
        }
    }
    if back {
        live.rebuild();
    }
}

fn on_demand(live: &ClusterLive) -> Vec<Arc<Host>> {
    live.on_demand.lock().unwrap_or_else(std::sync::PoisonError::into_inner).values().cloned().collect()
}

fn is_over(host: &Host, outlier: &Outlier, now: Instant) -> bool {
    let state = &host.outlier;
    let max = outlier.max_ejection.max(outlier.base_ejection);
    let time = outlier.base_ejection.saturating_mul(state.multiplier.load(Relaxed)).min(max);
    let time = time.saturating_add(Duration::from_millis(state.jitter.load(Relaxed)));
    u128::from(millis(now).saturating_sub(state.ejected_at.load(Relaxed))) >= time.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::lb::bench::{Bench, locality, shares};

    fn outlier() -> Outlier {
        Outlier {
            consecutive_5xx: 5,
            consecutive_gateway: 5,
            consecutive_local: 5,
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejection_jitter: Duration::ZERO,
            max_ejection_percent: 10,
            always_eject_one: false,
            enforce_5xx: 100,
            enforce_gateway: 0,
            enforce_local: 100,
            split: false,
        }
    }

    fn bench(hosts: usize) -> Bench {
        Bench::new(crate::model::cluster::LbPolicy::RoundRobin, &vec![1; hosts])
    }

    fn fail(bench: &Bench, outlier: &Outlier, host: usize, outcome: Outcome, times: usize) {
        for _ in 0..times {
            note(&bench.live, outlier, &bench.host(host), outcome, &bench.rng);
        }
        bench.live.rebuild();
    }

    fn ejected(bench: &Bench) -> Vec<usize> {
        let set = bench.set();
        let out = |h: &Arc<Host>| h.flags() & flag::FAILED_OUTLIER != 0;
        set.members.hosts().enumerate().filter(|(_, h)| out(h)).map(|(i, _)| i).collect()
    }

    fn at(seconds: f64) -> Instant {
        clock::now() + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn the_cap_as_measured() {
        // Default 10 %: never in clusters of 1 and of 3.
        for hosts in [1, 3] {
            let bench = bench(hosts);
            fail(&bench, &outlier(), 0, Outcome::Status(500), 50);
            assert!(ejected(&bench).is_empty());
            assert_eq!(bench.live.outlier.overflow.load(Relaxed), 10);
        }
        // 34 % of 3: exactly one.
        let third = Outlier { max_ejection_percent: 34, ..outlier() };
        let bench = bench(3);
        fail(&bench, &third, 0, Outcome::Status(500), 4);
        assert!(ejected(&bench).is_empty());
        fail(&bench, &third, 0, Outcome::Status(500), 1);
        fail(&bench, &third, 1, Outcome::Status(500), 20);
        assert_eq!(ejected(&bench), [0]);
        assert_eq!(shares(&bench.picks(30), 3), [0, 15, 15]);
        // It returns, at the sweep after its time.
        sweep(&bench.live, Some(&third), at(25.0));
        assert_eq!(ejected(&bench), [0]);
        sweep(&bench.live, Some(&third), at(30.0));
        assert!(ejected(&bench).is_empty());
        assert_eq!(shares(&bench.picks(30), 3), [10, 10, 10]);
    }

    #[test]
    fn always_one_and_all_of_them() {
        let one = Outlier { always_eject_one: true, ..outlier() };
        let bench = bench(2);
        fail(&bench, &one, 1, Outcome::Status(500), 5);
        fail(&bench, &one, 0, Outcome::Status(500), 5);
        assert_eq!(ejected(&bench), [1]);
        let all = Outlier { max_ejection_percent: 100, ..outlier() };
        fail(&bench, &all, 0, Outcome::ConnectFailure, 5);
        assert_eq!((ejected(&bench), bench.live.ejected.load(Relaxed)), (vec![0, 1], 2));
        // Panic still uses them.
        assert!(bench.pick(None).is_some());
    }

    #[test]
    fn what_counts_and_what_resets() {
        let all =
            Outlier { max_ejection_percent: 100, enforce_gateway: 100, consecutive_gateway: 3, ..outlier() };
        let bench = bench(4);
        fail(&bench, &all, 0, Outcome::Status(500), 4);
        fail(&bench, &all, 0, Outcome::Status(404), 1);
        fail(&bench, &all, 0, Outcome::Status(500), 4);
        assert!(ejected(&bench).is_empty());
        fail(&bench, &all, 1, Outcome::Timeout, 2);
        fail(&bench, &all, 1, Outcome::Status(500), 1);
        fail(&bench, &all, 1, Outcome::Status(503), 1);
        assert!(ejected(&bench).is_empty());
        fail(&bench, &all, 2, Outcome::Status(503), 3);
        assert_eq!(ejected(&bench), [2]);
        let seen = &bench.live.outlier;
        assert_eq!((seen.detected_gateway.load(Relaxed), seen.enforced_gateway.load(Relaxed)), (1, 1));
        let never = Outlier { enforce_5xx: 0, ..all };
        fail(&bench, &never, 3, Outcome::Status(500), 5);
        assert_eq!((ejected(&bench), seen.detected_5xx.load(Relaxed)), (vec![2], 1));
    }

    #[test]
    fn split_counts_local_failures_apart() {
        let split = Outlier { split: true, max_ejection_percent: 100, ..outlier() };
        let bench = bench(2);
        fail(&bench, &split, 0, Outcome::ConnectFailure, 4);
        fail(&bench, &split, 0, Outcome::Connected, 1);
        fail(&bench, &split, 0, Outcome::ConnectFailure, 4);
        fail(&bench, &split, 0, Outcome::Status(500), 4);
        assert!(ejected(&bench).is_empty());
        fail(&bench, &split, 0, Outcome::Timeout, 1);
        assert_eq!((ejected(&bench), bench.live.outlier.enforced_local.load(Relaxed)), (vec![0], 1));
    }

    #[test]
    fn ejections_grow_and_decay() {
        let rule = Outlier { max_ejection_percent: 100, max_ejection: Duration::from_secs(60), ..outlier() };
        let bench = bench(3);
        for (n, time) in [30.0, 60.0, 60.0].into_iter().enumerate() {
            fail(&bench, &rule, 0, Outcome::Status(500), 5);
            assert_eq!(ejected(&bench), [0], "{n}");
            sweep(&bench.live, Some(&rule), at(time - 5.0));
            assert_eq!(ejected(&bench), [0], "{n}");
            sweep(&bench.live, Some(&rule), at(time));
            assert!(ejected(&bench).is_empty(), "{n}");
        }
        let multiplier = || bench.host(0).outlier.multiplier.load(Relaxed);
        assert_eq!(multiplier(), 3);
        for _ in 0..5 {
            sweep(&bench.live, Some(&rule), at(0.0));
        }
        assert_eq!(multiplier(), 0);
        fail(&bench, &rule, 0, Outcome::Status(500), 5);
        sweep(&bench.live, None, at(0.0));
        assert!(ejected(&bench).is_empty(), "no configuration, no ejection");
    }

    #[test]
    fn a_removed_host_gives_its_place_back() {
        let rule = Outlier { max_ejection_percent: 34, ..outlier() };
        let bench = bench(3);
        fail(&bench, &rule, 0, Outcome::Status(500), 5);
        bench.publish_all(vec![locality(18002, 0, 0, &[(1, 0), (1, 0), (1, 0)])]);
        assert_eq!(bench.live.ejected.load(Relaxed), 0);
        fail(&bench, &rule, 0, Outcome::Status(500), 5);
        assert_eq!(ejected(&bench), [0]);
    }

    proptest::proptest! {
        #[test]
        fn never_more_than_the_cap(
            hosts in 1usize..12,
            percent in 0u32..=100,
            failing in proptest::collection::vec(0usize..12, 0..40),
        ) {
            let rule = Outlier { max_ejection_percent: percent, ..outlier() };
            let bench = bench(hosts);
            for host in failing.into_iter().filter(|h| *h < hosts) {
                fail(&bench, &rule, host, Outcome::Status(503), 5);
            }
            proptest::prop_assert!(ejected(&bench).len() as u32 * 100 <= percent * hosts as u32);
        }
    }
}
