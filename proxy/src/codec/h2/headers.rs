//! Header block to `http` types and back. What comes in is checked byte by byte before it may go to HTTP/1; what goes
//! out has lower-case names and nothing that belongs to one connection (RFC 9113 section 8.2).
//!
//! Inside, an extended CONNECT (RFC 8441) looks like an HTTP/1 upgrade, as in Envoy.

use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::codec::h1::framing::is_upgrade;
use crate::codec::message::{RequestHead, ResponseHead};
use crate::observe::record::Protocol;
use bytes::Bytes;
use h2::ext::Protocol as Extended;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri};
use std::sync::LazyLock;

/// Limits of a header block (Envoy's `max_request_headers_kb`, `max_headers_count`).
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Most bytes of names and values.
    pub bytes: usize,
    /// Most fields, pseudo-headers and cookie crumbs included.
    pub fields: usize,
}

impl HeadLimits {
    /// What the crate is told: twice as much with its 32 bytes for each field. What is over that it answers with 431
    /// without giving it out; it ends the connection at four times that.
    pub fn told(&self) -> u32 {
        let own = self.bytes.saturating_add(self.fields.saturating_mul(32)).saturating_mul(2);
        u32::try_from(own).unwrap_or(u32::MAX)
    }
}

/// Why a head is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadHead {
    /// More fields than `max_headers_count`.
    TooManyFields,
    /// More bytes than the limit.
    TooLarge,
    /// More bytes than the crate holds for us: it has answered 431.
    FarTooLarge,
    /// Not an HTTP message.
    Malformed,
}

impl BadHead {
    /// `%RESPONSE_CODE_DETAILS%`, in Envoy's words.
    pub const fn details(self) -> &'static str {
        match self {
            BadHead::TooManyFields => "http2.too_many_headers",
            BadHead::TooLarge | BadHead::FarTooLarge => "http2.header_list_size_too_large",
            BadHead::Malformed => "http2.violation.of.messaging.rule",
        }
    }
}

/// `HeaderName`s of the well-known names that are no pseudo-headers.
static NAMES: LazyLock<Vec<Option<HeaderName>>> = LazyLock::new(|| {
    let name = |id: &Id| HeaderName::from_lowercase(id.as_str().as_bytes()).ok();
    std::iter::once(None).chain(Id::ALL.iter().map(name)).collect()
});

/// Belongs to one connection (RFC 9113 section 8.2.2).
fn hop(id: Id) -> bool {
    use Id::{Connection, Http2Settings, KeepAlive, ProxyConnection, TransferEncoding, Upgrade};
    matches!(id, Connection | KeepAlive | ProxyConnection | TransferEncoding | Upgrade | Http2Settings)
}

fn check(map: &HeaderMap, pseudo: (usize, usize), limits: &HeadLimits) -> Result<usize, BadHead> {
    if map.len().saturating_add(pseudo.0) > limits.fields {
        return Err(BadHead::TooManyFields);
    }
    // The one byte that the crate's names hold although it is none of a token (RFC 9110 section 5.6.2).
    if map.keys().any(|name| memchr::memchr(b'"', name.as_str().as_bytes()).is_some()) {
        return Err(BadHead::Malformed);
    }
    let bytes: usize = map.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let bytes = bytes.saturating_add(pseudo.1);
    if bytes > limits.bytes { Err(BadHead::TooLarge) } else { Ok(bytes) }
}

/// Room for each field's separators in a block.
const SEPARATORS: usize = 4;

fn block(bytes: usize, fields: usize) -> HeaderBlock {
    HeaderBlock::over(Vec::with_capacity(
        bytes.saturating_add(fields.saturating_mul(SEPARATORS)).saturating_add(256),
    ))
}

/// A field that stands for what no type has checked.
fn take(block: &mut HeaderBlock, name: &[u8], value: &[u8]) -> Result<(), BadHead> {
    if block.append_received(name, value) { Ok(()) } else { Err(BadHead::Malformed) }
}

/// A checked field: its types hold what is a token and a field value, no more (RFC 9110 sections 5.1 and 5.5).
fn copy(block: &mut HeaderBlock, name: &HeaderName, value: &HeaderValue) {
    block.append_valid(name.as_str().as_bytes(), value.as_bytes());
}

/// One Content-Length of digits at most (its sum is checked by the crate).
fn length_is_good(map: &HeaderMap) -> bool {
    let mut all = map.get_all(http::header::CONTENT_LENGTH).iter();
    match (all.next(), all.next()) {
        (None, _) => true,
        (Some(v), None) => !v.is_empty() && v.len() <= 18 && v.as_bytes().iter().all(u8::is_ascii_digit),
        (Some(_), Some(_)) => false,
    }
}

