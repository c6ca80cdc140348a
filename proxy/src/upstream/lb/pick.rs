//! The pick: priority, panic, locality, then the policy (spec 3.2).

use crate::live::balance::PickContext;
use crate::live::host::Host;
use crate::live::hostset::{HostList, HostSet};
use std::sync::Arc;

/// Picks a host. None: nobody can be used (503, flag `UH`). A host that `ctx.avoid` refuses is replaced by another
/// pick as often as the context allows; the last one is taken in any case, as Envoy does.
pub fn pick<'s>(set: &'s HostSet, ctx: &PickContext<'_>) -> Option<&'s Arc<Host>> {
    let Some(avoid) = ctx.avoid.filter(|_| ctx.avoid_attempts > 0) else {
        return match &set.only {
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
    let (level, degraded) = set.load.choose(hash)?;
    let priority = set.priorities.get(level)?;
    let panic = set.load.panic.get(level) == Some(&true);
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
