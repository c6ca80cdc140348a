//! The processes of the demo: `weirctl serve` on a folder of YAML, and a gateway and one sidecar per pod that it
//! programs over their streams.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::apps::{self, App};
use super::node::Node;
use super::plane::{Plane, SYNC, Verdict, fetch};

/// A started proxy accepts within this time.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// A change is in force, or refused, within this time. weir promises one second; the rest is for a busy machine.
const APPLIED_WITHIN: Duration = Duration::from_secs(5);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(5);
/// The YAML that everything starts with: file name, text.
const FILES: [(&str, &str); 4] = [
    ("services.yaml", include_str!("../../../deploy/demo/mesh/services.yaml")),
    ("gateway.yaml", include_str!("../../../deploy/demo/mesh/gateway.yaml")),
    ("subsets.yaml", include_str!("../../../deploy/demo/mesh/subsets.yaml")),
    (RULES, ALL_TO_V1),
];

/// The rules of the first step.
pub const ALL_TO_V1: &str = include_str!("../../../deploy/demo/mesh/rules.yaml");

/// The file that the steps replace.
const RULES: &str = "rules.yaml";

/// The pods as `services.yaml` has them: service, version, address, port of the application.
const PODS: [(&str, &str, &str, u16); 6] = [
    ("greeter", "v1", "127.31.1.1", 19101),
    ("greeter", "v2", "127.31.1.2", 19102),
    ("greeter", "v3", "127.31.1.3", 19103),
    ("hello", "v1", "127.31.2.1", 19201),
    ("hello", "v2", "127.31.2.2", 19202),
    ("hello", "v3", "127.31.2.3", 19203),
];

/// Ports that the proxies listen on are looked for from here, below the range of client sockets.
const PORTS: std::ops::Range<u16> = 18_080..19_080;

/// One running proxy.
pub struct Proxy {
    /// `gateway`, or the name of its pod.
    pub name: String,
    /// Port of its admin listener on 127.0.0.1.
    pub admin: u16,
    /// Port of its way in: the gateway's, or the one by which a pod calls hello.
    pub port: u16,
    child: Child,
    log: PathBuf,
}

/// Everything that runs, and its folder; all of it ends when dropped.
pub struct Mesh {
    /// The folder that the control plane watches.
    pub folder: PathBuf,
    /// The applications.
    pub apps: Vec<Arc<App>>,
    /// The gateway first.
    pub proxies: Vec<Proxy>,
    plane: Option<Plane>,
    home: PathBuf,
}

impl Mesh {
    /// Writes the folder, starts applications and proxies, and waits until all of them accept.
    ///
    /// # Errors
    /// weir is missing or ends at once (the end of its log is in the text), or there is no free port.
    pub async fn start(weir: &Path) -> anyhow::Result<Self> {
        let home = std::env::temp_dir().join(format!("weir-demo-{}", std::process::id()));
        let folder = home.join("mesh");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let mut mesh = Self { folder, apps: Vec::new(), proxies: Vec::new(), plane: None, home };
        let mut files = FILES.map(|(name, text)| (name, text.to_owned()));
        for (service, version, _, port) in PODS {
            let app = apps::start(service, version, port)?;
            for (_, text) in &mut files {
                *text = text.replace(&port.to_string(), &app.port.to_string());
            }
            mesh.apps.push(app);
        }
        for (name, text) in &files {
            fs::write(mesh.folder.join(name), text)?;
        }
        let mut ports = PORTS;
        mesh.plane =
            Some(Plane::start(&mesh.folder, &mesh.home, (free(&mut ports)?, free(&mut ports)?)).await?);
        let mut arrivals = Vec::new();
        let (port, admin) = (free(&mut ports)?, free(&mut ports)?);
        let node = Node::new("router~127.0.0.1~gateway.default~default.svc.cluster.local", &[(80, port)])
            .label("istio", "ingressgateway");
        mesh.spawn(weir, "gateway", &node, port, admin)?;
        arrivals.push(("127.0.0.1", port));
        for ((service, version, address, _), index) in PODS.into_iter().zip(0..) {
            let (http, grpc, admin) = (free(&mut ports)?, free(&mut ports)?, free(&mut ports)?);
            let name = format!("{service}-{version}");
            let id = format!("sidecar~{address}~{name}.default~default.svc.cluster.local");
            let node = Node::new(&id, &[(8000, http), (7000, grpc)]);
            let node = node.label("app", service).label("version", version);
            mesh.spawn(weir, &name, &node, grpc, admin)?;
            arrivals.push((address, mesh.apps.get(index).map_or(0, |app| app.port)));
        }
        for (proxy, (address, port)) in mesh.proxies.iter_mut().zip(arrivals) {
            proxy.accepts(address, port).await?;
        }
        Ok(mesh)
    }

