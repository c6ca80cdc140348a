//! What there is to say about the saved state.

use super::super::dump::timestamp;
use super::super::update::Kind;
use crate::base::Name;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is on disk.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) at: SystemTime,
    pub(super) resources: u64,
    pub(super) bytes: usize,
    /// Resources that hold a secret.
    pub(super) left_out: u64,
}

#[derive(Debug, Default)]
struct Inner {
    /// Restored at the start: when it was saved, how many resources.
    restored: Option<(SystemTime, usize)>,
    /// Why the file was not used.
    ignored: Option<String>,
    written: Option<Written>,
    /// Why the last state is not on disk.
    trouble: Option<String>,
    /// Restored, and nothing else has come for them since.
    unconfirmed: [usize; Kind::ALL.len()],
}

/// For the admin API.
#[derive(Debug)]
pub(super) struct Status {
    folder: PathBuf,
    inner: Mutex<Inner>,
}

impl Status {
    pub(super) fn new(folder: PathBuf) -> Status {
        Status { folder, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn restored(&self, saved: u64, count: usize) {
        let at = UNIX_EPOCH.checked_add(Duration::from_millis(saved)).unwrap_or(UNIX_EPOCH);
        self.inner().restored = Some((at, count));
    }

    pub(super) fn ignored(&self, why: &str) {
        self.inner().ignored = Some(why.to_owned());
    }

    pub(super) fn written(&self, result: Result<Written, String>) {
        let mut inner = self.inner();
        match result {
            Ok(written) => (inner.written, inner.trouble) = (Some(written), None),
            Err(why) => inner.trouble = Some(why),
        }
    }

    pub(super) fn unconfirmed(&self, names: &BTreeSet<(Kind, Name)>) {
        let mut inner = self.inner();
        for (count, kind) in inner.unconfirmed.iter_mut().zip(Kind::ALL) {
            *count = names.iter().filter(|(of, _)| *of == kind).count();
        }
    }

    /// As the admin API shows it.
    pub(super) fn shown(&self) -> Value {
        let inner = self.inner();
        let mut out = Map::new();
        out.insert("state_dir".into(), self.folder.display().to_string().into());
        let waits = inner.unconfirmed.iter().any(|count| *count > 0);
        out.insert("in_force".into(), if waits { "last_good" } else { "control_plane" }.into());
        let counts = Kind::ALL.into_iter().zip(inner.unconfirmed).filter(|(_, count)| *count > 0);
        let counts: Map<String, Value> =
            counts.map(|(kind, count)| (kind.to_string(), count.into())).collect();
        out.insert("not_confirmed".into(), counts.into());
        if let Some((at, resources)) = &inner.restored {
            out.insert("restored".into(), json!({"saved_at": timestamp(*at), "resources": resources}));
        }
        if let Some(why) = &inner.ignored {
            out.insert("ignored".into(), why.clone().into());
        }
        if let Some(Written { at, resources, bytes, left_out }) = &inner.written {
            let saved =
                json!({"at": timestamp(*at), "resources": resources, "bytes": bytes, "left_out": left_out});
            out.insert("saved".into(), saved);
        }
        if let Some(why) = &inner.trouble {
            out.insert("not_saved".into(), why.clone().into());
        }
        out.into()
    }
}
