//! Which worker the calling thread is, and values of which every worker has one.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Most workers of a process; `--concurrency` above it is refused at start.
pub const MAX_WORKERS: usize = 256;

/// Cells made when nobody has said how many workers there are (unit tests).
const DEFAULT_WORKERS: usize = 16;

static COUNT: AtomicUsize = AtomicUsize::new(DEFAULT_WORKERS);

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Says how many workers there will be, once, before the first starts. More than [`MAX_WORKERS`] count as that.
pub fn set_count(workers: usize) {
    COUNT.store(workers.clamp(1, MAX_WORKERS), Relaxed);
}

/// How many workers there are.
pub fn count() -> usize {
    COUNT.load(Relaxed)
}

/// Makes the calling thread worker number `index`. No two living threads may have the same number.
pub fn enter(index: usize) {
    INDEX.set(index);
}

/// The calling thread's number; none when it is no worker.
pub fn index() -> Option<usize> {
    let index = INDEX.get();
    (index < MAX_WORKERS).then_some(index)
}

/// A value alone on its cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Padded<T>(pub T);

/// One `T` for each worker and one shared by all other threads, made at first use. Cold things cost one pointer.
#[derive(Debug)]
pub struct PerWorker<T> {
    cells: OnceLock<Box<[Padded<T>]>>,
}

impl<T> Default for PerWorker<T> {
    fn default() -> Self {
        PerWorker { cells: OnceLock::new() }
    }
}

impl<T: Default> PerWorker<T> {
    /// The calling thread's cell, and whether no other thread writes to it.
    pub fn mine(&self) -> Option<(&T, bool)> {
        let cells = self.cells.get_or_init(|| (0..=count()).map(|_| Padded::default()).collect());
        let workers = cells.len().saturating_sub(1);
        let index = INDEX.get().min(workers);
        cells.get(index).map(|cell| (&cell.0, index < workers))
    }

    /// All cells made so far.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.cells.get().into_iter().flatten().map(|cell| &cell.0)
    }
}

/// Adds to a cell of one's own without a locked instruction, or to the shared one with it. Wraps, so that a gauge
/// raised on one thread and lowered on another still sums up right.
pub fn add(cell: &AtomicU64, own: bool, amount: u64) {
    if own {
        cell.store(cell.load(Relaxed).wrapping_add(amount), Relaxed);
    } else {
        cell.fetch_add(amount, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_apart_and_sum_up() {
        let cells = std::sync::Arc::new(PerWorker::<AtomicU64>::default());
        let threads: Vec<_> = (0..4)
            .map(|worker| {
                let cells = cells.clone();
                std::thread::spawn(move || {
                    if worker < 3 {
                        enter(worker);
                    }
                    for _ in 0..1000 {
                        let (cell, own) = cells.mine().unwrap();
                        assert_eq!(own, worker < 3);
                        add(cell, own, 1);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(cells.all().map(|c| c.load(Relaxed)).sum::<u64>(), 4000);
    }
}