    fn spawn(&mut self, weir: &Path, name: &str, node: &Node, port: u16, admin: u16) -> anyhow::Result<()> {
        let log = self.home.join(format!("{name}.log"));
        let file = self.home.join(format!("{name}.json"));
        let bootstrap = node.bootstrap(admin, self.plane()?.xds);
        fs::write(&file, serde_json::to_vec_pretty(&bootstrap)?)?;
        let child = Command::new(weir)
            .arg("-c")
            .arg(&file)
            .args(["--concurrency", "1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("{} cannot be started", weir.display()))?;
        self.proxies.push(Proxy { name: name.to_owned(), admin, port, child, log });
        Ok(())
    }

    /// The control plane.
    pub fn plane(&self) -> anyhow::Result<&Plane> {
        self.plane.as_ref().context("the control plane runs")
    }

    /// The gateway.
    pub fn gateway(&self) -> anyhow::Result<&Proxy> {
        self.proxies.first().context("the gateway runs")
    }

    /// The application of a pod.
    pub fn app(&self, service: &str, version: &str) -> anyhow::Result<&App> {
        let app = self.apps.iter().find(|app| app.service == service && app.version == version);
        Ok(app.with_context(|| format!("{service}-{version} runs"))?)
    }

    /// Replaces the rules and waits until every proxy has them in force; how long that took.
    ///
    /// # Errors
    /// They were refused (with what was said of them), or nothing happened in time.
    pub async fn apply(&self, rules: &str) -> anyhow::Result<Duration> {
        match self.offer(rules).await? {
            (took, Verdict::InForce) => Ok(took),
            (_, Verdict::Refused(why)) => anyhow::bail!("the rules were refused: {why}"),
        }
    }

    /// Replaces the rules and waits for what the control plane and the proxies say to them.
    ///
    /// # Errors
    /// They said nothing in time.
    pub async fn offer(&self, rules: &str) -> anyhow::Result<(Duration, Verdict)> {
        let plane = self.plane()?;
        let before = plane.now()?;
        let begun = Instant::now();
        // A file that is moved into place is never seen half written.
        let draft = self.home.join("draft");
        fs::write(&draft, rules)?;
        fs::rename(&draft, self.folder.join(RULES))?;
        loop {
            match plane.verdict(&before, self.proxies.len())? {
                Some(Verdict::InForce) if self.is_warming()? => {}
                Some(verdict) => return Ok((begun.elapsed(), verdict)),
                None => {}
            }
            if begun.elapsed() > APPLIED_WITHIN {
                anyhow::bail!("a change came not into force for {APPLIED_WITHIN:?}: {}", plane.page(SYNC)?);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Is anything acknowledged and not yet in force?
    fn is_warming(&self) -> anyhow::Result<bool> {
        for proxy in &self.proxies {
            let text = fetch(proxy.admin, "/stats?filter=warming")?;
            if text.lines().any(|line| !line.ends_with(": 0")) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sum of a statistic of a proxy's clusters for greeter (both directions), by the end of its name.
    ///
    /// # Errors
    /// The admin listener does not answer.
    pub fn sum(&self, proxy: &str, statistic: &str) -> anyhow::Result<u64> {
        let proxy = self.proxies.iter().find(|one| one.name == proxy).context("no such proxy")?;
        let text = proxy.stats()?;
        let values = text.lines().filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let ours = name.starts_with("cluster.outbound|8000|") || name.starts_with("cluster.inbound|");
            (ours && name.ends_with(statistic)).then(|| value.trim().parse::<u64>().ok()).flatten()
        });
        Ok(values.fold(0, u64::saturating_add))
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        // What has ended already needs no ending, and a folder left behind harms nobody.
        for proxy in &mut self.proxies {
            let _ = proxy.child.kill();
        }
        for proxy in &mut self.proxies {
            let _ = proxy.child.wait();
        }
        let _ = fs::remove_dir_all(&self.home);
    }
}

impl Proxy {
    async fn accepts(&mut self, address: &str, port: u16) -> anyhow::Result<()> {
        let end = Instant::now() + READY_WITHIN;
        while TcpStream::connect((address, port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("{} ended with {status}: {}", self.name, tail(&self.said()?));
            }
            if Instant::now() > end {
                let said = tail(&self.said()?);
                anyhow::bail!(
                    "{} does not listen on {address}:{port} after {READY_WITHIN:?}: {said}",
                    self.name
                );
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// What it has written to standard error.
    fn said(&self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }

    fn stats(&self) -> anyhow::Result<String> {
        fetch(self.admin, "/stats")
    }
}

/// The last lines.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(8)..).unwrap_or_default().join("\n")
}

/// The next port that nobody listens on.
fn free(ports: &mut std::ops::Range<u16>) -> anyhow::Result<u16> {
    let port = ports.find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok());
    port.with_context(|| format!("no free port in {PORTS:?}"))
}

/// The program weir: `WEIR_BIN`, else the one beside this program.
///
/// # Errors
/// There is none.
pub fn weir() -> anyhow::Result<PathBuf> {
    let chosen = match std::env::var_os("WEIR_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("weir"),
    };
    if !chosen.is_file() {
        let path = chosen.display();
        anyhow::bail!(
            "there is no weir at {path}: build it (cargo build -p weir-proxy), or name it by WEIR_BIN"
        );
    }
    Ok(chosen)
}
