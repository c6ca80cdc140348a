//! Heads and trailers that are sent: lower-case names, and nothing that belongs to one connection (RFC 9113 section 8).
//!
//! Inside, an extended CONNECT (RFC 8441) looks like an HTTP/1 upgrade, as in Envoy.

use super::collect::is_method;
use super::hpack::{Encoder, Worth};
use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::codec::h1::framing::is_upgrade;
use crate::codec::message::{RequestHead, ResponseHead};
use smallvec::SmallVec;

/// Belongs to one connection (RFC 9113 section 8.2.2).
pub(super) fn hop(id: Id) -> bool {
    use Id::{Connection, Http2Settings, KeepAlive, ProxyConnection, TransferEncoding, Upgrade};
    matches!(id, Connection | KeepAlive | ProxyConnection | TransferEncoding | Upgrade | Http2Settings)
}

/// What an answer to an extended CONNECT stands for: the 101 of the upgrade.
pub(super) fn answer_upgrade(head: &mut ResponseHead, protocol: &[u8]) {
    if head.status == 200 {
        head.status = 101;
        head.headers.append_id(Id::Connection, b"upgrade");
        head.headers.append_id(Id::Upgrade, protocol);
    }
}

/// Is a field worth an entry of the peer's table?
fn worth(id: Id, name: &[u8], value: &[u8]) -> Worth {
    /// A cookie shorter than this could be guessed by what it costs.
    const GUESSABLE: usize = 20;
    match id {
        Id::RequestId | Id::Traceparent | Id::SetCookie | Id::ContentLength => Worth::Nothing,
        Id::Authorization => Worth::Never,
        Id::Cookie if value.len() < GUESSABLE => Worth::Never,
        Id::Other if name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"x-b3-")) => {
            Worth::Nothing
        }
        _ => Worth::Keeping,
    }
}

fn field(encoder: &mut Encoder, out: &mut Vec<u8>, (id, name, value): (Id, &[u8], &[u8])) {
    let worth = worth(id, name, value);
    if id != Id::Other && id != Id::Authority {
        return encoder.field(out, id, id.as_str().as_bytes(), value, worth);
    }
    if name.iter().any(u8::is_ascii_uppercase) {
        let lower: SmallVec<[u8; 64]> = name.iter().map(u8::to_ascii_lowercase).collect();
        return encoder.field(out, Id::Other, &lower, value, worth);
    }
    encoder.field(out, Id::Other, name, value, worth);
}

/// Can a request head be sent? One needs a method, and a path unless it is CONNECT.
pub(super) fn is_sendable(head: &RequestHead) -> bool {
    let method = head.headers.get(Id::Method);
    method.is_some_and(is_method) && (head.headers.has(Id::Path) || method == Some(b"CONNECT"))
}

/// Encodes a request head. An upgrade goes as extended CONNECT.
pub(super) fn encode_request(headers: &HeaderBlock, encoder: &mut Encoder, out: &mut Vec<u8>) {
    let upgrade = if is_upgrade(headers) { headers.get(Id::Upgrade) } else { None };
    let method = if upgrade.is_some() { b"CONNECT" } else { headers.get(Id::Method).unwrap_or_default() };
    encoder.begin(out);
    match method {
        b"GET" => encoder.indexed(out, 2),
        b"POST" => encoder.indexed(out, 3),
        _ => encoder.field(out, Id::Method, b":method", method, Worth::Keeping),
    }
    if let Some(authority) = headers.get(Id::Authority) {
        encoder.field(out, Id::Authority, b":authority", authority, Worth::Keeping);
    }
    if upgrade.is_some() || method != b"CONNECT" {
        let https = headers.get(Id::Scheme).is_some_and(|s| s.eq_ignore_ascii_case(b"https"));
        encoder.indexed(out, if https { 7 } else { 6 });
        match headers.get(Id::Path).unwrap_or(b"/") {
            b"/" => encoder.indexed(out, 4),
            path => encoder.field(out, Id::Path, b":path", path, Worth::Keeping),
        }
    }
    if let Some(protocol) = upgrade {
        encoder.field(out, Id::Protocol, b":protocol", protocol, Worth::Keeping);
    }
    // The one value that TE may have (RFC 9113 section 8.2.2).
    let te = headers.all_of(Id::Te).all(|te| te.eq_ignore_ascii_case(b"trailers"));
    for (id, name, value) in headers.iter() {
        if !id.is_pseudo() && !hop(id) && (te || id != Id::Te) {
            field(encoder, out, (id, name, value));
        }
    }
}

