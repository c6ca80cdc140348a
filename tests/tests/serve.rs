//! `weirctl serve` and two proxies that it programs, one in each dialect: changes of the folder, a broken file, the
//! control plane gone and back, its pages; `weirctl status` of the proxies.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use weir_tests::ports::free;
use weir_tests::process::Proxy;
use weir_tests::reload::{Mesh, backend};
use weir_tests::served::{Served, WITHIN, gateway, sidecar, until, weirctl};
use weir_tests::suite::Suite;
use weir_tests::wire::h1::fetch;

/// A folder, its control plane, and a proxy in each dialect.
struct Fleet {
    mesh: Mesh,
    plane: Option<Served>,
    xds: u16,
    pages: u16,
    ports: [u16; 2],
    admins: [u16; 2],
    proxies: Vec<Proxy>,
}

impl Fleet {
    fn start() -> anyhow::Result<Self> {
        let mesh = Mesh::write([backend("v1")?, backend("v2")?])?;
        let (xds, pages, ports) = (free()?, free()?, [free()?, free()?]);
        let plane = Some(Served::start(mesh.path(), xds, pages)?);
        let mut proxies = Vec::new();
        let admins = [free()?, free()?];
        for ((api, port), admin) in ["DELTA_GRPC", "GRPC"].into_iter().zip(ports).zip(admins) {
            let bootstrap = gateway(api, &format!("80={port}"), xds, admin);
            proxies.push(Proxy::start(&bootstrap, admin)?);
        }
        Ok(Self { mesh, plane, xds, pages, ports, admins, proxies })
    }

    fn plane(&self) -> anyhow::Result<&Served> {
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
    fleet.plane = Some(Served::start(fleet.mesh.path(), fleet.xds, fleet.pages)?);
    until("both are back", || Ok(fleet.plane()?.proxies()?.len() == 2))?;
    fleet.mesh.weigh(0)?;
    fleet.answer("v2")?;
    fleet.proxies.iter_mut().try_for_each(Proxy::alive)
}

/// Names of the clusters that a proxy was sent.
fn clusters(admin: u16) -> anyhow::Result<BTreeSet<String>> {
    let (_, dump) = fetch(admin, "/config_dump", WITHIN)?;
    let dump: Value = serde_json::from_slice(&dump)?;
    let parts = dump.get("configs").and_then(Value::as_array).context("no configs")?;
    let all = parts.iter().filter_map(|part| part.get("dynamic_active_clusters")?.as_array()).flatten();
    Ok(all.filter_map(|one| Some(one.pointer("/cluster/name")?.as_str()?.to_owned())).collect())
}

/// A sidecar of two pods each, of which a Sidecar resource limits one.
fn a_sidecar_limits_what_its_pods_see(fleet: &mut Fleet) -> anyhow::Result<()> {
    let (admins, mut pods) = ([free()?, free()?], Vec::new());
    for ((app, api), admin) in [("free", "DELTA_GRPC"), ("bound", "GRPC")].into_iter().zip(admins) {
        let bootstrap = sidecar(app, api, &format!("80={}", free()?), fleet.xds, admin);
        pods.push(Proxy::start(&bootstrap, admin)?);
    }
    let [free, bound] = admins;
    let app = |admin| -> anyhow::Result<usize> {
        Ok(clusters(admin)?.iter().filter(|name| name.ends_with("app.test")).count())
    };
    let have = |count: [usize; 2]| -> anyhow::Result<bool> { Ok([app(free)?, app(bound)?] == count) };
    until("both see the service and its subsets", || have([3, 3]))?;
    fleet.mesh.scope("bound", "~/*")?;
    until("one of them does not", || have([3, 0]))?;
    fleet.mesh.scope("bound", "default/*")?;
    until("both see the service again", || have([3, 3]))?;
    fleet.mesh.scope("bound", "other/*")?;
    until("one of them does not", || have([3, 0]))?;
    fleet.mesh.unscope()?;
    until("the limit is gone", || have([3, 3]))?;
    anyhow::ensure!(fleet.plane()?.metric("weirctl_xds_nacks_total")? == 0, "something was refused");
    pods.iter_mut().try_for_each(Proxy::alive)
}

/// `weirctl status` of a proxy: its exit code and its report.
fn status(admin: u16) -> anyhow::Result<(Option<i32>, Value)> {
    let address = format!("127.0.0.1:{admin}");
    let told = Command::new(weirctl()?).args(["status", "--json", "--admin", &address]).output()?;
    let said = String::from_utf8_lossy(&told.stderr);
    let report = serde_json::from_slice(&told.stdout).with_context(|| format!("{}: {said}", told.status))?;
    Ok((told.status.code(), report))
}

fn status_tells_what_is_in_force(fleet: &mut Fleet) -> anyhow::Result<()> {
    for admin in fleet.admins {
        let (code, report) = status(admin)?;
        anyhow::ensure!(code == Some(0), "{code:?}: {report:#}");
        let part = |at: &str| report.pointer(at).cloned().unwrap_or_default();
        anyhow::ensure!(part("/state") == "LIVE" && part("/connected") == true, "{report:#}");
        let kinds = part("/resources");
        let kind = |name: &str| {
            let all = kinds.as_array().into_iter().flatten();
            all.clone().find(|kind| kind.get("kind") == Some(&json!(name))).cloned().unwrap_or_default()
        };
        for name in ["listeners", "routes", "clusters"] {
            let told = kind(name);
            let count = told.get("in_force").and_then(Value::as_u64).unwrap_or(0);
            anyhow::ensure!(count > 0 && told.get("rejected") == Some(&json!([])), "{name}: {told}");
        }
        let busiest = part("/busiest/0/0");
        anyhow::ensure!(busiest.as_str().is_some_and(|name| name.contains("app.test")), "{busiest}");
    }
    let nobody = status(fleet.xds);
    anyhow::ensure!(nobody.is_err(), "a port that is no admin API: {nobody:?}");
    Ok(())
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
            suite.case("status-tells-what-is-in-force", || status_tells_what_is_in_force(&mut fleet));
            suite.case("a-sidecar-limits-what-its-pods-see", || {
                a_sidecar_limits_what_its_pods_see(&mut fleet)
            });
            suite.case("strangers-are-refused", || strangers_are_refused(&mut fleet));
        }
    }
    suite.finish()
}
