//! The Mersenne twister MT19937 (Matsumoto and Nishimura 1998), which Envoy draws with from a request's hash when a
//! host is overloaded: the same hash must probe the same hosts in the same order everywhere.

const N: usize = 624;
const M: usize = 397;

/// A generator of 32-bit numbers.
pub(super) struct Twister {
    state: Vec<u32>,
    at: usize,
}

impl Twister {
    /// Seeded with the low 32 bits of `seed`.
    pub(super) fn new(seed: u64) -> Self {
        let mut word = seed as u32;
        let mut state = Vec::with_capacity(N);
        for index in 0..N as u32 {
            if index > 0 {
                word = 1_812_433_253u32.wrapping_mul(word ^ (word >> 30)).wrapping_add(index);
            }
            state.push(word);
        }
        Twister { state, at: N }
    }

    fn word(&self, index: usize) -> u32 {
        self.state.get(index % N).copied().unwrap_or_default()
    }

    fn twist(&mut self) {
        for index in 0..N {
            let joined = (self.word(index) & 0x8000_0000) | (self.word(index + 1) & 0x7fff_ffff);
            let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            let next = self.word(index + M) ^ (joined >> 1) ^ odd;
            if let Some(word) = self.state.get_mut(index) {
                *word = next;
            }
        }
        self.at = 0;
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u32 {
        if self.at >= N {
            self.twist();
        }
        let mut y = self.word(self.at);
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// Evenly in `0..bound`, drawn as Envoy draws it; 0 when the bound is 0.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        let Some(step) = (1u64 << 32).checked_div(u64::from(bound)) else { return 0 };
        loop {
            let drawn = u64::from(self.next()) / step;
            if drawn < u64::from(bound) {
                return drawn as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_numbers() {
        // C++ standard, [rand.predef]: the 10000th number of a generator seeded with 5489 is 4123659995.
        let mut twister = Twister::new(5489);
        assert_eq!((0..10_000).map(|_| twister.next()).last(), Some(4_123_659_995));
        assert!((0..1000).all(|_| twister.below(7) < 7));
        assert_eq!(twister.below(0), 0);
    }
}
