//! HTTP/1 messages read from a socket, byte by byte as they came: no header is renamed, reordered or
//! dropped, so that what a proxy really wrote can be judged.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How a byte stream ended, or why reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer closed in order.
    Closed,
    /// The peer reset the connection.
    Reset,
    /// Nothing came within the time given.
    Silent,
    /// Bytes that are no HTTP/1 message.
    Garbage,
}

impl End {
    /// The word that observations use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Silent => "open",
            Self::Garbage => "garbage",
        }
    }
}

/// One HTTP/1 message.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Start line without its line end.
    pub start: String,
    /// Header lines in order, spelling kept.
    pub headers: Vec<(String, String)>,
    /// Body without chunk framing.
    pub body: Vec<u8>,
    /// Trailer lines in order.
    pub trailers: Vec<(String, String)>,
    /// Why the body stopped before its end; `None` when it is whole.
    pub cut: Option<End>,
}

/// What a message answers, which decides whether it has a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A request.
    Request,
    /// An answer to HEAD.
    ReplyToHead,
    /// Any other answer.
    Reply,
}

impl Message {
    /// First value of a header, whatever its spelling.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Status of a response.
    pub fn status(&self) -> Option<u16> {
        self.start.split(' ').nth(1)?.parse().ok()
    }

    /// Body as text; bytes that are not printable are escaped.
    pub fn body_text(&self) -> String {
        printable(&self.body)
    }

    /// Parses a reply that ended with its connection.
    ///
    /// # Errors
    /// There is no complete head.
    pub fn parse_closed(raw: &[u8]) -> anyhow::Result<Self> {
        let at = find_head_end(raw).ok_or_else(|| anyhow::anyhow!("no reply head in {} bytes", raw.len()))?;
        let mut message = parse_head(raw.get(..at).unwrap_or_default());
        let rest = raw.get(at..).unwrap_or_default();
        if message.header("transfer-encoding").is_some() {
            let mut chunks = Chunks::default();
            chunks.feed(rest);
            message.body = chunks.body;
        } else {
            message.body = rest.to_vec();
        }
        Ok(message)
    }
}

/// Text of bytes: as it is where printable, escaped else.
pub fn printable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) => {
            text.to_owned()
        }
        _ => bytes.escape_ascii().to_string(),
    }
}

/// A socket and what was read from it beyond the last message.
pub struct Wire {
    /// The socket.
    pub stream: TcpStream,
    /// Bytes read and not yet used.
    pub rest: Vec<u8>,
}

impl Wire {
    /// Wraps a connected socket.
    pub fn new(stream: TcpStream) -> Self {
        // Without it small writes of a script would wait for acknowledgements.
        let _ = stream.set_nodelay(true);
        Self { stream, rest: Vec::new() }
    }

    /// Reads once more; `None` when bytes came.
    pub fn more(&mut self, deadline: Instant) -> Option<End> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let mut scratch = [0_u8; 16 * 1024];
        // A refused timeout would show as a hanging case; there is nothing better to do with the error.
        let _ = self.stream.set_read_timeout(Some(left));
        match self.stream.read(&mut scratch) {
            Ok(0) => Some(End::Closed),
            Ok(n) => {
                self.rest.extend_from_slice(scratch.get(..n).unwrap_or_default());
                None
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Some(End::Silent),
            Err(e) if e.kind() == ErrorKind::Interrupted => None,
            Err(_) => Some(End::Reset),
        }
    }

    /// Reads a head. The body is not read.
    pub fn head(&mut self, deadline: Instant) -> Result<Message, End> {
        loop {
            if let Some(at) = find_head_end(&self.rest) {
                let head: Vec<u8> = self.rest.drain(..at).collect();
                return Ok(parse_head(&head));
            }
            if let Some(end) = self.more(deadline) {
                return Err(if self.rest.is_empty() || end == End::Silent { end } else { End::Garbage });
            }
        }
    }

    /// Reads the body that belongs to `message`.
    pub fn body(&mut self, message: &mut Message, role: Role, deadline: Instant) {
        let status = message.status().unwrap_or(0);
        if role == Role::ReplyToHead
            || (role == Role::Reply && (status < 200 || status == 204 || status == 304))
        {
            return;
        }
        let chunked =
            message.header("transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().contains("chunked"));
        let length = message.header("content-length").and_then(|v| v.trim().parse::<usize>().ok());
        match (chunked, length) {
            (true, _) => self.chunked(message, deadline),
            (false, Some(length)) => self.sized(message, length, deadline),
            (false, None) if role == Role::Request => {}
            (false, None) => {
                while let Some(end) = self.fill_or_end(deadline) {
                    message.cut = Some(end).filter(|e| *e != End::Closed);
                    if end != End::Garbage {
                        break;
                    }
                }
                message.body = std::mem::take(&mut self.rest);
            }
        }
    }

    /// `Some(Garbage)` stands for "more bytes came": the caller goes on until a real end.
    fn fill_or_end(&mut self, deadline: Instant) -> Option<End> {
        Some(self.more(deadline).unwrap_or(End::Garbage))
    }

    fn sized(&mut self, message: &mut Message, length: usize, deadline: Instant) {
        while self.rest.len() < length {
            if let Some(end) = self.more(deadline) {
                message.cut = Some(end);
                break;
            }
        }
        let take = length.min(self.rest.len());
        message.body = self.rest.drain(..take).collect();
    }

    fn chunked(&mut self, message: &mut Message, deadline: Instant) {
        let mut chunks = Chunks::default();
        loop {
            let used = chunks.feed(&std::mem::take(&mut self.rest));
            if let Some(left) = used {
                self.rest = left;
                break;
            }
            if let Some(end) = self.more(deadline) {
                message.cut = Some(end);
                break;
            }
        }
        message.body = chunks.body;
        message.trailers = chunks.trailers;
    }
}

/// Chunked coding, taken apart as bytes arrive.
#[derive(Default)]
struct Chunks {
    pending: Vec<u8>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
    last: bool,
}

impl Chunks {
    /// Takes bytes; the bytes behind the end once the end was seen.
    fn feed(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.pending.extend_from_slice(bytes);
        loop {
            let line_end = self.pending.windows(2).position(|w| w == b"\r\n")?;
            let line = String::from_utf8_lossy(self.pending.get(..line_end)?).into_owned();
            if self.last {
                self.pending.drain(..line_end + 2);
                match line.split_once(':') {
                    Some((name, value)) => self.trailers.push((name.to_owned(), value.trim().to_owned())),
                    None => return Some(std::mem::take(&mut self.pending)),
                }
                continue;
            }
            let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
            if size == 0 {
                self.last = true;
                self.pending.drain(..line_end + 2);
                continue;
            }
            let from = line_end + 2;
            let data = self.pending.get(from..from.checked_add(size)?)?.to_vec();
            self.pending.get(from + size..from + size + 2)?;
            self.body.extend_from_slice(&data);
            self.pending.drain(..from + size + 2);
        }
    }
}

fn find_head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)
}

fn parse_head(head: &[u8]) -> Message {
    let text = printable_latin(head);
    let mut lines = text.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    let headers = lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.to_owned(), value.trim().to_owned())
        })
        .collect();
    Message { start, headers, ..Message::default() }
}

/// Bytes above 0x7f become the characters of the same number, so that no byte is lost.
fn printable_latin(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(*b)).collect()
}
