//! A strict reader of HTTP/1.1 requests (RFC 9112 without its leniencies), and a plain client.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Largest head or body that the reader takes.
const MAX_MESSAGE: usize = 4 << 20;

/// A complete request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// As on the wire.
    pub method: String,
    /// As on the wire; bytes above 0x7f replaced.
    pub target: String,
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// Names as on the wire, values without surrounding blanks.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Decoded body.
    pub body: Vec<u8>,
}

impl Request {
    /// The values of a header, in order.
    pub fn values(&self, name: &str) -> Vec<&[u8]> {
        let named = self.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_slice()).collect()
    }
}

/// What the bytes at hand amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A request and the number of bytes it took.
    Request(Box<Request>, usize),
    /// So far a correct request, not complete yet.
    Partial,
    /// Not what a proxy may send: the reason.
    Odd(String),
}

/// Reads the request at the beginning of `bytes`.
pub fn read(bytes: &[u8]) -> Step {
    match parse(bytes) {
        Ok(Some((request, used))) => Step::Request(Box::new(request), used),
        Ok(None) if bytes.len() > MAX_MESSAGE => Step::Odd("a message above 4 MiB".into()),
        Ok(None) => Step::Partial,
        Err(reason) => Step::Odd(reason),
    }
}

type Parsed<T> = Result<Option<T>, String>;

fn parse(bytes: &[u8]) -> Parsed<(Request, usize)> {
    let Some((line, mut at)) = line(bytes, 0)? else { return Ok(None) };
    let mut request = request_line(line)?;
    let Some(headers) = fields(bytes, &mut at)? else { return Ok(None) };
    request.headers = headers;
    let encodings = request.values("transfer-encoding");
    let lengths = request.values("content-length");
    if !encodings.is_empty() && !lengths.is_empty() {
        return Err("Transfer-Encoding and Content-Length together".into());
    }
    if encodings.len() > 1 || lengths.len() > 1 {
        return Err("a framing header twice".into());
    }
    if let Some(coding) = encodings.first() {
        if !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(format!("Transfer-Encoding: {}", coding.escape_ascii()));
        }
        let Some(body) = chunks(bytes, &mut at)? else { return Ok(None) };
        request.body = body;
    } else if let Some(length) = lengths.first() {
        let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
        let text = String::from_utf8_lossy(length);
        let length: usize = text.parse().map_err(|_| format!("Content-Length: {text}"))?;
        if !digits {
            return Err(format!("Content-Length: {text}"));
        }
        let Some(end) = at.checked_add(length) else { return Err(format!("Content-Length: {text}")) };
        let Some(body) = bytes.get(at..end) else { return Ok(None) };
        request.body = body.to_vec();
        at = end;
    }
    Ok(Some((request, at)))
}

/// A line without its CRLF, and where the next begins. Any other control byte but HTAB is an error at once.
fn line(bytes: &[u8], from: usize) -> Parsed<(&[u8], usize)> {
    for (offset, byte) in bytes.iter().enumerate().skip(from) {
        match byte {
            b'\r' => {
                return match bytes.get(offset + 1) {
                    Some(b'\n') => Ok(Some((&bytes[from..offset], offset + 2))),
                    Some(_) => Err("a CR without LF".into()),
                    None => Ok(None),
                };
            }
            b'\n' => return Err("an LF without CR".into()),
            b'\t' | 0x20..=0x7e | 0x80..=0xff => {}
            other => return Err(format!("control byte {other:#04x}")),
        }
    }
    Ok(None)
}

fn request_line(line: &[u8]) -> Result<Request, String> {
    let odd = || format!("request line '{}'", line.escape_ascii());
    let parts: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let &[method, target, version] = parts.as_slice() else { return Err(odd()) };
    if !token(method) || target.is_empty() || target.contains(&b'\t') || target.contains(&b'#') {
        return Err(odd());
    }
    if version != b"HTTP/1.1" && version != b"HTTP/1.0" {
        return Err(odd());
    }
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok(Request { method: text(method), target: text(target), version: text(version), ..Request::default() })
}

/// Header or trailer fields up to and with the empty line.
fn fields(bytes: &[u8], at: &mut usize) -> Parsed<Vec<(String, Vec<u8>)>> {
    let mut out = Vec::new();
    loop {
        let Some((line, next)) = line(bytes, *at)? else { return Ok(None) };
        *at = next;
        if line.is_empty() {
            return Ok(Some(out));
        }
        let odd = || format!("header line '{}'", line.escape_ascii());
        let colon = line.iter().position(|&byte| byte == b':').ok_or_else(odd)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !token(name) {
            return Err(odd());
        }
        out.push((String::from_utf8_lossy(name).into_owned(), value.to_vec()));
    }
}

