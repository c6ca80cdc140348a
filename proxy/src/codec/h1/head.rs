//! From bytes to heads: one `httparse` pass, then fields are indexed in a copy of the head's bytes.

use super::framing::{self, BodyLength};
use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::codec::message::{RequestHead, ResponseHead};
use crate::failure::Failure;
use crate::observe::record::Protocol;
use memchr::memmem::Finder;
use std::mem::MaybeUninit;
use std::sync::LazyLock;

/// Most fields that are parsed without a heap list.
const STACK_FIELDS: usize = 128;

/// Limits of a head, and what is tolerated in it.
#[derive(Clone, Copy, Debug)]
pub struct HeadRules {
    /// Most bytes up to the empty line.
    pub max_bytes: usize,
    /// Most fields.
    pub max_fields: usize,
    /// Serve HTTP/1.0 requests.
    pub accept_http_10: bool,
    /// With Transfer-Encoding, drop Content-Length instead of refusing.
    pub allow_chunked_length: bool,
}

/// A parsed head with the length of what follows, and how many bytes it took.
#[derive(Debug)]
pub struct Parsed<H> {
    /// The head.
    pub head: H,
    /// Framing of its body.
    pub body: BodyLength,
    /// Bytes of the head in the input.
    pub used: usize,
    /// Bytes of its fields as Envoy counts them: names, values, colons and line ends.
    pub fields: usize,
    /// May the connection be used again after this message?
    pub keep_alive: bool,
}

static END_OF_HEAD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// Where the head ends (after the empty line); `from` is where the search may start.
pub fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let from = from.saturating_sub(3);
    let at = END_OF_HEAD.find(bytes.get(from..)?)?;
    Some(from + at + 4)
}

/// Is it certain, before the head is complete, that the bytes are no HTTP/1 request?
pub fn hopeless(bytes: &[u8], rules: &HeadRules) -> Option<Failure> {
    let bare_lf = memchr::memchr_iter(b'\n', bytes).any(|at| at == 0 || bytes.get(at - 1) != Some(&b'\r'));
    if bare_lf {
        return Some(Failure::CodecError);
    }
    with_fields(rules.max_fields, |fields| {
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(bytes, fields) {
            Err(httparse::Error::TooManyHeaders) => Some(Failure::TooManyHeaders),
            // Answered when the head is complete.
            Err(httparse::Error::Version) if is_other_version(bytes) => None,
            Err(_) => Some(Failure::CodecError),
            Ok(_) => None,
        }
    })
}

/// Is the third word of the request line a version of HTTP, or so far as it has come the beginning of one?
fn is_other_version(text: &[u8]) -> bool {
    const FORM: &[u8] = b"HTTP/0.0";
    let mut lines = text.splitn(2, |b| *b == b'\r');
    let word = lines.next().unwrap_or_default().splitn(3, |b| *b == b' ').nth(2).unwrap_or_default();
    let fits = |(have, want): (&u8, &u8)| if *want == b'0' { have.is_ascii_digit() } else { have == want };
    let complete = lines.next().is_some();
    (word.len() == FORM.len() || (!complete && word.len() < FORM.len())) && word.iter().zip(FORM).all(fits)
}

fn with_fields<'a, R>(max: usize, f: impl FnOnce(&mut [MaybeUninit<httparse::Header<'a>>]) -> R) -> R {
    if max <= STACK_FIELDS {
        let mut fields = [const { MaybeUninit::uninit() }; STACK_FIELDS];
        f(fields.get_mut(..max).unwrap_or_default())
    } else {
        let mut fields = Vec::new();
        fields.resize_with(max, MaybeUninit::uninit);
        f(&mut fields)
    }
}

/// Offset of a sub-slice in its slice.
fn offset(all: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(all.as_ptr() as usize)
}

