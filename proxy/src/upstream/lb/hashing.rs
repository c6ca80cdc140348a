//! What ring hash and Maglev share: the text that stands for a host, and bounded loads (spec 3.3).

use super::twister::Twister;
use crate::live::host::Host;
use crate::live::hostset::HostList;

/// The text of a host that is hashed: its `hash_key`, else its host name or address.
pub(super) fn key(host: &Host, use_hostname: bool) -> String {
    let attributes = host.attributes();
    match &attributes.hash_key {
        Some(key) if !key.is_empty() => key.to_string(),
        _ if use_hostname => attributes.hostname.to_string(),
        _ => host.address.to_string(),
    }
}

/// Fewest and most entries that a host of the list has in a table.
pub(super) fn extremes(list: &HostList, entries: impl Iterator<Item = u32>) -> (u64, u64) {
    let mut counts = vec![0u64; list.hosts.len()];
    for host in entries {
        if let Some(count) = counts.get_mut(host as usize) {
            *count = count.saturating_add(1);
        }
    }
    (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0))
}

/// Keeps the load of each host below `factor` percent of its share: the chosen one, or one drawn in an order that
/// the hash decides, or the least overloaded. Factor 0: off.
pub(super) fn bounded(list: &HostList, chosen: usize, hash: u64, factor: u32) -> usize {
    if factor == 0 {
        return chosen;
    }
    let active: Vec<u64> = list.hosts.iter().map(|host| host.active()).collect();
    let all = active.iter().fold(0u64, |sum, a| sum.saturating_add(*a));
    let slots = all.saturating_add(1).saturating_mul(u64::from(factor)).saturating_add(99) / 100;
    let overload = |index: usize| {
        let share = list.shares.get(index).copied().unwrap_or_default();
        let own = (slots as f64 * share).ceil().max(1.0);
        active.get(index).copied().unwrap_or(u64::MAX) as f64 / own
    };
    let mut least = (overload(chosen), chosen);
    if least.0 <= 1.0 {
        return chosen;
    }
    let mut order: Vec<usize> = (0..list.hosts.len()).collect();
    let mut random = Twister::new(hash);
    for step in 0..order.len() {
        let left = order.len().saturating_sub(step);
        let drawn = random.below(u32::try_from(left).unwrap_or(u32::MAX)) as usize;
        order.swap(step, step.saturating_add(drawn.min(left.saturating_sub(1))));
        let Some(other) = order.get(step).copied().filter(|other| *other != chosen) else { continue };
        let load = overload(other);
        if load <= 1.0 {
            return other;
        }
        if load < least.0 {
            least = (load, other);
        }
    }
    least.1
}