/// A received request head.
pub fn request(request: Request<()>, end: bool, limits: &HeadLimits) -> Result<RequestHead, BadHead> {
    let (parts, ()) = request.into_parts();
    let uri = parts.uri;
    let (authority, path) =
        (uri.authority().map(Authority::as_str), uri.path_and_query().map(PathAndQuery::as_str));
    let length = parts.method.as_str().len() + authority.map_or(0, str::len) + path.map_or(0, str::len) + 40;
    let bytes = check(&parts.headers, (4, length), limits)?;
    if !length_is_good(&parts.headers) {
        return Err(BadHead::Malformed);
    }
    let mut headers = block(bytes, parts.headers.len() + 6);
    let upgrade = parts.extensions.get::<Extended>();
    let method = if upgrade.is_some() { "GET" } else { parts.method.as_str() };
    // Their types hold no control character.
    headers.append_id(Id::Method, method.as_bytes());
    if let Some(path) = path {
        headers.append_id(Id::Path, path.as_bytes());
    }
    let mut hosts = parts.headers.get_all(http::header::HOST).iter();
    match (authority, hosts.next()) {
        (Some(authority), _) => headers.append_id(Id::Authority, authority.as_bytes()),
        (None, Some(host)) => headers.append_id(Id::Authority, host.as_bytes()),
        (None, None) => {}
    }
    if hosts.next().is_some() {
        return Err(BadHead::Malformed);
    }
    headers.append_id(Id::Scheme, uri.scheme_str().unwrap_or("http").as_bytes());
    if let Some(protocol) = upgrade {
        take(&mut headers, b"connection", b"upgrade")?;
        take(&mut headers, b"upgrade", protocol.as_str().as_bytes())?;
    }
    fields(&mut headers, &parts.headers);
    // What follows an upgrade is no body: it waits for the answer.
    let end = end || upgrade.is_some();
    Ok(RequestHead { protocol: Protocol::Http2, headers, end })
}

/// Takes fields over, without Host and with the crumbs of a cookie joined (RFC 9113 section 8.2.3).
fn fields(headers: &mut HeaderBlock, map: &HeaderMap) {
    let mut joined = false;
    for (name, value) in map {
        if *name == http::header::HOST {
            continue;
        }
        if *name == http::header::COOKIE {
            if !joined {
                joined = true;
                cookies(headers, map);
            }
            continue;
        }
        copy(headers, name, value);
    }
}

fn cookies(headers: &mut HeaderBlock, map: &HeaderMap) {
    let mut crumbs = map.get_all(http::header::COOKIE).iter();
    let Some(first) = crumbs.next() else { return };
    let mut value = std::borrow::Cow::Borrowed(first.as_bytes());
    for crumb in crumbs {
        let all = value.to_mut();
        all.extend_from_slice(b"; ");
        all.extend_from_slice(crumb.as_bytes());
    }
    headers.append_valid(b"cookie", &value);
}

/// A received response head. `upgrade`: it answers an extended CONNECT.
pub fn response(
    response: Response<()>,
    end: bool,
    upgrade: Option<&[u8]>,
    limits: &HeadLimits,
) -> Result<ResponseHead, BadHead> {
    let (parts, ()) = response.into_parts();
    let bytes = check(&parts.headers, (1, 10), limits)?;
    if !length_is_good(&parts.headers) {
        return Err(BadHead::Malformed);
    }
    let mut headers = block(bytes, parts.headers.len());
    let mut status = parts.status.as_u16();
    if let (Some(protocol), 200) = (upgrade, status) {
        status = 101;
        take(&mut headers, b"connection", b"upgrade")?;
        take(&mut headers, b"upgrade", protocol)?;
    } else if status == 101 {
        // RFC 9113 section 8.6: HTTP/2 has no 101.
        return Err(BadHead::Malformed);
    }
    for (name, value) in &parts.headers {
        copy(&mut headers, name, value);
    }
    Ok(ResponseHead { status, headers, end })
}

/// Received trailers, without what would frame or route an HTTP/1 message.
pub fn trailers(map: &HeaderMap, limits: &HeadLimits) -> Result<HeaderBlock, BadHead> {
    let bytes = check(map, (0, 0), limits)?;
    let mut headers = block(bytes, map.len());
    for (name, value) in map {
        let id = Id::of(name.as_str().as_bytes());
        if hop(id) || matches!(id, Id::Authority | Id::ContentLength | Id::Te | Id::Trailer) {
            continue;
        }
        copy(&mut headers, name, value);
    }
    Ok(headers)
}

/// Values in one allocation, handed out as shared slices of it.
struct Values {
    all: Bytes,
    at: usize,
    /// How many there are.
    count: usize,
}

