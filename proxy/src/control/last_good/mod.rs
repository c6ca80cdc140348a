//! The last good state on disk (`--state-dir`): what control planes have sent and was accepted serves at the next
//! start, at once and without them. A file that cannot be used is told, counted and ignored; it never keeps the
//! process from starting.
//!
//! | part | what it does |
//! | --- | --- |
//! | `image` | the file's format |
//! | `disk` | the folder and its file, private and replaced as a whole |
//! | `writer` | the thread that writes |
//! | `status` | what the admin API shows |

mod disk;
mod image;
mod status;
mod writer;

use super::pending::Pending;
use super::state::State;
use super::store::Table;
use super::update::{Kind, Outcome, Resource, Update, Verdict};
use crate::base::Name;
use crate::observe::metrics::{Cells, Registry};
use crate::observe::stats::last_good as stat;
use bytes::Bytes;
use disk::Folder;
use image::{Key, Record, Records};
use serde_json::Value;
use status::Status;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, channel};
use std::time::{Duration, Instant};
use writer::Order;

/// A state is saved when nothing has changed for so long,
const QUIET: Duration = Duration::from_secs(1);
/// and after so long although it changes all the time.
const UNREST: Duration = Duration::from_secs(10);

/// How long the end of the process waits for the last state to be written.
const LAST: Duration = Duration::from_secs(5);
/// Time between two attempts to hand it over.
const AGAIN: Duration = Duration::from_millis(10);

/// What the command line says of it.
#[derive(Debug, Clone)]
pub struct StateDir {
    /// The folder (`--state-dir`, `WEIR_STATE_DIR`).
    pub path: PathBuf,
    /// Hash of the bootstrap as it was written.
    pub bootstrap: u64,
    /// The process is ready with it, before a control plane has answered (`--last-good-counts-as-ready`).
    pub ready: bool,
}

/// What `control` keeps of it.
pub(super) struct LastGood {
    states: SyncSender<Order>,
    status: Arc<Status>,
    cells: Cells,
    /// The first and the last change that is not saved.
    dirty: Option<(Instant, Instant)>,
    /// Restored, and nothing else has come for them since.
    unconfirmed: BTreeSet<(Kind, Name)>,
    ready: bool,
}

/// Shows the state to others.
#[derive(Clone)]
pub(super) struct Shown(Arc<Status>);

impl Shown {
    pub(super) fn json(&self) -> Value {
        self.0.shown()
    }
}

impl LastGood {
    /// Opens the folder and reads its file.
    fn open(at: StateDir, node: &str) -> Result<(LastGood, Option<Update>), String> {
        let folder = Folder::open(&at.path)?;
        let key = Key { node: node.into(), bootstrap: at.bootstrap };
        let status = Arc::new(Status::new(at.path));
        let cells = Registry::global().cells(&stat::SCHEMA, "weir.last_good.");
        let update = match update(&folder, &key) {
            Ok(None) => None,
            Ok(Some((saved, count, update))) => {
                status.restored(saved, count);
                cells.inc(stat::RESTORED);
                Some(update)
            }
            Err(why) => {
                tracing::warn!("the last good state in {} is ignored: {why}", folder.file().display());
                status.ignored(&why);
                cells.inc(stat::IGNORED);
                None
            }
        };
        let states = writer::start(folder, key, status.clone()).map_err(|error| error.to_string())?;
        let unconfirmed = BTreeSet::new();
        Ok((LastGood { states, status, cells, dirty: None, unconfirmed, ready: at.ready }, update))
    }

    /// When the state is to be saved.
    pub(super) fn due(&self) -> Option<Instant> {
        let (first, last) = self.dirty?;
        Some(last.checked_add(QUIET)?.min(first.checked_add(UNREST)?))
    }

    fn confirm(&mut self, verdicts: &[Verdict]) {
        if self.unconfirmed.is_empty() {
            return;
        }
        for verdict in verdicts.iter().filter(|verdict| verdict.result.is_ok()) {
            self.unconfirmed.remove(&(verdict.kind, verdict.name.clone()));
        }
        self.count();
    }

    fn count(&self) {
        self.cells.gauge_set(stat::IN_FORCE, u64::try_from(self.unconfirmed.len()).unwrap_or(u64::MAX));
        self.status.unconfirmed(&self.unconfirmed);
    }

    pub(super) fn shown(&self) -> Shown {
        Shown(self.status.clone())
    }
}

/// What the file holds: when it was saved, how many resources, and them.
fn update(folder: &Folder, key: &Key) -> Result<Option<(u64, usize, Update)>, String> {
    let Some(bytes) = folder.read()?.map(Bytes::from) else { return Ok(None) };
    let (saved, records) = image::read(&bytes, key).map_err(|fault| fault.to_string())?;
    let count = records.len();
    let mut update = Update { later: true, ..Update::default() };
    let mut last = Name::from("");
    for Record { kind, name, version, body } in records {
        // Many have the same.
        if *last != *version {
            last = version.into();
        }
        let version = Some(last.clone());
        update.of_mut(kind).added.push(Resource { version, ..Resource::new(name, bytes.slice_ref(body)) });
    }
    Ok(Some((saved, count, update)))
}

/// Adds what is to be saved of a type, in order: an equal state has equal bytes. What has a TTL is meant to go with
/// its server.
fn note<T>(records: &mut Records, kind: Kind, table: &Table<T>) -> bool {
    let mut lasting = table.sorted().into_iter().filter(|(_, kept)| !kept.fixed && !kept.ttl);
    lasting.all(|(name, kept)| records.push(Record { kind, name, version: &kept.version, body: &kept.body }))
}

