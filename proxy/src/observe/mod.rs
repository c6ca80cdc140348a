//! What is seen from outside: statistics, records and their formatter, log files.

pub mod format;
pub mod log;
pub mod mesh;
pub mod metrics;
pub mod record;
pub mod stats;
