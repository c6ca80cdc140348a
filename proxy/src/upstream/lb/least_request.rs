//! Least request: the less busy of a few random hosts; weighted turns when weights differ (spec 3.3).

use super::round_robin::weighted;
use crate::live::balance::{Balancer, PickContext, Policy};
use crate::live::host::Host;
use crate::live::hostset::HostList;

/// Envoy's `LEAST_REQUEST`.
#[derive(Debug, Clone)]
pub(super) struct LeastRequest {
    pub choices: u32,
    pub bias: f64,
    pub full_scan: bool,
}

impl Policy for LeastRequest {
    fn over(&self, _: &HostList) -> Box<dyn Balancer> {
        Box::new(self.clone())
    }
}

/// Largest `choice_count` that is drawn; beyond it, more draws tell nothing.
const MAX_CHOICES: u32 = 256;

impl Balancer for LeastRequest {
    fn choose(&self, list: &HostList, ctx: &PickContext<'_>, _: u64, _: u32) -> Option<usize> {
        if !list.weights.is_empty() {
            return weighted(list, ctx, |index, weight| {
                self.weigh(list.hosts.get(index).map(|h| h.active()), weight)
            });
        }
        if self.full_scan {
            return scan(list, ctx);
        }
        let draw = || ctx.rng.below(list.hosts.len() as u64) as usize;
        let active = |index: usize| {
            list.hosts.get(index).map_or(u64::MAX, |host: &std::sync::Arc<Host>| host.active())
        };
        let mut best = draw();
        let mut least = active(best);
        for _ in 1..self.choices.min(MAX_CHOICES) {
            let other = draw();
            let busy = active(other);
            if busy < least {
                (best, least) = (other, busy);
            }
        }
        Some(best)
    }
}

impl LeastRequest {
    /// weight / (active + 1)^bias
    pub(super) fn weigh(&self, active: Option<u64>, weight: f64) -> f64 {
        let busy = active.unwrap_or_default().saturating_add(1) as f64;
        match self.bias {
            0.0 => weight,
            1.0 => weight / busy,
            bias => weight / busy.powf(bias),
        }
    }
}

/// Every host; ties are drawn evenly.
fn scan(list: &HostList, ctx: &PickContext<'_>) -> Option<usize> {
    let mut best = None;
    let mut ties = 0u64;
    for (index, host) in list.hosts.iter().enumerate() {
        let active = host.active();
        match best {
            Some((_, least)) if active > least => {}
            Some((_, least)) if active == least => {
                ties = ties.saturating_add(1);
                if ctx.rng.below(ties) == 0 {
                    best = Some((index, active));
                }
            }
            _ => {
                best = Some((index, active));
                ties = 1;
            }
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, shares};
    use crate::live::host::Stat;
    use crate::model::cluster::LbPolicy;

    fn policy(full_scan: bool) -> LbPolicy {
        LbPolicy::LeastRequest { choices: 2, bias: 1.0, full_scan }
    }

    #[test]
    fn the_busy_one_is_drawn_only_against_itself() {
        let bench = Bench::new(policy(false), &[1, 1, 1]);
        bench.host(0).inc(Stat::RqActive);
        let counts = shares(&bench.picks(9000), 3);
        // Both draws hit host 0: 1 of 9.
        assert!((counts[0] as i64 - 1000).abs() < 140, "{counts:?}");
    }

    #[test]
    fn a_full_scan_never_takes_the_busy_one() {
        let bench = Bench::new(policy(true), &[1, 1, 1]);
        bench.host(1).inc(Stat::RqActive);
        let counts = shares(&bench.picks(1000), 3);
        assert!(counts[1] == 0 && counts[0] > 400 && counts[2] > 400, "{counts:?}");
    }

    #[test]
    fn unequal_weights_are_divided_by_the_load() {
        let bench = Bench::new(policy(false), &[1, 3]);
        let counts = shares(&bench.picks(4000), 2);
        assert!((counts[0] as i64 - 1000).abs() <= 4, "{counts:?}");
        for _ in 0..2 {
            bench.host(1).inc(Stat::RqActive);
        }
        let counts = shares(&bench.picks(4000), 2);
        assert!((counts[0] as i64 - 2000).abs() <= 4, "{counts:?}");
    }
}