/// Indexes the fields and gives their bytes; `None` when a line does not end in CRLF or a value has a byte that no
/// field may have.
fn index(block: &mut HeaderBlock, bytes: &[u8], fields: &[httparse::Header<'_>]) -> Option<usize> {
    let end = bytes.len().checked_sub(2)?;
    let mut size = 0usize;
    for (i, field) in fields.iter().enumerate() {
        let name = offset(bytes, field.name.as_bytes());
        let value = if field.value.is_empty() { name + field.name.len() } else { offset(bytes, field.value) };
        let next = fields.get(i + 1).map_or(end, |f| offset(bytes, f.name.as_bytes()));
        if bytes.get(next.checked_sub(2)?..next)? != b"\r\n" {
            return None;
        }
        let value_end = value + field.value.len();
        let canonical = value == name + field.name.len() + 2
            && bytes.get(value - 2..value)? == b": "
            && next == value_end + 2;
        let id = Id::of(field.name.as_bytes());
        block.index(id, name..name + field.name.len(), value..value_end, canonical.then_some(next));
        size += field.name.len() + field.value.len() + ":\r\n".len();
    }
    Some(size)
}

/// Parses a complete request head (`bytes` ends with the empty line).
pub fn request(bytes: &[u8], rules: &HeadRules) -> Result<Parsed<RequestHead>, Failure> {
    let skipped = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let text = bytes.get(skipped..).unwrap_or_default();
    with_fields(rules.max_fields, |fields| {
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse_with_uninit_headers(text, fields) {
            Ok(httparse::Status::Complete(n)) if n == text.len() => {}
            Err(httparse::Error::TooManyHeaders) => return Err(Failure::TooManyHeaders),
            Err(httparse::Error::Version) if is_other_version(text) => return Err(Failure::LowVersion),
            Err(_) if is_http_09(text) => return Err(Failure::LowVersion),
            Ok(_) | Err(_) => return Err(Failure::CodecError),
        }
        request_head(text, &parsed, rules, bytes.len())
    })
}

/// A request line of method and target alone: HTTP/0.9.
fn is_http_09(text: &[u8]) -> bool {
    let line = text.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let plain =
        !method.is_empty() && method.iter().all(u8::is_ascii_uppercase) && target.first() == Some(&b'/');
    plain && words.next().is_none()
}

fn request_head(
    text: &[u8],
    parsed: &httparse::Request<'_, '_>,
    rules: &HeadRules,
    used: usize,
) -> Result<Parsed<RequestHead>, Failure> {
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Failure::CodecError);
    };
    let line_end =
        parsed.headers.first().map_or(text.len().saturating_sub(2), |f| offset(text, f.name.as_bytes()));
    let request_line = method.len() + target.len() + " HTTP/1.1\r\n".len() + 1;
    if line_end != request_line || !target.bytes().all(|b| (0x21..0x7f).contains(&b)) {
        return Err(Failure::CodecError);
    }
    let mut headers = HeaderBlock::copied(text);
    let (method_at, target_at) = (offset(text, method.as_bytes()), offset(text, target.as_bytes()));
    headers.index(Id::Method, method_at..method_at + method.len(), method_at..method_at + method.len(), None);
    headers.index(Id::Path, target_at..target_at, target_at..target_at + target.len(), None);
    let fields = index(&mut headers, text, parsed.headers).ok_or(Failure::CodecError)?;
    if headers.all_of(Id::Authority).nth(1).is_some() {
        return Err(Failure::CodecError);
    }
    let protocol = if version == 0 { Protocol::Http10 } else { Protocol::Http11 };
    if protocol == Protocol::Http10 && !rules.accept_http_10 {
        return Err(Failure::LowVersion);
    }
    let body = framing::request(&mut headers, protocol, rules.allow_chunked_length)?;
    let keep_alive = framing::keep_alive(&headers, protocol);
    let end = body == BodyLength::None;
    Ok(Parsed { head: RequestHead { protocol, headers, end }, body, used, fields, keep_alive })
}

