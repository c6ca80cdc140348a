//! An unmodified Envoy and a weir in each dialect, all programmed by one `weirctl serve`: whatever the YAML says, they
//! are to do the same.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use crate::oracle::binaries;
use crate::oracle::wire::Message;
use crate::ports::{free, listen};
use crate::process::Proxy;
use crate::reload::backend;
use crate::served::{Served, WITHIN, gateway, until};
use crate::wire::h1::exchange;

/// Connections that the backend without answers keeps.
const MOST_HELD: usize = 256;

/// What the YAML says besides the fixed part; each field is changed by a case.
#[derive(Clone, Debug)]
pub struct Says {
    /// Per cent of the requests that go to the second version.
    pub second: u32,
    /// How long `/slow` may take.
    pub timeout: &'static str,
    /// Most connections to the service, per proxy.
    pub connections: u32,
    /// Value of a header of every answer.
    pub mark: &'static str,
}

impl Says {
    /// At the beginning.
    pub fn first() -> Self {
        Self { second: 30, timeout: "300ms", connections: 1000, mark: "one" }
    }
}

/// One of the proxies.
struct Member {
    name: &'static str,
    proxy: Proxy,
    port: u16,
    admin: u16,
}

/// The control plane and its four proxies.
pub struct Beside {
    folder: PathBuf,
    plane: Option<Served>,
    xds: u16,
    pages: u16,
    members: Vec<Member>,
    /// Ports of the backends: the two versions, the one that never answers, and one that takes the first one's place.
    backends: [u16; 4],
}

/// Status, body and the headers that the YAML decides.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Body.
    pub body: String,
    /// Headers by name.
    pub headers: BTreeMap<String, String>,
}

/// Headers of an answer that are compared.
const COMPARED: [&str; 4] = ["location", "x-mark", "x-version", "server"];

