//! From heads to bytes.

use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::codec::message::{RequestHead, ResponseHead};
use crate::failure::reason;
use crate::observe::record::Protocol;

/// How the body of a message being written is framed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Framing {
    /// As it is: by Content-Length, by the end of the connection, or none.
    #[default]
    Raw,
    /// In chunks.
    Chunked,
}

/// Bytes of a usual head and a small body: room for them is made at once.
const USUAL_HEAD: usize = 1024;

/// Writes a request head. A request without Content-Length is chunked, or bodiless when its head ends it.
pub fn request(out: &mut Vec<u8>, head: &RequestHead, upgrade: bool) -> Framing {
    out.reserve(USUAL_HEAD);
    let method = head.headers.get(Id::Method).unwrap_or(b"GET");
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(head.headers.get(Id::Path).unwrap_or(b"/"));
    out.extend_from_slice(b" HTTP/1.1\r\n");
    head.headers.write_h1(out);
    let mut framing = Framing::Raw;
    if head.headers.has(Id::ContentLength) || upgrade {
        // The length is the sender's, checked when it was read.
    } else if !head.end {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        framing = Framing::Chunked;
    } else if !matches!(method, b"GET" | b"HEAD" | b"DELETE" | b"TRACE" | b"CONNECT") {
        out.extend_from_slice(b"content-length: 0\r\n");
    }
    out.extend_from_slice(b"\r\n");
    framing
}

/// What the writer must know of the request that is answered.
#[derive(Clone, Copy, Debug)]
pub struct Answering {
    /// The client's version.
    pub protocol: Protocol,
    /// It was a HEAD.
    pub head: bool,
    /// Say `connection: close`.
    pub close: bool,
}

/// Writes a response head.
pub fn response(out: &mut Vec<u8>, head: &ResponseHead, to: Answering) -> Framing {
    out.reserve(USUAL_HEAD);
    let version: &[u8] = if to.protocol == Protocol::Http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " };
    out.extend_from_slice(version);
    out.extend_from_slice(itoa::Buffer::new().format(head.status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason(head.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    head.headers.write_h1(out);
    let mut framing = Framing::Raw;
    let bodiless = head.status < 200 || head.status == 204;
    if head.headers.has(Id::ContentLength) || bodiless {
        // Nothing to add.
    } else if head.end && !to.head {
        if head.status != 304 {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
    } else if to.protocol != Protocol::Http10 && head.status != 304 {
        // Envoy shows the coding on the answer to a HEAD too.
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        framing = if to.head { Framing::Raw } else { Framing::Chunked };
    }
    if to.protocol == Protocol::Http10 && !to.close && head.status >= 200 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    if to.close {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    framing
}

/// The line before a chunk.
pub fn chunk_head(out: &mut Vec<u8>, len: usize) {
    let mut digits = [0u8; 16];
    let mut n = len;
    let mut at = digits.len();
    loop {
        at = at.saturating_sub(1);
        let digit = b"0123456789abcdef".get(n & 15).copied().unwrap_or(b'0');
        if let Some(slot) = digits.get_mut(at) {
            *slot = digit;
        }
        n >>= 4;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

/// The end of a chunked body, with trailers.
pub fn last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderBlock>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        trailers.write_h1(out);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_heads_are_hexadecimal() {
        for len in [0usize, 1, 15, 16, 255, 256, 65536, usize::MAX] {
            let mut out = Vec::new();
            chunk_head(&mut out, len);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{len:x}\r\n"));
        }
    }

    #[test]
    fn a_post_without_a_body_says_so() {
        let mut headers = HeaderBlock::new();
        headers.append_id(Id::Method, b"POST");
        headers.append_id(Id::Path, b"/x");
        let head = RequestHead { protocol: Protocol::Http11, headers, end: true };
        let mut out = Vec::new();
        assert_eq!(request(&mut out, &head, false), Framing::Raw);
        assert_eq!(out, b"POST /x HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
    }
}
