//! Latencies in buckets of under 1 % width.

/// Buckets per power of two.
const STEPS: usize = 128;

/// Counts of nanosecond values; a quantile is exact to within one part in 128.
pub struct Histogram {
    buckets: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; 64 * STEPS], total: 0 }
    }
}

impl Histogram {
    /// Counts one value, in nanoseconds.
    pub fn record(&mut self, nanos: u64) {
        let index = Self::index(nanos.max(1));
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
            self.total += 1;
        }
    }

    /// Values counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The value in microseconds below which the share `quantile` (0 to 1) of all values lies; 0 when empty.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        let wanted = quantile * self.total as f64;
        let mut seen = 0u64;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if *count > 0 && seen as f64 >= wanted {
                return Self::value(index) / 1000.0;
            }
        }
        0.0
    }

    fn index(nanos: u64) -> usize {
        let power = 63 - nanos.leading_zeros() as usize;
        if power < 7 {
            nanos as usize
        } else {
            (power - 6) * STEPS + ((nanos >> (power - 7)) as usize & (STEPS - 1))
        }
    }

    fn value(index: usize) -> f64 {
        if index < STEPS {
            return index as f64;
        }
        let power = i32::try_from(index / STEPS + 6).unwrap_or(63);
        (STEPS + index % STEPS) as f64 * 2f64.powi(power - 7)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_hundredth() {
        let mut histogram = Histogram::default();
        for micros in 1..=10_000u64 {
            histogram.record(micros * 1000);
        }
        assert_eq!(histogram.total(), 10_000);
        for (quantile, expected) in [(0.5, 5_000.0), (0.99, 9_900.0), (1.0, 10_000.0)] {
            let found = histogram.quantile_us(quantile);
            assert!((found - expected).abs() / expected < 0.01, "{quantile}: {found}");
        }
    }
}
