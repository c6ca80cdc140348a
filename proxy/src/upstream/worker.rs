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

/// After so long without requests and connections a worker gives a cluster back.
const IDLE: Duration = Duration::from_secs(300);

/// Runtime key that replaces it, in seconds.
const IDLE_KEY: &str = "weir.cluster_idle_seconds";

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
            cell.touch();
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
        cell.touch();
        Some(cell)
    }

    /// After so long without requests and connections a cluster is given back.
    fn idle(&self) -> Duration {
        let seconds = self.with_snapshot(|s| s.runtime.get(IDLE_KEY).and_then(|text| text.parse().ok()));
        seconds.map_or(IDLE, Duration::from_secs)
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
            let (now, version, most) = (clock::now(), self.version(), self.idle());
            for cell in self.cells() {
                next = next.min(pool::sweep(&cell).unwrap_or(next));
                if cell.checked.get() != version
                    && self.with_snapshot(|s| !s.clusters.contains_key(&cell.name))
                {
                    cell.yield_idle(usize::MAX);
                    self.clusters.borrow_mut().remove(&cell.name);
                } else if cell.is_idle(2, most, now) {
                    // Held by the table and by this loop.
                    self.clusters.borrow_mut().remove(&cell.name);
                }
            }
            due.set(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cluster::LbPolicy;
    use crate::upstream::lb::bench;

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_nobody_asks_for_is_given_back() {
        let cluster = Arc::new(bench::cluster("worker-idle", LbPolicy::RoundRobin));
        let clusters = [(cluster.name.clone(), cluster.clone())].into_iter().collect();
        let published = Arc::new(Published::new());
        published.publish(Arc::new(Snapshot { version: 1, clusters, ..Snapshot::default() }));
        let worker = Worker::enter(published);
        let sweep = worker.clone().sweep();
        let story = async {
            let held = worker.cluster("worker-idle").unwrap();
            tokio::time::sleep(IDLE * 2).await;
            assert_eq!(worker.cells().len(), 1, "a request holds it");
            drop(held);
            for _ in 0..3 {
                tokio::time::sleep(IDLE / 2).await;
                assert!(worker.cluster("worker-idle").is_some());
            }
            tokio::time::sleep(IDLE / 2).await;
            assert_eq!(worker.cells().len(), 1, "it was asked for meanwhile");
            tokio::time::sleep(IDLE).await;
            assert!(worker.cells().is_empty());
        };
        tokio::select! { () = sweep => panic!("the sweep ended"), () = story => {} }
    }
}
