//! A random source per worker: wyrand-like mixing, seeded from the system, not for secrets.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher};

/// Pseudo-random numbers (splitmix64). Not for keys or tokens.
#[derive(Debug)]
pub struct Rng(Cell<u64>);

impl Default for Rng {
    fn default() -> Self {
        Self::new()
    }
}

impl Rng {
    /// Seeded from the process's random hash keys.
    pub fn new() -> Self {
        Rng(Cell::new(std::collections::hash_map::RandomState::new().build_hasher().finish()))
    }

    /// Seeded by hand, for tests.
    pub fn seeded(seed: u64) -> Self {
        Rng(Cell::new(seed))
    }

    /// The next 64 random bits.
    pub fn next_u64(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `0..bound`; 0 when the bound is 0.
    pub fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

thread_local! {
    static RNG: Rng = Rng::new();
}

/// Runs with the thread's own source.
pub fn with<R>(f: impl FnOnce(&Rng) -> R) -> R {
    RNG.with(f)
}
