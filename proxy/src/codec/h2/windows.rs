//! Flow control (RFC 9113 section 5.2): what the peer may send, and when it is granted more.

use super::core::Core;
use super::frames::{MAX_WINDOW, kind, setting};

/// What the peer may send (RFC 9113 section 5.2).
#[derive(Debug)]
pub(super) struct Window {
    size: u32,
    left: i64,
    /// Taken, and not given back yet.
    owed: u32,
}

impl Window {
    pub(super) fn new(size: u32) -> Window {
        Window { size, left: i64::from(size), owed: 0 }
    }

    /// Bytes come; false when they are more than was granted.
    pub(super) fn takes(&mut self, bytes: usize) -> bool {
        self.left = self.left.saturating_sub(bytes as i64);
        self.left >= 0
    }

    /// Bytes have gone on; what is to be granted again, once that is worth a frame.
    pub(super) fn gives(&mut self, bytes: usize) -> Option<u32> {
        self.owed = self.owed.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.owed < self.size / 2 || self.owed == 0 {
            return None;
        }
        let granted = std::mem::take(&mut self.owed);
        self.left = self.left.saturating_add(i64::from(granted));
        Some(granted)
    }

    /// Grows to a size; by how much.
    pub(super) fn grow(&mut self, size: u32) -> u32 {
        let more = size.saturating_sub(self.size);
        self.size = self.size.max(size);
        self.left = self.left.saturating_add(i64::from(more));
        more
    }
}

/// Adds to a window of the peer; false when it is too large (RFC 9113 section 6.9.1).
pub(super) fn widen(window: &mut i64, by: i64) -> bool {
    *window = window.saturating_add(by);
    *window <= i64::from(MAX_WINDOW)
}

impl Core {
    /// Bytes of a stream's body have gone on: its window and the connection's are given back.
    pub(super) fn release(&mut self, key: usize, bytes: usize) {
        self.account.drop_body(bytes);
        self.release_connection(bytes);
        let Some(entry) = self.streams.entry(key) else { return };
        if entry.inbox.ended || entry.broken.is_some() {
            return;
        }
        let stream = entry.id;
        if let Some(granted) = entry.window.gives(bytes) {
            self.control(kind::WINDOW_UPDATE, 0, stream, &granted.to_be_bytes());
        }
    }

    /// Gives the connection's window back.
    pub(super) fn release_connection(&mut self, bytes: usize) {
        if let Some(granted) = self.window.gives(bytes)
            && !self.over
        {
            self.control(kind::WINDOW_UPDATE, 0, 0, &granted.to_be_bytes());
        }
    }

    pub(super) fn grow_connection(&mut self, size: u32) {
        let more = self.window.grow(size);
        if more > 0 {
            self.control(kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
    }

    /// Grows the windows when the connection proves to drain.
    pub(super) fn grow_windows(&mut self) {
        let Some((stream, connection)) = self.account.grown_windows() else { return };
        self.grow_connection(connection);
        // The peer widens its streams' windows when this arrives; we take it as soon as it does.
        self.settings(&[(setting::INITIAL_WINDOW_SIZE, stream)]);
        for entry in self.streams.each() {
            entry.window.grow(stream);
        }
    }
}
