//! `weirctl serve` as a process, and the bootstrap of a gateway that it programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use crate::plane::{dynamic, reached_at};
use crate::wire::h1::fetch;

/// What is waited for is there within this time.
pub const WITHIN: Duration = Duration::from_secs(15);

/// The file that holds its standard error.
const STDERR: &str = "stderr";

/// `weirctl`, which cargo builds next to `weir`.
///
/// # Errors
/// It is not built.
pub fn weirctl() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(|deps| deps.parent()).context("a test runs from a target folder")?;
    let built = folder.join("weirctl");
    anyhow::ensure!(built.is_file(), "weirctl is not built (cargo build -p weirctl): {}", built.display());
    Ok(built)
}

/// The control plane; it ends with this.
pub struct Served {
    child: Child,
    pages: u16,
    folder: PathBuf,
}

impl Served {
    /// Starts it on a folder, with a port for its streams and one for its pages, and waits until it is ready.
    ///
    /// # Errors
    /// It cannot be started, or has nothing in force in time.
    pub fn start(folder: &Path, xds: u16, pages: u16) -> anyhow::Result<Self> {
        let own = crate::process::folder()?;
        let child = Command::new(weirctl()?)
            .arg("serve")
            .arg(folder)
            .args(["--listen", &format!("127.0.0.1:{xds}"), "--monitoring", &format!("127.0.0.1:{pages}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(own.join(STDERR))?)
            .spawn()?;
        let plane = Self { child, pages, folder: own };
        until("the control plane is ready", || Ok(fetch(pages, "/ready", WITHIN)?.0 == 200))?;
        Ok(plane)
    }

    /// Every stream, as `/debug/syncz` tells it.
    ///
    /// # Errors
    /// It does not answer.
    pub fn proxies(&self) -> anyhow::Result<Vec<Value>> {
        let (_, text) = fetch(self.pages, "/debug/syncz", WITHIN)?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Do as many proxies as there are have all that they are to have?
    ///
    /// # Errors
    /// It does not answer.
    pub fn synced(&self, proxies: usize) -> anyhow::Result<bool> {
        let all = self.proxies()?;
        let synced = |proxy: &Value| {
            let kinds = proxy.get("types").and_then(Value::as_object);
            kinds.is_some_and(|kinds| {
                kinds.len() == 4 && kinds.values().all(|kind| kind.get("status") == Some(&json!("SYNCED")))
            })
        };
        Ok(all.len() == proxies && all.iter().all(synced))
    }

    /// What it wrote to standard error.
    pub fn said(&self) -> String {
        fs::read_to_string(self.folder.join(STDERR)).unwrap_or_default()
    }

    /// `/debug/folder`.
    ///
    /// # Errors
    /// It does not answer.
    pub fn folder(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&fetch(self.pages, "/debug/folder", WITHIN)?.1)?)
    }

    /// One of its metrics.
    ///
    /// # Errors
    /// It does not answer, or has none of this name.
    pub fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let (_, text) = fetch(self.pages, "/metrics", WITHIN)?;
        let text = String::from_utf8(text)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("{name} is missing"))?.parse()?)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself, and a folder left behind harms nobody.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Looks again and again until something holds.
///
/// # Errors
/// It did not in time; the last look is in the text.
pub fn until(what: &str, mut holds: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let end = Instant::now() + WITHIN;
    loop {
        match holds() {
            Ok(true) => return Ok(()),
            last if Instant::now() > end => anyhow::bail!("waited {WITHIN:?} for: {what}; {last:?}"),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The bootstrap of a gateway whose ports are bound as `map` says (`80=8080,...`).
pub fn gateway(api: &str, map: &str, xds: u16, admin: u16) -> Value {
    programmed("router", &json!({"istio": "ingressgateway"}), api, map, xds, admin)
}

/// The bootstrap of a sidecar of a pod with a label `app`.
pub fn sidecar(app: &str, api: &str, map: &str, xds: u16, admin: u16) -> Value {
    programmed("sidecar", &json!({"app": app}), api, map, xds, admin)
}

fn programmed(kind: &str, labels: &Value, api: &str, map: &str, xds: u16, admin: u16) -> Value {
    json!({
        "node": {
            "id": format!("{kind}~127.0.0.9~{kind}-{admin}.default~default.svc.cluster.local"),
            "cluster": kind,
            "metadata": {"INTERCEPTION_MODE": "NONE", "WEIR_LISTEN_PORT_MAP": map, "LABELS": labels},
        },
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "dynamic_resources": dynamic(api),
        "static_resources": {"clusters": [reached_at(xds)]},
    })
}
