//! `istio.stats`, for exchanges and for raw connections.

use crate::observe::mesh::{Peer, Reporter};
use crate::observe::record::Record;
use std::sync::Arc;
use std::time::Duration;

/// Time between two reports of a raw connection, unless configured (Istio's default).
pub const INTERVAL: Duration = Duration::from_secs(15);

/// Shortest time between two reports.
pub const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// Names of labels.
pub type LabelNames = Box<[Box<str>]>;

/// What is counted, and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// This proxy's workload.
    pub own: Arc<Peer>,
    /// Where a cluster names no service, the request's host is taken for it.
    pub host_header: bool,
    /// Between two reports of a raw connection.
    pub interval: Duration,
    /// Metrics that are not made, by short name (`requests_total`); the empty name stands for all.
    pub dropped: Vec<Box<str>>,
    /// Labels that are left out, by metric; the empty name stands for all.
    pub left_out: Vec<(Box<str>, LabelNames)>,
}

impl Config {
    /// Whose side is told of.
    pub fn reporter(&self, record: &Record) -> Reporter {
        if record.conn.inbound { Reporter::Destination } else { Reporter::Source }
    }

    /// The labels that a metric lacks; none when the metric is not made. What is said of the metric by name counts
    /// before what is said of all.
    pub fn labels_left_out(&self, metric: &str) -> Option<&[Box<str>]> {
        if self.dropped.iter().any(|dropped| dropped.is_empty() || **dropped == *metric) {
            return None;
        }
        let of = |name: &str| self.left_out.iter().find(|(of, _)| **of == *name).map(|(_, labels)| &**labels);
        Some(of(metric).or_else(|| of("")).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_dropped_and_stripped_by_name_or_all() {
        let config = Config {
            own: Arc::default(),
            host_header: true,
            interval: INTERVAL,
            dropped: vec!["request_bytes".into()],
            left_out: vec![("requests_total".into(), ["a".into()].into()), ("".into(), ["b".into()].into())],
        };
        assert_eq!(config.labels_left_out("request_bytes"), None);
        assert_eq!(config.labels_left_out("requests_total"), Some(&[Box::from("a")][..]));
        assert_eq!(config.labels_left_out("other"), Some(&[Box::from("b")][..]));
        let silent = Config { dropped: vec!["".into()], ..config };
        assert_eq!(silent.labels_left_out("other"), None);
    }
}
