//! Access logs: what is written, when, and where.
//!
//! A worker renders a line straight into its own ring of the log's sink; one log thread empties the rings and writes
//! files in large pieces. A line costs no allocation, no wake-up and no system call on the worker; a full ring drops
//! lines and counts them (`access_log_file.lines_dropped`).

mod filter;
mod sink;
mod thread;

pub use filter::{Compare, Filter, HeaderPredicate};
pub use sink::{MAX_LINE, RING_BYTES, Sink};
pub use thread::{FLUSH_BYTES, expect_end, flush_all, flush_interval, reopen_all, set_flush_interval};

use super::format::Format;
use super::record::Record;
use std::sync::Arc;

/// One configured access log.
#[derive(Debug)]
pub struct AccessLog {
    sink: Arc<Sink>,
    format: Format,
    filter: Option<Filter>,
}

impl AccessLog {
    /// A log that writes every record that the filter (none: all) lets through.
    pub fn new(sink: Arc<Sink>, format: Format, filter: Option<Filter>) -> AccessLog {
        AccessLog { sink, format, filter }
    }

    /// Writes the complete record, if the filter lets it through. Never blocks on the file.
    pub fn log(&self, record: &Record) {
        if self.filter.as_ref().is_none_or(|filter| filter.passes(record)) {
            self.sink.write(|line| self.format.render_record(record, line));
        }
    }
}

#[cfg(test)]
mod tests;
