//! The log thread: empties the rings, writes large pieces, flushes by time, reopens files.

use super::sink::{Sink, Target};
use crate::observe::metrics::{Cells, Registry};
use crate::observe::stats::{access_log, filesystem};
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// A sink with this many bytes waiting is written at once (Envoy's `kFlushSize`).
pub const FLUSH_BYTES: usize = 64 << 10;

/// Envoy's `--file-flush-interval-msec`.
const FLUSH_INTERVAL: Duration = Duration::from_secs(10);

/// How often rings are emptied while lines come.
const POLL: Duration = Duration::from_millis(10);

/// Polls without a line before the thread sleeps until a line wakes it.
const IDLE_POLLS: u32 = 100;

/// A buffer over this size is given back when its thread goes quiet.
const KEEP_BYTES: usize = 16 << 10;

#[derive(Default)]
struct Requests {
    reopen: bool,
    /// Flushes asked for and done.
    flush: u64,
    flushed: u64,
}

#[derive(Default)]
struct State {
    sinks: Mutex<Vec<Arc<Sink>>>,
    requests: Mutex<Requests>,
    done: Condvar,
}

static STATE: LazyLock<State> = LazyLock::new(State::default);
static THREAD: OnceLock<Thread> = OnceLock::new();
static ASLEEP: AtomicBool = AtomicBool::new(false);
/// Milliseconds; 0: the default.
static INTERVAL: AtomicU64 = AtomicU64::new(0);
static ENDING: AtomicBool = AtomicBool::new(false);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Sets how long a line may wait before it is written (`--file-flush-interval-msec`; 10 s).
pub fn set_flush_interval(interval: Duration) {
    INTERVAL.store(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
}

/// How long a line may wait before it is written.
pub fn flush_interval() -> Duration {
    let interval = match INTERVAL.load(Ordering::Relaxed) {
        0 => FLUSH_INTERVAL,
        millis => Duration::from_millis(millis),
    };
    if ENDING.load(Ordering::Relaxed) { Duration::ZERO } else { interval }
}

/// The process is about to end, perhaps by force: from now on a line waits no longer than [`POLL`].
pub fn expect_end() {
    ENDING.store(true, Ordering::Relaxed);
}

/// The sink of a target: the one that exists, or a new one over what `open` gives.
pub(super) fn shared(
    target: Target,
    open: impl FnOnce() -> io::Result<Option<File>>,
) -> io::Result<Arc<Sink>> {
    let mut sinks = lock(&STATE.sinks);
    if let Some(sink) = sinks.iter().find(|sink| sink.target == target) {
        return Ok(sink.clone());
    }
    let sink = Sink::new(target, open()?);
    sinks.push(sink.clone());
    Ok(sink)
}

/// Starts the thread, once; a failure to start is tried again with the next ring.
pub(super) fn start() {
    let _sinks = lock(&STATE.sinks);
    if THREAD.get().is_none()
        && let Ok(handle) = std::thread::Builder::new().name("access-log".into()).spawn(run)
    {
        // The lock above makes this the only setter.
        let _ = THREAD.set(handle.thread().clone());
    }
}

/// Called behind each line. The ring's lock orders this load: either the thread's last look at the ring came after
/// the line, or its ASLEEP came before our lock and is seen here.
pub(super) fn wake_if_asleep() {
    if ASLEEP.load(Ordering::Relaxed) && ASLEEP.swap(false, Ordering::AcqRel) {
        wake();
    }
}

fn wake() {
    if let Some(thread) = THREAD.get() {
        thread.unpark();
    }
}

/// Opens every log file again (SIGUSR1, `/reopen_logs`); what waits is written to the old files first.
pub fn reopen_all() {
    lock(&STATE.requests).reopen = true;
    wake();
}

/// Writes out every line that was logged before the call. False when that took longer than `timeout` (a blocked
/// pipe); without a log thread there is nothing to write.
pub fn flush_all(timeout: Duration) -> bool {
    if THREAD.get().is_none() {
        return true;
    }
    let mut requests = lock(&STATE.requests);
    requests.flush = requests.flush.wrapping_add(1);
    let mine = requests.flush;
    wake();
    let waited = STATE.done.wait_timeout_while(requests, timeout, |r| r.flushed < mine);
    match waited {
        Ok((_, result)) => !result.timed_out(),
        Err(_) => false,
    }
}

/// What the thread holds of one sink.
struct Pending {
    sink: Arc<Sink>,
    bytes: Vec<u8>,
    /// Lines in them.
    lines: u64,
    /// When the oldest byte must be written.
    due: Option<Instant>,
    /// A write failed and was reported; not again until one succeeds.
    reported: bool,
}

struct Writer {
    pending: Vec<Pending>,
    spare: Vec<u8>,
    lines: Cells,
    files: Cells,
}

fn run() {
    let registry = Registry::global();
    let mut writer = Writer {
        pending: Vec::new(),
        spare: Vec::new(),
        lines: registry.cells(&access_log::SCHEMA, "access_log_file."),
        files: registry.cells(&filesystem::SCHEMA, "filesystem."),
    };
    let mut quiet = 0u32;
    loop {
        let (reopen, flush) = {
            let mut requests = lock(&STATE.requests);
            (std::mem::take(&mut requests.reopen), requests.flush)
        };
        let moved = writer.collect();
        let asked = flush != lock(&STATE.requests).flushed;
        writer.write_due(reopen || asked);
        if reopen {
            writer.reopen();
        }
        if asked {
            lock(&STATE.requests).flushed = flush;
            STATE.done.notify_all();
        }
        quiet = if moved { 0 } else { quiet.saturating_add(1) };
        if quiet < IDLE_POLLS {
            std::thread::park_timeout(POLL);
            continue;
        }
        writer.shrink();
        ASLEEP.store(true, Ordering::SeqCst);
        // A line that came before ASLEEP was seen by its writer would wait for the next one: look once more.
        if writer.collect() {
            ASLEEP.store(false, Ordering::Relaxed);
            quiet = 0;
            continue;
        }
        match writer.next_due() {
            Some(wait) => std::thread::park_timeout(wait),
            None => std::thread::park(),
        }
        if !ASLEEP.swap(false, Ordering::AcqRel) {
            quiet = 0;
        }
    }
}

impl Writer {
    /// Takes every ring's lines; true when there was one.
    fn collect(&mut self) -> bool {
        let mut sinks = lock(&STATE.sinks);
        for sink in sinks.iter() {
            if !self.pending.iter().any(|p| Arc::ptr_eq(&p.sink, sink)) {
                self.pending.push(Pending {
                    sink: sink.clone(),
                    bytes: Vec::new(),
                    lines: 0,
                    due: None,
                    reported: false,
                });
            }
        }
        // A sink that no log holds any more (the list and `pending` do) goes when it is empty.
        self.pending.retain(|p| Arc::strong_count(&p.sink) > 2 || !p.bytes.is_empty() || p.has_lines());
        sinks.retain(|sink| Arc::strong_count(sink) > 1);
        drop(sinks);
        let mut moved = false;
        for at in 0..self.pending.len() {
            moved |= self.collect_sink(at);
        }
        moved
    }

    fn collect_sink(&mut self, at: usize) -> bool {
        let Some(pending) = self.pending.get_mut(at) else { return false };
        let mut moved = false;
        let mut rings = pending.sink.rings();
        for ring in rings.iter() {
            let taken = ring.take(&mut self.spare);
            pending.lines = pending.lines.saturating_add(taken.written);
            self.lines.add(access_log::LINES_DROPPED, taken.dropped);
            self.lines.add(access_log::LINES_TOO_LONG, taken.too_long);
            if self.spare.is_empty() {
                continue;
            }
            moved = true;
            self.files.inc(filesystem::WRITE_BUFFERED);
            if pending.bytes.is_empty() {
                std::mem::swap(&mut pending.bytes, &mut self.spare);
            } else {
                pending.bytes.append(&mut self.spare);
            }
            pending.due.get_or_insert_with(|| Instant::now() + flush_interval());
        }
        // A ring whose thread is gone and that is empty.
        rings.retain(|ring| Arc::strong_count(ring) > 1 || !ring.lock().bytes.is_empty());
        moved
    }

    fn write_due(&mut self, all: bool) {
        let now = Instant::now();
        for pending in &mut self.pending {
            let by_time = pending.due.is_some_and(|due| due <= now);
            if pending.bytes.is_empty() || !(all || by_time || pending.bytes.len() >= FLUSH_BYTES) {
                continue;
            }
            if by_time {
                self.files.inc(filesystem::FLUSHED_BY_TIMER);
            }
            match pending.sink.put(&pending.bytes) {
                Ok(()) => {
                    self.lines.add(access_log::LINES_WRITTEN, pending.lines);
                    self.files.inc(filesystem::WRITE_COMPLETED);
                    pending.reported = false;
                }
                Err(error) => {
                    self.lines.add(access_log::LINES_DROPPED, pending.lines);
                    self.files.inc(filesystem::WRITE_FAILED);
                    if !pending.reported {
                        tracing::error!(target: "access_log", sink = ?pending.sink.target, %error, "lines are lost");
                        pending.reported = true;
                    }
                }
            }
            pending.bytes.clear();
            pending.lines = 0;
            pending.due = None;
        }
        let waiting = self.pending.iter().fold(0u64, |sum, p| sum.saturating_add(p.bytes.len() as u64));
        self.files.gauge_set(filesystem::WRITE_TOTAL_BUFFERED, waiting);
    }

    fn reopen(&mut self) {
        for pending in &self.pending {
            if let Err(error) = pending.sink.reopen() {
                self.files.inc(filesystem::REOPEN_FAILED);
                let sink = &pending.sink.target;
                tracing::error!(target: "access_log", ?sink, %error, "not reopened; the old file stays in use");
            }
        }
    }

    /// Gives large buffers back.
    fn shrink(&mut self) {
        self.spare = Vec::new();
        for pending in &mut self.pending {
            if pending.bytes.is_empty() {
                pending.bytes = Vec::new();
            }
            for ring in pending.sink.rings().iter() {
                let mut lines = ring.lock();
                if lines.bytes.is_empty() && lines.bytes.capacity() > KEEP_BYTES {
                    lines.bytes = Vec::new();
                }
            }
        }
    }

    fn next_due(&self) -> Option<Duration> {
        let due = self.pending.iter().filter_map(|p| p.due).min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }
}

impl Pending {
    fn has_lines(&self) -> bool {
        self.sink.rings().iter().any(|ring| !ring.lock().bytes.is_empty())
    }
}
