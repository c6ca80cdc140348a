//! The admin API beside the real Envoy's: the same bootstrap and the same traffic, then what pilot-agent, istioctl,
//! Kiali and Prometheus read. Texts are equal, JSON has the same fields of the same types, Prometheus families have the
//! same types; the statistics that weir lacks stand in a committed list (`ADMIN_WRITE=1` writes it anew).
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use weir_tests::bootstrap::Plan;
use weir_tests::oracle::binaries;
use weir_tests::oracle::process::Proxy;
use weir_tests::reload::backend;
use weir_tests::suite::Suite;
use weir_tests::wire::h1;

const ABSENT: &str = "tests/data/stats-absent.txt";
/// Histograms and used statistics show after a flush interval (5 s, in both).
const FLUSH: Duration = Duration::from_millis(5500);

/// A running proxy, and the words for its ports.
struct Side {
    proxy: Proxy,
    ports: Vec<(u16, &'static str)>,
}

impl Side {
    fn start(binary: &Path, name: &str, upstream: u16) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("weir-admin-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let (listen, admin) = (weir_tests::ports::free()?, weir_tests::ports::free()?);
        let mut bootstrap = Plan::new(listen, upstream).bootstrap();
        bootstrap["admin"] =
            json!({"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}});
        bootstrap["node"] =
            json!({"id": "n", "cluster": "c", "metadata": {"A": "b"}, "locality": {"zone": "z"}});
        let path = folder.join("bootstrap.json");
        std::fs::write(&path, serde_json::to_vec(&bootstrap)?)?;
        let proxy = Proxy::start(binary, &path, admin, &folder)?;
        let (status, _) = h1::fetch(listen, "/", Duration::from_secs(5))?;
        anyhow::ensure!(status == 200, "{name}: the request was answered {status}");
        let ports = vec![(listen, "LISTEN"), (admin, "ADMIN"), (upstream, "UPSTREAM")];
        Ok(Self { proxy, ports })
    }

    fn ask(&self, path: &str) -> anyhow::Result<String> {
        let (status, mut text) = self.proxy.admin("GET", path)?;
        anyhow::ensure!(status == 200, "{path} was answered {status}: {text}");
        for (port, word) in &self.ports {
            text = text.replace(&port.to_string(), word);
        }
        Ok(text)
    }

    fn json(&self, path: &str) -> anyhow::Result<Value> {
        let (_, text) = self.proxy.admin("GET", path)?;
        serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))
    }
}

struct Sides {
    envoy: Side,
    weir: Side,
}

impl Sides {
    fn start(envoy: &Path, weir: &Path) -> anyhow::Result<Self> {
        let upstream = backend("v1")?;
        let sides = Self {
            envoy: Side::start(envoy, "envoy", upstream)?,
            weir: Side::start(weir, "weir", upstream)?,
        };
        std::thread::sleep(FLUSH);
        Ok(sides)
    }

    /// The texts are equal.
    fn text(&self, path: &str) -> anyhow::Result<()> {
        let (envoy, weir) = (self.envoy.ask(path)?, self.weir.ask(path)?);
        anyhow::ensure!(envoy == weir, "{path}\nenvoy:\n{envoy}\nweir:\n{weir}");
        Ok(())
    }

    /// weir's JSON has every field of Envoy's, of the same type, but for `absent`; and no other.
    fn shape(&self, path: &str, absent: &[&str]) -> anyhow::Result<()> {
        let mut found = Vec::new();
        differences(&self.envoy.json(path)?, &self.weir.json(path)?, "", &mut found);
        let unlisted: Vec<&String> = found.iter().filter(|at| !absent.contains(&at.as_str())).collect();
        anyhow::ensure!(unlisted.is_empty(), "{path}: {unlisted:#?}");
        let stale: Vec<&&str> = absent.iter().filter(|at| !found.iter().any(|f| f == **at)).collect();
        anyhow::ensure!(stale.is_empty(), "{path}: {stale:?} are no longer different");
        Ok(())
    }

    /// The statistics that Envoy has and weir lacks are those of the list.
    fn statistics(&self) -> anyhow::Result<()> {
        let names = |side: &Side| -> anyhow::Result<BTreeSet<String>> {
            let text = side.ask("/stats")?;
            Ok(text.lines().filter_map(|line| Some(line.split_once(": ")?.0.to_owned())).collect())
        };
        let (envoy, weir) = (names(&self.envoy)?, names(&self.weir)?);
        let absent: Vec<&str> = envoy.difference(&weir).map(String::as_str).collect();
        let path = binaries::root().join(ABSENT);
        if std::env::var_os("ADMIN_WRITE").is_some() {
            return Ok(std::fs::write(path, absent.join("\n") + "\n")?);
        }
        let listed = std::fs::read_to_string(path)?;
        let listed: Vec<&str> = listed.lines().collect();
        anyhow::ensure!(listed == absent, "{ABSENT} (ADMIN_WRITE=1 writes it anew):\n{}", absent.join("\n"));
        Ok(())
    }