impl Values {
    /// The values of the fields that are `wanted`, in the block's order.
    fn of(headers: &HeaderBlock, wanted: impl Fn(Id, &[u8]) -> bool) -> Values {
        let each = || headers.iter().filter(|(id, name, _)| wanted(*id, name));
        let count = each().count();
        let size = each().map(|(_, _, value)| value.len()).sum();
        let mut all = Vec::with_capacity(size);
        each().for_each(|(_, _, value)| all.extend_from_slice(value));
        Values { all: all.into(), at: 0, count }
    }

    fn next(&mut self, len: usize) -> Option<Bytes> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.all.len())?;
        let part = self.all.slice(self.at..end);
        self.at = end;
        Some(part)
    }

    fn map(&self) -> Option<HeaderMap> {
        HeaderMap::try_with_capacity(self.count).ok()
    }

    /// Adds the field whose value is the next one.
    fn append(&mut self, map: &mut HeaderMap, (id, name, value): (Id, &[u8], &[u8])) -> Option<()> {
        let mut value = HeaderValue::from_maybe_shared(self.next(value.len())?).ok()?;
        value.set_sensitive(is_unique(id, name));
        map.try_append(name_of(id, name)?, value).ok().map(|_| ())
    }
}

fn name_of(id: Id, name: &[u8]) -> Option<HeaderName> {
    match NAMES.get(id as usize) {
        Some(Some(known)) => Some(known.clone()),
        // Host of a response, or any name that is not in the table.
        _ => HeaderName::from_bytes(name).ok(),
    }
}

/// Is the value another one in every request? As a literal that is never indexed (RFC 7541 section 6.2.3) it does not
/// push the others out of the peer's table (measured: half of what it costs to encode a head).
fn is_unique(id: Id, name: &[u8]) -> bool {
    match id {
        Id::RequestId | Id::Traceparent => true,
        Id::Other => name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"x-b3-")),
        _ => false,
    }
}

fn map_of(headers: &HeaderBlock, wanted: impl Fn(Id, &[u8]) -> bool + Copy) -> Option<HeaderMap> {
    let mut values = Values::of(headers, wanted);
    let mut map = values.map()?;
    for field in headers.iter().filter(|(id, name, _)| wanted(*id, name)) {
        values.append(&mut map, field)?;
    }
    Some(map)
}

/// A request head to send; none when it cannot be one. An upgrade goes as extended CONNECT.
pub fn to_request(head: &RequestHead) -> Option<Request<()>> {
    let headers = &head.headers;
    let upgrade = if is_upgrade(headers) { Some(headers.get_str(Id::Upgrade)?) } else { None };
    let mut request = Request::new(());
    let in_uri = |id| matches!(id, Id::Path | Id::Authority);
    // The one value that TE may have (RFC 9113 section 8.2.2).
    let te = headers.all_of(Id::Te).all(|te| te.eq_ignore_ascii_case(b"trailers"));
    let wanted = |id: Id, _: &[u8]| in_uri(id) || !id.is_pseudo() && !hop(id) && (te || id != Id::Te);
    let mut values = Values::of(headers, wanted);
    let mut map = values.map()?;
    let mut uri = http::uri::Parts::default();
    for (id, name, value) in headers.iter().filter(|(id, name, _)| wanted(*id, name)) {
        if !in_uri(id) {
            values.append(&mut map, (id, name, value))?;
            continue;
        }
        let shared = values.next(value.len())?;
        if id == Id::Authority {
            uri.authority = Some(Authority::from_maybe_shared(shared).ok()?);
        } else {
            uri.path_and_query = Some(match PathAndQuery::from_maybe_shared(shared) {
                Ok(path) => path,
                Err(_) => PathAndQuery::try_from(escaped(value)).ok()?,
            });
        }
    }
    let https = headers.get(Id::Scheme).is_some_and(|s| s.eq_ignore_ascii_case(b"https"));
    uri.scheme = Some(if https { Scheme::HTTPS } else { Scheme::HTTP });
    let method = headers.get(Id::Method)?;
    *request.method_mut() =
        if upgrade.is_some() { Method::CONNECT } else { Method::from_bytes(method).ok()? };
    if let Some(protocol) = upgrade {
        request.extensions_mut().insert(Extended::from(protocol));
    }
    *request.headers_mut() = map;
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    *request.version_mut() = http::Version::HTTP_2;
    Some(request)
}

