//! Histograms: log-linear bins of two significant decimal digits, as Envoy's (circllhist) for whole numbers.
//!
//! Bins: 0, then 1 to 99 one a number, then ninety a decade (100-109, 110-119, ...). A decade's bins are allocated
//! when a value first falls into it, so that a histogram of times under 100 ms takes less than 1 KiB.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bins of the first block: 0 to 99.
const FIRST: usize = 100;
/// Bins of each further decade.
const DECADE: usize = 90;
/// Further decades: 10^2 to 10^11; larger values fall into the last bin.
const DECADES: usize = 10;
/// Number of bins.
const BINS: usize = FIRST + DECADE * DECADES;

/// Upper bounds of the buckets that Envoy reports (milliseconds for times).
pub const BUCKETS: [f64; 19] = [
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 30000.0, 60000.0,
    300000.0, 600000.0, 1800000.0, 3600000.0,
];

/// The quantiles that Envoy reports, in percent.
pub const QUANTILES: [f64; 10] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];

/// The bin of a value.
fn bin(value: u64) -> usize {
    if value < FIRST as u64 {
        return value as usize;
    }
    let mut scaled = value;
    for decade in 0..DECADES {
        if scaled < 1000 {
            return FIRST + decade * DECADE + (scaled / 10) as usize - 10;
        }
        scaled /= 10;
    }
    BINS - 1
}

/// Lower bound and width of a bin.
fn bounds(bin: usize) -> (f64, f64) {
    match bin {
        0 => (0.0, 0.0),
        1..=9 => (bin as f64, 0.1),
        10..FIRST => (bin as f64, 1.0),
        _ => {
            let (decade, step) = ((bin - FIRST) / DECADE, (bin - FIRST) % DECADE);
            let width = 10f64.powi(decade as i32 + 1);
            ((step + 10) as f64 * width, width)
        }
    }
}

/// One thread's bins.
#[derive(Debug)]
pub struct Bins {
    sum: AtomicU64,
    first: Box<[AtomicU64]>,
    decades: [OnceLock<Box<[AtomicU64]>>; DECADES],
}

fn zeros(len: usize) -> Box<[AtomicU64]> {
    (0..len).map(|_| AtomicU64::new(0)).collect()
}

impl Default for Bins {
    fn default() -> Self {
        Bins {
            sum: AtomicU64::new(0),
            first: zeros(FIRST),
            decades: std::array::from_fn(|_| OnceLock::new()),
        }
    }
}

fn bump(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(by), Relaxed);
}

impl Bins {
    /// Records a value (single writer).
    pub fn record(&self, value: u64) {
        let bin = bin(value);
        let cell = match bin.checked_sub(FIRST) {
            None => self.first.get(bin),
            Some(rest) => self
                .decades
                .get(rest / DECADE)
                .and_then(|d| d.get_or_init(|| zeros(DECADE)).get(rest % DECADE)),
        };
        if let Some(cell) = cell {
            bump(cell, 1);
            bump(&self.sum, value);
        }
    }

    /// Adds everything recorded to a total.
    pub fn add_to(&self, total: &mut Distribution) {
        total.sum = total.sum.wrapping_add(self.sum.load(Relaxed));
        let blocks = std::iter::once((0, &self.first)).chain(
            self.decades
                .iter()
                .enumerate()
                .filter_map(|(i, d)| d.get().map(|block| (FIRST + i * DECADE, block))),
        );
        for (start, block) in blocks {
            for (i, cell) in block.iter().enumerate() {
                total.add(start + i, cell.load(Relaxed));
            }
        }
    }
}

/// A distribution at rest: non-empty bins in order.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Distribution {
    bins: Vec<(u16, u64)>,
    /// Sum of the recorded values.
    pub sum: u64,
}

impl Distribution {
    fn add(&mut self, bin: usize, count: u64) {
        if count == 0 {
            return;
        }
        let bin = bin as u16;
        match self.bins.binary_search_by_key(&bin, |b| b.0) {
            Ok(at) => {
                if let Some(found) = self.bins.get_mut(at) {
                    found.1 = found.1.wrapping_add(count);
                }
            }
            Err(at) => self.bins.insert(at, (bin, count)),
        }
    }

