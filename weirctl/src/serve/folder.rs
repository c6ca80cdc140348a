//! The folder: read again when it changes. A mistake leaves the last good state in force and is told.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::bail;
use tokio::sync::watch;
use weir_config::World;
use weir_config::diag::{Diagnostic, has_errors, render_text, sort};
use weir_config::world::{MeshOptions, Read, Watch, read_paths};
use weir_proxy::boot::check_mesh;

/// A state of the folder.
#[derive(Debug)]
pub struct State {
    /// What the files say.
    pub world: World,
    /// Number of the state, from 1 on.
    pub number: u64,
    /// When it came into force.
    pub since: SystemTime,
}

/// What is wrong with the folder as it is; nothing is wrong with the state in force.
#[derive(Debug, Clone, Default)]
pub struct Mistakes(Arc<Mutex<Vec<Diagnostic>>>);

impl Mistakes {
    /// All of them; none: the folder is in force as it is.
    pub fn now(&self) -> Vec<Diagnostic> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn are(&self, mistakes: Vec<Diagnostic>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = mistakes;
    }
}

/// The folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    options: MeshOptions,
    watch: Watch,
    last: Option<Read>,
    number: u64,
    mistakes: Mistakes,
}

impl Folder {
    /// Opens a folder.
    ///
    /// # Errors
    /// It is none, or cannot be watched.
    pub fn open(path: &Path, options: MeshOptions) -> anyhow::Result<Folder> {
        if !path.is_dir() {
            bail!("{} is no folder", path.display());
        }
        let watch = Watch::new(path)?;
        Ok(Folder {
            path: path.to_owned(),
            options,
            watch,
            last: None,
            number: 0,
            mistakes: Mistakes::default(),
        })
    }

    /// Where the folder's mistakes are told.
    pub fn mistakes(&self) -> Mistakes {
        self.mistakes.clone()
    }

    /// Tells every good state until nobody listens.
    pub fn follow(mut self, states: &watch::Sender<Option<Arc<State>>>) {
        while !states.is_closed() {
            if let Some(world) = self.read() {
                self.number = self.number.saturating_add(1);
                let state = State { world, number: self.number, since: SystemTime::now() };
                states.send_replace(Some(Arc::new(state)));
            }
            if let Some(trouble) = self.watch.wait() {
                tell(&format!("{trouble}\n"));
            }
        }
    }

    /// The folder's world, if it has changed and is free of mistakes.
    fn read(&mut self) -> Option<World> {
        let read = read_paths(&[&self.path]);
        if self.last.as_ref() == Some(&read) {
            return None;
        }
        let (world, mut all) = read.world(self.options.clone());
        all.extend(check_mesh(&world));
        sort(&mut all);
        all.dedup();
        self.last = Some(read);
        if !all.is_empty() {
            tell(&render_text(&all));
        }
        if has_errors(&all) {
            let then = if self.number > 0 {
                "the last good state stays in force"
            } else {
                "there was no good state yet: nothing is sent until they are mended, and proxies keep what they have"
            };
            tell(&format!("{}: mistakes; {then}\n", self.path.display()));
            self.mistakes.are(all);
            return None;
        }
        self.mistakes.are(Vec::new());
        Some(world)
    }
}

/// Tells the operator.
pub fn tell(text: &str) {
    // Nobody may be listening any more; the pages tell too.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
