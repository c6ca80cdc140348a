//! Round robin: a rotation when all weights are equal, else weighted turns (spec 3.3).

use crate::live::balance::{Balancer, PickContext, Policy};
use crate::live::edf::Edf;
use crate::live::hostset::HostList;

/// Envoy's `ROUND_ROBIN`.
#[derive(Debug)]
pub(super) struct RoundRobin;

impl Policy for RoundRobin {
    fn over(&self, _: &HostList) -> Box<dyn Balancer> {
        Box::new(RoundRobin)
    }
}

impl Balancer for RoundRobin {
    fn choose(&self, list: &HostList, ctx: &PickContext<'_>, _: u64, _: u32) -> Option<usize> {
        if list.weights.is_empty() { rotate(list, ctx) } else { weighted(list, ctx, |_, weight| weight) }
    }
}

/// The next one after the last, starting at random on each worker.
fn rotate(list: &HostList, ctx: &PickContext<'_>) -> Option<usize> {
    let len = list.hosts.len();
    ctx.cursor.at(list.slot, |place| {
        let now = match place.next {
            Some(next) if next < len => next,
            Some(_) => 0,
            None => ctx.rng.below(len as u64) as usize,
        };
        place.next = Some(now.saturating_add(1));
        now
    })
}

/// Earliest deadline first; `weigh` gives a host's weight of the moment from its index and configured weight.
pub(super) fn weighted(
    list: &HostList,
    ctx: &PickContext<'_>,
    weigh: impl Fn(usize, f64) -> f64,
) -> Option<usize> {
    let start = || {
        let weights = (0..list.hosts.len()).map(|index| weigh(index, f64::from(list.weight(index))));
        let weights: Vec<f64> = weights.collect();
        Edf::started(&weights, ctx.rng)
    };
    let turn = |edf: &mut Edf| edf.next(|index| weigh(index, f64::from(list.weight(index))));
    ctx.cursor.turns((list.slot, list.version), start, turn)?
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, shares};
    use crate::model::cluster::LbPolicy;

    #[test]
    fn equal_weights_rotate() {
        let bench = Bench::new(LbPolicy::RoundRobin, &[1, 1, 1]);
        let picks = bench.picks(30);
        for pair in picks.windows(2) {
            assert_eq!((pair[0] + 1) % 3, pair[1], "{picks:?}");
        }
    }

    #[test]
    fn unequal_weights_take_the_measured_turns() {
        let bench = Bench::new(LbPolicy::RoundRobin, &[1, 2, 3]);
        let picks: Vec<usize> = bench.picks(18).into_iter().map(|i| i + 1).collect();
        let at = picks.windows(6).position(|w| w == [2, 3, 3, 2, 3, 1]).unwrap();
        assert!(at < 6 && picks[at..at + 6] == picks[at + 6..at + 12], "{picks:?}");
    }

    #[test]
    fn the_rotation_goes_on_after_a_change() {
        let bench = Bench::new(LbPolicy::RoundRobin, &[1, 1, 1, 1]);
        let before = bench.picks(1)[0];
        bench.publish(&[1, 1, 1, 1, 1]);
        assert_eq!((bench.live.version(), bench.picks(1)[0]), (2, (before + 1) % 5));
    }

    proptest::proptest! {
        #[test]
        fn shares_are_the_weights(weights in proptest::collection::vec(1u32..20, 2..12)) {
            let bench = Bench::new(LbPolicy::RoundRobin, &weights);
            let sum: u32 = weights.iter().sum();
            let counts = shares(&bench.picks(sum as usize * 20), weights.len());
            for (count, weight) in counts.iter().zip(&weights) {
                let want = *weight as i64 * 20;
                proptest::prop_assert!((*count as i64 - want).abs() <= 2, "{:?} {:?}", counts, weights);
            }
        }
    }
}
