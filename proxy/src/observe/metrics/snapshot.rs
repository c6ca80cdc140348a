//! Every statistic at one moment.

use super::histogram::Distribution;
use std::collections::BTreeMap;

/// A gauge's value and whether anybody ever set it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct GaugeValue {
    /// The sum over all writers.
    pub value: u64,
    /// Was it ever set?
    pub used: bool,
}

/// A histogram as of the last flush.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct HistogramValue {
    /// Since the process started.
    pub cumulative: Distribution,
    /// Of the last flush interval.
    pub interval: Distribution,
}

/// Sums over all writers, by full name.
#[derive(Clone, Default, Debug)]
pub struct Snapshot {
    /// Counters.
    pub counters: BTreeMap<String, u64>,
    /// Gauges.
    pub gauges: BTreeMap<String, GaugeValue>,
    /// Histograms.
    pub histograms: BTreeMap<String, HistogramValue>,
    /// Texts.
    pub texts: BTreeMap<String, String>,
}

impl Snapshot {
    /// Adds to a counter.
    pub fn counter(&mut self, name: &str, value: u64) {
        let sum = self.counters.entry(name.to_owned()).or_default();
        *sum = sum.wrapping_add(value);
    }

    /// Adds to a gauge, which then counts as used.
    pub fn gauge(&mut self, name: &str, value: u64) {
        let sum = self.gauges.entry(name.to_owned()).or_default();
        *sum = GaugeValue { value: sum.value.wrapping_add(value), used: true };
    }

    /// Sets a text.
    pub fn text(&mut self, name: &str, value: impl Into<String>) {
        self.texts.insert(name.to_owned(), value.into());
    }
}
