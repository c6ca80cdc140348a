//! Looking at the first bytes of a connection; they stay where they are.

use crate::transport::{Input, Io};
use std::future::poll_fn;
use std::task::{Poll, ready};

/// The peer ended before anything could be told.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone;

/// Reads until `judge` has made up its mind; it must, when it has seen `limit` bytes.
pub async fn peek<T>(
    io: &mut Io,
    input: &mut Input,
    limit: usize,
    mut judge: impl FnMut(&[u8]) -> Option<T>,
) -> Result<T, Gone> {
    poll_fn(|cx| {
        loop {
            if let Some(found) = judge(input.bytes()) {
                return Poll::Ready(Ok(found));
            }
            let n = ready!(input.poll_fill(io, cx, limit)).map_err(|_| Gone)?;
            input.stash();
            if n == 0 {
                return Poll::Ready(Err(Gone));
            }
        }
    })
    .await
}
