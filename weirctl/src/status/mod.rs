//! `weirctl status`: what is in force in a proxy, what it refused and why, and what it does most.
//!
//! | file | holds |
//! | --- | --- |
//! | `resources` | the dump of the configuration, resource by resource |
//! | `text` | the report for people |

mod resources;
mod text;

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use crate::admin;
use resources::{Kind, read};

/// Clusters that are shown as the busiest.
const BUSIEST: usize = 5;

/// Arguments of `weirctl status`.
#[derive(Debug, Args)]
pub struct Status {
    /// The proxy's admin address.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:15000", value_parser = admin::address)]
    admin: String,
    /// The report as JSON.
    #[arg(long)]
    json: bool,
}

/// A proxy as its admin API tells it.
#[derive(Debug, Serialize)]
struct Report {
    /// Node id.
    node: String,
    /// Version of the program.
    version: String,
    /// `LIVE`, `INITIALIZING`, `DRAINING`, ...
    state: String,
    /// Does it answer that it is ready?
    ready: bool,
    /// Time since its start, such as `90s`.
    uptime: String,
    /// Is a control plane connected? None: it has none.
    connected: Option<bool>,
    /// The state on disk; null when none is kept.
    last_good: Value,
    /// By type.
    resources: Vec<Kind>,
    /// Name and requests of the clusters that have served most.
    busiest: Vec<(String, u64)>,
}

impl Status {
    /// Asks and reports. 1 if the proxy is not ready or has refused something.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let report = runtime.block_on(Report::of(&self.admin))?;
        let shown = match self.json {
            true => format!("{}\n", serde_json::to_string_pretty(&report)?),
            false => text::text(&report),
        };
        crate::print(&shown)?;
        let fine = report.ready && report.resources.iter().all(|kind| kind.rejected.is_empty());
        Ok(ExitCode::from(u8::from(!fine)))
    }
}

impl Report {
    async fn of(address: &str) -> anyhow::Result<Report> {
        let info = admin::json(address, "/server_info").await?;
        let (ready, _) = admin::get(address, "/ready").await?;
        let dump = admin::json(address, "/config_dump?include_eds").await?;
        let stats = admin::json(address, STATISTICS).await?;
        // Envoy has no such page.
        let last_good = match admin::get(address, "/last_good").await? {
            (http::StatusCode::OK, body) => serde_json::from_slice(&body)?,
            _ => Value::Null,
        };
        let told = |at: &str| info.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        let stats = statistics(&stats);
        Ok(Report {
            node: told("/node/id"),
            version: told("/version"),
            state: told("/state"),
            uptime: told("/uptime_current_epoch"),
            ready: ready == http::StatusCode::OK,
            connected: connected(&stats),
            last_good: if last_good == json!({}) { Value::Null } else { last_good },
            resources: read(&dump),
            busiest: busiest(&stats),
        })
    }
}

/// The statistics that the report is made of.
const STATISTICS: &str =
    "/stats?format=json&filter=%5E(control_plane.connected_state%7Ccluster%5C..*%5C.upstream_rq_total)$";

fn statistics(answer: &Value) -> Vec<(&str, u64)> {
    let list = answer.get("stats").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(statistic).collect()
}

fn statistic(one: &Value) -> Option<(&str, u64)> {
    Some((one.get("name")?.as_str()?, one.get("value")?.as_u64()?))
}

fn connected(stats: &[(&str, u64)]) -> Option<bool> {
    stats.iter().find(|(name, _)| *name == "control_plane.connected_state").map(|(_, value)| *value == 1)
}

fn busiest(stats: &[(&str, u64)]) -> Vec<(String, u64)> {
    let cluster =
        |name: &str| Some(name.strip_prefix("cluster.")?.strip_suffix(".upstream_rq_total")?.to_owned());
    let served = stats.iter().filter(|(_, value)| *value > 0);
    let mut all: Vec<(String, u64)> =
        served.filter_map(|(name, value)| Some((cluster(name)?, *value))).collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all.truncate(BUSIEST);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_come_first() {
        let answer = json!({"stats": [
            {"name": "control_plane.connected_state", "value": 1},
            {"name": "cluster.a.b.upstream_rq_total", "value": 3},
            {"name": "cluster.c.upstream_rq_total", "value": 9},
            {"name": "cluster.idle.upstream_rq_total", "value": 0},
            {"histograms": {}},
        ]});
        let stats = statistics(&answer);
        assert_eq!(connected(&stats), Some(true));
        assert_eq!(busiest(&stats), [("c".to_owned(), 9), ("a.b".to_owned(), 3)]);
        assert_eq!(connected(&[]), None);
    }
}
