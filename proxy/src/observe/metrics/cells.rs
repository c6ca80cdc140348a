//! The cells themselves: one writer, plain loads and stores.

use super::histogram::Bins;
use super::registry::Shared;
use super::schema::{Counter, Gauge, Histogram, Schema};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// A gauge that nobody has touched (so that `usedonly` can leave it out).
pub(super) const UNTOUCHED: u64 = 1 << 63;
/// Classes of response codes, 1xx to 5xx.
const CLASSES: usize = 5;
/// Codes of a class.
const CLASS: usize = 100;

/// Counts of response codes under one scope; a class is allocated at its first response.
#[derive(Debug, Default)]
pub(super) struct Codes([OnceLock<Box<[AtomicU64]>>; CLASSES]);

impl Codes {
    fn count(&self, status: u16) {
        let Some(offset) = status.checked_sub(100).map(usize::from) else { return };
        let Some(class) = self.0.get(offset / CLASS) else { return };
        let class = class.get_or_init(|| (0..CLASS).map(|_| AtomicU64::new(0)).collect());
        if let Some(cell) = class.get(offset % CLASS) {
            bump(cell, 1);
        }
    }

    /// Every code that was counted.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        let codes = self.0.iter().enumerate().filter_map(|(i, class)| class.get().map(|class| (i, class)));
        codes
            .flat_map(|(i, class)| {
                class.iter().enumerate().map(move |(j, n)| (100 + i * CLASS + j, n.load(Relaxed)))
            })
            .filter(|(_, n)| *n > 0)
            .map(|(code, n)| (code as u16, n))
    }
}

/// One writer's cells of one prefix.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) schema: &'static Schema,
    pub(super) prefix: Box<str>,
    pub(super) counters: Box<[AtomicU64]>,
    pub(super) gauges: Box<[AtomicU64]>,
    pub(super) histograms: Box<[OnceLock<Box<Bins>>]>,
    pub(super) codes: Box<[Codes]>,
    handles: AtomicUsize,
    home: Arc<Shared>,
}

/// A handle on one writer's cells. It may be sent and cloned, but only one thread at a time may write through it and
/// its clones (each thread takes cells of its own; the registry sums them): a second writer loses counts. Dropping
/// the last clone folds the counts into the registry; its gauges vanish.
#[derive(Debug)]
pub struct Cells(Arc<Group>);

fn bump(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(by), Relaxed);
}

impl Cells {
    pub(super) fn new(schema: &'static Schema, prefix: &str, home: Arc<Shared>) -> Cells {
        Cells(Arc::new(Group {
            schema,
            prefix: prefix.into(),
            counters: schema.counters.iter().map(|_| AtomicU64::new(0)).collect(),
            gauges: schema.gauges.iter().map(|_| AtomicU64::new(UNTOUCHED)).collect(),
            histograms: schema.histograms.iter().map(|_| OnceLock::new()).collect(),
            codes: schema.codes.iter().flat_map(|c| c.scopes).map(|_| Codes::default()).collect(),
            handles: AtomicUsize::new(1),
            home,
        }))
    }

    pub(super) fn group(&self) -> &Arc<Group> {
        &self.0
    }

    /// Counts one.
    pub fn inc(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Counts `by`.
    pub fn add(&self, counter: Counter, by: u64) {
        if let Some(cell) = self.0.counters.get(usize::from(counter.0)) {
            bump(cell, by);
        }
    }

    /// This writer's count so far.
    pub fn count(&self, counter: Counter) -> u64 {
        self.0.counters.get(usize::from(counter.0)).map_or(0, |cell| cell.load(Relaxed))
    }

    /// Raises a gauge.
    pub fn gauge_add(&self, gauge: Gauge, by: u64) {
        self.change(gauge, |value| value.wrapping_add(by));
    }

    /// Lowers a gauge. The sum over all writers is what is shown: one may lower what another raised.
    pub fn gauge_sub(&self, gauge: Gauge, by: u64) {
        self.change(gauge, |value| value.wrapping_sub(by));
    }

    /// Sets a gauge (of this writer; the writers' values are summed).
    pub fn gauge_set(&self, gauge: Gauge, value: u64) {
        self.change(gauge, |_| value);
    }

    /// This writer's value of a gauge.
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        let value = self.0.gauges.get(usize::from(gauge.0)).map_or(0, |cell| cell.load(Relaxed));
        if value == UNTOUCHED { 0 } else { value }
    }

    fn change(&self, gauge: Gauge, f: impl FnOnce(u64) -> u64) {
        if let Some(cell) = self.0.gauges.get(usize::from(gauge.0)) {
            let value = cell.load(Relaxed);
            cell.store(f(if value == UNTOUCHED { 0 } else { value }), Relaxed);
        }
    }

    /// Records a value of a histogram (milliseconds for times).
    pub fn record(&self, histogram: Histogram, value: u64) {
        if let Some(cell) = self.0.histograms.get(usize::from(histogram.0)) {
            cell.get_or_init(Box::default).record(value);
        }
    }

    /// Counts a response: the code, its class and `completed`, in one cell. Codes outside 100 to 599 are not counted.
    pub fn response_code(&self, status: u16) {
        self.response_code_in(0, status);
    }

    /// [`Cells::response_code`] under another scope of the schema (`stats::cluster::{INTERNAL, EXTERNAL, ...}`).
    pub fn response_code_in(&self, scope: usize, status: u16) {
        if let Some(codes) = self.0.codes.get(scope) {
            codes.count(status);
        }
    }
}

impl Clone for Cells {
    fn clone(&self) -> Self {
        self.0.handles.fetch_add(1, Relaxed);
        Cells(self.0.clone())
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        // Release/Acquire: every write through any handle comes before the fold.
        if self.0.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.home.retire(&self.0);
        }
    }
}
