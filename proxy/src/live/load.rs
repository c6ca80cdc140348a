//! How load is shared among priorities: health, overprovisioning, degraded hosts, panic (spec 3.2).

/// Counts of one priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All hosts.
    pub hosts: usize,
    /// Healthy ones.
    pub healthy: usize,
    /// Degraded ones.
    pub degraded: usize,
    /// Left out of the counts.
    pub excluded: usize,
}

/// Percent of the requests for each priority, which sum up to 100, and which priorities are in panic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriorityLoad {
    /// To healthy hosts.
    pub healthy: Box<[u32]>,
    /// To degraded hosts.
    pub degraded: Box<[u32]>,
    /// Panic: all hosts are used, or none.
    pub panic: Box<[bool]>,
}

/// Envoy's default overprovisioning factor in percent.
pub const OVERPROVISIONING: u32 = 140;

impl Counts {
    fn considered(&self) -> usize {
        self.hosts.saturating_sub(self.excluded)
    }

    fn percent(&self, part: usize, overprovisioning: u32) -> u32 {
        let of = self.considered() as u64;
        let part = (part as u64).saturating_mul(u64::from(overprovisioning));
        part.checked_div(of).unwrap_or(0).min(100) as u32
    }

    fn below(&self, threshold: u32) -> bool {
        let of = self.considered();
        let usable = self.healthy.saturating_add(self.degraded);
        let percent = if of == 0 { 0.0 } else { 100.0 * usable as f64 / of as f64 };
        percent < f64::from(threshold.min(100))
    }
}

/// Gives each priority, in order, what its availability allows; returns what is left.
fn hand_out(load: &mut [u32], available: &[u32], mut left: u32, normalized: u32) -> u32 {
    for (share, available) in load.iter_mut().zip(available) {
        *share = left.min(available.saturating_mul(100).checked_div(normalized).unwrap_or(0));
        left = left.saturating_sub(*share);
    }
    left
}

/// In panic everywhere: by number of hosts.
fn by_hosts(counts: &[Counts]) -> Vec<u32> {
    let total: u64 = counts.iter().map(|c| c.hosts as u64).sum();
    let share = |hosts: usize| (hosts as u64).saturating_mul(100).checked_div(total).unwrap_or(0) as u32;
    let mut load: Vec<u32> = counts.iter().map(|c| share(c.hosts)).collect();
    let rest = 100u32.saturating_sub(load.iter().sum());
    let first = counts.iter().position(|c| c.hosts > 0).unwrap_or(0);
    if let Some(share) = load.get_mut(first) {
        *share = share.saturating_add(rest);
    }
    load
}

impl PriorityLoad {
    /// From the counts of each priority; `overprovisioning` and `panic_threshold` in percent.
    pub fn new(counts: &[Counts], overprovisioning: u32, panic_threshold: u32) -> Self {
        let factor = if overprovisioning == 0 { OVERPROVISIONING } else { overprovisioning };
        let health: Vec<u32> = counts.iter().map(|c| c.percent(c.healthy, factor)).collect();
        let degraded_health: Vec<u32> = counts.iter().map(|c| c.percent(c.degraded, factor)).collect();
        let available =
            health.iter().chain(&degraded_health).fold(0u32, |sum, h| sum.saturating_add(*h)).min(100);
        let mut healthy = vec![0; counts.len()];
        let mut degraded = vec![0; counts.len()];
        let mut panic = vec![false; counts.len()];
        if available > 0 {
            let left = hand_out(&mut healthy, &health, 100, available);
            let left = hand_out(&mut degraded, &degraded_health, left, available);
            // What rounding left goes to the first that has anything.
            let (list, at) = match health.iter().position(|h| *h > 0) {
                Some(at) => (&mut healthy, Some(at)),
                None => (&mut degraded, degraded_health.iter().position(|h| *h > 0)),
            };
            if let Some(share) = at.and_then(|at| list.get_mut(at)) {
                *share = share.saturating_add(left);
            }
        }
        if available > 0 || panic_threshold > 0 {
            for (panic, counts) in panic.iter_mut().zip(counts) {
                *panic = available != 100 && counts.below(panic_threshold);
            }
            if !panic.is_empty() && panic.iter().all(|p| *p) {
                healthy = by_hosts(counts);
                degraded = vec![0; counts.len()];
            }
        }
        // A factor so small that usable hosts count for nothing: the first that has some takes all.
        if healthy.iter().chain(&degraded).all(|share| *share == 0) {
            let first = counts.iter().position(|c| c.healthy > 0).unwrap_or(0);
            if let Some(share) = healthy.get_mut(first) {
                *share = 100;
            }
        }
        PriorityLoad { healthy: healthy.into(), degraded: degraded.into(), panic: panic.into() }
    }

