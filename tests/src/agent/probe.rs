//! The questions that the agent asks, and how it reads the answers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context;

use super::child::{ADMIN, page};

/// Asked until the first configuration is there; sent as it is.
const UPDATES: &str = r"/stats?usedonly&filter=^(cluster_manager\.cds|listener_manager\.lds)\.(update_success|update_rejected)$";
/// Asked then.
const STATE: &str = r"/stats?usedonly&filter=^(server\.state|listener_manager\.workers_started)";
/// Asked while the agent waits for the last connection.
pub const ACTIVE: &str = "/stats?usedonly&filter=downstream_cx_active$";

/// The agent's own port.
const OWN: u16 = 15_020;

/// What one look at the proxy has shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Probe {
    /// Updates of clusters that were taken.
    pub clusters: u64,
    /// Updates of listeners that were taken.
    pub listeners: u64,
    /// Updates of either that were refused.
    pub rejected: u64,
    /// `server.state`; none until the first configuration is there.
    pub state: Option<u64>,
    /// `listener_manager.workers_started`
    pub workers_started: Option<u64>,
}

impl Probe {
    /// Looks.
    pub fn take() -> anyhow::Result<Self> {
        let updates = page(ADMIN, UPDATES)?;
        let mut probe = Self {
            clusters: stat(&updates, "cluster_manager.cds.update_success")?.unwrap_or(0),
            listeners: stat(&updates, "listener_manager.lds.update_success")?.unwrap_or(0),
            ..Self::default()
        };
        for name in ["cluster_manager.cds.update_rejected", "listener_manager.lds.update_rejected"] {
            probe.rejected += stat(&updates, name)?.unwrap_or(0);
        }
        if probe.is_configured() {
            let state = page(ADMIN, STATE)?;
            let found = |name: &str| stat(&state, name)?.with_context(|| format!("no {name}: {state}"));
            probe.state = Some(found("server.state")?);
            probe.workers_started = Some(found("listener_manager.workers_started")?);
        }
        Ok(probe)
    }

    /// The control plane's first answers are in force.
    pub fn is_configured(self) -> bool {
        self.clusters > 0 && self.listeners > 0
    }

    /// The proxy can be sent requests.
    pub fn is_ready(self) -> bool {
        self.is_configured() && self.state == Some(0) && self.workers_started == Some(1)
    }

    /// A look that finds the proxy ready.
    pub fn ready() -> anyhow::Result<Self> {
        let probe = Self::take()?;
        anyhow::ensure!(probe.is_ready(), "not ready: {probe:?}");
        Ok(probe)
    }
}

/// The value on the first line that begins with a name. The line must be `name: number` then, and nothing more.
fn stat(body: &str, name: &str) -> anyhow::Result<Option<u64>> {
    let Some(line) = body.lines().find(|line| line.starts_with(name)) else { return Ok(None) };
    let (_, value) = line.split_once(':').with_context(|| format!("a line without a value: {line}"))?;
    let value =
        value.trim().parse().with_context(|| format!("a line that does not end with its value: {line}"))?;
    Ok(Some(value))
}

/// Open connections as the agent counts them in the answer to [`ACTIVE`]: those of the listeners of the control plane,
/// of all workers at once. None when the answer is empty, which is the end of its waiting too.
pub fn active(body: &str) -> anyhow::Result<Option<u64>> {
    const OWN: [&str; 4] =
        ["listener.0.0.0.0_15021.", "listener.0.0.0.0_15090.", "listener.admin.", "listener.envoy_internal_"];
    if body.is_empty() {
        return Ok(None);
    }
    let counted = body.lines().filter(|line| {
        line.starts_with("listener.")
            && !line.contains("worker_")
            && !OWN.iter().any(|own| line.starts_with(own))
    });
    let mut sum = 0;
    for line in counted {
        sum += stat(line, "listener.")?.unwrap_or(0);
    }
    Ok(Some(sum))
}

/// Serves the agent's page of health, which the proxy asks for its own: 200 when a look finds the proxy ready. It ends
/// with the process.
pub fn health() -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, OWN))?;
    std::thread::Builder::new().name("health".into()).spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0u8; 4096];
            let read = stream.read(&mut request).unwrap_or_default();
            let asked = request.get(..read).is_some_and(|r| r.starts_with(b"GET /healthz/ready "));
            let status = match asked.then(Probe::ready) {
                None => "404 Not Found",
                Some(Ok(_)) => "200 OK",
                Some(Err(_)) => "503 Service Unavailable",
            };
            // A client that went away does not wait for it.
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_the_agent_reads_them() {
        let body = "cluster_manager.cds.update_rejected: 0\ncluster_manager.cds.update_success: 3\n";
        assert_eq!(stat(body, "cluster_manager.cds.update_success").unwrap(), Some(3));
        assert_eq!(stat(body, "listener_manager.lds.update_success").unwrap(), None);
        assert!(stat("server.state: 0 (LIVE)\n", "server.state").is_err());
        assert!(stat("server.state\n", "server.state").is_err());
    }

    #[test]
    fn connections_of_the_control_planes_listeners_are_counted() {
        let body = "http.admin.downstream_cx_active: 1
listener.0.0.0.0_15006.downstream_cx_active: 2
listener.0.0.0.0_15006.worker_0.downstream_cx_active: 2
listener.0.0.0.0_15021.downstream_cx_active: 4
listener.0.0.0.0_15090.downstream_cx_active: 4
listener.10.9.0.71_27017.downstream_cx_active: 3
listener.admin.downstream_cx_active: 1
listener.admin.main_thread.downstream_cx_active: 1
listener.envoy_internal_connect_originate.downstream_cx_active: 1
";
        assert_eq!(active(body).unwrap(), Some(5));
        assert_eq!(active("").unwrap(), None);
    }
}