fn chunks(bytes: &[u8], at: &mut usize) -> Parsed<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Some((size, next)) = line(bytes, *at)? else { return Ok(None) };
        let odd = || format!("chunk size '{}'", size.escape_ascii());
        if size.is_empty() || size.len() > 8 || !size.iter().all(u8::is_ascii_hexdigit) {
            return Err(odd());
        }
        let length = usize::from_str_radix(&String::from_utf8_lossy(size), 16).map_err(|_| odd())?;
        *at = next;
        if length == 0 {
            let Some(trailers) = fields(bytes, at)? else { return Ok(None) };
            let framing = ["content-length", "transfer-encoding", "host"];
            if let Some((name, _)) =
                trailers.iter().find(|(name, _)| framing.iter().any(|own| name.eq_ignore_ascii_case(own)))
            {
                return Err(format!("trailer {name}"));
            }
            return Ok(Some(body));
        }
        let Some(data) = bytes.get(*at..*at + length) else { return Ok(None) };
        body.extend_from_slice(data);
        *at += length;
        match bytes.get(*at..) {
            Some([b'\r', b'\n', ..]) => *at += 2,
            Some([] | [b'\r']) | None => return Ok(None),
            Some(_) => return Err("no CRLF after a chunk".into()),
        }
    }
}

/// RFC 9110 5.6.2.
fn token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// What came back on a client connection.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// All bytes.
    pub bytes: Vec<u8>,
    /// The server closed the connection.
    pub closed: bool,
}

impl Reply {
    /// The first status line's code.
    pub fn status(&self) -> Option<u16> {
        let text = self.bytes.get(..12)?;
        if !text.starts_with(b"HTTP/1.") {
            return None;
        }
        std::str::from_utf8(&text[9..12]).ok()?.parse().ok()
    }
}

/// Sends `bytes` on a new connection and collects what comes back until the server closes or is quiet for `quiet`.
pub fn exchange(port: u16, bytes: &[u8], quiet: Duration) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let mut reply = Reply::default();
    // The server may answer and close before it has read all: the answer counts, not the failed write.
    let _ = stream.write_all(bytes);
    stream.set_read_timeout(Some(quiet))?;
    let mut buffer = vec![0u8; 65_536];
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end && reply.bytes.len() < MAX_MESSAGE {
        match stream.read(&mut buffer) {
            Ok(0) => {
                reply.closed = true;
                break;
            }
            Ok(n) => reply.bytes.extend_from_slice(&buffer[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(_) => {
                reply.closed = true;
                break;
            }
        }
    }
    Ok(reply)
}

/// One GET on a new connection that asks to be closed: the status and the body.
pub fn fetch(port: u16, path: &str, within: Duration) -> anyhow::Result<(u16, Vec<u8>)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: live.test\r\nConnection: close\r\n\r\n");
    let reply = exchange(port, request.as_bytes(), within)?;
    let status = reply.status();
    let status =
        status.ok_or_else(|| anyhow::anyhow!("no response within {within:?} (closed: {})", reply.closed))?;
    let head = reply.bytes.windows(4).position(|window| window == b"\r\n\r\n");
    Ok((status, reply.bytes[head.map_or(reply.bytes.len(), |at| at + 4)..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_correct() {
        let bytes =
            b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nrest";
        let Step::Request(request, used) = read(bytes) else { panic!("{:?}", read(bytes)) };
        assert_eq!((request.body.as_slice(), used), (b"abc".as_slice(), bytes.len() - 4));
        for end in 0..used {
            assert_eq!(read(&bytes[..end]), Step::Partial, "{end}");
        }
    }

    #[test]
    fn refuses_what_is_odd() {
        for bytes in [
            "GET / HTTP/1.1\n",
            "GET / HTTP/1.1\r\nA: b\n\r\n",
            "GET / HTTP/1.1\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "GET /a b HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: x, chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            "GET / HTTP/1.1\r\nA: \0\r\n\r\n",
        ] {
            assert!(matches!(read(bytes.as_bytes()), Step::Odd(_)), "{bytes:?}");
        }
    }
}
