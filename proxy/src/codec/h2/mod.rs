//! HTTP/2 on both sides (RFC 9113), a codec of our own: frames are written straight into what leaves, once per
//! connection and turn of the worker.
//!
//! | file | holds |
//! | --- | --- |
//! | `frames` | frame heads, types, flags, error codes |
//! | `hpack/` | header compression |
//! | `collect` | heads and trailers that come, checked field by field |
//! | `headers` | heads and trailers that are sent |
//! | `account` | one connection's account: floods, bytes held, window growth |
//! | `streams` | the streams of a connection: what has come for each, who waits |
//! | `windows` | flow control of what comes |
//! | `core` | the state of a connection, and what it sends |
//! | `receive` | frames of streams that arrive |
//! | `settings` | frames of the connection that arrive |
//! | `outbox` | bytes that wait for the socket |
//! | `wire` | moves the bytes between socket and state |
//! | `flow` | one stream as its exchange holds it |
//! | `keepalive` | PING and the wait for its answer |
//! | `server` | a client's connection and its streams |
//! | `client` | a connection to an upstream, shared by streams |

pub mod account;
pub mod client;
mod collect;
mod core;
mod flow;
mod frames;
mod headers;
mod hpack;
mod keepalive;
mod outbox;
#[cfg(test)]
mod pieces;
mod receive;
pub mod server;
mod settings;
mod streams;
#[cfg(test)]
mod tests;
mod windows;
mod wire;

pub use collect::{BadHead, HeadLimits};

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
