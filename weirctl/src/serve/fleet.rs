//! What every proxy was sent and what it said to it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use weir_proto::envoy::config::core::v3::Node;

use super::log::Log;
use super::topic::Said;

/// Longest text of a refusal that is kept, in bytes.
const LONGEST_REFUSAL: usize = 4096;

/// One type on one stream.
#[derive(Debug, Clone, Default)]
pub struct Kind {
    /// Resources that there are of those that the proxy asks for.
    pub resources: usize,
    /// It came with all of them, from an earlier stream.
    pub resumed: bool,
    /// Responses sent, and how many of them were taken and refused.
    pub sent: u64,
    /// See above.
    pub acks: u64,
    /// See above.
    pub nacks: u64,
    /// What the last answer refused, and why; none after one that took all.
    pub refusal: Option<String>,
    /// Is an answer outstanding, and since when?
    pub waiting: Option<SystemTime>,
}

impl Kind {
    /// The word of `istioctl proxy-status` for it.
    pub fn word(&self) -> &'static str {
        match (self.sent, &self.refusal, self.waiting) {
            (0, ..) if !self.resumed => "NOT SENT",
            (_, Some(_), _) => "ERROR",
            (_, None, Some(_)) => "STALE",
            (_, None, None) => "SYNCED",
        }
    }
}

/// A stream of a proxy.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Node id.
    pub id: String,
    /// `weir`, `envoy`, ...
    pub agent: String,
    /// Address that it comes from.
    pub peer: String,
    /// Dialect.
    pub dialect: &'static str,
    /// What is left out for it: extensions that it lacks, and what is not made yet.
    pub left_out: Vec<&'static str>,
    /// Since when it is there.
    pub since: SystemTime,
    /// Number of the folder's state that it is to have.
    pub state: u64,
    /// By the type's full name.
    pub kinds: BTreeMap<String, Kind>,
}

/// All streams.
#[derive(Debug, Default, Clone)]
pub struct Fleet {
    streams: Arc<Mutex<BTreeMap<u64, Entry>>>,
    counts: Arc<Counts>,
    log: Arc<Log>,
}

/// Counters since the start, those of streams that have ended included.
#[derive(Debug, Default)]
pub struct Counts {
    /// Streams opened.
    pub streams: AtomicU64,
    /// Streams that we refused, at their beginning or later.
    pub refused: AtomicU64,
    /// Responses.
    pub pushes: AtomicU64,
    /// Resources in them.
    pub resources: AtomicU64,
    /// Answers that took all.
    pub acks: AtomicU64,
    /// Answers that refused something.
    pub nacks: AtomicU64,
}

/// A stream's line in the table; it goes with the stream.
#[derive(Debug)]
pub struct Line {
    fleet: Fleet,
    number: u64,
    node: String,
    state: u64,
}

impl Fleet {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every stream now.
    pub fn streams(&self) -> Vec<Entry> {
        self.all().values().cloned().collect()
    }

    /// The counters.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// A stream is refused: its peer's address, its node's id if it has one, and why.
    pub fn refuses(&self, peer: &str, node: &str, why: &str) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        self.log.stream_refused(peer, node, why);
    }

    /// A proxy opens a stream.
    pub fn joins(&self, node: &Node, peer: String, dialect: &'static str) -> Line {
        let number = self.counts.streams.fetch_add(1, Ordering::Relaxed);
        let entry = Entry {
            id: node.id.clone(),
            agent: super::snapshot::agent(node).to_owned(),
            peer,
            dialect,
            left_out: super::snapshot::left_out(node),
            since: SystemTime::now(),
            state: 0,
            kinds: BTreeMap::new(),
        };
        self.all().insert(number, entry);
        Line { fleet: self.clone(), number, node: node.id.clone(), state: 0 }
    }
}

impl Line {
    fn change(&self, kind: &str, change: impl FnOnce(&mut Kind)) {
        if let Some(entry) = self.fleet.all().get_mut(&self.number) {
            change(entry.kinds.entry(kind.to_owned()).or_default());
        }
    }

    /// Number of the folder's state that the stream is at; 0: of none.
    pub fn state(&self) -> u64 {
        self.state
    }

    /// The stream goes on to another state.
    pub fn moves_to(&mut self, state: u64) {
        self.state = state;
        if let Some(entry) = self.fleet.all().get_mut(&self.number) {
            entry.state = state;
        }
    }

    /// A response with so many resources was sent, of so many that it asks for.
    pub fn sent(&self, kind: &str, count: usize, wanted: usize) {
        let counts = &self.fleet.counts;
        counts.pushes.fetch_add(1, Ordering::Relaxed);
        counts.resources.fetch_add(count as u64, Ordering::Relaxed);
        self.change(kind, |kind| {
            kind.sent = kind.sent.saturating_add(1);
            kind.resources = wanted;
            kind.waiting = Some(SystemTime::now());
        });
    }

    /// The so many that the proxy asks for it has already.
    pub fn holds(&self, kind: &str, wanted: usize) {
        self.change(kind, |kind| {
            kind.resources = wanted;
            kind.resumed |= kind.sent == 0;
        });
    }

    /// The proxy said something to what it was sent.
    pub fn said(&self, kind: &str, said: &Said) {
        let counts = &self.fleet.counts;
        match said {
            Said::Nothing => {}
            Said::Ack => {
                counts.acks.fetch_add(1, Ordering::Relaxed);
                self.fleet.log.taken(&self.node, kind);
                self.change(kind, |kind| {
                    kind.acks = kind.acks.saturating_add(1);
                    (kind.refusal, kind.waiting) = (None, None);
                });
            }
            Said::Nack(why) => {
                counts.nacks.fetch_add(1, Ordering::Relaxed);
                self.fleet.log.refused(&self.node, kind, why);
                let end = why.floor_char_boundary(LONGEST_REFUSAL);
                let why = why.get(..end).unwrap_or_default().to_owned();
                self.change(kind, |kind| {
                    kind.nacks = kind.nacks.saturating_add(1);
                    (kind.refusal, kind.waiting) = (Some(why), None);
                });
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.fleet.all().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_told_about_while_it_lasts() {
        let fleet = Fleet::default();
        let line = fleet.joins(&Node { id: "sidecar".to_owned(), ..Node::default() }, String::new(), "delta");
        let word = || fleet.streams()[0].kinds.get("k").cloned().unwrap_or_default();
        assert_eq!(word().word(), "NOT SENT");
        line.holds("k", 5);
        assert_eq!((word().word(), word().resources), ("SYNCED", 5));
        line.sent("k", 2, 5);
        assert_eq!((word().word(), word().resources), ("STALE", 5));
        line.said("k", &Said::Nack("é".repeat(LONGEST_REFUSAL)));
        assert_eq!(word().word(), "ERROR");
        assert_eq!(word().refusal.map(|text| text.len()), Some(LONGEST_REFUSAL));
        line.sent("k", 1, 5);
        line.said("k", &Said::Nothing);
        line.said("k", &Said::Ack);
        assert_eq!((word().word(), word().acks, word().nacks), ("SYNCED", 1, 1));
        drop(line);
        assert!(fleet.streams().is_empty());
        assert_eq!(fleet.counts().resources.load(Ordering::Relaxed), 3);
    }
}
