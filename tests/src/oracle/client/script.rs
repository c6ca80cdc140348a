//! A conversation step by step, for clients and for TCP upstreams.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{PATIENCE, h1};
use crate::oracle::backend::arm_reset;
use crate::oracle::case::{Send, Step};
use crate::oracle::observe;
use crate::oracle::wire::{End, Wire, printable};

/// What was read along a script.
#[derive(Default)]
pub struct Heard {
    /// Replies that were read as HTTP/1 messages.
    pub replies: Vec<Value>,
    /// Other bytes.
    pub bytes: Vec<u8>,
    /// The end of the peer, if it was seen.
    pub end: Option<End>,
}

/// Follows a client's script and makes its observation.
pub fn observe(wire: &mut Wire, item: &Send) -> Value {
    let method = if item.req.is_empty() { "GET" } else { item.req.as_str() };
    let heard = follow(wire, &item.steps, method);
    json!({
        "replies": heard.replies,
        "bytes": observe::text(&heard.bytes),
        "end": heard.end.map_or("unread", End::word),
    })
}

/// Follows a script on a connection.
pub fn follow(wire: &mut Wire, steps: &[Step], method: &str) -> Heard {
    let mut heard = Heard::default();
    for step in steps {
        take(wire, step, method, &mut heard);
        if matches!(heard.end, Some(End::Reset)) {
            break;
        }
    }
    heard.bytes.append(&mut wire.rest);
    heard
}

fn take(wire: &mut Wire, step: &Step, method: &str, heard: &mut Heard) {
    if let Some(text) = &step.write {
        // A failed write shows as the missing answer to it.
        let _ = wire.stream.write_all(text.as_bytes());
    }
    if let Some(count) = step.write_size {
        let _ = wire.stream.write_all(&vec![b'x'; count]);
    }
    if let Some(to) = &step.reply {
        let method = if to.is_empty() { method } else { to };
        let (interim, reply) = h1::reply(wire, method);
        match reply {
            Ok(message) => heard.replies.push(observe::reply(&message, &interim)),
            Err(end) => {
                heard.replies.push(json!({ "none": end.word(), "rest": printable(&wire.rest) }));
                heard.end = Some(end).filter(|e| *e != End::Silent);
            }
        }
    }
    if let Some(mark) = &step.until {
        read_until(wire, heard, mark.as_bytes());
    }
    if step.end == Some(true) {
        read_to_end(wire, heard);
    }
    if step.echo == Some(true) {
        echo(wire, heard);
    }
    if let Some(milliseconds) = step.pause {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }
    if step.finish == Some(true) {
        let _ = wire.stream.shutdown(Shutdown::Write);
    }
    if step.reset == Some(true) {
        arm_reset(&wire.stream);
        heard.end = Some(End::Reset);
    }
}

/// Reads up to and with `mark`; what came behind it is the next step's.
fn read_until(wire: &mut Wire, heard: &mut Heard, mark: &[u8]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = heard.bytes.len();
        heard.bytes.append(&mut wire.rest);
        if let Some(end) = end_of(&heard.bytes, mark) {
            wire.rest = heard.bytes.split_off(end.max(before));
            return;
        }
        if let Some(end) = wire.more(deadline) {
            heard.end = Some(end);
            return;
        }
    }
}

fn read_to_end(wire: &mut Wire, heard: &mut Heard) {
    let deadline = Instant::now() + PATIENCE;
    heard.end = loop {
        if let Some(end) = wire.more(deadline) {
            break Some(end);
        }
    };
    heard.bytes.append(&mut wire.rest);
}

fn echo(wire: &mut Wire, heard: &mut Heard) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut bytes = std::mem::take(&mut wire.rest);
        if wire.stream.write_all(&bytes).is_err() {
            heard.end = Some(End::Reset);
            return;
        }
        heard.bytes.append(&mut bytes);
        if let Some(end) = wire.more(deadline) {
            heard.end = Some(end);
            return;
        }
    }
}

/// Where the first `mark` in `bytes` ends.
fn end_of(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    if mark.is_empty() {
        return Some(0);
    }
    bytes.windows(mark.len()).position(|w| w == mark).map(|at| at.saturating_add(mark.len()))
}
