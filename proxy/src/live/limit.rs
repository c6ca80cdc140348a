//! The process-wide limit of downstream connections.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);
static OPEN: AtomicU64 = AtomicU64::new(0);

/// Sets the limit (`global_downstream_max_connections`); `u64::MAX` for none.
pub fn set(limit: u64) {
    LIMIT.store(limit, Relaxed);
}

/// The limit in force.
pub fn limit() -> u64 {
    LIMIT.load(Relaxed)
}

/// Connections open in the process.
pub fn open() -> u64 {
    OPEN.load(Relaxed)
}

/// The place of one connection; given back when dropped.
#[derive(Debug)]
pub struct Slot(());

impl Slot {
    /// A place, or none when the limit is reached. `exempt`: it counts, but is never refused.
    pub fn take(exempt: bool) -> Option<Slot> {
        let limit = if exempt { u64::MAX } else { limit() };
        let below = |open: u64| (open < limit).then(|| open.saturating_add(1));
        OPEN.fetch_update(Relaxed, Relaxed, below).ok().map(|_| Slot(()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Relaxed);
    }
}
