//! One connection's account: what its peer costs in frames, and the bytes that are held for it. A flood ends the
//! connection (limits: Envoy's `Http2ProtocolOptions`, RFC 9113 section 10.5).

use super::frames::{self, Head, kind};
use crate::base::clock::{self, Instant};
use crate::model::http::Http2Options;
use crate::observe::metrics::Cells;
use crate::observe::stats::codec_http2 as stat;
use crate::transport::scratch;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// PRIORITY frames for each stream opened (Envoy's `max_inbound_priority_frames_per_stream`).
pub const MAX_PRIORITY_PER_STREAM: u64 = 100;

/// WINDOW_UPDATE frames for each DATA frame we sent (Envoy's `max_inbound_window_update_frames_per_data_frame_sent`).
pub const MAX_WINDOW_UPDATES_PER_DATA: u64 = 10;

/// Time after which a control frame is forgiven.
const CONTROL_FORGIVEN: Duration = Duration::from_millis(10);

/// Streams after which the share of early resets is judged (Envoy's
/// `overload.premature_reset_total_stream_count`).
const RESETS_JUDGED: u64 = 500;

/// A stream reset before this age is an early reset (Envoy's `overload.premature_reset_min_stream_lifetime_seconds`).
const EARLY: Duration = Duration::from_secs(1);

/// Header bytes that a connection may hold when the worker's retention budget is used up.
pub const HEADER_SHARE: usize = 128 << 10;

/// First window of a stream, in bytes; grows when the connection proves to drain.
pub const STREAM_WINDOW: u32 = 64 << 10;

/// First window of a client's connection, in bytes; grows likewise.
pub const CONNECTION_WINDOW: u32 = 512 << 10;

/// How much a window grows at a time.
const GROWTH: u32 = 4;

/// What a peer overdid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Flood {
    /// More SETTINGS and PING than `max_outbound_control_frames`, forgiven at 100 a second.
    #[error("too many SETTINGS or PING frames (max_outbound_control_frames)")]
    Control,
    /// DATA, HEADERS or CONTINUATION without bytes.
    #[error("too many empty frames (max_consecutive_inbound_frames_with_empty_payload)")]
    Empty,
    /// PRIORITY.
    #[error("too many PRIORITY frames (max_inbound_priority_frames_per_stream)")]
    Priority,
    /// WINDOW_UPDATE.
    #[error("too many WINDOW_UPDATE frames (max_inbound_window_update_frames_per_data_frame_sent)")]
    WindowUpdate,
    /// Streams reset early.
    #[error("too many streams reset early (premature resets)")]
    Resets,
}

/// A connection's account.
#[derive(Debug)]
pub struct Account {
    max_control: u64,
    max_empty: u32,
    stats: Rc<Cells>,
    /// Streams opened.
    opened: Cell<u64>,
    empty: Cell<u32>,
    priority: Cell<u64>,
    window_updates: Cell<u64>,
    data_sent: Cell<u64>,
    control: Cell<u64>,
    control_since: Cell<Option<Instant>>,
    closed: Cell<u64>,
    early: Cell<u64>,
    flood: Cell<Option<Flood>>,
    block_since: Cell<Option<Instant>>,
    /// Streams, body bytes and header bytes held.
    streams: Cell<u32>,
    body: Cell<usize>,
    headers: Cell<usize>,
    /// Bytes that wait for the peer's window.
    kept: Cell<usize>,
    /// Bytes that went on since the windows last grew, and the windows now.
    moved: Cell<u64>,
    windows: Cell<(u32, u32)>,
    most: (u32, u32),
}

fn add(cell: &Cell<u64>) -> u64 {
    cell.set(cell.get().saturating_add(1));
    cell.get()
}

