//! What `control` tells the workers.

use super::sockets::Opened;
use crate::base::Name;
use crate::base::addr::Address;
use crate::model::snapshot::Snapshot;
use std::sync::Arc;

/// The workers, as `control` sees them. Called on the control thread (at start: on the starting one); must not block
/// on a worker.
pub trait Workers: Send + Sync {
    /// Number of workers; does not change.
    fn count(&self) -> usize;

    /// A snapshot is in force: wakes every worker, so that none pins an old one.
    fn publish(&self, snapshot: Arc<Snapshot>);

    /// A worker is to accept connections on this socket. The snapshot in force has the listener.
    fn open(&self, worker: usize, opened: Opened);

    /// Every worker is to stop accepting on this address of the listener and to drop its socket; called after the
    /// snapshot is in force. When that has no such listener any more, its connections drain. Another
    /// listener may be given the same socket after that.
    fn close(&self, listener: &Name, address: &Address);
}
