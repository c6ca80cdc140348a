//! The control plane of the demo: `weirctl serve`, and what its pages tell of a change.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use super::mesh::tail;

/// The page that tells what every proxy has and has refused.
pub const SYNC: &str = "/debug/syncz";
/// It answers within this time.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(5);
/// An answer of an admin listener is read up to this size.
const MOST: u64 = 4 << 20;

/// The running control plane; it ends when dropped.
pub struct Plane {
    /// Port of its streams.
    pub xds: u16,
    /// Port of its pages.
    pub pages: u16,
    child: Child,
    log: PathBuf,
}

/// How things were before a change.
pub struct Before {
    /// Number of the folder's state.
    state: u64,
    /// Length of the control plane's log.
    said: usize,
}

/// What became of a changed folder.
pub enum Verdict {
    /// It is in force.
    InForce,
    /// It is not; the text of the diagnostics.
    Refused(String),
}

impl Plane {
    /// Starts it on a folder, with ports for its streams and its pages.
    ///
    /// # Errors
    /// It ends at once, or has no state in force in time (the end of its log is in the text).
    pub async fn start(folder: &Path, home: &Path, (xds, pages): (u16, u16)) -> anyhow::Result<Self> {
        let log = home.join("control-plane.log");
        let address = |port: u16| format!("127.0.0.1:{port}");
        let child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .arg(folder)
            .args(["--listen", &address(xds), "--monitoring", &address(pages)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .context("weirctl serve cannot be started")?;
        let mut plane = Self { xds, pages, child, log };
        let end = Instant::now() + READY_WITHIN;
        while !plane.page("/ready").is_ok_and(|text| text == "ready\n") {
            let ended = plane.child.try_wait()?;
            if ended.is_some() || Instant::now() > end {
                anyhow::bail!("weirctl serve is not ready: {}", tail(&plane.said()?));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(plane)
    }

    /// How things are now.
    ///
    /// # Errors
    /// It does not answer.
    pub fn now(&self) -> anyhow::Result<Before> {
        let folder: Value = serde_json::from_str(&self.page("/debug/folder")?)?;
        let state = folder.get("state").and_then(Value::as_u64).context("the folder's state")?;
        Ok(Before { state, said: self.said()?.len() })
    }

    /// What became of a change since `before`, once it is decided: the folder has mistakes, a proxy refused
    /// something, or every one of `proxies` has acknowledged all of it.
    ///
    /// # Errors
    /// It does not answer.
    pub fn verdict(&self, before: &Before, proxies: usize) -> anyhow::Result<Option<Verdict>> {
        let said = self.said()?;
        let news = said.get(before.said..).unwrap_or_default();
        // The diagnostics come before the line that says what follows from them.
        if let Some((text, _)) = news.split_once(": mistakes; the last good state stays in force\n") {
            let text = text.rsplit_once('\n').map_or("", |(text, _)| text);
            return Ok(Some(Verdict::Refused(text.to_owned())));
        }
        let streams: Vec<Value> = serde_json::from_str(&self.page(SYNC)?)?;
        let there = |stream: &&Value| stream.get("state").and_then(Value::as_u64) > Some(before.state);
        let there: Vec<&Value> = streams.iter().filter(there).collect();
        if there.len() < proxies {
            return Ok(None);
        }
        let kinds = || there.iter().filter_map(|stream| stream.get("types")?.as_object()).flatten();
        let refusal = kinds().find_map(|(_, kind)| kind.get("refusal")?.as_str());
        if let Some(refusal) = refusal {
            return Ok(Some(Verdict::Refused(refusal.to_owned())));
        }
        let synced = kinds().all(|(_, kind)| kind.get("status").and_then(Value::as_str) == Some("SYNCED"));
        Ok(synced.then_some(Verdict::InForce))
    }

    /// One of its pages.
    ///
    /// # Errors
    /// It does not answer.
    pub fn page(&self, path: &str) -> anyhow::Result<String> {
        fetch(self.pages, path)
    }

    /// What it has written to standard error.
    fn said(&self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // What has ended already needs no ending.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of what a port of this machine answers to a GET.
///
/// # Errors
/// It does not answer, or what it answers is no response.
pub fn fetch(port: u16, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: admin\r\nconnection: close\r\n\r\n")?;
    let mut text = Vec::new();
    stream.take(MOST).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let (_, body) = text.split_once("\r\n\r\n").context("an answer without end of its head")?;
    Ok(body.to_owned())
}