    /// The priority of a hash, and whether its degraded hosts are meant.
    pub fn choose(&self, hash: u64) -> Option<(usize, bool)> {
        let hash = (hash % 100) as u32;
        let mut sum = 0u32;
        for (list, degraded) in [(&self.healthy, false), (&self.degraded, true)] {
            for (priority, load) in list.iter().enumerate() {
                sum = sum.saturating_add(*load);
                if hash < sum {
                    return Some((priority, degraded));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(hosts: usize, healthy: usize, degraded: usize) -> Counts {
        Counts { hosts, healthy, degraded, excluded: 0 }
    }

    fn load(all: &[Counts], threshold: u32) -> (Vec<u32>, Vec<u32>, Vec<bool>) {
        let load = PriorityLoad::new(all, 0, threshold);
        (load.healthy.to_vec(), load.degraded.to_vec(), load.panic.to_vec())
    }

    #[test]
    fn arithmetic_as_measured() {
        // spec 3.2: 1 healthy, 1 degraded, 1 unhealthy of 3: 46/46, rounding goes to the healthy.
        assert_eq!(load(&[counts(3, 1, 1)], 50), (vec![50], vec![50], vec![false]));
        // P0 with 1 of 2 healthy has health 70.
        assert_eq!(
            load(&[counts(2, 1, 0), counts(2, 2, 0)], 50),
            (vec![70, 30], vec![0, 0], vec![false, false])
        );
    }

    #[test]
    fn panic_and_its_corners() {
        assert_eq!(load(&[counts(3, 1, 0)], 50), (vec![100], vec![0], vec![true]));
        assert_eq!(load(&[counts(3, 1, 0)], 33), (vec![100], vec![0], vec![false]));
        // Threshold 0 and nothing healthy: all to the (empty) healthy list of P0.
        assert_eq!(
            load(&[counts(3, 0, 0), counts(1, 0, 0)], 0),
            (vec![100, 0], vec![0, 0], vec![false, false])
        );
        // All priorities in panic: by hosts, the rest to the first that has some.
        assert_eq!(load(&[counts(0, 0, 0), counts(1, 0, 0), counts(2, 0, 0)], 50).0, [0, 34, 66]);
        assert_eq!(load(&[counts(0, 0, 0)], 50), (vec![100], vec![0], vec![true]));
        // Others make up for it: no panic although P0 is nearly gone.
        assert_eq!(
            load(&[counts(10, 1, 0), counts(2, 2, 0)], 50),
            (vec![14, 86], vec![0, 0], vec![false, false])
        );
        assert_eq!(load(&[], 50), (vec![], vec![], vec![]));
    }

    proptest::proptest! {
        #[test]
        fn loads_sum_up_to_100(
            raw in proptest::collection::vec((0usize..20, 0usize..20, 0usize..20), 1..6),
            threshold in 0u32..120,
            factor in 0u32..400,
        ) {
            let all: Vec<_> = raw.iter().map(|(h, d, u)| counts(h + d + u, *h, *d)).collect();
            let load = PriorityLoad::new(&all, factor, threshold);
            let healthy: u32 = load.healthy.iter().sum();
            let degraded: u32 = load.degraded.iter().sum();
            proptest::prop_assert_eq!(healthy + degraded, 100);
            for hash in 0..100 {
                proptest::prop_assert!(load.choose(hash).is_some());
            }
        }
    }
}
