//! HTTP/1.1: whole responses are prepared once and written from where they lie.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::TcpStream;

use super::write_some;

/// Body sizes by the first letter of the path; any other letter is answered as `s`.
const SIZES: [(u8, usize); 4] = [(b's', 100), (b'm', 16 << 10), (b'l', 1 << 20), (b'h', 10 << 20)];

/// The prepared responses, head and body, in the order of [`SIZES`].
pub(super) struct Responses(Vec<Vec<u8>>);

impl Responses {
    pub(super) fn new() -> Self {
        Self(SIZES.iter().map(|(_, size)| response(*size)).collect())
    }

    fn index(path_letter: u8) -> usize {
        SIZES.iter().position(|(letter, _)| *letter == path_letter).unwrap_or(0)
    }
}

fn response(size: usize) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 200 OK\r\nserver: be\r\ndate: Sat, 21 Nov 2026 07:00:00 GMT\r\n\
         content-type: text/plain\r\ncontent-length: {size}\r\n\r\n"
    )
    .into_bytes();
    out.resize(out.len() + size, b'x');
    out
}

/// A connection's answers that are owed, and how much of the first is written.
#[derive(Default)]
pub(super) struct Connection {
    owed: VecDeque<usize>,
    written: usize,
    /// Bytes of a request body still to be skipped.
    skip: usize,
}

impl Connection {
    pub(super) fn turn(
        &mut self,
        socket: &mut TcpStream,
        input: &mut Vec<u8>,
        responses: &Responses,
    ) -> io::Result<()> {
        let mut at = 0;
        loop {
            let skipped = self.skip.min(input.len() - at);
            at += skipped;
            self.skip -= skipped;
            if self.skip > 0 {
                break;
            }
            let Some(head) = input[at..].windows(4).position(|w| w == b"\r\n\r\n") else { break };
            let (letter, body) = request(&input[at..at + head])?;
            self.owed.push_back(Responses::index(letter));
            self.skip = body;
            at += head + 4;
        }
        input.drain(..at);
        while let Some(index) = self.owed.front() {
            let whole = &responses.0[*index];
            self.written += write_some(socket, &whole[self.written..])?;
            if self.written < whole.len() {
                break;
            }
            self.written = 0;
            self.owed.pop_front();
        }
        Ok(())
    }
}

/// The letter that chooses the body, and the length of the request's own body.
fn request(head: &[u8]) -> io::Result<(u8, usize)> {
    let path = head.iter().position(|&b| b == b'/').and_then(|slash| head.get(slash + 1)).copied();
    let mut body = 0;
    // A GET has no body here; looking only where one can be keeps the common case at one scan.
    if head.first() == Some(&b'P') {
        for line in head.split(|&b| b == b'\n') {
            let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
            if line[..colon].eq_ignore_ascii_case(b"content-length") {
                let text = String::from_utf8_lossy(&line[colon + 1..]);
                body = text.trim().parse().map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
            }
        }
    }
    Ok((path.unwrap_or(b's'), body))
}
