//! HTTP/2 on both sides, on the `h2` crate driven directly. Nothing outside this folder knows that crate.
//!
//! | file | holds |
//! | --- | --- |
//! | `frames` | reads frame heads as bytes pass, without touching them |
//! | `meter` | the byte stream under the crate: every frame that passes is charged |
//! | `refusals` | requests that the crate answers by itself |
//! | `account` | one connection's account: floods, bytes held, window growth |
//! | `headers` | header block to `http` types and back, checked both ways |
//! | `half` | the two halves of a stream: bytes in, bytes out, within granted capacity |
//! | `keepalive` | PING and the wait for its answer |
//! | `server` | a client's connection and its streams |
//! | `client` | a connection to an upstream, shared by streams |

pub mod account;
pub mod client;
mod frames;
mod half;
mod headers;
mod keepalive;
mod meter;
mod refusals;
pub mod server;
#[cfg(test)]
mod tests;

pub use headers::{BadHead, HeadLimits};

use crate::observe::metrics::{Cells, Registry};
use crate::observe::stats::codec_http2;
use std::rc::Rc;

thread_local! {
    static STATS: Rc<Cells> = Rc::new(Registry::global().cells(&codec_http2::SCHEMA, "http2."));
}

/// The worker's cells of `http2.` (client side).
pub fn downstream_stats() -> Rc<Cells> {
    STATS.with(Rc::clone)
}
