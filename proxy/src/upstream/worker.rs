//! A worker's own state: the snapshot it works on and its clusters. Found through a thread-local; nothing here is
//! shared.

use super::cell::ClusterCell;
use super::pool::{self, Sweeps};
use crate::base::Name;
use crate::base::clock;
use crate::model::snapshot::{Published, Snapshot};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How often idle connections are looked through at least.
const SWEEP: Duration = Duration::from_secs(1);

/// Closes that arrive together are swept together.
const SETTLE: Duration = Duration::from_millis(2);

/// A worker.
#[derive(Debug)]
pub struct Worker {
    published: Arc<Published>,
    snapshot: RefCell<Arc<Snapshot>>,
    version: Cell<u64>,
    clusters: RefCell<HashMap<Name, Rc<ClusterCell>, foldhash::fast::RandomState>>,
    sweeps: Rc<Sweeps>,
}

thread_local! {
    static WORKER: RefCell<Option<Rc<Worker>>> = const { RefCell::new(None) };
}

impl Worker {
    /// Makes the calling thread a worker of this publication.
    pub fn enter(published: Arc<Published>) -> Rc<Worker> {
        let snapshot = published.load();
        let worker = Rc::new(Worker {
            version: Cell::new(snapshot.version),
            snapshot: RefCell::new(snapshot),
            published,
            clusters: RefCell::default(),
            sweeps: Rc::default(),
        });
        WORKER.set(Some(worker.clone()));
        worker
    }

    /// The calling thread's worker; none on other threads.
    pub fn current() -> Option<Rc<Worker>> {
        WORKER.with_borrow(Option::clone)
    }

    /// Version of the snapshot in use; takes a newer one when there is one (one atomic load else).
    pub fn version(&self) -> u64 {
        let published = self.published.version();
        if published != self.version.get() {
            let snapshot = self.published.load();
            self.version.set(snapshot.version);
            self.snapshot.replace(snapshot);
        }
        self.version.get()
    }

    /// Looks something up in the snapshot.
    pub fn with_snapshot<R>(&self, look: impl FnOnce(&Snapshot) -> R) -> R {
        self.version();
        look(&self.snapshot.borrow())
    }

    /// A cluster's cell, made at first use; none when the cluster does not exist.
    pub fn cluster(self: &Rc<Self>, name: &str) -> Option<Rc<ClusterCell>> {
        let version = self.version();
        let known = self.clusters.borrow().get(name).cloned();
        if let Some(cell) = &known
            && cell.checked.get() == version
        {
            return known;
        }
        let Some(config) = self.with_snapshot(|s| s.clusters.get(name).cloned()) else {
            self.clusters.borrow_mut().remove(name);
            return None;
        };
        let cell = known.unwrap_or_else(|| {
            let cell = ClusterCell::new(&config, self.sweeps.clone());
            self.clusters.borrow_mut().insert(config.name.clone(), cell.clone());
            cell
        });
        cell.update(config, version);
        Some(cell)
    }

    fn cells(&self) -> Vec<Rc<ClusterCell>> {
        self.clusters.borrow().values().cloned().collect()
    }

    /// Closes what lies idle of a cluster, because another worker waits for its connections.
    pub fn yield_idle(&self, cluster: &str) {
        if let Some(cell) = self.clusters.borrow().get(cluster) {
            cell.yield_idle(usize::MAX);
        }
    }

    /// Looks after idle connections for ever: drops what its peer has closed, what is too old, and clusters that are
    /// gone. One local task per worker.
    pub async fn sweep(self: Rc<Self>) {
        let Sweeps { wanted, due } = &*self.sweeps;
        loop {
            let pause = due.get().saturating_duration_since(clock::now());
            if tokio::time::timeout(pause, wanted.notified()).await.is_ok() {
                tokio::time::sleep(SETTLE).await;
            }
            let mut next = clock::now() + SWEEP;
            let version = self.version();
            for cell in self.cells() {
                next = next.min(pool::sweep(&cell).unwrap_or(next));
                if cell.checked.get() != version
                    && self.with_snapshot(|s| !s.clusters.contains_key(&cell.name))
                {
                    cell.yield_idle(usize::MAX);
                    self.clusters.borrow_mut().remove(&cell.name);
                }
            }
            due.set(next);
        }
    }
}
