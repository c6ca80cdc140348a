//! Requests that the `h2` crate answers by itself, with 431: it never gives their streams out, but their frames pass.

use std::collections::VecDeque;

/// Streams that are remembered between their heads and their being given out.
const REMEMBERED: usize = 1024;

/// Streams whose heads have come and that were not given out.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    waiting: VecDeque<u32>,
    answered: u32,
}

impl Refusals {
    /// A head comes in on a new stream.
    pub(super) fn arrives(&mut self, stream: u32) {
        if self.waiting.len() >= REMEMBERED {
            self.waiting.pop_front();
        }
        self.waiting.push_back(stream);
    }

    /// The crate has given the stream out, or reset it.
    pub(super) fn forget(&mut self, stream: u32) -> bool {
        let at = self.waiting.iter().position(|waiting| *waiting == stream);
        at.is_some_and(|at| self.waiting.remove(at).is_some())
    }

    /// A head goes out.
    pub(super) fn leaves(&mut self, stream: u32) {
        if !self.waiting.is_empty() && self.forget(stream) {
            self.answered = self.answered.saturating_add(1);
        }
    }

    /// Was one answered that is not told yet?
    pub(super) fn take(&mut self) -> bool {
        let any = self.answered > 0;
        self.answered = self.answered.saturating_sub(1);
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered_without_being_given_out_is_told_once() {
        let mut refusals = Refusals::default();
        for stream in [1, 3, 5] {
            refusals.arrives(stream);
        }
        assert!(refusals.forget(1) && refusals.forget(5));
        refusals.leaves(1);
        assert!(!refusals.take());
        refusals.leaves(3);
        refusals.leaves(3);
        assert!(refusals.take() && !refusals.take());
        for stream in 0..5000 {
            refusals.arrives(stream);
        }
        assert_eq!(refusals.waiting.len(), REMEMBERED);
    }
}
