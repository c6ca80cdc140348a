//! Maglev: a table filled by each host's own permutation (Eisenbud et al. 2016; spec 3.3).

use super::hashing;
use crate::live::balance::{Balancer, PickContext, Policy};
use crate::live::hostset::HostList;
use xxhash_rust::xxh64::xxh64;

/// Envoy's bound on the table (`table_size`).
pub const MAX_TABLE: u64 = 5_000_011;

/// Envoy's `MAGLEV`.
#[derive(Debug, Clone)]
pub(super) struct Maglev {
    pub table: u64,
    pub use_hostname: bool,
    pub balance_factor: u32,
}

#[derive(Debug)]
struct Table {
    /// Index of the host at each entry.
    entries: Box<[u32]>,
    balance_factor: u32,
    sizes: [(&'static str, u64); 2],
}

/// One host while the table is filled.
struct Filler {
    host: u32,
    /// Entry that the host asks for next, and how far it jumps.
    at: u64,
    skip: u64,
    share: f64,
    /// It takes part in a round when `round * share` has come up to this.
    due: f64,
}

impl Policy for Maglev {
    fn over(&self, list: &HostList) -> Box<dyn Balancer> {
        let entries = self.fill(list);
        let (least, most) = hashing::extremes(list, entries.iter().copied());
        let sizes = [("maglev_lb.min_entries_per_host", least), ("maglev_lb.max_entries_per_host", most)];
        Box::new(Table { entries: entries.into(), balance_factor: self.balance_factor, sizes })
    }

    fn by_hash(&self) -> bool {
        true
    }
}

const EMPTY: u32 = u32::MAX;

impl Maglev {
    fn fillers(&self, list: &HostList, size: u64) -> Vec<Filler> {
        let keyed = list.hosts.iter().map(|host| hashing::key(host, self.use_hostname));
        let mut keyed: Vec<_> = keyed.zip(&list.shares).enumerate().collect();
        keyed.sort_by(|(_, (a, _)), (_, (b, _))| a.cmp(b));
        let filler = |(index, (key, share)): (usize, (String, &f64))| Filler {
            host: index as u32,
            at: xxh64(key.as_bytes(), 0) % size,
            skip: (xxh64(key.as_bytes(), 1) % (size - 1)) + 1,
            share: *share,
            due: 0.0,
        };
        keyed.into_iter().map(filler).collect()
    }

    /// Rounds over the hosts; each takes its next free entry, the ones of less than the largest share not in every
    /// round. The size is a prime, so that every permutation meets every entry.
    fn fill(&self, list: &HostList) -> Vec<u32> {
        let size = self.table.clamp(2, MAX_TABLE);
        let mut fillers = self.fillers(list, size);
        let largest = fillers.iter().map(|f| f.share).fold(0.0, f64::max);
        let mut entries = vec![EMPTY; size as usize];
        let mut filled = 0;
        let mut round = 0.0;
        while filled < size && largest > 0.0 {
            round += 1.0;
            for filler in &mut fillers {
                if filled == size {
                    break;
                }
                if round * filler.share < filler.due {
                    continue;
                }
                filler.due += largest;
                // At most `size` steps: the skip is coprime to the size.
                for _ in 0..size {
                    let entry = entries.get_mut(filler.at as usize);
                    filler.at = (filler.at + filler.skip) % size;
                    if let Some(entry) = entry.filter(|entry| **entry == EMPTY) {
                        *entry = filler.host;
                        filled += 1;
                        break;
                    }
                }
            }
        }
        entries
    }
}

impl Balancer for Table {
    fn choose(&self, list: &HostList, _: &PickContext<'_>, hash: u64, attempt: u32) -> Option<usize> {
        let again = if attempt == 0 { 0 } else { u64::MAX - u64::from(attempt) + 1 };
        let at = (hash ^ again).checked_rem(self.entries.len() as u64)?;
        let host = *self.entries.get(at as usize)? as usize;
        Some(hashing::bounded(list, host, hash, self.balance_factor))
    }

    fn sizes(&self) -> &[(&'static str, u64)] {
        &self.sizes
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, shares};
    use crate::model::cluster::LbPolicy;

    fn maglev(table: u64) -> LbPolicy {
        LbPolicy::Maglev { table, use_hostname: false, balance_factor: 0 }
    }

    fn entries(bench: &Bench, table: u64) -> Vec<usize> {
        (0..table).map(|n| bench.pick(Some(n)).unwrap()).collect()
    }

    #[test]
    fn the_table_is_even() {
        let bench = Bench::new(maglev(65537), &[1; 7]);
        let counts = shares(&entries(&bench, 65537), 7);
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= 1, "{counts:?}");
    }

    #[test]
    fn shares_follow_weights() {
        let bench = Bench::new(maglev(5003), &[1, 2, 5]);
        let counts = shares(&entries(&bench, 5003), 3);
        for (count, weight) in counts.iter().zip([1.0, 2.0, 5.0]) {
            assert!((*count as f64 / 5003.0 - weight / 8.0).abs() < 0.005, "{counts:?}");
        }
    }

    #[test]
    fn few_entries_move_when_a_host_goes() {
        let bench = Bench::new(maglev(65537), &[1; 10]);
        let before = entries(&bench, 65537);
        bench.publish(&[1; 9]);
        let after = entries(&bench, 65537);
        let moved = before.iter().zip(&after).filter(|(b, a)| **b < 9 && b != a).count();
        assert!(moved < 65537 / 10, "{moved}");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
        #[test]
        fn every_entry_is_filled(weights in proptest::collection::vec(1u32..1000, 1..30)) {
            let bench = Bench::new(maglev(1009), &weights);
            for n in 0..1009u64 {
                proptest::prop_assert!(bench.pick(Some(n)).is_some());
            }
        }
    }
}
