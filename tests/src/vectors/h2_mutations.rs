//! Requests over HTTP/2 that would become something else when written as HTTP/1.

use crate::wire::h2::{CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, frame};
use crate::wire::hpack;

/// One mutated request: the frames of one stream.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// What was mutated and how.
    pub name: String,
    /// The frames' bytes, on stream 1.
    pub frames: Vec<u8>,
}

type Field = (Vec<u8>, Vec<u8>);

fn field(name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Field {
    (name.into(), value.into())
}

fn base(method: &str) -> Vec<Field> {
    vec![
        field(":method", method),
        field(":scheme", "http"),
        field(":authority", "live.test"),
        field(":path", "/h2"),
    ]
}

fn encode(fields: &[Field]) -> Vec<u8> {
    let borrowed: Vec<(&[u8], &[u8])> = fields.iter().map(|(n, v)| (n.as_slice(), v.as_slice())).collect();
    hpack::block(&borrowed)
}

fn add(out: &mut Vec<Mutation>, name: impl Into<String>, fields: &[Field], body: Option<&[u8]>) {
    let flags = END_HEADERS | if body.is_none() { END_STREAM } else { 0 };
    let mut frames = frame(HEADERS, flags, 1, &encode(fields));
    if let Some(body) = body {
        frames.extend_from_slice(&frame(DATA, END_STREAM, 1, body));
    }
    out.push(Mutation { name: name.into(), frames });
}

/// Everything, group by group.
pub fn all() -> Vec<Mutation> {
    let mut out = Vec::new();
    control_bytes(&mut out);
    pseudo_headers(&mut out);
    framing_headers(&mut out);
    bodies(&mut out);
    names(&mut out);
    trailers(&mut out);
    out
}

fn control_bytes(out: &mut Vec<Mutation>) {
    for byte in (0u8..0x20).chain([0x7f]) {
        let with = |before: &str, after: &str| [before.as_bytes(), &[byte], after.as_bytes()].concat();
        let mut fields = base("GET");
        fields.push(field("x-ctl", with("a", "b")));
        add(out, format!("byte {byte:#04x} in value"), &fields, None);
        let mut fields = base("GET");
        fields.push(field(with("x-c", "tl"), "a"));
        add(out, format!("byte {byte:#04x} in name"), &fields, None);
        for (index, part) in ["method", "scheme", "authority", "path"].iter().enumerate() {
            let mut fields = base("GET");
            if let Some((_, value)) = fields.get_mut(index) {
                value.push(byte);
                value.extend_from_slice(b"x");
            }
            add(out, format!("byte {byte:#04x} in :{part}"), &fields, None);
        }
    }
}

/// Whole requests hidden in pseudo-headers, and pseudo-headers missing, doubled, late or unknown.
fn pseudo_headers(out: &mut Vec<Mutation>) {
    let inject = " HTTP/1.1\r\nHost: x\r\n\r\nGET /smuggled HTTP/1.1\r\nX: ";
    for (index, part) in ["method", "scheme", "authority", "path"].iter().enumerate() {
        let values =
            [inject.to_string(), " ".into(), String::new(), "a b".into(), "/a\tb".into(), "x#y".into()];
        for value in values {
            let mut fields = base("POST");
            if let Some((_, own)) = fields.get_mut(index) {
                *own =
                    if value.is_empty() { Vec::new() } else { [own.as_slice(), value.as_bytes()].concat() };
            }
            add(out, format!(":{part} with {}", value.escape_debug()), &fields, Some(b"body"));
        }
        let mut missing = base("GET");
        missing.remove(index);
        add(out, format!("no :{part}"), &missing, None);
        let mut double = base("GET");
        let again = double[index].clone();
        double.insert(index, again);
        add(out, format!("two :{part}"), &double, None);
        let mut late = base("GET");
        let own = late.remove(index);
        late.push(field("x-a", "b"));
        late.push(own);
        add(out, format!("late :{part}"), &late, None);
    }
    for (name, value) in
        [(":status", "200"), (":unknown", "x"), (":", "x"), (":protocol", "websocket"), (":path ", "/")]
    {
        let mut fields = base("GET");
        fields.push(field(name, value));
        add(out, format!("field {name}"), &fields, None);
    }
    for path in ["*", "a", "http://other.test/", "//other.test/", "/a?b#c", "\\", "/%0d%0a"] {
        let mut fields = base("GET");
        fields[3].1 = path.into();
        add(out, format!(":path {path}"), &fields, None);
    }
    for authority in ["live.test, other.test", "user@live.test", "live.test/x", "live.test:80:81", "[::1"] {
        let mut fields = base("GET");
        fields[2].1 = authority.into();
        add(out, format!(":authority {authority}"), &fields, None);
    }
    let mut host = base("GET");
    host.push(field("host", "other.test"));
    add(out, "host beside :authority", &host, None);
    let mut hosts = base("GET");
    hosts.extend([field("host", "live.test"), field("host", "other.test")]);
    add(out, "two host", &hosts, None);
}

/// Headers that frame or upgrade in HTTP/1 and are forbidden in HTTP/2 (RFC 9113 8.2.2).
fn framing_headers(out: &mut Vec<Mutation>) {
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("transfer-encoding", "gzip, chunked"),
        ("transfer-encoding", ""),
        ("Transfer-Encoding", "chunked"),
        ("transfer-encoding ", "chunked"),
        ("connection", "close"),
        ("connection", "transfer-encoding"),
        ("connection", "upgrade"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "websocket"),
        ("upgrade", "h2c"),
        ("te", "chunked"),
        ("te", "trailers, chunked"),
        ("te", "trailers"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("expect", "100-continue"),
        ("trailer", "content-length"),
    ] {
        for body in [None, Some(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n".as_slice())] {
            let mut fields = base("POST");
            fields.push(field(name, value));
            let with = if body.is_some() { "with body" } else { "without body" };
            add(out, format!("{name}: {value}, {with}"), &fields, body);
        }
    }
}

/// Content-Length against the DATA that comes.
fn bodies(out: &mut Vec<Mutation>) {
    let smuggled = b"abGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n".as_slice();
    for length in [
        "2",
        "0",
        "1000",
        "+2",
        "-2",
        "0x2",
        "",
        "2,2",
        "2, 3",
        "18446744073709551618",
        "2\r\nX: y",
        " 37",
        "037",
    ] {
        for body in [None, Some(smuggled), Some(b"".as_slice())] {
            let mut fields = base("POST");
            fields.push(field("content-length", length));
            let with = body.map_or("no DATA".into(), |body| format!("{} bytes", body.len()));
            add(out, format!("content-length {}, {with}", length.escape_debug()), &fields, body);
        }
    }
    for (first, second) in [("2", "37"), ("37", "2"), ("37", "37")] {
        let mut fields = base("POST");
        fields.extend([field("content-length", first), field("content-length", second)]);
        add(out, format!("content-length {first} and {second}"), &fields, Some(smuggled));
    }
    let mut fields = base("GET");
    fields.push(field("content-length", "2"));
    add(out, "GET with a length and too much", &fields, Some(smuggled));
}

/// Field names that are not names.
fn names(out: &mut Vec<Mutation>) {
    for name in
        ["", " ", "x a", "X-Upper", "x:", "x: y\r\nz", ":x", "x\u{e9}", "x(", "x,", "x/y", "x=y", "\"x\""]
    {
        let mut fields = base("GET");
        fields.push(field(name, "v"));
        add(out, format!("name '{}'", name.escape_debug()), &fields, None);
    }
    for value in [" lead", "trail ", "\tlead", "a\r\n b", "a\r\nX-Injected: b", "a\nX-Injected: b", "\u{e9}"]
    {
        let mut fields = base("GET");
        fields.push(field("x-value", value));
        add(out, format!("value '{}'", value.escape_debug()), &fields, None);
        let mut fields = base("GET");
        fields.extend([field("cookie", "a=b"), field("cookie", value)]);
        add(out, format!("cookie '{}'", value.escape_debug()), &fields, None);
    }
}

/// Trailers that try to be headers, and blocks cut in pieces.
fn trailers(out: &mut Vec<Mutation>) {
    for (name, value) in [
        ("x-fine", "a"),
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
        ("host", "other.test"),
        (":path", "/smuggled"),
        (":method", "GET"),
        ("x-a", "b\r\n\r\nGET /smuggled HTTP/1.1"),
        ("connection", "close"),
        ("X-Upper", "a"),
        ("", "a"),
    ] {
        let mut frames = frame(HEADERS, END_HEADERS, 1, &encode(&base("POST")));
        frames.extend_from_slice(&frame(DATA, 0, 1, b"abc"));
        let block = encode(&[field(name, value)]);
        frames.extend_from_slice(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
        out.push(Mutation { name: format!("trailer {name}: {}", value.escape_debug()), frames });
    }
    let whole = encode(&base("GET"));
    let mut frames = frame(HEADERS, END_STREAM, 1, &whole[..3]);
    for byte in &whole[3..] {
        frames.extend_from_slice(&frame(CONTINUATION, 0, 1, &[*byte]));
    }
    frames.extend_from_slice(&frame(CONTINUATION, END_HEADERS, 1, &[]));
    out.push(Mutation { name: "block in single bytes".into(), frames });
    let mut frames = frame(HEADERS, END_STREAM, 1, &whole);
    frames.extend_from_slice(&frame(DATA, END_STREAM, 1, b"GET /smuggled HTTP/1.1\r\n\r\n"));
    out.push(Mutation { name: "DATA inside a block".into(), frames });
}
