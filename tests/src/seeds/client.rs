//! A keep-alive client that keeps the answers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context;

/// Longer than any time limit that a seed sets.
const PATIENCE: Duration = Duration::from_secs(20);
/// Largest answer that is taken.
const MAX_ANSWER: usize = 1 << 16;

/// One connection to a proxy's port.
pub struct Client(TcpStream);

impl Client {
    /// Connects to a port of 127.0.0.1.
    pub fn new(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).context("connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// One GET: the status and the body. `headers` are whole lines, each with its CRLF.
    pub fn get(&mut self, host: &str, path: &str, headers: &str) -> anyhow::Result<(u16, String)> {
        write!(self.0, "GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n").context("write")?;
        let mut got = Vec::new();
        let mut chunk = [0u8; 4096];
        while got.len() < MAX_ANSWER {
            if let Some(answer) = complete(&got)? {
                return Ok(answer);
            }
            let n = self.0.read(&mut chunk).context("read")?;
            anyhow::ensure!(n > 0, "the proxy closed the connection");
            got.extend_from_slice(&chunk[..n]);
        }
        anyhow::bail!("an answer above {MAX_ANSWER} bytes")
    }
}

/// A whole answer, framed by Content-Length or in chunks; without either it has no body.
fn complete(bytes: &[u8]) -> anyhow::Result<Option<(u16, String)>> {
    let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
    let value = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(own, _)| *own == name).map(|(_, value)| value.trim())
    };
    let rest = &bytes[end + 4..];
    if value("transfer-encoding") == Some("chunked") {
        return Ok(chunks(rest)?.map(|body| (status, body)));
    }
    let length: usize = value("content-length").map(str::parse).transpose()?.unwrap_or(0);
    let body = rest.get(..length).map(|body| String::from_utf8_lossy(body).into_owned());
    Ok(body.map(|body| (status, body)))
}

fn chunks(mut rest: &[u8]) -> anyhow::Result<Option<String>> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|end| end == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end])?, 16).context("chunk size")?;
        let Some(data) = rest.get(end + 2..end + 2 + size) else { return Ok(None) };
        let Some(b"\r\n") = rest.get(end + 2 + size..end + 4 + size) else { return Ok(None) };
        if size == 0 {
            return Ok(Some(String::from_utf8_lossy(&body).into_owned()));
        }
        body.extend_from_slice(data);
        rest = &rest[end + 4 + size..];
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_answer_is_complete_when_its_frame_is() {
        for whole in [
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nv1",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nv1\r\n0\r\n\r\n",
        ] {
            for end in 0..whole.len() {
                assert_eq!(super::complete(&whole.as_bytes()[..end]).unwrap(), None, "{end} of {whole}");
            }
            assert_eq!(super::complete(whole.as_bytes()).unwrap(), Some((200, "v1".to_owned())));
        }
    }
}
