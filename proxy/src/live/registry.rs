//! The live clusters by name, and what they ask of the control thread.

use super::cluster::ClusterLive;
use crate::base::Name;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;

/// Live clusters by name. They live as long as a compiled cluster (or a request) holds them.
#[derive(Debug, Default)]
pub struct Clusters {
    by_name: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    map: HashMap<Name, Weak<ClusterLive>>,
    /// Dead entries are swept when the map has grown to this.
    sweep_at: usize,
}

static CLUSTERS: LazyLock<Clusters> = LazyLock::new(Clusters::default);

/// The process's live clusters.
pub fn clusters() -> &'static Clusters {
    &CLUSTERS
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Clusters {
    /// The live part of a name, made when there is none.
    pub fn get_or_make(&self, name: &Name) -> Arc<ClusterLive> {
        let mut names = lock(&self.by_name);
        if let Some(live) = names.map.get(name).and_then(Weak::upgrade) {
            return live;
        }
        let live = ClusterLive::new(name.clone());
        names.map.insert(name.clone(), Arc::downgrade(&live));
        if names.map.len() > names.sweep_at {
            names.map.retain(|_, live| live.strong_count() > 0);
            names.sweep_at = names.map.len().saturating_mul(2).max(64);
        }
        live
    }

    /// The live part of a name, if there is one.
    pub fn get(&self, name: &str) -> Option<Arc<ClusterLive>> {
        lock(&self.by_name).map.get(name).and_then(Weak::upgrade)
    }

    /// All that live, by name.
    pub fn all(&self) -> Vec<Arc<ClusterLive>> {
        let mut all: Vec<_> = lock(&self.by_name).map.values().filter_map(Weak::upgrade).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

/// Requests of a kind to the control thread: each cluster stands in it once at most (in [`LEFT`] once for each time
/// that it went unused, which takes minutes), so that the number of clusters is its bound.
struct Desk {
    waiting: Mutex<Vec<Arc<ClusterLive>>>,
    notify: Notify,
}

impl Desk {
    const fn new() -> Self {
        Desk { waiting: Mutex::new(Vec::new()), notify: Notify::const_new() }
    }

    fn put(&self, live: Arc<ClusterLive>) {
        lock(&self.waiting).push(live);
        self.notify.notify_one();
    }

    async fn next(&self) -> Vec<Arc<ClusterLive>> {
        loop {
            let taken = std::mem::take(&mut *lock(&self.waiting));
            if !taken.is_empty() {
                return taken;
            }
            self.notify.notified().await;
        }
    }
}

static ASKED: Desk = Desk::new();
static CHANGED: Desk = Desk::new();
static LEFT: Desk = Desk::new();

pub(super) fn ask(live: Arc<ClusterLive>) {
    ASKED.put(live);
}

pub(super) fn left(live: Arc<ClusterLive>) {
    LEFT.put(live);
}

pub(super) fn health_changed(live: Arc<ClusterLive>) {
    CHANGED.put(live);
}

/// Waits for cold clusters that requests wait for: `control` publishes their hosts. For one reader; cancel-safe.
pub async fn asked() -> Vec<Arc<ClusterLive>> {
    ASKED.next().await
}

/// Waits for hot clusters that no worker uses any more: `control` makes them cold. For one reader; cancel-safe.
pub async fn unused() -> Vec<Arc<ClusterLive>> {
    LEFT.next().await
}

/// Waits for clusters whose hosts' health changed: the reader calls [`ClusterLive::rebuild`]. For one reader
/// (`upstream::watch::run` is it); cancel-safe.
pub async fn changed() -> Vec<Arc<ClusterLive>> {
    CHANGED.next().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_live_part_while_somebody_holds_it() {
        let clusters = Clusters::default();
        let name: Name = "a".into();
        let first = clusters.get_or_make(&name);
        assert!(Arc::ptr_eq(&first, &clusters.get_or_make(&name)));
        drop(first);
        assert!(clusters.get("a").is_none());
        for n in 0..1000 {
            clusters.get_or_make(&format!("c{n}").as_str().into());
        }
        assert!(lock(&clusters.by_name).map.len() <= 65);
    }
}
