//! Access logs: what is written, when, and where.

/// One configured access log.
#[derive(Debug)]
pub struct AccessLog {}
