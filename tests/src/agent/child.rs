//! The proxy as the agent's child, with the files and sockets that are there before it is started.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use weir_proto::envoy::extensions::transport_sockets::tls::v3::Secret;
use weir_xds::{CLUSTER, LISTENER};

use super::probe::Probe;
use super::sds::Sds;
use super::start::Start;
use crate::oracle::wire::Message;
use crate::plane::Plane;
use crate::process::{self, Proxy};
use crate::replay::Step;
use crate::wire::h1;

/// The port of the proxy's admin page.
pub const ADMIN: u16 = 15_000;
/// Its metrics.
pub const METRICS: u16 = 15_090;
/// Its health.
pub const HEALTH: u16 = 15_021;
/// What is waited for is there within this time.
pub const WITHIN: Duration = Duration::from_secs(30);
/// Longest wait for one page: the agent's.
const PAGE: Duration = Duration::from_secs(3);

/// The proxy and what the agent has for it.
pub struct Agent {
    /// Where the control plane's answers come from.
    pub plane: Plane,
    /// Where its secrets come from.
    pub secrets: Sds,
    /// The child.
    pub proxy: Proxy,
    folder: PathBuf,
}

impl Agent {
    /// Starts the proxy as recorded. The control plane takes its stream and says nothing until it is let go.
    pub fn start(start: &Start, secrets: &[Secret]) -> anyhow::Result<Self> {
        let folder = process::folder()?;
        let own = folder.join("etc/istio/proxy");
        fs::create_dir_all(&own)?;
        fs::write(own.join("envoy-rev.json"), start.bootstrap.to_string())?;
        let workload = folder.join("var/run/secrets/workload-spiffe-uds");
        fs::create_dir_all(&workload)?;
        let sds = Sds::start(&workload.join("socket"))?;
        secrets.iter().for_each(|secret| sds.put(secret.clone()));
        let mut plane = Plane::absent_at(own.join("XDS"))?;
        plane.tell_empty();
        plane.hold(&CLUSTER, true);
        plane.hold(&LISTENER, true);
        plane.up()?;
        let proxy = Proxy::start_in(folder.clone(), &start.arguments)?;
        Ok(Self { plane, secrets: sds, proxy, folder })
    }

    /// The control plane answers, with what was pushed up to a step or with nothing: the proxy becomes ready.
    pub fn ready(&mut self, steps: &[Step]) -> anyhow::Result<()> {
        self.program(steps);
        let probe = self.until(Probe::ready)?;
        anyhow::ensure!(probe.rejected == 0, "something is refused: {probe:?}");
        Ok(())
    }

    /// The control plane answers.
    pub fn program(&self, steps: &[Step]) {
        steps.iter().for_each(|step| step.push_to(&self.plane));
        self.plane.hold(&CLUSTER, false);
        self.plane.hold(&LISTENER, false);
    }

    /// All that the proxy has written into the files below its folder: its logs, its saved state.
    pub fn written(&self) -> anyhow::Result<Vec<u8>> {
        let mut all = Vec::new();
        collect(&self.folder, &mut all)?;
        Ok(all)
    }

    /// Repeats a look until it finds what it looks for; the proxy must live meanwhile.
    pub fn until<T>(&mut self, mut look: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
        self.until_told(|_| look())
    }

    /// The same for what the server of secrets was told.
    pub fn until_told<T>(&mut self, mut look: impl FnMut(&Sds) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let end = Instant::now() + WITHIN;
        loop {
            self.proxy.alive()?;
            match look(&self.secrets) {
                Ok(found) => return Ok(found),
                Err(reason) if Instant::now() > end => {
                    return Err(reason.context(format!("after {WITHIN:?}; {}", self.proxy.said())));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

fn collect(folder: &Path, into: &mut Vec<u8>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), into)?;
        } else if kind.is_file() {
            into.extend(fs::read(entry.path())?);
        }
    }
    Ok(())
}

/// A page of the proxy that is there.
pub fn page(port: u16, path: &str) -> anyhow::Result<String> {
    String::from_utf8(ask(port, "GET", path)?).with_context(|| format!("{path} is no text"))
}

/// A command to the admin page, which it obeys.
pub fn post(path: &str) -> anyhow::Result<()> {
    ask(ADMIN, "POST", path).map(drop)
}

fn ask(port: u16, method: &str, path: &str) -> anyhow::Result<Vec<u8>> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let reply = Message::parse_closed(&h1::exchange(port, request.as_bytes(), PAGE)?.bytes)?;
    anyhow::ensure!(reply.status() == Some(200), "{path} is answered {}", reply.start);
    Ok(reply.body)
}
