//! What statistics belong to: they leave with it.

use super::registry::Shared;
use std::sync::Arc;

/// Keeps the statistics whose names begin with a prefix, of every kind, for as long as it lives (Envoy's scope). Of
/// several for one prefix the last one counts; what a longer prefix has a scope of is that one's.
#[derive(Debug)]
pub struct Scope {
    prefix: Box<str>,
    home: Arc<Shared>,
}

impl Scope {
    pub(super) fn new(prefix: &str, home: Arc<Shared>) -> Scope {
        home.open(prefix);
        Scope { prefix: prefix.into(), home }
    }

    /// The prefix (`cluster.foo.`).
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.home.close(&self.prefix);
    }
}