    /// Adds another distribution.
    pub fn merge(&mut self, other: &Distribution) {
        self.sum = self.sum.wrapping_add(other.sum);
        for (bin, count) in &other.bins {
            self.add(usize::from(*bin), *count);
        }
    }

    /// What was recorded since `earlier`.
    pub fn since(&self, earlier: &Distribution) -> Distribution {
        let before = |bin: u16| earlier.bins.iter().find(|b| b.0 == bin).map_or(0, |b| b.1);
        let bins =
            self.bins.iter().map(|(bin, n)| (*bin, n.saturating_sub(before(*bin)))).filter(|b| b.1 > 0);
        Distribution { bins: bins.collect(), sum: self.sum.saturating_sub(earlier.sum) }
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.bins.iter().fold(0u64, |sum, b| sum.saturating_add(b.1))
    }

    /// Is nothing recorded?
    pub fn is_empty(&self) -> bool {
        self.bins.is_empty()
    }

    /// Lower bound, width and number of values of each bin that has any, in order.
    pub fn bins(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        self.bins.iter().map(|(bin, count)| {
            let (lower, width) = bounds(usize::from(*bin));
            (lower, width, *count)
        })
    }

    /// Number of values up to a bound, judged by the lower edge of their bin (as Envoy does: a value of 1 counts for
    /// `le="1"`).
    pub fn up_to(&self, bound: f64) -> u64 {
        let within = self.bins.iter().filter(|(bin, _)| bounds(usize::from(*bin)).0 <= bound);
        within.fold(0u64, |sum, b| sum.saturating_add(b.1))
    }

    /// The value at a quantile in percent; none when nothing is recorded. The values of a bin lie evenly inside it,
    /// none on its edges (as Envoy shows: one value of 1 ms has every quantile at 1.05).
    pub fn quantile(&self, percent: f64) -> Option<f64> {
        let wanted = ((self.count() as f64) * percent / 100.0).ceil().max(1.0);
        let mut seen = 0.0;
        let mut found = None;
        for (bin, count) in &self.bins {
            let (lower, width) = bounds(usize::from(*bin));
            let count = *count as f64;
            let place = (wanted - seen).min(count);
            found = Some(lower + width * place / (count + 1.0));
            seen += count;
            if seen >= wanted {
                break;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bin() {
        for value in (0..2000).chain([9_999, 10_000, 123_456, 3_599_999, 3_600_000, 999_999_999_999]) {
            let (lower, width) = bounds(bin(value));
            assert!(
                lower <= value as f64 && (value as f64) < lower + width.max(0.1),
                "{value} {lower} {width}"
            );
        }
        assert_eq!(bin(u64::MAX), BINS - 1);
    }

    #[test]
    fn quantiles_and_buckets() {
        let bins = Bins::default();
        bins.record(1);
        let mut one = Distribution::default();
        bins.add_to(&mut one);
        // Seen on Envoy 1.40.
        assert_eq!((one.quantile(0.0), one.quantile(100.0)), (Some(1.05), Some(1.05)));
        bins.record(1);
        bins.record(1);
        let mut three = Distribution::default();
        bins.add_to(&mut three);
        let shown: Vec<_> =
            [0.0, 25.0, 50.0, 75.0, 100.0].iter().filter_map(|q| three.quantile(*q)).collect();
        assert_eq!(shown, [1.025, 1.025, 1.05, 1.075, 1.075]);
        for value in 0..1000 {
            bins.record(value);
        }
        let mut all = Distribution::default();
        bins.add_to(&mut all);
        assert_eq!((all.count(), all.sum), (1003, 499_503));
        assert_eq!(all.up_to(0.5), 1);
        assert_eq!(all.up_to(5.0), 9);
        assert_eq!(all.up_to(250.0), 263);
        assert_eq!(all.up_to(3600000.0), 1003);
        let median = all.quantile(50.0).unwrap();
        assert!((490.0..510.0).contains(&median), "{median}");
        assert_eq!(all.since(&one).count(), 1002);
    }
}
