//! Random: evenly, whatever the weights (spec 3.3).

use crate::live::balance::{Balancer, PickContext, Policy};
use crate::live::hostset::HostList;

/// Envoy's `RANDOM`.
#[derive(Debug)]
pub(super) struct Random;

impl Policy for Random {
    fn over(&self, _: &HostList) -> Box<dyn Balancer> {
        Box::new(Random)
    }
}

impl Balancer for Random {
    fn choose(&self, list: &HostList, ctx: &PickContext<'_>, _: u64, _: u32) -> Option<usize> {
        Some(ctx.rng.below(list.hosts.len() as u64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, shares};
    use crate::model::cluster::LbPolicy;

    #[test]
    fn even_whatever_the_weights() {
        let bench = Bench::new(LbPolicy::Random, &[1, 9, 1, 1]);
        for count in shares(&bench.picks(8000), 4) {
            assert!((count as i64 - 2000).abs() < 200, "{count}");
        }
    }
}
