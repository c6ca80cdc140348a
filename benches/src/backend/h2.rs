//! HTTP/2 by prior knowledge: headers are not decoded, every request gets the listener's body, flow control is kept.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::TcpStream;

use super::{MAX_UNSENT, write_some};

const PREFACE: usize = 24;
const HEAD: usize = 9;
/// SETTINGS_MAX_FRAME_SIZE that every peer accepts (RFC 9113 4.2).
const FRAME: usize = 16_384;
/// SETTINGS: 1024 concurrent streams, 1 MiB stream windows.
const SETTINGS: [u8; 21] = [0, 0, 12, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 4, 0, 0, 4, 0, 16, 0, 0];
const SETTINGS_ACK: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];

struct Answer {
    stream: u32,
    left: usize,
}

/// State of one connection.
pub(super) struct Connection {
    greeted: bool,
    body: usize,
    head: Vec<u8>,
    filler: Vec<u8>,
    out: Vec<u8>,
    written: usize,
    window: i64,
    initial: i64,
    /// Windows of streams that were changed away from the initial value or used.
    streams: HashMap<u32, i64>,
    owed: VecDeque<Answer>,
}

impl Connection {
    pub(super) fn new(body: usize) -> Self {
        Self {
            greeted: false,
            body,
            head: header_block(body),
            filler: vec![b'x'; FRAME],
            out: Vec::new(),
            written: 0,
            window: 65_535,
            initial: 65_535,
            streams: HashMap::new(),
            owed: VecDeque::new(),
        }
    }

    pub(super) fn turn(&mut self, socket: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<()> {
        let mut at = 0;
        if !self.greeted {
            if input.len() < PREFACE {
                return Ok(());
            }
            at = PREFACE;
            self.greeted = true;
            self.out.extend_from_slice(&SETTINGS);
        }
        while let Some(head) = input.get(at..at + HEAD) {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
            let Some(payload) = input.get(at + HEAD..at + HEAD + length) else { break };
            self.frame(kind, flags, stream, payload)?;
            at += HEAD + length;
        }
        input.drain(..at);
        loop {
            self.answer();
            if self.out.is_empty() {
                return Ok(());
            }
            let taken = write_some(socket, &self.out[self.written..])?;
            self.written += taken;
            if self.written < self.out.len() {
                return Ok(());
            }
            self.out.clear();
            self.written = 0;
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        match kind {
            0 => {
                if !payload.is_empty() {
                    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
                    for id in [0, stream] {
                        self.out.extend_from_slice(&[0, 0, 4, 8, 0]);
                        self.out.extend_from_slice(&u32::to_be_bytes(id));
                        self.out.extend_from_slice(&length);
                    }
                }
                if flags & 1 != 0 {
                    self.owe(stream);
                }
            }
            1 if flags & 1 != 0 => self.owe(stream),
            3 => {
                self.owed.retain(|answer| answer.stream != stream);
                self.streams.remove(&stream);
            }
            4 if flags & 1 == 0 => {
                for setting in payload.chunks_exact(6) {
                    if setting[..2] == [0, 4] {
                        let value =
                            i64::from(u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]));
                        for window in self.streams.values_mut() {
                            *window += value - self.initial;
                        }
                        self.initial = value;
                    }
                }
                self.out.extend_from_slice(&SETTINGS_ACK);
            }
            6 if flags & 1 == 0 => {
                self.out.extend_from_slice(&[0, 0, 8, 6, 1, 0, 0, 0, 0]);
                self.out.extend_from_slice(payload);
            }
            7 => return Err(ErrorKind::ConnectionAborted.into()),
            8 => {
                let Ok(bytes) = <[u8; 4]>::try_from(payload) else {
                    return Err(ErrorKind::InvalidData.into());
                };
                let more = i64::from(u32::from_be_bytes(bytes));
                if stream == 0 {
                    self.window += more;
                } else {
                    *self.streams.entry(stream).or_insert(self.initial) += more;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn owe(&mut self, stream: u32) {
        self.streams.entry(stream).or_insert(self.initial);
        self.owed.push_back(Answer { stream, left: usize::MAX });
    }

    /// Appends frames of owed answers, in turn, as far as the windows and [`MAX_UNSENT`] allow.
    fn answer(&mut self) {
        let mut blocked = 0;
        while blocked < self.owed.len() && self.out.len() < MAX_UNSENT {
            let Some(mut answer) = self.owed.pop_front() else { return };
            let id = answer.stream.to_be_bytes();
            if answer.left == usize::MAX {
                let length = u8::try_from(self.head.len()).unwrap_or(u8::MAX);
                self.out.extend_from_slice(&[0, 0, length, 1, 4]);
                self.out.extend_from_slice(&id);
                self.out.extend_from_slice(&self.head);
                answer.left = self.body;
            }
            let own = self.streams.get(&answer.stream).copied().unwrap_or(self.initial);
            let room = usize::try_from(own.min(self.window).max(0)).unwrap_or(0);
            let now = answer.left.min(FRAME).min(room);
            if now == 0 && answer.left > 0 {
                blocked += 1;
                self.owed.push_back(answer);
                continue;
            }
            blocked = 0;
            let last = now == answer.left;
            let length = u32::try_from(now).unwrap_or(0).to_be_bytes();
            self.out.extend_from_slice(&[length[1], length[2], length[3], 0, u8::from(last)]);
            self.out.extend_from_slice(&id);
            self.out.extend_from_slice(&self.filler[..now]);
            let used = i64::try_from(now).unwrap_or(0);
            self.window -= used;
            if last {
                self.streams.remove(&answer.stream);
            } else {
                *self.streams.entry(answer.stream).or_insert(self.initial) -= used;
                answer.left -= now;
                self.owed.push_back(answer);
            }
        }
    }
}

/// `:status: 200`, server, date, content-type, content-length; literals without indexing, names from the static table.
fn header_block(body: usize) -> Vec<u8> {
    let mut out = vec![0x88];
    let size = body.to_string();
    for (index, value) in
        [(54u8, "be"), (33, "Sat, 21 Nov 2026 07:00:00 GMT"), (31, "text/plain"), (28, size.as_str())]
    {
        out.extend_from_slice(&[0x0f, index - 15, u8::try_from(value.len()).unwrap_or(0)]);
        out.extend_from_slice(value.as_bytes());
    }
    out
}
