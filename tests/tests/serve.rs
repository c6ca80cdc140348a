//! `weirctl serve` and two proxies that it programs, one in each dialect: changes of the folder, a broken file, the
//! control plane gone and back, its pages; `weirctl status` of the proxies. Then unmodified Envoys beside weirs.
#![forbid(unsafe_code)]

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use weir_tests::beside::{Beside, Says, page};
use weir_tests::oracle::binaries;
use weir_tests::ports::{free, listen};
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
    for admin in fleet.admins {
        let stats = || page(admin, "admin", "/stats/prometheus");
        let counted = |line: &str| line.starts_with("istio_requests_total{") && line.contains("app.test");
        until("requests are counted as Istio does", || Ok(stats()?.lines().any(counted)))?;
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
    let mistakes = || fleet.plane()?.metric("weirctl_folder_mistakes");
    until("the mistake is counted", || Ok(mistakes()? > 0))?;
    let folder = fleet.plane()?.folder()?;
    let file = folder.pointer("/diagnostics/0/at/file").and_then(Value::as_str).unwrap_or_default();
    anyhow::ensure!(file.ends_with("routes.yaml") && folder.get("state") == Some(&json!(state)), "{folder}");
    fleet.answer("v2")?;
    anyhow::ensure!(fleet.plane()?.metric("weirctl_folder_state")? == state, "the broken file is in force");
    fleet.mesh.weigh(100)?;
    fleet.answer("v1")?;
    anyhow::ensure!(mistakes()? == 0, "mistakes of a folder that is mended");
    anyhow::ensure!(fleet.plane()?.folder()?.get("diagnostics") == Some(&json!([])), "they are still shown");
    Ok(())
}

