//! `weirctl serve` and two proxies that it programs, one in each dialect: changes of the folder, a broken file, the
//! control plane gone and back, its pages.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use weir_tests::ports::free;
use weir_tests::process::Proxy;
use weir_tests::reload::{Mesh, backend};
use weir_tests::suite::Suite;
use weir_tests::wire::h1::fetch;

const WITHIN: Duration = Duration::from_secs(15);

/// `weirctl`, which cargo builds next to `weir`.
fn weirctl() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(|deps| deps.parent()).context("a test runs from a target folder")?;
    let built = folder.join("weirctl");
    anyhow::ensure!(built.is_file(), "weirctl is not built (cargo build -p weirctl): {}", built.display());
    Ok(built)
}

/// The control plane; it ends with this.
struct Plane {
    child: Child,
    pages: u16,
}

impl Plane {
    fn start(mesh: &Mesh, xds: u16, pages: u16) -> anyhow::Result<Self> {
        let child = Command::new(weirctl()?)
            .arg("serve")
            .arg(mesh.path())
            .args(["--listen", &format!("127.0.0.1:{xds}"), "--monitoring", &format!("127.0.0.1:{pages}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let plane = Self { child, pages };
        until("the control plane is ready", || Ok(fetch(pages, "/ready", WITHIN)?.0 == 200))?;
        Ok(plane)
    }

    fn proxies(&self) -> anyhow::Result<Vec<Value>> {
        let (_, text) = fetch(self.pages, "/debug/syncz", WITHIN)?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Do as many proxies as there are have all that they are to have?
    fn synced(&self, proxies: usize) -> anyhow::Result<bool> {
        let all = self.proxies()?;
        let synced = |proxy: &Value| {
            let kinds = proxy.get("types").and_then(Value::as_object);
            kinds.is_some_and(|kinds| {
                kinds.len() == 4 && kinds.values().all(|kind| kind.get("status") == Some(&json!("SYNCED")))
            })
        };
        Ok(all.len() == proxies && all.iter().all(synced))
    }

    fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let (_, text) = fetch(self.pages, "/metrics", WITHIN)?;
        let text = String::from_utf8(text)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("{name} is missing"))?.parse()?)
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let end = Instant::now() + WITHIN;
    loop {
        match holds() {
            Ok(true) => return Ok(()),
            last if Instant::now() > end => anyhow::bail!("waited {WITHIN:?} for: {what}; {last:?}"),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn bootstrap(api: &str, number: usize, (xds, admin, port): (u16, u16, u16)) -> Value {
    let socket = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    json!({
        "node": {
            "id": format!("router~127.0.0.1~gateway-{number}.default~default.svc.cluster.local"),
            "cluster": "gateway",
            "metadata": {
                "INTERCEPTION_MODE": "NONE",
                "WEIR_LISTEN_PORT_MAP": format!("80={port}"),
                "LABELS": {"istio": "ingressgateway"},
            },
        },
        "admin": {"address": socket(admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": api,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {
                    "cluster_name": "plane",
                    "retry_policy": {"retry_back_off": {"base_interval": "0.05s", "max_interval": "0.5s"}},
                }}],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {"clusters": [{
            "name": "plane", "type": "STATIC", "connect_timeout": "1s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }},
            "load_assignment": {"cluster_name": "plane", "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": socket(xds)}}]}
            ]},
        }]},
    })
}

/// A folder, its control plane, and a proxy in each dialect.
struct Fleet {
    mesh: Mesh,
    plane: Option<Plane>,
    xds: u16,
    pages: u16,
    ports: [u16; 2],
    proxies: Vec<Proxy>,
}

impl Fleet {
    fn start() -> anyhow::Result<Self> {
        let mesh = Mesh::write([backend("v1")?, backend("v2")?])?;
        let (xds, pages, ports) = (free()?, free()?, [free()?, free()?]);
        let plane = Some(Plane::start(&mesh, xds, pages)?);
        let mut proxies = Vec::new();
        for (number, (api, port)) in ["DELTA_GRPC", "GRPC"].into_iter().zip(ports).enumerate() {
            let admin = free()?;
            proxies.push(Proxy::start(&bootstrap(api, number, (xds, admin, port)), admin)?);
        }
        Ok(Self { mesh, plane, xds, pages, ports, proxies })
    }

