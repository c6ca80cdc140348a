//! One proxy process.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a proxy may take until `/ready` says 200.
const READY_WITHIN: Duration = Duration::from_secs(25);

/// A running proxy (Envoy or weir); killed when dropped.
pub struct Proxy {
    child: Child,
    admin: SocketAddr,
    stderr: PathBuf,
}

impl Proxy {
    /// Starts `binary` on `bootstrap` and waits until its admin endpoint says ready.
    ///
    /// # Errors
    /// The process exited or did not become ready; the end of its standard error is in the text.
    pub fn start(binary: &Path, bootstrap: &Path, admin: u16, folder: &Path) -> anyhow::Result<Self> {
        let stderr = folder.join("stderr");
        let child = command(binary, bootstrap)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&stderr)?)
            .spawn()
            .map_err(|e| anyhow::anyhow!("{}: {e}", binary.display()))?;
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, admin));
        let mut proxy = Self { child, admin, stderr };
        proxy.wait_ready()?;
        Ok(proxy)
    }

    /// Asks whether `binary` takes `bootstrap` (`--mode validate`). `Err` holds the refusal.
    pub fn validate(binary: &Path, bootstrap: &Path) -> anyhow::Result<Result<(), String>> {
        let out = command(binary, bootstrap).args(["--mode", "validate"]).output()?;
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        Ok(if out.status.success() { Ok(()) } else { Err(tail(&said)) })
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + READY_WITHIN;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("exited with {status} before it was ready: {}", self.said());
            }
            if self.admin("GET", "/ready").is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("not ready within {READY_WITHIN:?}: {}", self.said())
    }

    /// The end of what the process wrote to standard error.
    pub fn said(&self) -> String {
        tail(&std::fs::read_to_string(&self.stderr).unwrap_or_default())
    }

    /// Whether the process still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// One request to the admin listener: status and body.
    pub fn admin(&self, method: &str, path: &str) -> anyhow::Result<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.admin, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        )?;
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw)?;
        let reply = super::wire::Message::parse_closed(&raw)?;
        Ok((reply.status().unwrap_or(0), reply.body_text()))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(binary: &Path, bootstrap: &Path) -> Command {
    let mut command = Command::new(binary);
    command
        .arg("-c")
        .arg(bootstrap)
        .args(["--concurrency", "1", "--disable-hot-restart", "--file-flush-interval-msec", "20"])
        .args(["-l", "warning", "--service-node", "oracle-node", "--service-cluster", "oracle-cluster"])
        .stdin(Stdio::null());
    command
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| !l.contains("[warning]")).collect();
    let from = lines.len().saturating_sub(12);
    let mut joined = lines.get(from..).unwrap_or_default().join("\n");
    if joined.len() > 4000 {
        joined = joined.chars().take(4000).collect();
    }
    joined
}
