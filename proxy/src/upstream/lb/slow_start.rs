//! Slow start: a new host's weight grows to its own within a window. Around the policies that go by weight.

use super::least_request::LeastRequest;
use super::round_robin::{RoundRobin, weighted};
use crate::base::clock::{self, Instant};
use crate::live::balance::{Balancer, PickContext, Policy, SharedPolicy};
use crate::live::hostset::HostList;
use crate::model::cluster::{LbPolicy, SlowStart};
use std::sync::Arc;
use std::time::Duration;

/// The policies that know weights.
#[derive(Clone, Debug)]
enum Inner {
    RoundRobin,
    LeastRequest(LeastRequest),
}

impl Inner {
    fn balancer(&self, list: &HostList) -> Box<dyn Balancer> {
        match self {
            Inner::RoundRobin => RoundRobin.over(list),
            Inner::LeastRequest(policy) => policy.over(list),
        }
    }
}

#[derive(Clone, Debug)]
struct Slow {
    inner: Inner,
    settings: SlowStart,
}

/// The policy with slow start; none for one that goes by no weight.
pub(super) fn around(lb: &LbPolicy, settings: SlowStart) -> Option<SharedPolicy> {
    let inner = match lb {
        LbPolicy::RoundRobin => Inner::RoundRobin,
        LbPolicy::LeastRequest { choices, bias, full_scan } => {
            Inner::LeastRequest(LeastRequest { choices: *choices, bias: *bias, full_scan: *full_scan })
        }
        LbPolicy::Random
        | LbPolicy::RingHash { .. }
        | LbPolicy::Maglev { .. }
        | LbPolicy::ClusterProvided => return None,
    };
    Some(Arc::new(Slow { inner, settings }))
}

impl Policy for Slow {
    fn over(&self, list: &HostList) -> Box<dyn Balancer> {
        let youngest = list.hosts.iter().map(|host| host.added).max();
        Box::new(Warming {
            settings: self.settings,
            policy: self.inner.clone(),
            warm_at: youngest.map_or_else(clock::now, |added| added + self.settings.window),
            inner: self.inner.balancer(list),
        })
    }
}

/// One list, some of whose hosts may be new.
#[derive(Debug)]
struct Warming {
    settings: SlowStart,
    policy: Inner,
    /// When no host is new any more.
    warm_at: Instant,
    inner: Box<dyn Balancer>,
}

impl Balancer for Warming {
    fn choose(&self, list: &HostList, ctx: &PickContext<'_>, hash: u64, attempt: u32) -> Option<usize> {
        let now = clock::now();
        if now >= self.warm_at {
            return self.inner.choose(list, ctx, hash, attempt);
        }
        weighted(list, ctx, |index, weight| {
            let Some(host) = list.hosts.get(index) else { return weight };
            let weight = weight * share(self.settings, now.saturating_duration_since(host.added));
            match &self.policy {
                Inner::RoundRobin => weight,
                Inner::LeastRequest(policy) => policy.weigh(Some(host.active()), weight),
            }
        })
    }
}

/// How much of its weight a host of this age has: `max(least, age / window ^ (1 / aggression))`, as Envoy has it.
fn share(settings: SlowStart, age: Duration) -> f64 {
    if age >= settings.window {
        return 1.0;
    }
    let age = age.max(Duration::from_secs(1)).as_secs_f64() / settings.window.as_secs_f64();
    age.min(1.0).powf(1.0 / settings.aggression).max(settings.least)
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, shares};
    use super::super::policy;
    use super::*;

    #[test]
    fn a_new_host_has_the_share_of_its_age() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let settings = SlowStart { window: Duration::from_secs(100), aggression: 1.0, least: 0.1 };
            for lb in
                [LbPolicy::RoundRobin, LbPolicy::LeastRequest { choices: 2, bias: 1.0, full_scan: false }]
            {
                let mut bench = Bench::empty(lb.clone());
                bench.settings.policy = policy(&lb, Some(settings));
                bench.publish(&[1]);
                tokio::time::advance(Duration::from_secs(50)).await;
                bench.publish(&[1, 1]);
                let counts = shares(&bench.picks(600), 2);
                assert!(counts[1].abs_diff(100) <= 3, "0.1 against 0.5: {counts:?}");
                tokio::time::advance(Duration::from_secs(100)).await;
                let counts = shares(&bench.picks(600), 2);
                assert!(counts[1].abs_diff(300) <= 60, "{counts:?}");
            }
        });
    }

    #[test]
    fn the_weight_grows_with_the_age() {
        let settings = SlowStart { window: Duration::from_secs(100), aggression: 1.0, least: 0.1 };
        let of = |settings, seconds| share(settings, Duration::from_secs(seconds));
        for (seconds, want) in [(0, 0.1), (5, 0.1), (50, 0.5), (100, 1.0), (1000, 1.0)] {
            assert!((of(settings, seconds) - want).abs() < 1e-9, "{seconds}");
        }
        let eager = SlowStart { aggression: 2.0, ..settings };
        assert!((of(eager, 25) - 0.5).abs() < 1e-9);
    }
}
