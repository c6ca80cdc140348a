//! Where lines go, and the ring that each thread has for each sink.

use super::thread;
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

/// Most bytes that wait in one thread's ring of one sink; further lines are dropped and counted.
pub const RING_BYTES: usize = 2 << 20;

/// Longest line; a longer one is dropped and counted (`access_log_file.lines_too_long`).
pub const MAX_LINE: usize = 256 << 10;

/// Where a sink writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Target {
    Stdout,
    Stderr,
    File(PathBuf),
}

/// The lines of one thread that the log thread has not taken yet.
#[derive(Default, Debug)]
pub(super) struct Lines {
    pub(super) bytes: Vec<u8>,
    /// Bytes of whole lines; more are there only while (or after a panic while) a line is rendered.
    whole: usize,
    counts: Counts,
}

/// What became of the lines since the log thread's last look.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Counts {
    pub(super) written: u64,
    pub(super) dropped: u64,
    pub(super) too_long: u64,
}

/// A thread's ring. Its lock is contended only while the log thread swaps the buffer (three words).
#[derive(Default, Debug)]
pub(super) struct Ring(Mutex<Lines>);

impl Ring {
    pub(super) fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self, render: impl FnOnce(&mut Vec<u8>)) {
        let mut lines = self.lock();
        let start = lines.whole;
        lines.bytes.truncate(start);
        if start >= RING_BYTES {
            lines.counts.dropped = lines.counts.dropped.wrapping_add(1);
            return;
        }
        render(&mut lines.bytes);
        if lines.bytes.len().saturating_sub(start) > MAX_LINE {
            lines.bytes.truncate(start);
            lines.counts.too_long = lines.counts.too_long.wrapping_add(1);
        } else {
            lines.counts.written = lines.counts.written.wrapping_add(1);
            lines.whole = lines.bytes.len();
        }
    }

    /// Swaps the whole lines into an empty buffer and returns the counts.
    pub(super) fn take(&self, spare: &mut Vec<u8>) -> Counts {
        let mut lines = self.lock();
        let whole = std::mem::take(&mut lines.whole);
        lines.bytes.truncate(whole);
        spare.clear();
        std::mem::swap(&mut lines.bytes, spare);
        std::mem::take(&mut lines.counts)
    }
}

/// A file or a standard stream, shared by every log that names it.
#[derive(Debug)]
pub struct Sink {
    id: u64,
    pub(super) target: Target,
    pub(super) rings: Mutex<Vec<Arc<Ring>>>,
    file: Mutex<Option<File>>,
}

thread_local! {
    /// This thread's rings by the sink's id: a handful, searched in a row.
    static RINGS: RefCell<Vec<(u64, Arc<Ring>)>> = const { RefCell::new(Vec::new()) };
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

impl Sink {
    /// Standard output.
    pub fn stdout() -> Arc<Sink> {
        thread::shared(Target::Stdout, || Ok(None)).unwrap_or_else(|_| Sink::new(Target::Stdout, None))
    }

    /// Standard error.
    pub fn stderr() -> Arc<Sink> {
        thread::shared(Target::Stderr, || Ok(None)).unwrap_or_else(|_| Sink::new(Target::Stderr, None))
    }

    /// A file, opened for appending (created when absent). `/dev/stdout` and `/dev/stderr` are the standard streams,
    /// which need not be opened again (a container may forbid that).
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn file(path: &Path) -> io::Result<Arc<Sink>> {
        match path.to_str() {
            Some("/dev/stdout") => Ok(Sink::stdout()),
            Some("/dev/stderr") => Ok(Sink::stderr()),
            _ => thread::shared(Target::File(path.to_owned()), || open(path).map(Some)),
        }
    }

    pub(super) fn new(target: Target, file: Option<File>) -> Arc<Sink> {
        let id = NEXT_ID.fetch_add(1, Relaxed);
        Arc::new(Sink { id, target, rings: Mutex::default(), file: Mutex::new(file) })
    }

    pub(super) fn rings(&self) -> MutexGuard<'_, Vec<Arc<Ring>>> {
        self.rings.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Lets `render` append one line to this thread's ring.
    pub fn write(self: &Arc<Self>, render: impl FnOnce(&mut Vec<u8>)) {
        RINGS.with_borrow_mut(|rings| {
            let ring = match rings.iter().position(|(id, _)| *id == self.id).and_then(|at| rings.get(at)) {
                Some((_, ring)) => ring,
                None => {
                    // Rings that only this thread still holds belong to sinks that are gone.
                    rings.retain(|(_, ring)| Arc::strong_count(ring) > 1);
                    let ring = Arc::new(Ring::default());
                    self.rings().push(ring.clone());
                    thread::start();
                    rings.push((self.id, ring));
                    match rings.last() {
                        Some((_, ring)) => ring,
                        None => return,
                    }
                }
            };
            ring.write(render);
        });
        thread::wake_if_asleep();
    }

    /// Writes bytes out (the log thread).
    pub(super) fn put(&self, bytes: &[u8]) -> io::Result<()> {
        match self.target {
            Target::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Target::Stderr => io::stderr().lock().write_all(bytes),
            Target::File(_) => match &mut *self.out() {
                Some(file) => file.write_all(bytes),
                None => Err(io::Error::from(io::ErrorKind::NotFound)),
            },
        }
    }

    /// Opens the file again (after a rotation). On an error the old one stays.
    pub(super) fn reopen(&self) -> io::Result<()> {
        if let Target::File(path) = &self.target {
            let file = open(path)?;
            *self.out() = Some(file);
        }
        Ok(())
    }

    fn out(&self) -> MutexGuard<'_, Option<File>> {
        self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
