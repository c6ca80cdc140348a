//! The pick: priority, panic, locality, then the policy (spec 3.2).

use crate::live::balance::PickContext;
use crate::live::host::Host;
use crate::live::hostset::{HostList, HostSet};
use std::sync::Arc;

/// Picks a host. None: nobody can be used (503, flag `UH`). A host that `ctx.avoid` refuses is replaced by another
/// pick as often as the context allows; the last one is taken in any case, as Envoy does.
pub fn pick<'s>(set: &'s HostSet, ctx: &PickContext<'_>) -> Option<&'s Arc<Host>> {
    let Some(avoid) = ctx.avoid.filter(|_| ctx.avoid_attempts > 0) else {
        return match set.only.as_ref().filter(|_| ctx.passed_over.is_empty()) {
            Some(list) => from(list, ctx, 0),
            None => once(set, ctx, random(ctx, set), 0),
        };
    };
    let mut hash = random(ctx, set);
    for attempt in 0..ctx.avoid_attempts {
        let host = once(set, ctx, hash, attempt)?;
        if !avoid(host) {
            return Some(host);
        }
        if !set.by_hash {
            hash = ctx.rng.next_u64();
        }
    }
    once(set, ctx, hash, ctx.avoid_attempts)
}

/// The hash that priority and policy go by: the request's where the policy goes by hash, else random.
fn random(ctx: &PickContext<'_>, set: &HostSet) -> u64 {
    ctx.hash.filter(|_| set.by_hash).unwrap_or_else(|| ctx.rng.next_u64())
}

fn from<'s>(list: &'s HostList, ctx: &PickContext<'_>, attempt: u32) -> Option<&'s Arc<Host>> {
    if let [only] = &*list.hosts {
        return Some(only);
    }
    let hash = ctx.hash.unwrap_or_else(|| ctx.rng.next_u64());
    list.hosts.get(list.balancer.choose(list, ctx, hash, attempt)?)
}

