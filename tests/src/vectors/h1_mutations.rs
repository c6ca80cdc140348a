//! Requests over HTTP/1 that two readers could understand differently.
//!
//! Each is one request by the strictest reading; `/smuggled` stands where a lenient reader would find a second.

/// The request that must never come out of another.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: live.test\r\n\r\n";

/// One mutated message.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// What was mutated and how.
    pub name: String,
    /// The bytes the client sends.
    pub bytes: Vec<u8>,
}

/// Everything, group by group.
pub fn all() -> Vec<Mutation> {
    let mut out = Vec::new();
    transfer_encodings(&mut out);
    content_lengths(&mut out);
    line_endings(&mut out);
    foldings(&mut out);
    chunk_sizes(&mut out);
    trailers(&mut out);
    targets(&mut out);
    control_bytes(&mut out);
    hosts(&mut out);
    upgrades(&mut out);
    out
}

fn add(out: &mut Vec<Mutation>, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
    out.push(Mutation { name: name.into(), bytes: bytes.into() });
}

fn shown(text: &str) -> String {
    text.escape_debug().collect()
}

/// Transfer-Encoding in many spellings, each with a Content-Length that covers the body, one that ends inside it,
/// and none.
fn transfer_encodings(out: &mut Vec<Mutation>) {
    const LINES: &[&str] = &[
        "Transfer-Encoding: chunked",
        "transfer-encoding: CHUNKED",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer-Encoding:chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding:  chunked ",
        "Transfer-Encoding: chunked\t",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: \x0cchunked",
        "Transfer-Encoding: chunked\x00",
        "Transfer-Encoding: \u{a0}chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunk",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding:",
        "Transfer-Encoding: \r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
        "X-Pad: a\nTransfer-Encoding: chunked",
        "X-Pad: a\rTransfer-Encoding: chunked",
        "X-Pad: a\r\n\tTransfer-Encoding: chunked",
        "Transfer-Encoding\r\n: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding\n: chunked",
        "Transfer\u{2010}Encoding: chunked",
        "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
        "Connection: Content-Length\r\nTransfer-Encoding: chunked",
        "X: X[\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Encoding: chunked",
        "TRANSFER-ENCODING: Chunked",
        "Transfer-Encoding: CHUNKED, ChUnKeD",
    ];
    let chunked = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    let hidden = format!("0\r\n\r\n{SMUGGLED}");
    for line in LINES {
        let name = shown(line);
        let head = format!("POST /te HTTP/1.1\r\nHost: live.test\r\n{line}\r\n");
        let covering = format!("{head}Content-Length: {}\r\n\r\n{hidden}", hidden.len());
        add(out, format!("te-cl-covering {name}"), covering);
        // What lies behind the fourth byte is no request by either reading.
        let short = format!("{:x}\r\n(({SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len() + 2);
        add(out, format!("te-cl-short {name}"), format!("{head}Content-Length: 4\r\n\r\n{short}"));
        add(out, format!("te-only {name}"), format!("{head}\r\n{chunked}"));
        let before = format!(
            "POST /te HTTP/1.1\r\nContent-Length: {}\r\n{line}\r\nHost: live.test\r\n\r\n{hidden}",
            hidden.len()
        );
        add(out, format!("cl-before-te {name}"), before);
        let old = head.replace("HTTP/1.1", "HTTP/1.0");
        add(out, format!("te-http10 {name}"), format!("{old}Connection: keep-alive\r\n\r\n{chunked}"));
    }
}

/// Content-Length in many spellings of the right length and of none.
fn content_lengths(out: &mut Vec<Mutation>) {
    let n = SMUGGLED.len();
    let values = [
        format!("+{n}"),
        format!("-{n}"),
        format!("{n},{n}"),
        format!("{n}, 0"),
        format!("0, {n}"),
        format!("{n} {n}"),
        format!("0x{n:x}"),
        format!("{n};"),
        format!("{n}.0"),
        format!("{n}e0"),
        format!("\t{n}"),
        format!("{n}\t"),
        format!("{n}\x0b"),
        format!("\x0c{n}"),
        format!("{n}\x00"),
        String::new(),
        "  ".into(),
        format!("000{n}"),
        "18446744073709551616".into(),
        format!("{}", u128::from(u64::MAX) + 1 + n as u128),
        format!("{}", (1u64 << 32) + n as u64),
        "9223372036854775808".into(),
        "-1".into(),
        format!("{n}\r\nContent-Length: 0"),
        format!("0\r\nContent-Length: {n}"),
        format!("{n}\r\nContent-Length: {n}"),
        format!("{n}\r\ncontent-length: {}", n + 1),
        format!("\r\n {n}"),
        format!("0\r\n {n}"),
        format!("\u{ff11}{n}"),
        format!("{n}a"),
        format!("a{n}"),
        format!("({n})"),
        format!("\"{n}\""),
        "NaN".into(),
        format!("{n}\r\nContent-Length:"),
    ];
    for value in values {
        for (version, extra) in [("1.1", ""), ("1.0", "Connection: keep-alive\r\n")] {
            let text = format!(
                "POST /cl HTTP/{version}\r\nHost: live.test\r\n{extra}Content-Length: {value}\r\n\r\n{SMUGGLED}"
            );
            // A Content-Length of nought and what follows are two requests by any reading.
            add(
                out,
                format!("cl-{version} {}", shown(&value)),
                text.replace("GET /smuggled", "xGET /smuggled"),
            );
        }
    }
    for name in [
        "Content-Length ",
        "Content-Length\t",
        " Content-Length",
        "Content-Length\x00",
        "Content\u{2d0a}Length",
    ] {
        let text = format!("POST /cl HTTP/1.1\r\nHost: live.test\r\n{name}: {n}\r\n\r\nx{SMUGGLED}");
        add(out, format!("cl-name {}", shown(name)), text);
    }
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"] {
        let text =
            format!("{method} /cl HTTP/1.1\r\nHost: live.test\r\nContent-Length: {n}\r\n\r\n{SMUGGLED}");
        add(out, format!("body-with-{method}"), text);
    }
}

