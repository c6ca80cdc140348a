//! What is expected of requests after each step (`tests/data/replay.yaml`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

use super::line::Line;

/// How a connection comes to the proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// From the node's own application: redirected to port 15001.
    #[default]
    Outbound,
    /// To the node's application: redirected to port 15006.
    Inbound,
    /// The same by TPROXY.
    Tproxy,
    /// To the proxy's own port.
    Direct,
}

/// What the client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaks {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/2 by prior knowledge.
    H2,
    /// Neither HTTP nor TLS.
    Tcp,
}

/// How a connection to a host ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Host {
    /// It answers.
    Plain,
    /// It is to be reached with TLS, which this release does not make.
    Tls,
    /// Nobody is there.
    Gone,
}

/// What must stand in the access log.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Want {
    /// The route's name; none: it has none.
    route: Option<String>,
    /// The clusters that may be chosen, with their hosts; more than one: each must be seen. None: no cluster.
    clusters: BTreeMap<String, BTreeMap<String, Host>>,
    /// The answer, where no host gives it.
    code: Option<u16>,
    /// Its flags.
    flags: Option<String>,
    /// The connection is closed without an answer.
    closed: bool,
    /// The address that the host sees as its client's.
    from: Option<String>,
    /// Requests that are made; 1 if not given.
    pub times: Option<usize>,
}

/// A request, and what it must do after each step; a step that is not named is as the one before.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// What it shows.
    pub name: String,
    /// Where it goes.
    pub to: SocketAddr,
    /// How.
    #[serde(default)]
    pub way: Way,
    /// In which words.
    #[serde(default)]
    pub speaks: Speaks,
    /// The authority; the address if not given.
    #[serde(default)]
    pub host: Option<String>,
    /// The path.
    #[serde(default = "root")]
    pub path: String,
    /// Header fields.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// After which step what is expected; nothing: it is not made.
    pub after: BTreeMap<String, Option<Want>>,
}

fn root() -> String {
    "/".to_owned()
}

/// One node's requests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// `SCENARIO/NODE`.
    pub node: String,
    /// The requests.
    pub calls: Vec<Call>,
}

/// Reads the expectations.
pub fn expectations(path: &Path) -> anyhow::Result<Vec<Node>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_saphyr::from_str(&text).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))
}

impl Want {
    /// Whether each of several clusters must be seen.
    pub fn all_of(&self) -> Option<impl Iterator<Item = &String>> {
        (self.clusters.len() > 1).then(|| self.clusters.keys())
    }

    /// Compares what was logged and what came back.
    pub fn judge(&self, speaks: Speaks, line: &Line, answered: &Answered) -> anyhow::Result<()> {
        let route = self.route.as_deref().unwrap_or("-");
        anyhow::ensure!(line.route == route, "route {}, not {route}", line.route);
        let Some(hosts) = self.clusters.get(&line.cluster) else {
            anyhow::ensure!(
                self.clusters.is_empty() && line.cluster == "-",
                "cluster {}, not {:?}",
                line.cluster,
                self.clusters.keys().collect::<Vec<_>>()
            );
            return self.answer(speaks, line, answered);
        };
        if hosts.is_empty() {
            anyhow::ensure!(line.host == "-", "host {}, not none", line.host);
            return self.answer(speaks, line, answered);
        }
        let host = hosts.get(&line.host);
        let host = host.with_context(|| format!("host {}, not {hosts:?}", line.host))?;
        let (code, flag) = match host {
            Host::Plain => (200, None),
            Host::Tls | Host::Gone => (503, Some("UF")),
        };
        let code = if speaks == Speaks::Tcp { 0 } else { code };
        anyhow::ensure!(line.code == code, "code {}, not {code}", line.code);
        match flag {
            None => anyhow::ensure!(line.flags == "-", "flags {}", line.flags),
            Some(flag) => {
                let has = line.flags.split(',').any(|found| found == flag);
                anyhow::ensure!(has, "flags {}, not {flag}", line.flags);
                let tls =
                    line.details.contains("tls_not_available") || line.failure.contains("tls_not_available");
                anyhow::ensure!(tls == (*host == Host::Tls), "details {} {}", line.details, line.failure);
            }
        }
        if *host == Host::Plain {
            let reached = answered.reached.as_deref();
            anyhow::ensure!(reached == Some(&*line.host), "the log says {}, {reached:?} answered", line.host);
            if let Some(from) = &self.from {
                let peer = answered.peer.as_deref();
                anyhow::ensure!(peer == Some(from), "the host saw {peer:?} as its client, not {from}");
            }
        }
        Ok(())
    }

    fn answer(&self, speaks: Speaks, line: &Line, answered: &Answered) -> anyhow::Result<()> {
        let code = self.code.unwrap_or(0);
        anyhow::ensure!(line.code == code, "code {}, not {code}", line.code);
        let flags = self.flags.as_deref().unwrap_or("-");
        anyhow::ensure!(line.flags == flags, "flags {}, not {flags}", line.flags);
        anyhow::ensure!(answered.reached.is_none(), "{:?} answered", answered.reached);
        let closed = answered.code.is_none();
        anyhow::ensure!(closed == (self.closed || speaks == Speaks::Tcp), "answered {:?}", answered.code);
        Ok(())
    }
}

/// What the client saw.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    /// Status of an HTTP response.
    pub code: Option<u16>,
    /// Where the backend that answered was reached.
    pub reached: Option<String>,
    /// What it saw as its client's address.
    pub peer: Option<String>,
}
