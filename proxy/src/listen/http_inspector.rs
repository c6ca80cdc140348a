//! `http_inspector`: which version of HTTP a connection speaks, by its first line.

use crate::base::names::is_token;
use crate::observe::metrics::{Cells, Registry};
use crate::observe::stats::inspector::http as stat;

/// Bytes after which a first line without end is taken for something else (Envoy's limit).
pub const MAX_LINE: usize = 64 * 1024;

/// How every HTTP/2 connection begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sniffed {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// Something else.
    Other,
}

impl Sniffed {
    /// As an application protocol of chain matches.
    pub fn protocol(self) -> Option<&'static str> {
        match self {
            Sniffed::Http10 => Some("http/1.0"),
            Sniffed::Http11 => Some("http/1.1"),
            Sniffed::Http2 => Some("h2c"),
            Sniffed::Other => None,
        }
    }

    /// Counts it.
    pub fn count(self) {
        thread_local! {
            static STATS: Cells = Registry::global().cells(&stat::SCHEMA, "http_inspector.");
        }
        let counter = match self {
            Sniffed::Http10 => stat::HTTP10_FOUND,
            Sniffed::Http11 => stat::HTTP11_FOUND,
            Sniffed::Http2 => stat::HTTP2_FOUND,
            Sniffed::Other => stat::HTTP_NOT_FOUND,
        };
        STATS.with(|stats| stats.inc(counter));
    }
}

/// Judges the first bytes; none while more are needed.
pub fn sniff(bytes: &[u8]) -> Option<Sniffed> {
    if starts_as(bytes, PREFACE) {
        return (bytes.len() >= PREFACE.len()).then_some(Sniffed::Http2);
    }
    // Any token is a method, as for Envoy's inspector.
    if bytes.first().is_some_and(|first| !is_token(*first)) {
        return Some(Sniffed::Other);
    }
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        return if bytes.len() >= MAX_LINE { Some(Sniffed::Other) } else { None };
    };
    let line = bytes.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line).trim_ascii();
    let Some(at) = line.iter().rposition(|b| *b == b' ') else { return Some(Sniffed::Other) };
    let (asked, version) = line.split_at(at);
    let clean = asked.contains(&b' ') && asked.iter().all(|b| *b > 0x1f && *b != 0x7f);
    Some(match version.trim_ascii_start() {
        b"HTTP/1.1" if clean => Sniffed::Http11,
        b"HTTP/1.0" if clean => Sniffed::Http10,
        _ => Sniffed::Other,
    })
}

/// Does one begin as the other?
fn starts_as(bytes: &[u8], whole: &[u8]) -> bool {
    let n = bytes.len().min(whole.len());
    bytes.get(..n) == whole.get(..n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_tell_the_version() {
        for (bytes, want) in [
            (&b""[..], None),
            (b"G", None),
            (b"PRI", None),
            (b"PROP", None),
            (b"GET HTTP/1.1\r\n", Some(Sniffed::Other)),
            (b"GET / HTTP/1.", None),
            (b"GET / HTTP/1.1\r\n", Some(Sniffed::Http11)),
            (b"GET / HTTP/1.1\n", Some(Sniffed::Http11)),
            (b"POST /a b HTTP/1.0\r\nhost", Some(Sniffed::Http10)),
            (b"GET / HTTP/3.9\r\n", Some(Sniffed::Other)),
            (b"GET /\r\n", Some(Sniffed::Other)),
            (b"GET /\x01 HTTP/1.1\r\n", Some(Sniffed::Other)),
            (b"HELO mail", None),
            (b"HELO mail\r\n", Some(Sniffed::Other)),
            (b"NOMETHOD / HTTP/1.1\r\n", Some(Sniffed::Http11)),
            (b"ehlo", None),
            (b"\x00\x00\x00\x10", Some(Sniffed::Other)),
            (b"get / HTTP/1.1\r\n", Some(Sniffed::Http11)),
            (PREFACE, Some(Sniffed::Http2)),
            (b"PRI * HTTP/1.1\r\n", Some(Sniffed::Http11)),
        ] {
            assert_eq!(sniff(bytes), want, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let mut line = b"GET /".to_vec();
        line.resize(MAX_LINE - 1, b'a');
        assert_eq!(sniff(&line), None);
        line.push(b'a');
        assert_eq!(sniff(&line), Some(Sniffed::Other));
    }
}