impl Account {
    /// For a new connection. `connection_window`: its first window.
    pub fn new(options: &Http2Options, connection_window: u32, stats: Rc<Cells>) -> Rc<Account> {
        let first =
            (options.stream_window.min(STREAM_WINDOW), options.connection_window.min(connection_window));
        Rc::new(Account {
            max_control: u64::from(options.max_outbound_control_frames),
            max_empty: options.max_empty_frames,
            stats,
            opened: Cell::new(0),
            empty: Cell::new(0),
            priority: Cell::new(0),
            window_updates: Cell::new(0),
            data_sent: Cell::new(0),
            control: Cell::new(0),
            control_since: Cell::new(None),
            closed: Cell::new(0),
            early: Cell::new(0),
            flood: Cell::new(None),
            block_since: Cell::new(None),
            streams: Cell::new(0),
            body: Cell::new(0),
            headers: Cell::new(0),
            kept: Cell::new(0),
            moved: Cell::new(0),
            windows: Cell::new(first),
            most: (options.stream_window, options.connection_window),
        })
    }

    /// `http2.` statistics.
    pub fn stats(&self) -> &Cells {
        &self.stats
    }

    /// A frame arrives.
    pub fn arrives(&self, frame: Head) -> Result<(), Flood> {
        match frame.kind {
            kind::DATA => {
                self.not_empty(&frame)?;
            }
            kind::HEADERS => {
                self.not_empty(&frame)?;
                self.block_since.set((!frame.has(frames::END_HEADERS)).then(clock::now));
            }
            kind::CONTINUATION => {
                self.not_empty(&frame)?;
                if frame.has(frames::END_HEADERS) {
                    self.block_since.set(None);
                }
            }
            kind::PRIORITY => {
                let most = MAX_PRIORITY_PER_STREAM.saturating_mul(self.opened.get().saturating_add(1));
                if add(&self.priority) > most {
                    return self.fail(Flood::Priority);
                }
            }
            kind::WINDOW_UPDATE => {
                let data = MAX_WINDOW_UPDATES_PER_DATA.saturating_mul(self.data_sent.get());
                let most = self.opened.get().saturating_add(data).saturating_mul(2).saturating_add(5);
                if add(&self.window_updates) > most {
                    return self.fail(Flood::WindowUpdate);
                }
            }
            kind::SETTINGS | kind::PING if !frame.has(frames::ACK) => {
                self.control()?;
            }
            kind::RST_STREAM => self.stats.inc(stat::RX_RESET),
            _ => {}
        }
        Ok(())
    }

    /// A stream is opened, by us or by the peer.
    pub fn opens(&self) {
        add(&self.opened);
    }

    /// A DATA frame is sent.
    pub fn sends_data(&self) {
        add(&self.data_sent);
    }

    /// So many control frames wait for the socket.
    pub fn control_waits(&self, frames: u64) -> Result<(), Flood> {
        if frames > self.max_control { self.fail(Flood::Control) } else { Ok(()) }
    }

    fn not_empty(&self, frame: &Head) -> Result<(), Flood> {
        let ends = frame.kind != kind::CONTINUATION && frame.has(frames::END_STREAM);
        if frame.len > 0 || ends {
            self.empty.set(0);
            return Ok(());
        }
        self.empty.set(self.empty.get().saturating_add(1));
        if self.empty.get() > self.max_empty { self.fail(Flood::Empty) } else { Ok(()) }
    }

    fn control(&self) -> Result<(), Flood> {
        let now = clock::now();
        let since = self.control_since.get().unwrap_or(now);
        let forgiven = now.saturating_duration_since(since).as_micros() / CONTROL_FORGIVEN.as_micros();
        if forgiven > 0 || self.control_since.get().is_none() {
            self.control_since.set(Some(now));
        }
        let forgiven = u64::try_from(forgiven).unwrap_or(u64::MAX);
        self.control.set(self.control.get().saturating_sub(forgiven).saturating_add(1));
        if self.control.get() > self.max_control { self.fail(Flood::Control) } else { Ok(()) }
    }