impl Beside {
    /// Starts all of them; `None` where there is no Envoy.
    ///
    /// # Errors
    /// One of them does not start.
    pub fn start() -> anyhow::Result<Option<Self>> {
        let (Some(envoy), Some(weir)) = (binaries::envoy(), binaries::weir()) else { return Ok(None) };
        let folder = std::env::temp_dir().join(format!("weir-beside-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let backends = [backend("v1")?, backend("v2")?, silent()?, backend("v3")?];
        write(&folder, &Says::first(), backends)?;
        let (xds, pages) = (free()?, free()?);
        let plane = Some(Served::start(&folder, xds, pages)?);
        let mut members = Vec::new();
        for (name, program, api) in [
            ("Envoy, delta", &envoy, "DELTA_GRPC"),
            ("Envoy, state of the world", &envoy, "GRPC"),
            ("weir, delta", &weir, "DELTA_GRPC"),
            ("weir, state of the world", &weir, "GRPC"),
        ] {
            let (port, admin) = (free()?, free()?);
            let bootstrap = gateway(api, &format!("80={port}"), xds, admin);
            let proxy = Proxy::start_program(program, &bootstrap, &[], admin).context(name)?;
            members.push(Member { name, proxy, port, admin });
        }
        Ok(Some(Self { folder, plane, xds, pages, members, backends }))
    }

    /// Changes the YAML. `moved`: the first version is where the third was.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn say(&self, says: &Says, moved: bool) -> anyhow::Result<()> {
        let [first, second, silent, other] = self.backends;
        write(&self.folder, says, [if moved { other } else { first }, second, silent, other])
    }

    /// The same, while the control plane is not there; then it comes back.
    ///
    /// # Errors
    /// It does not.
    pub fn say_meanwhile(&mut self, says: &Says) -> anyhow::Result<()> {
        self.plane = None;
        self.say(says, false)?;
        self.plane = Some(Served::start(&self.folder, self.xds, self.pages)?);
        Ok(())
    }

    fn plane(&self) -> anyhow::Result<&Served> {
        self.plane.as_ref().context("the control plane is away")
    }

    /// Waits until all answer a request so.
    ///
    /// # Errors
    /// One does not in time.
    pub fn all_answer(
        &self,
        path: &str,
        header: &str,
        enough: impl Fn(&Answer) -> bool,
    ) -> anyhow::Result<()> {
        for member in &self.members {
            until(&format!("{path} by {}", member.name), || Ok(enough(&ask(member.port, path, header)?)))?;
        }
        Ok(())
    }

    /// The same answer from all of them.
    ///
    /// # Errors
    /// One differs, or gives none.
    pub fn same_answer(&self, path: &str, header: &str) -> anyhow::Result<Answer> {
        let mut first: Option<Answer> = None;
        for member in &self.members {
            let answer =
                ask(member.port, path, header).with_context(|| format!("{path} by {}", member.name))?;
            let first = first.get_or_insert_with(|| answer.clone());
            anyhow::ensure!(answer == *first, "{path} by {}: {answer:?}, before: {first:?}", member.name);
        }
        first.context("there is no proxy")
    }

    /// Of so many requests, how many each sends to the second version.
    ///
    /// # Errors
    /// One is not answered.
    pub fn to_second(&self, requests: usize) -> anyhow::Result<Vec<(&'static str, usize)>> {
        let mut counts = Vec::new();
        for member in &self.members {
            let mut count = 0;
            for _ in 0..requests {
                let answer = ask(member.port, "/", "")?;
                anyhow::ensure!(answer.status == 200, "{}: {answer:?}", member.name);
                count += usize::from(answer.body == "v2");
            }
            counts.push((member.name, count));
        }
        Ok(counts)
    }

    /// Waits until each has a line with this in `/clusters`, and no cluster waits for anything.
    ///
    /// # Errors
    /// One has not in time.
    pub fn all_clusters_say(&self, line: &str) -> anyhow::Result<()> {
        for member in &self.members {
            until(&format!("{line} of {}", member.name), || {
                let text = |path| page(member.admin, "admin", path);
                let none_waits = text("/stats?filter=cluster_manager.warming_clusters")?;
                Ok(text("/clusters")?.contains(line)
                    && none_waits.trim_end().ends_with("warming_clusters: 0"))
            })?;
        }
        Ok(())
    }

    /// Waits until the control plane says of all that they have everything; none has refused anything.
    ///
    /// # Errors
    /// It does not in time, or one refused something.
    pub fn all_synced(&self) -> anyhow::Result<()> {
        let count = self.members.len();
        until("all are in step", || self.plane()?.synced(count))?;
        self.none_refused()
    }

    /// All are there, what they lack was left out for them, and none has refused anything.
    ///
    /// # Errors
    /// It is otherwise.
    pub fn none_refused(&self) -> anyhow::Result<()> {
        let told = self.plane()?.proxies()?;
        let agents = |agent: &str| told.iter().filter(|one| one.get("agent") == Some(&json!(agent))).count();
        anyhow::ensure!((agents("envoy"), agents("weir")) == (2, 2), "{told:?}");
        for proxy in &told {
            let left = proxy.get("left_out").and_then(Value::as_array).context("left_out")?;
            let lacks = |name: &str| left.contains(&json!(name));
            let envoy = proxy.get("agent") == Some(&json!("envoy"));
            anyhow::ensure!(
                lacks("TLS of listeners") && lacks("stats.PluginConfig") == envoy,
                "left out: {proxy}"
            );
        }
        anyhow::ensure!(
            self.plane()?.metric("weirctl_xds_nacks_total")? == 0,
            "something was refused: {told:?}"
        );
        Ok(())
    }

    /// All still run.
    ///
    /// # Errors
    /// One does not.
    pub fn alive(&mut self) -> anyhow::Result<()> {
        self.members.iter_mut().try_for_each(|member| member.proxy.alive().context(member.name))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // A folder left behind harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One GET on a connection of its own, with further header lines.
fn request(port: u16, path: &str, headers: &[&str]) -> anyhow::Result<Message> {
    let more: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let request = format!("GET {path} HTTP/1.1\r\n{more}Connection: close\r\n\r\n");
    Message::parse_closed(&exchange(port, request.as_bytes(), WITHIN)?.bytes)
}

/// The body that a host's page has, from any kind of server.
///
/// # Errors
/// There is none.
pub fn page(port: u16, host: &str, path: &str) -> anyhow::Result<String> {
    let reply = request(port, path, &[&format!("Host: {host}")])?;
    anyhow::ensure!(reply.status() == Some(200), "{path}: {:?}", reply.status());
    Ok(String::from_utf8(reply.body)?)
}

fn ask(port: u16, path: &str, header: &str) -> anyhow::Result<Answer> {
    let lines = ["Host: live.test", header];
    let reply = request(port, path, if header.is_empty() { &lines[..1] } else { &lines })?;
    let header = |name: &str| Some((name.to_owned(), reply.header(name)?.to_owned()));
    Ok(Answer {
        status: reply.status().context("no status")?,
        body: reply.body_text(),
        headers: COMPARED.iter().filter_map(|name| header(name)).collect(),
    })
}

/// A backend that takes connections and says nothing.
fn silent() -> anyhow::Result<u16> {
    let (listener, port): (TcpListener, u16) = listen()?;
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().flatten().take(MOST_HELD) {
            held.push(stream);
        }
    });
    Ok(port)
}

/// Writes the mesh: the file is replaced as an editor does.
fn write(folder: &Path, says: &Says, [first, second, silent, _]: [u16; 4]) -> anyhow::Result<()> {
    let Says { second: share, timeout, connections, mark } = says;
    let rest = 100 - share;
    let text = format!(
        r#"apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: default}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ["*"]}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: app, namespace: default}}
spec:
  hosts: [app.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints:
  - {{address: 127.0.0.1, ports: {{http: {first}}}, labels: {{version: v1}}}}
  - {{address: 127.0.0.1, ports: {{http: {second}}}, labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: slow, namespace: default}}
spec:
  hosts: [slow.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {silent}}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: app, namespace: default}}
spec:
  host: app.test
  trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {connections}}}}}}}
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: app, namespace: default}}
spec:
  hosts: [live.test]
  gateways: [edge]
  http:
  - match: [{{headers: {{x-user: {{exact: jason}}}}}}]
    headers: {{response: {{set: {{x-mark: {mark}}}}}}}
    route: [{{destination: {{host: app.test, subset: v2}}}}]
  - match: [{{uri: {{prefix: /slow}}}}]
    timeout: {timeout}
    retries: {{attempts: 0}}
    route: [{{destination: {{host: slow.test}}}}]
  - match: [{{uri: {{prefix: /gone}}}}]
    redirect: {{uri: /here, redirectCode: 302}}
  - match: [{{uri: {{exact: /teapot}}}}]
    directResponse: {{status: 418, body: {{string: "short and stout"}}}}
  - match: [{{uri: {{prefix: /broken}}}}]
    fault: {{abort: {{httpStatus: 503, percentage: {{value: 100}}}}}}
    route: [{{destination: {{host: app.test}}}}]
  - match: [{{uri: {{prefix: /old}}}}]
    rewrite: {{uri: /}}
    route: [{{destination: {{host: app.test, subset: v1}}}}]
  - headers: {{response: {{set: {{x-mark: {mark}}}}}}}
    route:
    - {{destination: {{host: app.test, subset: v1}}, weight: {rest}}}
    - {{destination: {{host: app.test, subset: v2}}, weight: {share}}}
"#
    );
    let (new, file) = (folder.join(".new.tmp"), folder.join("mesh.yaml"));
    fs::write(&new, text)?;
    fs::rename(&new, &file).with_context(|| file.display().to_string())
}