/// Other line ends at every place where a line ends.
fn line_endings(out: &mut Vec<Mutation>) {
    const ENDS: &[&str] =
        &["\n", "\r", "\r\r\n", "\n\r", "\n\n", "\r\n\n", "\x0b", "\x0c", "\x00", "\u{85}", "\u{2028}", ""];
    let body = format!("{:x}\r\n{SMUGGLED}\r\n", SMUGGLED.len());
    let parts = ["POST /eol HTTP/1.1", "Host: live.test", "X-Pad: a", "Transfer-Encoding: chunked", ""];
    for end in ENDS {
        for changed in 0..parts.len() {
            let mut text = String::new();
            for (index, part) in parts.iter().enumerate() {
                text += part;
                text += if index == changed { end } else { "\r\n" };
            }
            add(out, format!("eol {} after line {changed}", shown(end)), format!("{text}{body}0\r\n\r\n"));
        }
        let head = "POST /eol HTTP/1.1\r\nHost: live.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let size = format!("{:x}", SMUGGLED.len());
        let variants = [
            ("chunk size", format!("{head}{size}{end}{SMUGGLED}\r\n0\r\n\r\n")),
            ("chunk data", format!("{head}{size}\r\n{SMUGGLED}{end}0\r\n\r\n")),
            ("last chunk", format!("{head}{size}\r\n{SMUGGLED}\r\n0{end}\r\n")),
            ("trailer", format!("{head}{size}\r\n{SMUGGLED}\r\n0\r\nX-Trailer: a{end}\r\n")),
        ];
        for (place, text) in variants {
            add(out, format!("eol {} after {place}", shown(end)), text);
        }
    }
    for lead in ["\r\n", "\r\n\r\n", "\n", " ", "\t", "\r", "\x00", "\r\n "] {
        let text = format!("{lead}POST /lead HTTP/1.1\r\nHost: live.test\r\nContent-Length: 2\r\n\r\nok");
        add(out, format!("leading {}", shown(lead)), text);
    }
}