fn once<'s>(set: &'s HostSet, ctx: &PickContext<'_>, hash: u64, attempt: u32) -> Option<&'s Arc<Host>> {
    let load = set.load_without(ctx.passed_over);
    let (level, degraded) = load.choose(hash)?;
    let priority = set.priorities.get(level)?;
    let panic = load.panic.get(level) == Some(&true);
    if panic {
        ctx.panic.set(true);
    }
    let list: &HostList = match (panic, degraded) {
        _ if set.by_hash => &priority.all,
        (true, _) if set.fail_traffic_on_panic => return None,
        (true, _) => &priority.all,
        (false, false) => &priority.healthy,
        (false, true) => &priority.degraded,
    };
    let by_locality = priority
        .localities
        .as_ref()
        .filter(|_| !panic)
        .and_then(|[healthy, poor]| if degraded { poor } else { healthy }.choose(set.version, ctx));
    let list = by_locality.unwrap_or(list);
    list.hosts.get(list.balancer.choose(list, ctx, hash, attempt)?)
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, locality, shares};
    use super::*;
    use crate::live::host::{Stat, flag};
    use crate::model::cluster::LbPolicy;

    const BAD: u32 = flag::FAILED_EDS;

    fn bench() -> Bench {
        Bench::empty(LbPolicy::RoundRobin)
    }

    fn near(count: usize, want: usize, of: usize) {
        let p = want as f64 / of as f64;
        let sigma = (of as f64 * p * (1.0 - p)).sqrt();
        assert!((count as f64 - want as f64).abs() <= 4.5 * sigma + 1.0, "{count} instead of {want} of {of}");
    }

    #[test]
    fn healthy_and_degraded_share_as_measured() {
        let bench = bench();
        bench.publish_all(vec![locality(18001, 0, 0, &[(1, 0), (1, flag::DEGRADED_EDS), (1, BAD)])]);
        let counts = shares(&bench.picks(10_000), 3);
        near(counts[0], 5000, 10_000);
        assert_eq!(counts[2], 0);
    }

    #[test]
    fn half_a_priority_takes_70_percent() {
        let bench = bench();
        bench.publish_all(vec![
            locality(18001, 0, 0, &[(1, 0), (1, BAD)]),
            locality(18003, 0, 1, &[(1, 0), (1, 0)]),
        ]);
        let counts = shares(&bench.picks(20_000), 4);
        near(counts[0], 14_000, 20_000);
        assert_eq!(counts[1], 0);
        assert!(counts[2].abs_diff(counts[3]) <= 1);
    }

    #[test]
    fn panic_uses_all_or_none() {
        let mut bench = bench();
        bench.publish_all(vec![locality(18001, 0, 0, &[(1, BAD), (1, BAD), (1, 0)])]);
        assert_eq!(shares(&bench.picks(30), 3), [10, 10, 10]);
        let (set, ctx) = (bench.set(), bench.context());
        assert!(pick(&set, &ctx).is_some() && ctx.panic.get());
        bench.settings.fail_traffic_on_panic = true;
        bench.publish_all(vec![locality(18001, 0, 0, &[(1, BAD), (1, BAD), (1, 0)])]);
        assert_eq!(bench.pick(None), None);
        bench.settings.panic_threshold = 0;
        bench.publish_all(vec![locality(18001, 0, 0, &[(1, BAD), (1, BAD), (1, 0)])]);
        assert_eq!(shares(&bench.picks(30), 3), [0, 0, 30]);
        bench.publish_all(vec![locality(18001, 0, 0, &[(1, BAD)])]);
        assert_eq!(bench.pick(None), None);
        bench.publish_all(vec![]);
        assert_eq!(bench.pick(None), None);
    }

    #[test]
    fn localities_by_weight_and_availability() {
        let mut bench = bench();
        bench.settings.locality_weighted = true;
        bench.publish_all(vec![
            locality(18001, 1, 0, &[(1, 0)]),
            locality(18002, 2, 0, &[(1, 0), (1, 0)]),
            locality(18004, 0, 0, &[(1, 0)]),
        ]);
        let counts = shares(&bench.picks(3000), 4);
        near(counts[0], 1000, 3000);
        assert!(counts[1].abs_diff(counts[2]) <= 1 && counts[3] == 0, "{counts:?}");
        // The second locality has 1 of 4 healthy: 2 * min(1, 1.4 / 4) = 0.7 against 1.
        bench.publish_all(vec![
            locality(18001, 1, 0, &[(1, 0), (1, 0), (1, 0)]),
            locality(18004, 2, 0, &[(1, 0), (1, BAD), (1, BAD), (1, BAD)]),
        ]);
        let counts = shares(&bench.picks(17_000), 7);
        near(counts[3], 7000, 17_000);
    }

    #[test]
    fn unwanted_hosts_are_avoided_while_attempts_last() {
        let bench = bench();
        bench.publish(&[1, 1, 1]);
        let set = bench.set();
        let wanted = bench.host(2).id;
        let avoid = move |host: &Host| host.id != wanted;
        let mut ctx = bench.context();
        ctx.avoid = Some(&avoid);
        ctx.avoid_attempts = 2;
        assert!((0..20).all(|_| pick(&set, &ctx).unwrap().id == wanted));
        let never = |_: &Host| true;
        ctx.avoid = Some(&never);
        assert!(pick(&set, &ctx).is_some(), "the last one is taken in any case");
    }

    #[test]
    fn priorities_that_were_tried_are_passed_over_while_others_can_serve() {
        let bench = bench();
        bench.publish_all(vec![locality(18001, 0, 0, &[(1, 0)]), locality(18002, 0, 1, &[(1, 0)])]);
        let set = bench.set();
        let picked = |passed_over: &[u32]| {
            let mut ctx = bench.context();
            ctx.passed_over = passed_over;
            pick(&set, &ctx).map(|host| host.address.port())
        };
        assert_eq!(picked(&[]), Some(Some(18001)));
        assert_eq!(picked(&[0]), Some(Some(18002)));
        assert_eq!(picked(&[0, 1]), Some(Some(18001)));
        bench.publish_all(vec![locality(18001, 0, 0, &[(1, 0)]), locality(18002, 0, 1, &[(1, BAD)])]);
        let set = bench.set();
        let mut ctx = bench.context();
        ctx.passed_over = &[0];
        assert_eq!(pick(&set, &ctx).map(|host| host.address.port()), Some(Some(18001)));
    }

    #[test]
    fn equal_hosts_change_nothing() {
        let bench = bench();
        bench.publish(&[1, 2]);
        bench.publish(&[1, 2]);
        assert_eq!(bench.live.version(), 1);
        bench.publish(&[2, 1]);
        assert_eq!(bench.live.version(), 2);
        bench.publish_all(vec![locality(18001, 0, 0, &[(2, BAD), (1, 0)])]);
        assert_eq!(bench.live.version(), 3);
    }

    #[test]
    fn known_hosts_keep_their_state_and_gone_ones_are_marked() {
        let bench = bench();
        bench.publish(&[1, 1]);
        let (first, second) = (bench.host(0), bench.host(1));
        first.inc(Stat::RqTotal);
        bench.publish_all(vec![locality(18001, 0, 0, &[(5, BAD)])]);
        let now = bench.host(0);
        assert!(Arc::ptr_eq(&first, &now));
        assert_eq!(
            (now.stat(Stat::RqTotal), now.weight(), now.health_flags().as_str()),
            (1, 5, "/failed_eds_health")
        );
        assert!(second.is_removed() && !now.is_removed());
        assert_eq!(bench.set().version, 2);
    }
}
