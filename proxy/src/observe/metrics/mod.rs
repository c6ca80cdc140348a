//! Statistics: counters, gauges and histograms in cells of one thread each, summed when somebody looks.
//!
//! A worker takes [`Cells`] for a prefix (`cluster.foo.`) once, from the [`Registry`], and then counts with plain
//! loads and stores. The tables of names stand in [`crate::observe::stats`].

mod cells;
mod hand;
pub mod histogram;
mod registry;
mod schema;
mod scope;
mod snapshot;

pub use cells::Cells;
pub use hand::at_hand;
pub use registry::{Registry, SharedGauge, SharedText, Source};
pub use schema::{CodeTable, Counter, Gauge, Histogram, Schema, sanitized};
pub use scope::Scope;
pub use snapshot::{GaugeValue, HistogramValue, Snapshot};

pub(crate) use schema::stats;

#[cfg(test)]
mod tests;