    fn fail(&self, flood: Flood) -> Result<(), Flood> {
        self.stats.inc(match flood {
            Flood::Control => stat::OUTBOUND_CONTROL_FLOOD,
            Flood::Empty => stat::INBOUND_EMPTY_FRAMES_FLOOD,
            Flood::Priority => stat::INBOUND_PRIORITY_FRAMES_FLOOD,
            Flood::WindowUpdate => stat::INBOUND_WINDOW_UPDATE_FRAMES_FLOOD,
            Flood::Resets => stat::OUTBOUND_FLOOD,
        });
        self.flood.set(Some(flood));
        Err(flood)
    }

    /// What the peer overdid.
    pub fn flood(&self) -> Option<Flood> {
        self.flood.get()
    }

    /// Since when a header block is incomplete.
    pub fn block_since(&self) -> Option<Instant> {
        self.block_since.get()
    }

    /// A stream begins, holding so many header bytes.
    pub fn stream_begins(&self, headers: usize) {
        self.streams.set(self.streams.get().saturating_add(1));
        self.headers.set(self.headers.get().saturating_add(headers));
        scratch::charge(headers);
        self.stats.gauge_add(stat::STREAMS_ACTIVE, 1);
    }

    /// A stream ends. `early`: its peer reset it, at this age.
    pub fn stream_ends(&self, headers: usize, reset_at: Option<Duration>) {
        self.stats.gauge_sub(stat::STREAMS_ACTIVE, 1);
        self.streams.set(self.streams.get().saturating_sub(1));
        self.headers.set(self.headers.get().saturating_sub(headers));
        scratch::refund(headers);
        let closed = add(&self.closed);
        if reset_at.is_some_and(|age| age < EARLY) {
            let most = closed.max(RESETS_JUDGED) / 2;
            if add(&self.early) > most {
                // Told to the connection's loop through `flood`.
                let _ = self.fail(Flood::Resets);
            }
        }
    }

    /// Streams that are served.
    pub fn streams(&self) -> u32 {
        self.streams.get()
    }

    /// May the connection hold more header bytes? Its share is granted whatever the worker holds.
    pub fn has_room_for_headers(&self) -> bool {
        self.headers.get() < HEADER_SHARE || scratch::retained() < scratch::RETENTION_BUDGET
    }

    /// Body bytes have come.
    pub fn hold_body(&self, bytes: usize) {
        self.body.set(self.body.get().saturating_add(bytes));
        scratch::charge(bytes);
    }

    /// Body bytes went on, or were dropped.
    pub fn drop_body(&self, bytes: usize) {
        let bytes = bytes.min(self.body.get());
        self.body.set(self.body.get().saturating_sub(bytes));
        self.moved.set(self.moved.get().saturating_add(bytes as u64));
        scratch::refund(bytes);
    }

    /// Bytes wait for the peer's window.
    pub fn keep(&self, bytes: usize) {
        self.kept.set(self.kept.get().saturating_add(bytes));
        scratch::charge(bytes);
    }

    /// They wait no more.
    pub fn unkeep(&self, bytes: usize) {
        self.kept.set(self.kept.get().saturating_sub(bytes));
        scratch::refund(bytes);
    }

    /// Bytes that wait for the peer's window.
    pub fn kept(&self) -> usize {
        self.kept.get()
    }

    /// Windows of a stream and of the connection.
    pub fn windows(&self) -> (u32, u32) {
        self.windows.get()
    }

    /// Larger windows, when as much as the connection's has gone on since the last growth and the worker can afford
    /// them.
    pub fn grown_windows(&self) -> Option<(u32, u32)> {
        let (stream, connection) = self.windows.get();
        if self.moved.get() < u64::from(connection).min(u64::from(CONNECTION_WINDOW))
            || self.windows.get() == self.most
        {
            return None;
        }
        self.moved.set(0);
        if scratch::retained() > scratch::RETENTION_BUDGET / 2 {
            return None;
        }
        let grown = (
            stream.saturating_mul(GROWTH).min(self.most.0),
            connection.saturating_mul(GROWTH).min(self.most.1),
        );
        self.windows.set(grown);
        Some(grown)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        scratch::refund(self.body.get());
        scratch::refund(self.headers.get());
    }
}