    /// What both have in Prometheus' format is of the same type and has the same labels.
    fn prometheus(&self) -> anyhow::Result<()> {
        let series = |side: &Side| -> anyhow::Result<BTreeMap<String, String>> {
            let text = side.ask("/stats/prometheus")?;
            let mut all = BTreeMap::new();
            for line in text.lines() {
                if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
                {
                    all.insert(format!("type {name}"), kind.to_owned());
                } else if let Some((name, rest)) = line.split_once('{') {
                    let labels = rest.split(',').map(|label| label.split('=').next().unwrap_or_default());
                    all.insert(format!("labels {name}"), labels.collect::<Vec<_>>().join(","));
                }
            }
            Ok(all)
        };
        let (envoy, weir) = (series(&self.envoy)?, series(&self.weir)?);
        let both = envoy.iter().filter_map(|(name, of)| Some((name, of, weir.get(name)?)));
        let differ: Vec<_> = both.clone().filter(|(name, a, b)| name.starts_with("type") && a != b).collect();
        anyhow::ensure!(differ.is_empty(), "{differ:?}");
        anyhow::ensure!(both.count() > 300, "hardly anything in common");
        Ok(())
    }
}

/// Paths at which one side has a field that the other lacks, or of another type.
fn differences(envoy: &Value, weir: &Value, at: &str, found: &mut Vec<String>) {
    match (envoy, weir) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let here = format!("{at}.{name}");
                match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => differences(a, b, &here, found),
                    (Some(_), None) => found.push(format!("-{here}")),
                    _ => found.push(format!("+{here}")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            if a.len() != b.len() {
                found.push(format!("#{at}"));
            }
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                differences(a, b, &format!("{at}[{i}]"), found);
            }
        }
        (a, b) if std::mem::discriminant(a) != std::mem::discriminant(b) => found.push(format!("~{at}")),
        _ => {}
    }
}

/// pilot-agent's queries, as it writes them (contract 1.3).
const AGENT: [&str; 2] = [
    r"/stats?usedonly&filter=^(cluster_manager\.cds|listener_manager\.lds)\.(update_success|update_rejected)$",
    r"/stats?usedonly&filter=^(server\.state|listener_manager\.workers_started)",
];

fn main() -> ExitCode {
    let mut suite = Suite::new("admin");
    let (Some(envoy), Some(weir)) = (binaries::envoy(), binaries::weir()) else {
        suite.skip(
            "all",
            "the real Envoy or weir is absent: `make test` installs it, or set ENVOY to its path",
        );
        return suite.finish();
    };
    let sides = match Sides::start(&envoy, &weir) {
        Ok(sides) => sides,
        Err(error) => {
            suite.verdict("start", Err(error));
            return suite.finish();
        }
    };
    for path in
        AGENT.into_iter().chain(["/ready", "/listeners", "/clusters", "/certs", "/hot_restart_version"])
    {
        suite.case(path, || sides.text(path));
    }
    // Descriptions of Envoy's own build.
    let node = ["-.node.client_features", "-.node.dynamic_parameters", "-.node.extensions"];
    let node = node.into_iter().chain([
        "-.node.listening_addresses",
        "-.node.user_agent_build_version",
        "-.node.user_agent_name",
        "-.hot_restart_initializing",
    ]);
    let mut node: Vec<&str> = node.collect();
    node.sort_unstable();
    suite.case("server_info", || sides.shape("/server_info", &node));
    for path in
        ["/listeners?format=json", "/clusters?format=json", "/memory", "/certs", "/runtime", "/init_dump"]
    {
        suite.case(path, || sides.shape(path, &[]));
    }
    suite.case("config_dump", || {
        let kinds = |side: &Side| -> anyhow::Result<Vec<Value>> {
            let dump = side.json("/config_dump")?;
            let configs = dump.get("configs").and_then(Value::as_array).context("no configs")?.clone();
            Ok(configs.iter().filter_map(|config| config.get("@type").cloned()).collect())
        };
        let (envoy, weir) = (kinds(&sides.envoy)?, kinds(&sides.weir)?);
        anyhow::ensure!(envoy == weir, "{envoy:?} and {weir:?}");
        Ok(())
    });
    suite.case("statistics", || sides.statistics());
    suite.case("prometheus", || sides.prometheus());
    suite.finish()
}
