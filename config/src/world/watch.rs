//! The watch on a folder: it follows the folder, not its name. Changes that come together are told together.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

/// Changes that come together are applied together; an editor writes a file in several steps.
const SETTLE: Duration = Duration::from_millis(100);

/// A folder that does not come to rest is read after this time.
const UNREST: Duration = Duration::from_millis(500);

/// The folder is read again after this time even when no event came (network file systems send none).
const RECHECK: Duration = Duration::from_secs(5);

/// The watch on a folder.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    watcher: RecommendedWatcher,
    /// Device and inode of the folder that is watched.
    watched: Option<(u64, u64)>,
    events: Receiver<()>,
}

impl Watch {
    /// Watches a folder and all below it.
    ///
    /// # Errors
    /// The system cannot watch it.
    pub fn new(path: &Path) -> notify::Result<Watch> {
        let (sender, events) = channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // Who waited may be gone.
                let _ = sender.send(());
            }
        })?;
        let mut watch = Watch { path: path.to_owned(), watcher, watched: None, events };
        watch.follow()?;
        Ok(watch)
    }

    /// Watches the folder that bears the name now.
    fn follow(&mut self) -> notify::Result<()> {
        let now = std::fs::metadata(&self.path).ok().map(|found| (found.dev(), found.ino()));
        if now.is_some() && now != self.watched {
            // The old folder may be gone, and its watch with it.
            let _ = self.watcher.unwatch(&self.path);
            self.watcher.watch(&self.path, RecursiveMode::Recursive)?;
        }
        self.watched = now;
        Ok(())
    }

    /// Waits until the folder may have changed and has come to rest, a few seconds at most. What there is to say when
    /// it cannot be watched: then it is looked at from time to time.
    pub fn wait(&mut self) -> Option<String> {
        match self.events.recv_timeout(RECHECK) {
            Ok(()) => {
                let until = Instant::now() + UNREST;
                while Instant::now() < until && self.events.recv_timeout(SETTLE).is_ok() {}
            }
            Err(RecvTimeoutError::Timeout) => {}
            // The watcher is gone: the clock alone is left.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(RECHECK),
        }
        let error = self.follow().err()?;
        let every = RECHECK.as_secs();
        Some(format!("{} cannot be watched: {error}; it is read every {every} s", self.path.display()))
    }
}
