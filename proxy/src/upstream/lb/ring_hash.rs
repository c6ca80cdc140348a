//! Ring hash: hosts at many places of a ring, a request goes to the next place (spec 3.3).

use super::{hashing, murmur};
use crate::live::balance::{Balancer, PickContext, Policy};
use crate::live::hostset::HostList;
use xxhash_rust::xxh64::xxh64;

/// Envoy's bound on the ring (`maximum_ring_size`).
pub const MAX_RING: u64 = 8_388_608;

/// Envoy's `RING_HASH`.
#[derive(Debug, Clone)]
pub(super) struct RingHash {
    pub min: u64,
    pub max: u64,
    pub murmur: bool,
    pub use_hostname: bool,
    pub balance_factor: u32,
}

#[derive(Debug)]
struct Ring {
    /// Place on the ring and index of the host, in order of place.
    places: Box<[(u64, u32)]>,
    balance_factor: u32,
    sizes: [(&'static str, u64); 3],
}

impl Policy for RingHash {
    fn over(&self, list: &HostList) -> Box<dyn Balancer> {
        let places = self.places(list);
        let (least, most) = hashing::extremes(list, places.iter().map(|(_, host)| *host));
        let sizes = [
            ("ring_hash_lb.size", places.len() as u64),
            ("ring_hash_lb.min_hashes_per_host", least),
            ("ring_hash_lb.max_hashes_per_host", most),
        ];
        Box::new(Ring { places: places.into(), balance_factor: self.balance_factor, sizes })
    }

    fn by_hash(&self) -> bool {
        true
    }
}

impl RingHash {
    /// As many places for each host as its share asks for, so that the one with the least gets a whole number.
    fn places(&self, list: &HostList) -> Vec<(u64, u32)> {
        let least = list.shares.iter().copied().fold(f64::INFINITY, f64::min);
        let max = self.max.min(MAX_RING) as f64;
        let scale = ((least * self.min as f64).ceil() / least).min(max);
        let mut places = Vec::with_capacity(scale.ceil() as usize);
        let mut want = 0.0;
        for (index, (host, share)) in list.hosts.iter().zip(&list.shares).enumerate() {
            let mut text = hashing::key(host, self.use_hostname).into_bytes();
            text.push(b'_');
            let stem = text.len();
            want += scale * share;
            let mut number = 0u64;
            while (places.len() as f64) < want {
                text.truncate(stem);
                text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
                let place = if self.murmur { murmur::hash(&text, murmur::SEED) } else { xxh64(&text, 0) };
                places.push((place, index as u32));
                number = number.saturating_add(1);
            }
        }
        places.sort_by_key(|(place, _)| *place);
        places
    }
}

impl Balancer for Ring {
    fn choose(&self, list: &HostList, _: &PickContext<'_>, hash: u64, attempt: u32) -> Option<usize> {
        let len = self.places.len();
        let at = match self.places.partition_point(|(place, _)| *place < hash) {
            beyond if beyond == len => 0,
            at => at,
        };
        let (_, host) = self.places.get(at.saturating_add(attempt as usize).checked_rem(len)?)?;
        Some(hashing::bounded(list, *host as usize, hash, self.balance_factor))
    }

    fn sizes(&self) -> &[(&'static str, u64)] {
        &self.sizes
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, locality, shares};
    use crate::live::host::{Stat, flag};
    use crate::model::cluster::LbPolicy;
    use xxhash_rust::xxh64::xxh64;

    fn ring(min: u64, max: u64, balance_factor: u32) -> LbPolicy {
        LbPolicy::RingHash { min, max, murmur: false, use_hostname: false, balance_factor }
    }

    fn letter(bench: &Bench, text: &str) -> usize {
        bench.pick(Some(xxh64(text.as_bytes(), 0))).unwrap() + 1
    }

    #[test]
    fn the_hosts_that_envoy_chooses() {
        // spec 3.3, measured on Envoy 1.40 for 127.0.0.1:18001-3.
        let bench = Bench::new(ring(1024, 8_388_608, 0), &[1, 1, 1]);
        let chosen: Vec<_> = ["a", "b", "c", "d", "e"].iter().map(|key| letter(&bench, key)).collect();
        assert_eq!(chosen, [1, 3, 1, 3, 3]);
    }

    #[test]
    fn same_key_same_host_and_few_move_when_one_goes() {
        let bench = Bench::new(ring(1024, 8_388_608, 0), &[1; 10]);
        let before: Vec<_> =
            (0..2000u64).map(|n| bench.pick(Some(xxh64(&n.to_le_bytes(), 0))).unwrap()).collect();
        bench.publish(&[1; 9]);
        let after = |n: usize| bench.pick(Some(xxh64(&(n as u64).to_le_bytes(), 0))).unwrap();
        // Hosts that stay get more places, so that a few keys move between them.
        let moved =
            before.iter().enumerate().filter(|(n, before)| **before < 9 && after(*n) != **before).count();
        assert!(moved < 200, "{moved} of 2000");
    }

    #[test]
    fn weights_and_bounds_of_the_ring() {
        let bench = Bench::new(ring(1024, 8_388_608, 0), &[1, 3]);
        let picks: Vec<_> =
            (0..8000u64).map(|n| bench.pick(Some(xxh64(&n.to_le_bytes(), 0))).unwrap()).collect();
        let share = shares(&picks, 2)[0] as f64 / 8000.0;
        assert!((share - 0.25).abs() < 0.03, "{share}");
        let small = Bench::new(ring(1, 2, 0), &[1, 1, 1, 1]);
        assert!((0..50u64).all(|n| small.pick(Some(n << 58)).is_some()));
    }

    #[test]
    fn only_healthy_hosts_and_all_in_panic() {
        let bench = Bench::empty(ring(1024, 8_388_608, 0));
        bench.publish_all(vec![locality(18001, 0, 0, &[(1, flag::FAILED_EDS), (1, 0), (1, 0)])]);
        assert!((0..200u64).all(|n| bench.pick(Some(xxh64(&n.to_le_bytes(), 0))) != Some(0)));
        bench.publish_all(vec![locality(
            18001,
            0,
            0,
            &[(1, flag::FAILED_EDS), (1, flag::FAILED_EDS), (1, 0)],
        )]);
        assert_eq!([letter(&bench, "a"), letter(&bench, "b"), letter(&bench, "c")], [1, 3, 1]);
    }

    #[test]
    fn bounded_load_leaves_a_full_host() {
        let bench = Bench::new(ring(1024, 8_388_608, 150), &[1, 1, 1]);
        assert_eq!(letter(&bench, "a"), 1);
        for _ in 0..10 {
            bench.host(0).inc(Stat::RqActive);
        }
        let other = letter(&bench, "a");
        assert_ne!(other, 1);
        assert!((0..20).all(|_| letter(&bench, "a") == other), "the same hash probes the same hosts");
    }

    #[test]
    fn a_refused_host_gives_way_to_the_next_place() {
        let bench = Bench::new(ring(1024, 8_388_608, 0), &[1, 1, 1]);
        let first = bench.host(0).id;
        let avoid = move |host: &crate::live::Host| host.id == first;
        let set = bench.set();
        let mut ctx = bench.context();
        ctx.hash = Some(xxh64(b"a", 0));
        ctx.avoid = Some(&avoid);
        ctx.avoid_attempts = 20;
        assert_ne!(super::super::pick(&set, &ctx).unwrap().id, first);
    }
}