/// A path whose bytes the `http` crate does not take (`<`, `>`, a backtick, ...) in percent-encoding.
fn escaped(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len().saturating_mul(2));
    for byte in path {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A response head to send; none when it cannot be one.
pub fn to_response(head: &ResponseHead) -> Option<Response<()>> {
    let mut response = Response::new(());
    // The answer to an extended CONNECT is 200.
    let status = if head.status == 101 { 200 } else { head.status };
    *response.status_mut() = StatusCode::from_u16(status).ok()?;
    *response.version_mut() = http::Version::HTTP_2;
    *response.headers_mut() =
        map_of(&head.headers, |id, name| !hop(id) && (!id.is_pseudo() || name.first() != Some(&b':')))?;
    Some(response)
}

/// Trailers to send; none when they cannot be sent.
pub fn to_trailers(trailers: &HeaderBlock) -> Option<HeaderMap> {
    map_of(trailers, |id, _| !hop(id) && !id.is_pseudo())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 60 << 10, fields: 100 };

    fn get(fields: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().uri("http://a.example/x?y");
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn a_request_becomes_a_block_and_goes_back() {
        let head = request(
            get(&[("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("host", "other")]),
            true,
            &LIMITS,
        )
        .unwrap();
        let h = &head.headers;
        assert_eq!(h.get(Id::Method), Some(&b"GET"[..]));
        assert_eq!(h.get(Id::Path), Some(&b"/x?y"[..]));
        assert_eq!(h.all_of(Id::Authority).collect::<Vec<_>>(), [b"a.example"]);
        assert_eq!(h.get(Id::Cookie), Some(&b"a=1; b=2"[..]));
        let mut lines = Vec::new();
        h.write_h1(&mut lines);
        assert_eq!(String::from_utf8(lines).unwrap(), "host: a.example\r\ncookie: a=1; b=2\r\nx-a: 1\r\n");
        let back = to_request(&head).unwrap();
        assert_eq!(back.uri(), "http://a.example/x?y");
        assert_eq!(back.headers().len(), 2);
    }

    #[test]
    fn a_quote_is_no_part_of_a_name() {
        // As the h2 crate makes names; other ways refuse the quote.
        let name = HeaderName::from_lowercase(b"\"x\"").unwrap();
        let mut quoted = get(&[]);
        quoted.headers_mut().insert(name, HeaderValue::from_static("v"));
        assert_eq!(request(quoted, true, &LIMITS).unwrap_err(), BadHead::Malformed);
    }

    #[test]
    fn limits_are_kept() {
        let many: Vec<_> = (0..100).map(|i| (format!("x-{i}"), "v".to_owned())).collect();
        let many: Vec<_> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(request(get(&many), true, &LIMITS).unwrap_err(), BadHead::TooManyFields);
        let large = "a".repeat(60 << 10);
        assert_eq!(request(get(&[("x", &large)]), true, &LIMITS).unwrap_err(), BadHead::TooLarge);
        assert_eq!(request(get(&[("x", &large[..59 << 10])]), true, &LIMITS).map(|_| ()), Ok(()));
        for twice in [
            &[("content-length", "5"), ("content-length", "5")][..],
            &[("content-length", "+5")],
            &[("host", "a"), ("host", "a")],
        ] {
            assert_eq!(request(get(twice), false, &LIMITS).unwrap_err(), BadHead::Malformed, "{twice:?}");
        }
    }

    fn block_of(fields: &[(&str, &str)]) -> HeaderBlock {
        let mut block = HeaderBlock::new();
        for (name, value) in fields {
            assert!(block.append_received(name.as_bytes(), value.as_bytes()));
        }
        block
    }

    #[test]
    fn what_belongs_to_a_connection_stays() {
        let headers = block_of(&[
            ("Connection", "close"),
            ("X-Upper", "1"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Length", "0"),
        ]);
        let response = to_response(&ResponseHead { status: 200, headers, end: true }).unwrap();
        let names: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-upper", "content-length"]);
        let mut map = HeaderMap::new();
        for name in ["content-length", "host", "grpc-status", "te"] {
            map.insert(HeaderName::from_static(name), HeaderValue::from_static("0"));
        }
        let trailers = trailers(&map, &LIMITS).unwrap();
        assert_eq!(trailers.iter().map(|(_, n, _)| n).collect::<Vec<_>>(), [b"grpc-status"]);
    }

    #[test]
    fn upgrades_are_extended_connects() {
        let headers = block_of(&[
            (":method", "GET"),
            (":path", "/ws<"),
            ("Host", "a"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
        ]);
        let head = RequestHead { protocol: Protocol::Http11, headers, end: false };
        let sent = to_request(&head).unwrap();
        assert_eq!((sent.method(), sent.uri().path()), (&Method::CONNECT, "/ws%3C"));
        let got = request(sent, false, &LIMITS).unwrap();
        assert!(is_upgrade(&got.headers) && got.headers.get(Id::Method) == Some(b"GET") && got.end);
        let answer = response(Response::new(()), false, Some(b"websocket"), &LIMITS).unwrap();
        assert_eq!(answer.status, 101);
        assert_eq!(to_response(&answer).unwrap().status(), 200);
    }
}