/// A file that is cut off, and a folder without files: both may be about to be written.
fn what_is_empty_changes_nothing(fleet: &mut Fleet) -> anyhow::Result<()> {
    let state = fleet.plane()?.metric("weirctl_folder_state")?;
    fleet.mesh.cut()?;
    std::thread::sleep(Duration::from_millis(800));
    fleet.answer("v1")?;
    let files = fleet.mesh.take_away()?;
    std::thread::sleep(Duration::from_millis(800));
    fleet.answer("v1")?;
    anyhow::ensure!(fleet.plane()?.metric("weirctl_folder_state")? == state, "nothing is in force");
    let weir = binaries::weir().context("weir is not built")?;
    for (program, arguments) in
        [(weirctl()?, vec!["check"]), (weir, vec!["--mode", "validate", "--mesh-config"])]
    {
        let told = Command::new(&program).args(arguments).arg(fleet.mesh.path()).output()?;
        let said = [told.stdout, told.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        anyhow::ensure!(told.status.code() == Some(1), "{}: {}: {said}", program.display(), told.status);
        anyhow::ensure!(said.contains("error[nothing-there]") && said.contains("help:"), "{said}");
    }
    fleet.mesh.bring_back(&files)?;
    fleet.mesh.weigh(0)?;
    fleet.answer("v2")?;
    fleet.mesh.weigh(100)?;
    fleet.answer("v1")
}

/// What reads well, and every proxy would refuse with all routes of the port.
fn what_proxies_refuse_changes_nothing(fleet: &mut Fleet) -> anyhow::Result<()> {
    let state = fleet.plane()?.metric("weirctl_folder_state")?;
    let nacks = fleet.plane()?.metric("weirctl_xds_nacks_total")?;
    fleet.mesh.mark("100%")?;
    let checked = Command::new(weirctl()?).arg("check").arg(fleet.mesh.path()).output()?;
    let said = String::from_utf8_lossy(&checked.stdout);
    let told = ["error[refused]: VirtualService default/app", "routes.yaml:8:", "help:"];
    anyhow::ensure!(checked.status.code() == Some(1), "{}: {said}", checked.status);
    anyhow::ensure!(told.iter().all(|words| said.contains(words)), "{said}");
    std::thread::sleep(Duration::from_millis(800));
    fleet.answer("v1")?;
    anyhow::ensure!(fleet.plane()?.metric("weirctl_folder_state")? == state, "it is in force");
    anyhow::ensure!(fleet.plane()?.metric("weirctl_xds_nacks_total")? == nacks, "it was pushed");
    fleet.mesh.mark("100%%")?;
    fleet.answer("v2")?;
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

/// How many clusters of the service a proxy has: one, and one for each subset.
fn clusters_of_app(admin: u16) -> anyhow::Result<usize> {
    let dump: Value = serde_json::from_str(&page(admin, "admin", "/config_dump")?)?;
    let parts = dump.get("configs").and_then(Value::as_array).context("no configs")?;
    let all = parts.iter().filter_map(|part| part.get("dynamic_active_clusters")?.as_array()).flatten();
    let names = all.filter_map(|one| one.pointer("/cluster/name")?.as_str());
    Ok(names.filter(|name| name.ends_with("|app.test")).count())
}

/// A sidecar of two pods each, and an Envoy where there is one; a Sidecar resource limits all but the first.
fn a_sidecar_limits_what_its_pods_see(fleet: &mut Fleet) -> anyhow::Result<()> {
    let weir = binaries::weir().context("weir is not built")?;
    let mut wanted = vec![("free", "DELTA_GRPC", weir.clone()), ("bound", "GRPC", weir)];
    wanted.extend(binaries::envoy().map(|envoy| ("bound", "DELTA_GRPC", envoy)));
    let mut pods = Vec::new();
    for (app, api, program) in wanted {
        let (port, admin) = (free()?, free()?);
        let bootstrap = sidecar(app, api, &format!("80={port}"), fleet.xds, admin);
        pods.push((Proxy::start_program(&program, &bootstrap, &[], admin)?, port, admin));
    }
    let places: Vec<(u16, u16)> = pods.iter().map(|(_, port, admin)| (*port, *admin)).collect();
    let have = |free: usize, bound: usize| -> anyhow::Result<bool> {
        let counts = places.iter().map(|(_, admin)| clusters_of_app(*admin));
        let counts = counts.collect::<anyhow::Result<Vec<usize>>>()?;
        Ok(counts.iter().enumerate().all(|(index, count)| *count == if index == 0 { free } else { bound }))
    };
    let reached = || -> anyhow::Result<()> {
        for (port, _) in &places {
            until("it is reached", || Ok(["v1", "v2"].contains(&page(*port, "app.test", "/")?.as_str())))?;
        }
        Ok(())
    };
    until("all see the service and its subsets", || have(3, 3))?;
    reached()?;
    fleet.mesh.scope("bound", "~/*")?;
    until("only the first does", || have(3, 0))?;
    fleet.mesh.scope("bound", "default/*")?;
    until("all see the service again", || have(3, 3))?;
    reached()?;
    fleet.mesh.scope("bound", "other/*")?;
    until("only the first does", || have(3, 0))?;
    fleet.mesh.unscope()?;
    until("the limit is gone", || have(3, 3))?;
    reached()?;
    anyhow::ensure!(fleet.plane()?.metric("weirctl_xds_nacks_total")? == 0, "something was refused");
    pods.iter_mut().try_for_each(|(proxy, ..)| proxy.alive())
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

/// What an Envoy and a weir do with the same YAML, in both dialects.
fn envoys_and_weirs_do_the_same(all: &mut Beside) -> anyhow::Result<()> {
    all.all_answer("/", "", |answer| answer.status == 200)?;
    all.all_answer("/", "x-user: jason", |answer| answer.body == "v2")?;
    all.all_synced()?;
    for (path, status) in
        [("/slow", 504), ("/gone", 302), ("/teapot", 418), ("/broken", 503), ("/old/x", 200)]
    {
        let answer = all.same_answer(path, "")?;
        anyhow::ensure!(answer.status == status, "{path}: {answer:?}");
    }
    let answer = all.same_answer("/teapot", "x-user: jason")?;
    anyhow::ensure!(answer.body == "v2" && answer.headers.contains_key("x-mark"), "{answer:?}");
    shared(all, 30)
}

/// Requests to each proxy to see the weights.
const SAMPLE: u32 = 400;

fn shared(all: &Beside, percent: u32) -> anyhow::Result<()> {
    for (name, count) in all.to_second(SAMPLE as usize)? {
        let (expected, count) = (f64::from(SAMPLE * percent) / 100.0, f64::from(u32::try_from(count)?));
        // Five standard deviations of so many draws.
        let bound = 5.0 * (expected * f64::from(100 - percent) / 100.0).sqrt();
        anyhow::ensure!((count - expected).abs() <= bound, "{name}: {count} of {SAMPLE}, not {expected}");
    }
    Ok(())
}

fn envoys_and_weirs_follow(all: &mut Beside) -> anyhow::Result<()> {
    let mut says = Says { mark: "two", second: 100, ..Says::first() };
    all.say(&says, false)?;
    all.all_answer("/", "", |answer| answer.headers.get("x-mark").is_some_and(|mark| mark == "two"))?;
    shared(all, 100)?;
    // A cluster that changes waits for endpoints that do not.
    says.connections = 77;
    all.say(&says, false)?;
    all.all_clusters_say("outbound|80|v1|app.test::default_priority::max_connections::77")?;
    all.all_answer("/old", "", |answer| answer.body == "v1")?;
    // Endpoints alone.
    all.say(&says, true)?;
    all.all_answer("/old", "", |answer| answer.body == "v3")?;
    // Clusters, endpoints and routes at once.
    says = Says { second: 0, timeout: "1ms", connections: 78, mark: "three" };
    all.say(&says, false)?;
    all.all_answer("/", "", |answer| answer.headers.get("x-mark").is_some_and(|mark| mark == "three"))?;
    all.all_clusters_say("outbound|80||app.test::default_priority::max_connections::78")?;
    all.all_answer("/old", "", |answer| answer.body == "v1")?;
    shared(all, 0)?;
    anyhow::ensure!(all.same_answer("/slow", "")?.status == 504, "/slow");
    all.all_synced()?;
    // What changed while they were alone.
    says.connections = 79;
    all.say_meanwhile(&says)?;
    all.all_clusters_say("outbound|80||app.test::default_priority::max_connections::79")?;
    all.all_answer("/old", "", |answer| answer.body == "v1")?;
    all.none_refused()?;
    all.alive()
}

/// A gateway whose port is taken refuses its listener; one whose node cannot be understood is refused.
fn refusals_are_told(fleet: &mut Fleet) -> anyhow::Result<()> {
    let (taken, port) = listen()?;
    let (admin, other) = (free()?, free()?);
    let mut refuses = Proxy::start(&gateway("GRPC", &format!("80={port}"), fleet.xds, admin), admin)?;
    let mut refused = Proxy::start(&gateway("DELTA_GRPC", "80=abc", fleet.xds, other), other)?;
    let plane = fleet.plane()?;
    until("it refuses", || Ok(plane.metric("weirctl_xds_nacks_total")? > 0))?;
    // It comes back again and again.
    until("it is refused", || Ok(plane.metric("weirctl_xds_streams_refused_total")? > 1))?;
    let said = plane.said();
    let lines =
        |words: [&str; 3]| said.lines().filter(|line| words.iter().all(|word| line.contains(word))).count();
    let nack = lines([
        &format!("router-{admin}.default"),
        " refuses envoy.config.listener.v3.Listener: ",
        "0.0.0.0_80",
    ]);
    let stream = lines(["a stream from 127.0.0.1:", "WEIR_LISTEN_PORT_MAP", "80=abc"]);
    anyhow::ensure!((nack, stream) == (1, 1), "{nack} and {stream} lines: {said}");
    drop(taken);
    refuses.alive()?;
    refused.alive()
}

/// What `weirctl` says to arguments that are none.
fn refused(arguments: &[&str]) -> anyhow::Result<String> {
    let told = Command::new(weirctl()?).args(arguments).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    anyhow::ensure!(told.status.code() == Some(2), "{arguments:?}: {}: {said}", told.status);
    Ok(said)
}

fn strangers_are_refused(fleet: &mut Fleet) -> anyhow::Result<()> {
    let nowhere = Command::new(weirctl()?).args(["check", "there/is/no/such/path"]).output()?;
    let said = String::from_utf8_lossy(&nowhere.stderr);
    anyhow::ensure!(nowhere.status.code() == Some(2) && said.contains("path"), "{}: {said}", nowhere.status);
    let (status, _) = fetch(fleet.pages, "/nothing", WITHIN)?;
    anyhow::ensure!(status == 404, "/nothing: {status}");
    let folder = fleet.mesh.path().display().to_string();
    let streams = format!("127.0.0.1:{}", fleet.xds);
    for (arguments, words) in [
        (vec!["serve", &folder, "--listen", &streams], ["--listen", "name another address"]),
        (vec!["serve", &folder, "--listen", "localhost:1"], ["--listen", "write it as IP:PORT"]),
        (vec!["status", "--admin", "foo"], ["--admin", "write it as HOST:PORT"]),
        (vec!["status", "--admin", "http://127.0.0.1:15000"], ["--admin", "without http://"]),
        (vec!["status", "--admin", &streams], [&streams, "is this the admin API of a proxy?"]),
    ] {
        let said = refused(&arguments)?;
        anyhow::ensure!(words.iter().all(|word| said.contains(word)), "{arguments:?}: {said}");
    }
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
            suite.case("what-is-empty-changes-nothing", || what_is_empty_changes_nothing(&mut fleet));
            suite.case("what-proxies-refuse-changes-nothing", || {
                what_proxies_refuse_changes_nothing(&mut fleet)
            });
            suite.case("the-plane-comes-back", || the_plane_comes_back(&mut fleet));
            suite.case("status-tells-what-is-in-force", || status_tells_what_is_in_force(&mut fleet));
            suite.case("a-sidecar-limits-what-its-pods-see", || {
                a_sidecar_limits_what_its_pods_see(&mut fleet)
            });
            suite.case("refusals-are-told", || refusals_are_told(&mut fleet));
            suite.case("strangers-are-refused", || strangers_are_refused(&mut fleet));
        }
    }
    match Beside::start() {
        Err(error) => suite.case("beside-envoy", || Err(error)),
        Ok(None) => suite.skip("beside-envoy", "no Envoy in .venv (make setup-test), or weir is not built"),
        Ok(Some(mut all)) => {
            suite.case("envoys-and-weirs-do-the-same", || envoys_and_weirs_do_the_same(&mut all));
            suite.case("envoys-and-weirs-follow", || envoys_and_weirs_follow(&mut all));
        }
    }
    suite.finish()
}
