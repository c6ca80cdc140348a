//! Messages from any thread to a worker about limits: one of its waiting requests may go on, or connections that
//! lie idle are wanted by another worker.

use super::permit::{Breakers, Kind};
use super::worker::MAX_WORKERS;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// A message.
#[derive(Clone, Debug)]
pub enum Post {
    /// A permit was given back: the first one who waits for it here may try again.
    Freed(Arc<Breakers>, Kind),
    /// Another worker waits for permits of this kind: close what lies idle.
    Wanted(Arc<Breakers>, Kind),
}

impl Post {
    fn same(&self, other: &Post) -> bool {
        match (self, other) {
            (Post::Freed(a, x), Post::Freed(b, y)) | (Post::Wanted(a, x), Post::Wanted(b, y)) => {
                Arc::ptr_eq(a, b) && x == y
            }
            _ => false,
        }
    }
}

/// A worker's letter box. Its length is bounded by the number of limits that have waiters (twice): an equal message
/// that is still unread is not posted again.
struct Slot {
    posts: Mutex<Vec<Post>>,
    notify: Notify,
}

static SLOTS: [Slot; MAX_WORKERS] =
    [const { Slot { posts: Mutex::new(Vec::new()), notify: Notify::const_new() } }; MAX_WORKERS];

/// One more than the largest worker number that reads its box.
static SERVED: AtomicUsize = AtomicUsize::new(0);

/// Posts to one worker.
pub fn post(worker: usize, post: Post) {
    let Some(slot) = SLOTS.get(worker) else { return };
    let mut posts = slot.posts.lock().unwrap_or_else(PoisonError::into_inner);
    if !posts.iter().any(|p| p.same(&post)) {
        posts.push(post);
        slot.notify.notify_one();
    }
}

/// Posts to every worker that reads its box but `except`.
pub fn post_others(except: usize, message: &Post) {
    for worker in (0..SERVED.load(SeqCst).min(MAX_WORKERS)).filter(|w| *w != except) {
        post(worker, message.clone());
    }
}

/// Reads the box of worker `index`, for ever: `Freed` wakes local waiters, `Wanted` is handed to `wanted`. Each
/// worker runs it once as a local task. Never completes; cancelling it loses unread messages only for its own worker.
pub async fn serve(index: usize, wanted: impl Fn(&Arc<Breakers>, Kind)) {
    SERVED.fetch_max(index.saturating_add(1), SeqCst);
    let Some(slot) = SLOTS.get(index) else { return };
    loop {
        let posts = std::mem::take(&mut *slot.posts.lock().unwrap_or_else(PoisonError::into_inner));
        for post in &posts {
            match post {
                Post::Freed(breakers, kind) => super::wait::freed(breakers, *kind),
                Post::Wanted(breakers, kind) => wanted(breakers, *kind),
            }
        }
        if posts.is_empty() {
            slot.notify.notified().await;
        }
    }
}