/// Continuation lines.
fn foldings(out: &mut Vec<Mutation>) {
    let body = format!("0\r\n\r\n{SMUGGLED}");
    let length = body.len();
    for fold in ["\r\n ", "\r\n\t", "\r\n  \t ", "\n ", "\r "] {
        let name = shown(fold);
        for (what, lines) in [
            ("value", format!("X-Long: a{fold}b\r\nContent-Length: {length}")),
            ("length", format!("Content-Length:{fold}{length}")),
            ("split length", format!("Content-Length: {length}{fold}0")),
            ("coding", format!("Transfer-Encoding:{fold}chunked\r\nContent-Length: {length}")),
            (
                "hidden coding",
                format!("X-Long: a{fold}Transfer-Encoding: chunked\r\nContent-Length: {length}"),
            ),
            ("hidden length", format!("X-Long: a{fold}Content-Length: 0\r\nContent-Length: {length}")),
            ("host", format!("X-Host:{fold}other\r\nContent-Length: {length}")),
        ] {
            let text = format!("POST /fold HTTP/1.1\r\nHost: live.test\r\n{lines}\r\n\r\n{body}");
            add(out, format!("fold {name} in {what}"), text);
        }
        let first = format!(
            "POST /fold HTTP/1.1{fold}Transfer-Encoding: chunked\r\nHost: live.test\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        add(out, format!("fold {name} in the first header"), first);
    }
}

/// Chunk sizes and extensions.
fn chunk_sizes(out: &mut Vec<Mutation>) {
    let n = SMUGGLED.len();
    let sizes = [
        format!(" {n:x}"),
        format!("{n:x} "),
        format!("\t{n:x}"),
        format!("{n:x}\t"),
        format!("+{n:x}"),
        format!("-{n:x}"),
        format!("0x{n:x}"),
        format!("{n:x}h"),
        format!("{n:x}.0"),
        format!("{n:x},"),
        format!("{n:x} {n:x}"),
        format!("{n:x}\x00"),
        format!("\x00{n:x}"),
        format!("{n:x}\x0b"),
        format!("000000000000000000000{n:x}"),
        format!("1000000000000000{n:04x}"),
        format!("f{:015x}", n),
        "ffffffffffffffff".into(),
        "10000000000000000".into(),
        "8000000000000000".into(),
        "fffffffffffffffff".into(),
        String::new(),
        "g".into(),
        "-1".into(),
        format!("{n:X}"),
        format!("{n:x};"),
        format!("{n:x};a"),
        format!("{n:x};a=b"),
        format!("{n:x} ;a=b"),
        format!("{n:x}; a=b"),
        format!("{n:x};a=\"b;c\""),
        format!("{n:x};a=\"b\\\"c\""),
        format!("{n:x};a=\"b"),
        format!("{n:x};a=\"b\r\nc\""),
        format!("{n:x};a\nb"),
        format!("{n:x};a\rb"),
        format!("{n:x};\n"),
        format!("{n:x};\r"),
        format!("{n:x};a\x00b"),
        format!("{n:x};a\x07b"),
        format!("{n:x}=a"),
        format!("{n:x}\"a\""),
        format!("{n:x};{}", "x".repeat(5000)),
        format!("{n:x};{}", "a=b;".repeat(20_000)),
        format!("\u{ff10}{n:x}"),
    ];
    for size in sizes {
        let head = "POST /chunk HTTP/1.1\r\nHost: live.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let name: String = shown(&size).chars().take(40).collect();
        add(out, format!("chunk size {name}"), format!("{head}{size}\r\n{SMUGGLED}\r\n0\r\n\r\n"));
        let second = format!("{head}1\r\nx\r\n{size}\r\n{SMUGGLED}\r\n0\r\n\r\n");
        add(out, format!("second chunk size {name}"), second);
    }
    let head = "POST /chunk HTTP/1.1\r\nHost: live.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (name, body) in [
        ("data too long", format!("3\r\nabcdef\r\n0\r\n\r\n{SMUGGLED}")),
        ("data too short", "6\r\nabc\r\n0\r\n\r\n".to_string()),
        ("no CRLF after data", format!("3\r\nabc0\r\n\r\n{SMUGGLED}")),
        ("two CRLF after data", format!("3\r\nabc\r\n\r\n0\r\n\r\n{SMUGGLED}")),
        ("last chunk 00", format!("{:x}\r\n{SMUGGLED}\r\n00\r\n\r\n", n)),
        ("last chunk 0;ext", format!("{:x}\r\n{SMUGGLED}\r\n0;a=b\r\n\r\n", n)),
        ("last chunk -0", format!("{:x}\r\n{SMUGGLED}\r\n-0\r\n\r\nx", n)),
        ("last chunk 0 and blank", format!("{:x}\r\n{SMUGGLED}\r\n0 \r\n\r\n", n)),
        ("no last chunk", format!("{:x}\r\n{SMUGGLED}\r\n", n)),
        ("no end after last chunk", format!("{:x}\r\n{SMUGGLED}\r\n0\r\n", n)),
        ("empty body", String::new()),
    ] {
        add(
            out,
            format!("chunk {name}"),
            format!("{head}{}", body.replace(&format!("\r\n\r\n{SMUGGLED}"), "\r\n\r\n?")),
        );
    }
}

