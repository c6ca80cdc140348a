//! The streams of a connection: what has come for each, its windows, and who waits for it.

use super::frames::Reason;
use super::windows::Window;
use crate::base::headers::HeaderBlock;
use crate::codec::message::ResponseHead;
use foldhash::fast::FixedState;
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::task::{Context, Waker};

/// Parts of a body are joined up to this size: many small frames cost no more than a large one.
const PART: usize = 16 << 10;

/// Why a stream failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// RST_STREAM by the peer, with its code.
    Reset(Reason),
    /// GOAWAY below our stream: the peer did not look at it.
    Unprocessed,
    /// The peer broke the protocol; it has been told.
    Protocol,
    /// We reset it.
    Ours,
    /// The connection ended.
    Ended,
}

/// What has come on a stream and was not taken yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) interim: VecDeque<ResponseHead>,
    pub(super) head: Option<ResponseHead>,
    body: VecDeque<Vec<u8>>,
    pub(super) held: usize,
    pub(super) trailers: Option<HeaderBlock>,
    /// The peer has ended its half.
    pub(super) ended: bool,
}

impl Inbox {
    /// Adds bytes of the body.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.held = self.held.saturating_add(bytes.len());
        match self.body.back_mut() {
            Some(last) if last.len().saturating_add(bytes.len()) <= PART => last.extend_from_slice(bytes),
            _ => self.body.push_back(bytes.to_vec()),
        }
    }

    /// The next part of the body.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        let part = self.body.pop_front()?;
        self.held = self.held.saturating_sub(part.len());
        Some(part)
    }

    /// Has all come, and been taken?
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.body.is_empty() && self.trailers.is_none() && self.head.is_none()
    }
}

/// A stream.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: u32,
    pub(super) inbox: Inbox,
    /// What the peer may send.
    pub(super) window: Window,
    /// What is left of the length that the head gave.
    pub(super) length: Option<u64>,
    /// Has the head come (on a client: the final one)?
    pub(super) has_head: bool,
    /// The response has no body, whatever its head says: the request was HEAD.
    pub(super) bodiless: bool,
    /// What we may send.
    pub(super) send_window: i64,
    /// We have ended our half.
    pub(super) sent_all: bool,
    pub(super) broken: Option<Broken>,
    /// Does it count among the streams in use?
    pub(super) open: bool,
    /// Where our HEADERS stand in what the connection sends.
    pub(super) place: u64,
    /// Is it in the connection's list of those that wait?
    pub(super) listed: bool,
    waker: Option<Waker>,
    waits: bool,
}

impl Entry {
    pub(super) fn new(id: u32, window: u32, send_window: u32) -> Entry {
        Entry {
            id,
            inbox: Inbox::default(),
            window: Window::new(window),
            length: None,
            has_head: false,
            bodiless: false,
            send_window: i64::from(send_window),
            sent_all: false,
            broken: None,
            open: true,
            place: u64::MAX,
            listed: false,
            waker: None,
            waits: false,
        }
    }

    /// The task is woken at the next event of the stream.
    pub(super) fn wait(&mut self, cx: &Context<'_>) {
        self.waits = true;
        match &mut self.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            waker => *waker = Some(cx.waker().clone()),
        }
    }

    pub(super) fn wake(&mut self) {
        if std::mem::take(&mut self.waits)
            && let Some(waker) = &self.waker
        {
            waker.wake_by_ref();
        }
    }

    /// Have both halves ended, or was it reset?
    pub(super) fn is_over(&self) -> bool {
        self.broken.is_some() || self.inbox.ended && self.sent_all
    }

    /// It ends for a reason; the first one stands.
    pub(super) fn fail(&mut self, broken: Broken) {
        if self.broken.is_none() {
            self.broken = Some(broken);
        }
        self.wake();
    }
}

/// Streams that the peer has ended are remembered, to tell what comes late from what must not come.
const REMEMBERED: usize = 64;

/// The streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    all: Slab<Entry>,
    by_id: HashMap<u32, usize, FixedState>,
    /// Streams in use: those that count against a limit.
    pub(super) open: u32,
    ended: VecDeque<u32>,
    /// Numbers that were passed over: above the first, below the second.
    skipped: VecDeque<(u32, u32)>,
}

impl Streams {
    /// Adds a stream in use.
    pub(super) fn add(&mut self, entry: Entry) -> usize {
        let id = entry.id;
        let key = self.all.insert(entry);
        self.by_id.insert(id, key);
        self.open = self.open.saturating_add(1);
        key
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn entry(&mut self, key: usize) -> Option<&mut Entry> {
        self.all.get_mut(key)
    }

    pub(super) fn find(&mut self, id: u32) -> Option<(usize, &mut Entry)> {
        let key = *self.by_id.get(&id)?;
        Some((key, self.all.get_mut(key)?))
    }

    pub(super) fn each(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.all.iter_mut().map(|(_, entry)| entry)
    }

    /// Counts a stream out whose halves have both ended.
    pub(super) fn settle(&mut self, key: usize) {
        if let Some(entry) = self.all.get_mut(key)
            && entry.open
            && entry.is_over()
        {
            entry.open = false;
            self.open = self.open.saturating_sub(1);
        }
    }

    /// Takes a stream away that nobody holds any more.
    pub(super) fn remove(&mut self, key: usize) -> Option<Entry> {
        let entry = self.all.try_remove(key)?;
        self.by_id.remove(&entry.id);
        if entry.open {
            self.open = self.open.saturating_sub(1);
        }
        if entry.inbox.ended || matches!(entry.broken, Some(Broken::Reset(_))) {
            if self.ended.len() >= REMEMBERED {
                self.ended.pop_front();
            }
            self.ended.push_back(entry.id);
        }
        Some(entry)
    }

    /// A stream is opened behind the last one: the numbers between them are closed (RFC 9113 section 5.1.1).
    pub(super) fn skip(&mut self, last: u32, next: u32) {
        if next.saturating_sub(last) > 2 {
            if self.skipped.len() >= REMEMBERED {
                self.skipped.pop_front();
            }
            self.skipped.push_back((last, next));
        }
    }

    /// Is it remembered that this number was passed over?
    pub(super) fn was_skipped(&self, id: u32) -> bool {
        self.skipped.iter().any(|(above, below)| (above.saturating_add(1)..*below).contains(&id))
    }

    /// Is it remembered that the peer has ended this stream?
    pub(super) fn was_ended(&self, id: u32) -> bool {
        self.ended.contains(&id)
    }
}