/// Parses a complete response head (`bytes` ends with the empty line). `head_request`: it answers a HEAD.
pub fn response(bytes: &[u8], rules: &HeadRules, head_request: bool) -> Option<Parsed<ResponseHead>> {
    with_fields(rules.max_fields, |fields| {
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut parsed, bytes, fields) {
            Ok(httparse::Status::Complete(n)) if n == bytes.len() => {}
            Ok(_) | Err(_) => return None,
        }
        let (status, version) = (parsed.code?, parsed.version?);
        let first =
            parsed.headers.first().map_or(bytes.len().checked_sub(2)?, |f| offset(bytes, f.name.as_bytes()));
        if bytes.get(first.checked_sub(2)?..first)? != b"\r\n" || status < 100 {
            return None;
        }
        let mut headers = HeaderBlock::copied(bytes);
        let fields = index(&mut headers, bytes, parsed.headers)?;
        let protocol = if version == 0 { Protocol::Http10 } else { Protocol::Http11 };
        let body = framing::response(&headers, status, head_request)?;
        let keep_alive = framing::keep_alive(&headers, protocol) && body != BodyLength::UntilClose;
        let end = body == BodyLength::None;
        let head = ResponseHead { status, headers, end };
        Some(Parsed { head, body, used: bytes.len(), fields, keep_alive })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: HeadRules =
        HeadRules { max_bytes: 61440, max_fields: 100, accept_http_10: false, allow_chunked_length: false };

    fn parse(text: &str) -> Result<Parsed<RequestHead>, Failure> {
        request(text.as_bytes(), &RULES)
    }

    #[test]
    fn a_request_keeps_its_bytes() {
        let parsed = parse("GET /a?b HTTP/1.1\r\nHoSt: x\r\nA:1\r\nB:  2 \r\nC: 3\r\n\r\n").unwrap();
        let h = &parsed.head.headers;
        assert_eq!(h.get(Id::Method), Some(&b"GET"[..]));
        assert_eq!(h.get(Id::Path), Some(&b"/a?b"[..]));
        assert_eq!(h.get(Id::Authority), Some(&b"x"[..]));
        let mut out = Vec::new();
        h.write_h1(&mut out);
        assert_eq!(out, b"HoSt: x\r\nA: 1\r\nB: 2\r\nC: 3\r\n");
    }

    #[test]
    fn odd_heads_are_refused() {
        for text in [
            "GET / HTTP/1.1\r\nA: 1\nB: 2\r\n\r\n",
            "GET / HTTP/1.1\r\nA : 1\r\n\r\n",
            "GET / HTTP/1.1\r\nA: 1\r\n b\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET /\x7f HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1 \r\n\r\n",
            "GET / HTTP/1.1\n\r\n\r\n",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    /// As Envoy: a version of HTTP that is not served here is answered 426, anything else 400.
    #[test]
    fn other_versions_are_told_from_nonsense() {
        for version in ["1.0", "2.3", "2.0", "0.9", "1.2", "9.9", "0.0"] {
            let text = format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n");
            assert_eq!(parse(&text).unwrap_err(), Failure::LowVersion, "{text:?}");
            for end in 1..text.len() {
                assert_eq!(hopeless(&text.as_bytes()[..end], &RULES), None, "{:?}", &text[..end]);
            }
        }
        for version in ["HTTP/11.1", "HTTP/1", "HTTP/1.x", "http/2.0", "FOO", "HTTP/2.3 x"] {
            let text = format!("GET / {version}\r\nHost: a\r\n\r\n");
            assert_eq!(parse(&text).unwrap_err(), Failure::CodecError, "{text:?}");
            assert_eq!(hopeless(text.as_bytes(), &RULES), Some(Failure::CodecError), "{text:?}");
        }
    }

    #[test]
    fn bytes_that_cannot_become_a_request_are_known_early() {
        assert_eq!(hopeless(b"\x16\x03\x01", &RULES), Some(Failure::CodecError));
        assert_eq!(hopeless(b"GET / HTTP/1.1\nA", &RULES), Some(Failure::CodecError));
        assert_eq!(hopeless(b"GET / HTTP/1.1\r\nA", &RULES), None);
    }

    #[test]
    fn a_response_has_its_length() {
        let parsed = response(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", &RULES, false).unwrap();
        assert_eq!((parsed.head.status, parsed.body), (200, BodyLength::Exact(3)));
        assert!(parsed.keep_alive);
        let parsed = response(b"HTTP/1.1 200 OK\r\n\r\n", &RULES, false).unwrap();
        assert_eq!(parsed.body, BodyLength::UntilClose);
        assert!(response(b"HTTP/1.1 200 OK\ncontent-length: 3\r\n\r\n", &RULES, false).is_none());
    }
}