/// Trailers that try to be headers.
fn trailers(out: &mut Vec<Mutation>) {
    let head =
        "POST /trailer HTTP/1.1\r\nHost: live.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n";
    for line in [
        "X-Fine: a",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Host: other",
        "Connection: close",
        "X-Bad : a",
        ": a",
        "no colon",
        " X-Fold: a",
        "X-A: b\r\n c",
        "X-A: b\nX-B: c",
        "X-A: b\rX-B: c",
        "X-A: \x00",
        "GET /smuggled HTTP/1.1",
        ":path: /smuggled",
    ] {
        add(out, format!("trailer {}", shown(line)), format!("{head}{line}\r\n\r\n"));
    }
}

/// Request lines.
fn targets(out: &mut Vec<Mutation>) {
    const LINES: &[&str] = &[
        "GET http://live.test/abs HTTP/1.1",
        "GET http://other.test/abs HTTP/1.1",
        "GET HTTP://live.test/abs HTTP/1.1",
        "GET https://live.test/abs HTTP/1.1",
        "GET ftp://live.test/abs HTTP/1.1",
        "GET http:/live.test/abs HTTP/1.1",
        "GET http:///abs HTTP/1.1",
        "GET http://user:pass@live.test/abs HTTP/1.1",
        "GET http://live.test:99999/abs HTTP/1.1",
        "GET http://live.test:80abc/abs HTTP/1.1",
        "GET http://live.test\\@other.test/abs HTTP/1.1",
        "GET http://live.test/abs http://other.test/ HTTP/1.1",
        "GET http://live.test?smuggled HTTP/1.1",
        "GET http://live.test#x HTTP/1.1",
        "GET //other.test/abs HTTP/1.1",
        "GET live.test:80 HTTP/1.1",
        "GET live.test HTTP/1.1",
        "GET * HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET  /a HTTP/1.1",
        "GET /a  HTTP/1.1",
        "GET /a HTTP/1.1 ",
        "GET\t/a\tHTTP/1.1",
        "GET /a\tHTTP/1.1",
        " GET /a HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /a\x0bb HTTP/1.1",
        "GET /a#frag HTTP/1.1",
        "GET /a HTTP/1.2",
        "GET /a HTTP/2.0",
        "GET /a HTTP/0.9",
        "GET /a HTTP/1.1x",
        "GET /a HTTP/11",
        "GET /a HTTP/1",
        "GET /a http/1.1",
        "GET /a HTTPS/1.1",
        "GET /a",
        "GET",
        "",
        "GE(T /a HTTP/1.1",
        "G\"ET /a HTTP/1.1",
        "get /a HTTP/1.1",
        "GET /%0d%0aX-Injected:%20a HTTP/1.1",
        "GET /%00 HTTP/1.1",
        "GET /..%2f..%2fetc HTTP/1.1",
        "GET \\a HTTP/1.1",
        "GET ?a HTTP/1.1",
        "GET a HTTP/1.1",
        "CONNECT live.test:443 HTTP/1.1",
        "CONNECT /a HTTP/1.1",
        "CONNECT * HTTP/1.1",
        "PRI * HTTP/2.0",
    ];
    for line in LINES {
        add(out, format!("line {}", shown(line)), format!("{line}\r\nHost: live.test\r\n\r\n"));
        let body = "Content-Length: 3\r\n\r\nabc";
        let post = line.replace("GET ", "POST ");
        if post != *line {
            add(out, format!("line {}", shown(&post)), format!("{post}\r\nHost: live.test\r\n{body}"));
        }
    }
}

