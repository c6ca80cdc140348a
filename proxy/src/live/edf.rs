//! Earliest deadline first: weighted turns, as Envoy takes them (spec 3.3).

use crate::base::rng::Rng;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

#[derive(Debug, Clone, Copy)]
struct Turn {
    deadline: f64,
    /// Ties go to the one that was entered first.
    order: u64,
    index: usize,
    /// Deadline = base + turns / weight: computed anew each time, so that ties stay ties however long it runs.
    base: f64,
    turns: f64,
    weight: f64,
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Turn {
    /// The heap gives the greatest: the earliest deadline, then the first entered.
    fn cmp(&self, other: &Self) -> Ordering {
        other.deadline.total_cmp(&self.deadline).then(other.order.cmp(&self.order))
    }
}

/// A schedule of weighted turns.
#[derive(Debug, Default)]
pub struct Edf {
    heap: BinaryHeap<Turn>,
    now: f64,
    entered: u64,
}

impl Edf {
    /// A schedule over `weights`; those that are not above 0 get no turn.
    pub fn new(weights: impl Iterator<Item = f64>) -> Self {
        let mut edf = Edf::default();
        for (index, weight) in weights.enumerate() {
            edf.enter(index, weight);
        }
        edf
    }

    /// A schedule that has already run for a random part of its cycle.
    pub fn started(weights: &[f64], rng: &Rng) -> Self {
        let sum: f64 = weights.iter().filter(|w| **w > 0.0).sum();
        // u32 weights sum up below 2^53; fractions (locality weights) have no short cycle, a long run-up does.
        let cycle = sum.ceil().clamp(1.0, f64::from(u32::MAX)) as u64;
        let picks = rng.below(cycle);
        let mut edf = Edf::default();
        let mut left = picks;
        for (index, weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
            let done = (picks as f64 * weight / sum).floor();
            left = left.saturating_sub(done as u64);
            edf.now = edf.now.max(done / weight);
            edf.push(index, 0.0, done + 1.0, *weight);
        }
        for _ in 0..left.min(weights.len() as u64) {
            edf.next(|index| weights.get(index).copied().unwrap_or(0.0));
        }
        edf
    }

    fn enter(&mut self, index: usize, weight: f64) {
        if weight > 0.0 {
            self.push(index, self.now, 1.0, weight);
        }
    }

    fn push(&mut self, index: usize, base: f64, turns: f64, weight: f64) {
        self.heap.push(Turn {
            deadline: base + turns / weight,
            order: self.entered,
            index,
            base,
            turns,
            weight,
        });
        self.entered = self.entered.wrapping_add(1);
    }

    /// Whose turn it is; it comes again after 1/`weight(index)`. None when nobody has weight.
    pub fn next(&mut self, weight: impl Fn(usize) -> f64) -> Option<usize> {
        let turn = self.heap.pop()?;
        self.now = turn.deadline;
        let weight = weight(turn.index).max(f64::MIN_POSITIVE);
        if weight == turn.weight {
            self.push(turn.index, turn.base, turn.turns + 1.0, weight);
        } else {
            self.push(turn.index, turn.deadline, 1.0, weight);
        }
        Some(turn.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIGHTS: [f64; 3] = [1.0, 2.0, 3.0];

    fn take(edf: &mut Edf, n: usize) -> Vec<usize> {
        (0..n).map(|_| edf.next(|i| WEIGHTS[i]).unwrap() + 1).collect()
    }

    #[test]
    fn the_measured_cycle_of_weights_1_2_3() {
        let mut edf = Edf::new(WEIGHTS.into_iter());
        let turns = take(&mut edf, 18);
        let seen = [2, 3, 3, 2, 3, 1];
        let at = turns.windows(6).position(|w| w == seen).unwrap();
        assert!(at < 6 && turns[at + 6..at + 12] == seen, "{turns:?}");
    }

    #[test]
    fn any_start_stays_in_the_cycle() {
        let mut starts = std::collections::HashSet::new();
        for seed in 0..50 {
            let mut edf = Edf::started(&WEIGHTS, &Rng::seeded(seed));
            let turns = take(&mut edf, 60);
            for index in 1..=3 {
                assert_eq!(turns.iter().filter(|t| **t == index).count(), index * 10, "{turns:?}");
            }
            starts.insert(turns[..6].to_vec());
        }
        assert!(starts.len() > 3);
    }

    #[test]
    fn nobody_without_weight_gets_a_turn() {
        assert_eq!(Edf::new([0.0].into_iter()).next(|_| 0.0), None);
        let mut edf = Edf::started(&[0.0, 1.0], &Rng::seeded(1));
        assert!((0..9).all(|_| edf.next(|_| 1.0) == Some(1)));
    }
}