/// Encodes a response head.
pub(super) fn encode_response(head: &ResponseHead, encoder: &mut Encoder, out: &mut Vec<u8>) {
    encoder.begin(out);
    match head.status {
        // The answer to an extended CONNECT is 200.
        200 | 101 => encoder.indexed(out, 8),
        204 => encoder.indexed(out, 9),
        304 => encoder.indexed(out, 11),
        404 => encoder.indexed(out, 13),
        status => {
            let mut text = itoa::Buffer::new();
            encoder.field(out, Id::Status, b":status", text.format(status).as_bytes(), Worth::Keeping);
        }
    }
    for (id, name, value) in head.headers.iter() {
        if !hop(id) && (!id.is_pseudo() || name.first() != Some(&b':')) {
            field(encoder, out, (id, name, value));
        }
    }
}

/// Encodes trailers.
pub(super) fn encode_trailers(trailers: &HeaderBlock, encoder: &mut Encoder, out: &mut Vec<u8>) {
    encoder.begin(out);
    for (id, name, value) in trailers.iter() {
        if !hop(id) && !id.is_pseudo() {
            field(encoder, out, (id, name, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::collect::{BadHead, Collector, HeadLimits, Part};
    use super::super::hpack::Decoder;
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 60 << 10, fields: 100 };
    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/x?y")];

    /// Fields as a peer would send them.
    fn collected(part: Part, fields: &[(&str, &str)]) -> Collector {
        let mut encoder = Encoder::new();
        let mut bytes = Vec::new();
        for (name, value) in fields {
            encoder.field(&mut bytes, Id::Other, name.as_bytes(), value.as_bytes(), Worth::Nothing);
        }
        sent(part, &bytes)
    }

    fn sent(part: Part, bytes: &[u8]) -> Collector {
        let mut collector = Collector::new(part, LIMITS);
        Decoder::new(4096).decode(bytes, |field| collector.take(&field)).unwrap();
        collector
    }

    fn request(fields: &[(&str, &str)]) -> Result<RequestHead, BadHead> {
        collected(Part::Request, fields).request(true, true).map(|(head, _)| head)
    }

    fn names(headers: &HeaderBlock) -> Vec<String> {
        headers.iter().map(|(_, name, _)| String::from_utf8(name.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_request_becomes_a_block_and_goes_back() {
        let more = [("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("host", "other")];
        let head = request(&[&GET[..], &more].concat()).unwrap();
        let h = &head.headers;
        assert_eq!(h.get(Id::Path), Some(&b"/x?y"[..]));
        assert_eq!(h.all_of(Id::Authority).collect::<Vec<_>>(), [b"a.example"]);
        let mut lines = Vec::new();
        h.write_h1(&mut lines);
        assert_eq!(String::from_utf8(lines).unwrap(), "host: a.example\r\ncookie: a=1; b=2\r\nx-a: 1\r\n");
        let mut bytes = Vec::new();
        encode_request(h, &mut Encoder::new(), &mut bytes);
        let (back, _) = sent(Part::Request, &bytes).request(true, false).unwrap();
        assert_eq!(names(&back.headers), [":method", ":authority", ":scheme", ":path", "cookie", "x-a"]);
        let host = [GET[0], GET[1], GET[3], ("host", "b")];
        assert_eq!(request(&host).unwrap().headers.get(Id::Authority), Some(&b"b"[..]));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let with = |name, value| request(&[&GET[..], &[(name, value)]].concat());
        for (name, value) in [
            ("X-Upper", "1"),
            ("\"x\"", "1"),
            ("x y", "1"),
            ("x", "a\nb"),
            ("te", "gzip"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "x"),
            ("content-length", "+5"),
            ("content-length", "5"),
            (":path", "/again"),
            (":status", "200"),
            (":unknown", "1"),
            (":protocol", "websocket"),
        ] {
            assert_eq!(with(name, value).unwrap_err(), BadHead::Malformed, "{name}: {value}");
        }
        assert!(with("te", "trailers").is_ok() && with("content-length", "0").is_ok());
        for (at, (name, _)) in GET.iter().enumerate() {
            let mut fields = GET.to_vec();
            fields.remove(at);
            // The authority alone may be missing.
            assert_eq!(request(&fields).is_ok(), *name == ":authority", "without {name}");
        }
        for (at, value) in [(3, "x"), (3, ""), (3, "*"), (3, "/a b"), (0, "G T"), (1, "1x"), (2, "a/b")] {
            let mut fields = GET;
            fields[at].1 = value;
            assert_eq!(request(&fields).unwrap_err(), BadHead::Malformed, "{value}");
        }
        let twice = [("host", "a"), ("host", "a")];
        assert_eq!(request(&[&GET[..], &twice].concat()).unwrap_err(), BadHead::Malformed);
        let lengths = [("content-length", "0"), ("content-length", "0")];
        assert_eq!(request(&[&GET[..], &lengths].concat()).unwrap_err(), BadHead::Malformed);
        let late = [GET[0], GET[1], ("x", "1"), GET[2], GET[3]];
        assert_eq!(request(&late).unwrap_err(), BadHead::Malformed);
    }

    #[test]
    fn limits_are_kept() {
        let many: Vec<_> = (0..97).map(|i| format!("x-{i}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), "v")).collect();
        assert_eq!(request(&[&GET[..], &many].concat()).unwrap_err(), BadHead::TooManyFields);
        assert!(request(&[&GET[..], &many[1..]].concat()).is_ok());
        let large = "a".repeat(60 << 10);
        assert_eq!(request(&[&GET[..], &[("x", &large)]].concat()).unwrap_err(), BadHead::TooLarge);
        assert!(request(&[&GET[..], &[("x", &large[..59 << 10])]].concat()).is_ok());
    }

    #[test]
    fn what_belongs_to_a_connection_stays() {
        let mut headers = HeaderBlock::new();
        for (name, value) in [("Connection", "close"), ("X-Upper", "1"), ("Transfer-Encoding", "chunked")] {
            assert!(headers.append_received(name.as_bytes(), value.as_bytes()));
        }
        let mut bytes = Vec::new();
        encode_response(&ResponseHead { status: 418, headers, end: true }, &mut Encoder::new(), &mut bytes);
        let (head, _) = sent(Part::Response, &bytes).response(true).unwrap();
        assert_eq!((head.status, names(&head.headers)), (418, vec!["x-upper".to_owned()]));
        let all = ["content-length", "host", "grpc-status", "te"].map(|name| (name, "0"));
        let trailers = collected(Part::Trailers, &all).trailers().unwrap();
        assert_eq!(names(&trailers), ["grpc-status"]);
        let status = |status| collected(Part::Response, &[(":status", status)]).response(false).is_ok();
        assert!(status("200") && status("103") && !status("101") && !status("20") && !status("+20"));
    }

    #[test]
    fn upgrades_are_extended_connects() {
        let mut headers = HeaderBlock::new();
        for (name, value) in [
            (":method", "GET"),
            (":path", "/ws"),
            ("Host", "a"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
        ] {
            assert!(headers.append_received(name.as_bytes(), value.as_bytes()));
        }
        let mut bytes = Vec::new();
        encode_request(&headers, &mut Encoder::new(), &mut bytes);
        let (got, _) = sent(Part::Request, &bytes).request(false, true).unwrap();
        assert!(is_upgrade(&got.headers) && got.headers.get(Id::Method) == Some(b"GET") && got.end);
        assert_eq!(sent(Part::Request, &bytes).request(false, false).unwrap_err(), BadHead::Malformed);
        let mut answer = ResponseHead { status: 200, headers: HeaderBlock::new(), end: false };
        answer_upgrade(&mut answer, b"websocket");
        assert!(answer.status == 101 && is_upgrade(&answer.headers));
    }
}