/// Every control byte in every part of a head.
fn control_bytes(out: &mut Vec<Mutation>) {
    for byte in (0u8..0x20).chain([0x7f]) {
        let places: [(&str, [&[u8]; 2]); 5] = [
            ("method", [b"GE", b"T /ctl HTTP/1.1\r\nHost: live.test\r\n\r\n"]),
            ("target", [b"GET /c", b"tl HTTP/1.1\r\nHost: live.test\r\n\r\n"]),
            ("version", [b"GET /ctl HTTP/1.1", b"\r\nHost: live.test\r\n\r\n"]),
            ("name", [b"GET /ctl HTTP/1.1\r\nHost: live.test\r\nX-C", b"tl: a\r\n\r\n"]),
            ("value", [b"GET /ctl HTTP/1.1\r\nHost: live.test\r\nX-Ctl: a", b"b\r\n\r\n"]),
        ];
        for (place, [before, after]) in places {
            let bytes = [before, &[byte], after].concat();
            add(out, format!("byte {byte:#04x} in {place}"), bytes);
        }
    }
}

/// Host headers.
fn hosts(out: &mut Vec<Mutation>) {
    for lines in [
        "Host: live.test\r\nHost: other.test",
        "Host: live.test\r\nHost: live.test",
        "Host:",
        "Host: ",
        "X-None: a",
        "Host: live.test, other.test",
        "Host: live.test other.test",
        "Host: live.test/path",
        "Host: live.test:80:81",
        "Host: user@live.test",
        "Host: [::1",
        "Host : live.test",
        "Host: live.test\r\nX-Forwarded-Host: other.test",
        "Host\x00: live.test",
        "Host: live\x00.test",
        "host: live.test\r\nHOST: other.test",
    ] {
        add(out, format!("host {}", shown(lines)), format!("GET /host HTTP/1.1\r\n{lines}\r\n\r\n"));
    }
}

/// Upgrades whose tunnel bytes come before the answer.
fn upgrades(out: &mut Vec<Mutation>) {
    let early = "\x01\x02tunnel bytes before 101\r\n\r\n";
    for (name, lines) in [
        ("websocket", "Connection: Upgrade\r\nUpgrade: websocket"),
        ("list", "Connection: keep-alive, Upgrade\r\nUpgrade: websocket"),
        ("case", "connection: UPGRADE\r\nupgrade: WebSocket"),
        ("two protocols", "Connection: Upgrade\r\nUpgrade: websocket, h2c"),
        ("twice", "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c"),
        ("h2c", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__"),
        ("h2c without settings", "Connection: Upgrade\r\nUpgrade: h2c"),
        ("unknown", "Connection: Upgrade\r\nUpgrade: other"),
        ("no connection", "Upgrade: websocket"),
        ("empty", "Connection: Upgrade\r\nUpgrade:"),
        ("with length", "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0"),
        ("with coding", "Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked"),
    ] {
        for (target, what) in [("/accept-upgrade", "accepted"), ("/refuse-upgrade", "refused")] {
            let text = format!("GET {target} HTTP/1.1\r\nHost: live.test\r\n{lines}\r\n\r\n{early}");
            add(out, format!("early data, {name}, {what}"), text);
        }
    }
    for method in ["CONNECT live.test:80", "CONNECT live.test"] {
        let text = format!("{method} HTTP/1.1\r\nHost: live.test\r\n\r\n{early}");
        add(out, format!("early data, {method}"), text);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_are_at_least_300_and_names_differ() {
        let all = super::all();
        let names: std::collections::HashSet<_> = all.iter().map(|m| m.name.as_str()).collect();
        assert!(all.len() >= 300, "{}", all.len());
        assert_eq!(names.len(), all.len());
    }
}
