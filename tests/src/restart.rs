//! Backends that are restarted, and clients that count what that costs.

pub mod h2;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

/// How a backend is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It finishes what it has begun.
    Graceful,
    /// SIGKILL.
    Kill,
}

/// What a backend speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1.
    H1,
    /// HTTP/2 by prior knowledge.
    H2,
}

/// A backend process on a fixed port.
pub struct Backend {
    program: PathBuf,
    speaks: Speaks,
    port: u16,
    log: PathBuf,
    idle_ms: u32,
    running: Option<(Child, Option<ChildStdin>)>,
}

impl Backend {
    /// Starts `program` (the binary `test-backend`); executed POSTs are appended to `log`.
    pub fn start(
        program: &Path,
        speaks: Speaks,
        port: u16,
        log: &Path,
        idle_ms: u32,
    ) -> anyhow::Result<Self> {
        let mut backend =
            Self { program: program.into(), speaks, port, log: log.into(), idle_ms, running: None };
        backend.launch()?;
        Ok(backend)
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        let mut child = Command::new(&self.program)
            .args([self.port.to_string(), self.log.display().to_string(), self.idle_ms.to_string()])
            .arg(match self.speaks {
                Speaks::H1 => "h1",
                Speaks::H2 => "h2",
            })
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        let stdin = child.stdin.take();
        self.running = Some((child, stdin));
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            anyhow::ensure!(Instant::now() < end, "the backend does not listen on {}", self.port);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Ends the process, waits `down`, and starts it again on the same port.
    pub fn restart(&mut self, how: Stop, down: Duration) -> anyhow::Result<()> {
        if let Some((mut child, stdin)) = self.running.take() {
            match how {
                Stop::Graceful => drop(stdin),
                Stop::Kill => child.kill()?,
            }
            child.wait()?;
        }
        std::thread::sleep(down);
        self.launch()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            // Already gone is as good as killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How one request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a whole response of this status.
    Status(u16),
    /// The response had begun and broke off.
    Broken,
    /// No byte of a response came.
    Nothing(String),
}

/// A keep-alive client.
pub struct Client {
    port: u16,
    stream: Option<TcpStream>,
}

impl Client {
    /// For a proxy's port; it connects when it is first used.
    pub fn new(port: u16) -> Self {
        Self { port, stream: None }
    }

    /// Sends one request and reads its response. A connection that the proxy announced to close is replaced.
    pub fn request(&mut self, method: &str, extra: &str) -> Ended {
        let text = format!("{method} /load HTTP/1.1\r\nHost: live.test\r\n{extra}\r\n");
        let mut got = Vec::new();
        let outcome = self.exchange(text.as_bytes(), &mut got);
        let closing = String::from_utf8_lossy(&got).to_ascii_lowercase().contains("connection: close");
        match outcome {
            Ok(status) => {
                if closing {
                    self.stream = None;
                }
                Ended::Status(status)
            }
            Err(error) => {
                self.stream = None;
                if got.is_empty() { Ended::Nothing(format!("{error:#}")) } else { Ended::Broken }
            }
        }
    }

    fn exchange(&mut self, request: &[u8], got: &mut Vec<u8>) -> anyhow::Result<u16> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(("127.0.0.1", self.port)).context("connect")?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            self.stream = Some(stream);
        }
        let stream = self.stream.as_mut().context("no connection")?;
        stream.write_all(request).context("write")?;
        let mut chunk = [0u8; 4096];
        loop {
            if let Some(status) = complete(got)? {
                return Ok(status);
            }
            let n = stream.read(&mut chunk).context("read")?;
            anyhow::ensure!(n > 0, "the proxy closed the connection");
            got.extend_from_slice(&chunk[..n]);
        }
    }
}

/// The status of a response that is there as a whole (framed by Content-Length).
fn complete(bytes: &[u8]) -> anyhow::Result<Option<u16>> {
    let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let length = length.transpose()?.unwrap_or(0);
    Ok((bytes.len() >= end + 4 + length).then_some(status))
}