    fn plane(&self) -> anyhow::Result<&Plane> {
        self.plane.as_ref().context("the control plane is away")
    }

    /// Waits until both proxies answer with a version.
    fn answer(&self, version: &str) -> anyhow::Result<()> {
        for port in self.ports {
            let all = || Ok(fetch(port, "/", WITHIN)? == (200, version.as_bytes().to_vec()));
            until(&format!("{version} on port {port}"), all)?;
        }
        Ok(())
    }
}

fn programmed(fleet: &mut Fleet) -> anyhow::Result<()> {
    fleet.answer("v1")?;
    until("both are in step", || fleet.plane()?.synced(2))?;
    let all = fleet.plane()?.proxies()?;
    for (field, want) in [("agent", "weir"), ("dialect", "delta"), ("dialect", "state of the world")] {
        let told = all.iter().filter(|proxy| proxy.get(field) == Some(&json!(want))).count();
        anyhow::ensure!(told > 0, "no proxy whose {field} is {want}: {all:?}");
    }
    anyhow::ensure!(fleet.plane()?.metric("weirctl_xds_nacks_total")? == 0, "something was refused");
    Ok(())
}

fn only_changes_are_pushed(fleet: &mut Fleet) -> anyhow::Result<()> {
    let before = fleet.plane()?.metric("weirctl_xds_resources_total")?;
    fleet.mesh.weigh(0)?;
    fleet.answer("v2")?;
    until("both are in step", || fleet.plane()?.synced(2))?;
    let sent = fleet.plane()?.metric("weirctl_xds_resources_total")?.saturating_sub(before);
    anyhow::ensure!(sent == 2, "{sent} resources for one route of two proxies");
    Ok(())
}

fn a_broken_file_changes_nothing(fleet: &mut Fleet) -> anyhow::Result<()> {
    let state = fleet.plane()?.metric("weirctl_folder_state")?;
    fleet.mesh.break_file()?;
    std::thread::sleep(Duration::from_millis(800));
    fleet.answer("v2")?;
    anyhow::ensure!(fleet.plane()?.metric("weirctl_folder_state")? == state, "the broken file is in force");
    fleet.mesh.weigh(100)?;
    fleet.answer("v1")
}

fn the_plane_comes_back(fleet: &mut Fleet) -> anyhow::Result<()> {
    fleet.plane = None;
    std::thread::sleep(Duration::from_millis(300));
    fleet.answer("v1")?;
    fleet.plane = Some(Plane::start(&fleet.mesh, fleet.xds, fleet.pages)?);
    until("both are back", || Ok(fleet.plane()?.proxies()?.len() == 2))?;
    fleet.mesh.weigh(0)?;
    fleet.answer("v2")?;
    fleet.proxies.iter_mut().try_for_each(Proxy::alive)
}

fn strangers_are_refused(fleet: &mut Fleet) -> anyhow::Result<()> {
    let (status, _) = fetch(fleet.pages, "/nothing", WITHIN)?;
    anyhow::ensure!(status == 404, "/nothing: {status}");
    let taken = Command::new(weirctl()?)
        .arg("serve")
        .arg(fleet.mesh.path())
        .args(["--listen", &format!("127.0.0.1:{}", fleet.xds)])
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&taken.stderr);
    anyhow::ensure!(taken.status.code() == Some(2) && said.contains("--listen"), "{}: {said}", taken.status);
    Ok(())
}

fn main() -> ExitCode {
    let mut suite = Suite::new("serve");
    match Fleet::start() {
        Err(error) => suite.case("start", || Err(error)),
        Ok(mut fleet) => {
            suite.case("two-proxies-are-programmed", || programmed(&mut fleet));
            suite.case("only-changes-are-pushed", || only_changes_are_pushed(&mut fleet));
            suite.case("a-broken-file-changes-nothing", || a_broken_file_changes_nothing(&mut fleet));
            suite.case("the-plane-comes-back", || the_plane_comes_back(&mut fleet));
            suite.case("strangers-are-refused", || strangers_are_refused(&mut fleet));
        }
    }
    suite.finish()
}