fn names<T>(table: &Table<T>) -> Vec<Name> {
    table.kept.iter().filter(|(_, kept)| !kept.fixed).map(|(name, _)| name.clone()).collect()
}

impl State {
    /// Brings back what was saved, and saves from now on. Without the folder the process goes on without.
    pub(super) fn keep_in(&mut self, at: StateDir) {
        let (mut last_good, update) = match LastGood::open(at, &self.settings.node.id) {
            Ok(opened) => opened,
            Err(why) => return tracing::error!("--state-dir: {why}; the last good state is not kept"),
        };
        if let Some(update) = update {
            let verdicts = self.apply(update);
            for Verdict { kind, name, result } in verdicts {
                match result {
                    Ok(_) => drop(last_good.unconfirmed.insert((kind, name))),
                    Err(errors) => {
                        let why: Vec<String> = errors.iter().map(ToString::to_string).collect();
                        tracing::warn!(%kind, %name, "of the last good state, refused: {}", why.join(", "));
                    }
                }
            }
            last_good.count();
            self.started_with(last_good.ready);
            tracing::info!(resources = last_good.unconfirmed.len(), "the last good state is in force");
        }
        self.last_good = Some(last_good);
    }

    /// The last good state is in force. `ready`: the process waits for no control plane to be ready; else for as
    /// long as that takes, for it serves meanwhile.
    fn started_with(&mut self, ready: bool) {
        for (kind, until) in &mut self.initial {
            *until = None;
            if ready {
                self.stats.counts_as_sent(*kind);
            }
        }
        if ready {
            self.initial.clear();
        }
        self.finish(&mut Pending { waits: true, ..Pending::default() }, Instant::now());
    }

    /// A source has sent something.
    pub(super) fn note_sent(&mut self, verdicts: &[Verdict]) {
        let Some(last_good) = &mut self.last_good else { return };
        last_good.confirm(verdicts);
        let changed = |v: &Verdict| !matches!(v.result, Ok(Outcome::Unchanged) | Err(_));
        if verdicts.iter().any(changed) {
            let now = Instant::now();
            let first = last_good.dirty.map_or(now, |(first, _)| first);
            last_good.dirty = Some((first, now));
        }
    }

    /// Hands the state to the thread that writes, when its time has come.
    pub(super) fn save(&mut self, now: Instant) {
        if self.last_good.as_ref().and_then(LastGood::due).is_none_or(|due| due > now) {
            return;
        }
        let records = self.records();
        let Some(last_good) = &mut self.last_good else { return };
        last_good.dirty = None;
        let Some(records) = records else {
            last_good.cells.inc(stat::WRITE_FAILED);
            return tracing::warn!("the last good state cannot be saved: a resource is longer than 4 GiB");
        };
        match last_good.states.try_send(Order { records: Some(records), done: None }) {
            Ok(()) => {}
            // Two are under way: the next one is tried later.
            Err(TrySendError::Full(_)) => last_good.dirty = Some((now, now)),
            Err(TrySendError::Disconnected(_)) => {
                last_good.cells.inc(stat::WRITE_FAILED);
                tracing::error!("the last good state is not saved any more: its thread has ended");
            }
        }
    }

    /// The state as it is to be saved; none: a part of it is too long for the file.
    fn records(&self) -> Option<Records> {
        let mut records = Records::default();
        let fits = note(&mut records, Kind::Cluster, &self.clusters)
            && note(&mut records, Kind::Endpoints, &self.endpoints)
            && note(&mut records, Kind::Listener, &self.listeners)
            && note(&mut records, Kind::Route, &self.routes)
            && note(&mut records, Kind::Extension, &self.extensions)
            && note(&mut records, Kind::Runtime, &self.runtimes);
        fits.then_some(records)
    }

    /// The process ends: what has changed is written now, and what is being written is waited for, for a while.
    pub(super) fn save_last(&mut self) {
        let dirty = self.last_good.as_ref().is_some_and(|last_good| last_good.dirty.is_some());
        let records = dirty.then(|| self.records()).flatten();
        let Some(last_good) = &mut self.last_good else { return };
        let (done, written) = channel();
        let mut order = Order { records, done: Some(done) };
        let end = Instant::now() + LAST;
        while let Err(TrySendError::Full(back)) = last_good.states.try_send(order) {
            if Instant::now() >= end {
                break;
            }
            order = back;
            std::thread::sleep(AGAIN);
        }
        if written.recv_timeout(end.saturating_duration_since(Instant::now())).is_err() {
            tracing::warn!("the last good state could not be written before the end of the process");
        }
    }

    /// Names of what was restored, by type: a control plane that answers says which of them are gone.
    pub(super) fn restored(&self) -> Vec<(Kind, Vec<Name>)> {
        let known = self.last_good.as_ref().is_some_and(|last_good| !last_good.unconfirmed.is_empty());
        if !known {
            return Vec::new();
        }
        vec![
            (Kind::Cluster, names(&self.clusters)),
            (Kind::Endpoints, names(&self.endpoints)),
            (Kind::Listener, names(&self.listeners)),
            (Kind::Route, names(&self.routes)),
            (Kind::Extension, names(&self.extensions)),
            (Kind::Runtime, names(&self.runtimes)),
        ]
    }
}
