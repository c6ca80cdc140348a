//! The request body kept for another attempt or a mirror, within a named limit, charged to the worker.

use crate::base::headers::HeaderBlock;
use crate::transport::scratch;

/// Most body bytes kept for a replay that no policy asked for (hardening, pain 1).
pub const REPLAY_LIMIT: usize = 64 << 10;

/// A kept request body.
#[derive(Debug, Default)]
pub struct Replay {
    bytes: Vec<u8>,
    limit: usize,
    active: bool,
    /// The whole body is in it.
    complete: bool,
    /// Trailers at its end.
    pub trailers: Option<HeaderBlock>,
}

impl Replay {
    /// Keeps up to `limit` bytes; nothing when 0.
    pub fn new(limit: usize) -> Replay {
        Replay { bytes: Vec::new(), limit, active: limit > 0, complete: false, trailers: None }
    }

    /// A request without a body can always be sent again.
    pub fn bodiless() -> Replay {
        Replay { bytes: Vec::new(), limit: 0, active: true, complete: true, trailers: None }
    }

    /// More of the body; past the limit everything is forgotten. True when that just happened.
    pub fn keep(&mut self, bytes: &[u8], end: bool) -> bool {
        if !self.active {
            return false;
        }
        if self.bytes.len().saturating_add(bytes.len()) > self.limit {
            self.forget();
            return true;
        }
        scratch::charge(bytes.len());
        self.bytes.extend_from_slice(bytes);
        self.complete |= end;
        false
    }

    /// More of the body that nobody takes yet: it stays, but what is past the limit is not sent again.
    pub fn hold(&mut self, bytes: &[u8], end: bool) {
        scratch::charge(bytes.len());
        self.bytes.extend_from_slice(bytes);
        self.complete |= end;
        self.active &= self.bytes.len() <= self.limit;
    }

    /// Nothing will be sent again. What is not handed over yet, all past `fed`, stays until it is.
    pub fn seal(&mut self, fed: usize) {
        let fed = fed.min(self.bytes.len());
        scratch::refund(fed);
        self.bytes.drain(..fed);
        self.active = false;
    }

    /// Nothing will be sent again, and nothing is needed any more.
    pub fn forget(&mut self) {
        scratch::refund(self.bytes.len());
        self.bytes = Vec::new();
        self.active = false;
        self.complete = false;
    }

    /// Can the request be sent again as far as it was read?
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Is the whole body here?
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Most bytes that are kept.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that can still be kept.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.bytes.len())
    }

    /// What was kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        scratch::refund(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_kept() {
        let mut replay = Replay::new(4);
        assert!(!replay.keep(b"abc", false) && replay.is_active());
        assert!(replay.keep(b"de", true));
        assert!(!replay.is_active() && !replay.is_complete() && replay.bytes().is_empty());
        assert_eq!(scratch::retained(), 0);
    }

    #[test]
    fn a_sealed_one_keeps_what_is_not_handed_over() {
        let mut replay = Replay::new(8);
        replay.hold(b"abcde", true);
        assert!(replay.is_active() && replay.room() == 3);
        replay.seal(2);
        assert!(!replay.is_active() && replay.is_complete());
        assert_eq!((replay.bytes(), scratch::retained()), (&b"cde"[..], 3));
        assert!(!replay.keep(b"f", false));
        replay.forget();
        assert_eq!(scratch::retained(), 0);
        let mut long = Replay::new(2);
        long.hold(b"abc", false);
        assert!(!long.is_active() && long.bytes() == b"abc");
    }
}
