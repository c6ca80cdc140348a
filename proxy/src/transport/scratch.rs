//! Read buffers shared by all connections of a worker, and the account of what the worker retains.
//!
//! A connection holds no buffer while it waits: a read borrows one from a small free list and gives it back as soon
//! as the bytes have gone on (measured: buffers held across an await cost as much as a whole HTTP library).

use std::cell::{Cell, RefCell};

/// Size of one read buffer (measured best for 1 MiB bodies and raw TCP).
pub const SCRATCH: usize = 256 << 10;

/// Read buffers kept by a worker for reuse.
const KEPT: usize = 4;

/// What a worker may retain before reads become small (DESIGN section 1).
pub const RETENTION_BUDGET: usize = 16 << 20;

/// Least bytes of a read, whatever is retained.
pub const MIN_READ: usize = 16 << 10;

thread_local! {
    static FREE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
    static RETAINED: Cell<usize> = const { Cell::new(0) };
    static ROOMS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Write buffers kept by a worker for reuse, and the largest that is.
const KEPT_ROOMS: usize = 64;
const LARGEST_ROOM: usize = 64 << 10;

/// An empty write buffer, with the room of an earlier one if there is one.
pub fn room() -> Vec<u8> {
    ROOMS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Keeps a write buffer's room for the next message of any connection.
pub fn leave_room(mut buffer: Vec<u8>) {
    buffer.clear();
    ROOMS.with_borrow_mut(|rooms| {
        if rooms.len() < KEPT_ROOMS && (1..=LARGEST_ROOM).contains(&buffer.capacity()) {
            rooms.push(buffer);
        }
    });
}

/// A read buffer of [`SCRATCH`] bytes; goes back to its worker's free list when dropped.
#[derive(Debug)]
pub struct Scratch(Box<[u8]>);

impl Scratch {
    /// From the worker's free list, or a new one.
    pub fn take() -> Scratch {
        let kept = FREE.with_borrow_mut(Vec::pop);
        Scratch(kept.unwrap_or_else(|| vec![0; SCRATCH].into_boxed_slice()))
    }

    /// The whole buffer.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// The whole buffer, to read.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        FREE.with_borrow_mut(|free| {
            if free.len() < KEPT {
                free.push(buffer);
            }
        });
    }
}

/// Charges bytes that are kept beyond the current poll to the worker.
pub fn charge(bytes: usize) {
    RETAINED.with(|r| r.set(r.get().saturating_add(bytes)));
}

/// Gives charged bytes back.
pub fn refund(bytes: usize) {
    RETAINED.with(|r| r.set(r.get().saturating_sub(bytes)));
}

/// Bytes that the worker retains.
pub fn retained() -> usize {
    RETAINED.with(Cell::get)
}

/// Most bytes of the next read: a quarter of what is left of the worker's budget, within [`MIN_READ`] and
/// [`SCRATCH`].
pub fn read_limit() -> usize {
    (RETENTION_BUDGET.saturating_sub(retained()) / 4).clamp(MIN_READ, SCRATCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_shrink_as_the_worker_retains() {
        assert_eq!(read_limit(), SCRATCH);
        charge(RETENTION_BUDGET);
        assert_eq!(read_limit(), MIN_READ);
        refund(RETENTION_BUDGET);
        assert_eq!(retained(), 0);
    }
}
