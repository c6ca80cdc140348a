//! The last good state on disk: it serves when the control plane is absent, and when it is there and wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use weir_xds::{CLUSTER, ENDPOINTS, ROUTE};

use super::{Bench, Case, Folder, InMode, Mode, WITHIN, bad, eds};
use crate::plane::{Plane, assignment, route};
use crate::reload::backend;

impl Folder {
    fn file(&self) -> PathBuf {
        self.0.join("last-good")
    }

    /// Waits until the file has this text in it.
    fn holds(&self, text: &str) -> anyhow::Result<()> {
        let until = Instant::now() + WITHIN;
        let has = |bytes: Vec<u8>| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        while !fs::read(self.file()).is_ok_and(has) {
            ensure!(Instant::now() < until, "'{text}' is not saved");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

fn mode_of(path: &Path) -> anyhow::Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
}

/// A folder, the flag that names it, and a proxy that saves its state there and serves.
fn saving(mode: Mode, flags: &[&str]) -> anyhow::Result<(Folder, String, Bench)> {
    let folder = Folder::unique();
    let flag = format!("--state-dir={}", folder.0.display());
    let bench = Bench::start_with(mode, Plane::start()?, &[&[&*flag], flags].concat())?;
    bench.push("a", backend("a")?)?;
    bench.answers("/", 200, b"a")?;
    Ok((folder, flag, bench))
}

/// 1,000 clusters, then three of them bad: a restart serves everything, with and without the control plane.
fn bad_push(mode: Mode) -> anyhow::Result<()> {
    let (folder, flag, mut bench) = saving(mode, &[])?;
    let names: Vec<String> = (0..1000).map(|i| format!("c{i:03}")).collect();
    let wrong = ["c007", "c500", "c999"];
    let upstream = backend("many")?;
    let routes = route("routes", &[("/c998", "c998"), ("/c007", "c007"), ("/", "a")])?;
    bench.plane.change(|batch| {
        batch.put(&CLUSTER, names.iter().map(|name| eds(name)).collect());
        batch.put(&ENDPOINTS, names.iter().map(|name| assignment(name, &[upstream])).collect());
        batch.put(&ROUTE, vec![routes]);
    });
    bench.answers("/c007", 200, b"many")?;
    bench.plane.put(&CLUSTER, wrong.iter().map(|name| bad(name)).collect());
    bench.plane.wait("a NACK", |told| told.nacks.iter().any(|(_, text)| text.contains("c999: ")))?;
    // Routes are sent last: when these are on disk, all is.
    let routes = route("routes", &[("/marked", "a"), ("/c998", "c998"), ("/c007", "c007"), ("/", "a")])?;
    let last = backend("z")?;
    bench.plane.change(|batch| {
        batch.put(&ENDPOINTS, vec![assignment("a", &[last])]);
        batch.put(&ROUTE, vec![routes]);
    });
    folder.holds("/marked")?;
    ensure!(mode_of(&folder.0)? == 0o700 && mode_of(&folder.file())? == 0o600, "modes");

    // With the control plane absent.
    bench.plane.down();
    bench.restart(&[&flag])?;
    for (path, body) in [("/", "z"), ("/c007", "many"), ("/c998", "many")] {
        bench.answers(path, 200, body.as_bytes())?;
    }
    ensure!(bench.ready()? == (503, "INITIALIZING".into()), "{:?}", bench.ready()?);
    for name in ["cluster_manager.cds.update_success", "listener_manager.lds.update_success"] {
        ensure!(bench.stat(name)? == 0, "{name}");
    }
    ensure!(bench.stat("cluster_manager.active_clusters")? == 1002, "clusters");
    let in_force = bench.stat("weir.last_good.in_force")?;
    ensure!(in_force == 2004, "{in_force} resources of the saved state");
    let told = bench.asks("/last_good")?;
    ensure!(told["in_force"] == "last_good" && told["not_confirmed"]["cluster"] == 1001, "{told}");

    // It comes back, and the bad push is still there: the versions before the bad ones serve on.
    bench.plane.up()?;
    let nacks =
        |told: &crate::plane::Told| told.nacks.iter().filter(|(_, t)| t.contains("c999: ")).count() > 1;
    bench.plane.wait("a second NACK", nacks)?;
    bench.shows("weir.last_good.in_force", |n| n == 3)?;
    bench.shows("listener_manager.workers_started", |n| n == 1)?;
    ensure!(bench.ready()? == (200, "LIVE".into()), "{:?}", bench.ready()?);
    bench.answers("/c007", 200, b"many")?;

    // And again, from a start beside that push.
    bench.restart(&[&flag])?;
    bench.shows("listener_manager.workers_started", |n| n == 1)?;
    bench.answers("/c007", 200, b"many")?;
    ensure!(bench.stat("cluster_manager.cds.update_rejected")? >= 1, "update_rejected");
    ensure!(bench.stat("cluster_manager.active_clusters")? == 1002, "clusters");
    bench.done()
}

/// What is gone from the control plane while the proxy is away goes when that answers.
fn gone(mode: Mode) -> anyhow::Result<()> {
    const READY: &str = "--last-good-counts-as-ready";
    let (folder, flag, mut bench) = saving(mode, &[READY])?;
    bench.plane.put(&CLUSTER, vec![eds("old")]);
    bench.plane.put(&ENDPOINTS, vec![assignment("old", &[1])]);
    bench.shows("cluster_manager.active_clusters", |n| n == 3)?;
    folder.holds("old")?;
    bench.shows("weir.last_good.file_bytes", |n| n > 0)?;
    bench.plane.down();
    bench.restart(&[&flag, READY])?;
    bench.answers("/", 200, b"a")?;
    // The flag: ready without a control plane.
    ensure!(bench.ready()? == (200, "LIVE".into()), "{:?}", bench.ready()?);
    ensure!(bench.stat("cluster_manager.cds.update_success")? == 1, "update_success");
    ensure!(bench.stat("cluster_manager.active_clusters")? == 3, "clusters");
    bench.plane.remove(&CLUSTER, &["old"]);
    bench.plane.remove(&ENDPOINTS, &["old"]);
    bench.plane.up()?;
    bench.shows("cluster_manager.active_clusters", |n| n == 2)?;
    bench.shows("weir.last_good.in_force", |n| n == 0)?;
    ensure!(bench.asks("/last_good")?["in_force"] == "control_plane", "/last_good");
    bench.answers("/", 200, b"a")?;
    bench.done()
}

/// A file that cannot be used is told and ignored, and another one takes its place.
fn unusable(mode: Mode) -> anyhow::Result<()> {
    let (folder, flag, mut bench) = saving(mode, &[])?;
    // The name of the routes is that in the listener; the prefix comes with them.
    folder.holds("\u{1}/")?;
    bench.plane.down();
    let good = fs::read(folder.file())?;
    let cut = good.get(..good.len() / 2).context("half")?.to_vec();
    let mut flipped = good.clone();
    *flipped.last_mut().context("the last byte")? ^= 1;
    let mut old = good.clone();
    *old.get_mut(8).context("the schema")? = 0xee;
    let files = [
        (cut, "cut off or corrupt"),
        (flipped, "cut off or corrupt"),
        (old, "its format has version"),
        (b"nothing of the kind".to_vec(), "no saved state of weir"),
        (Vec::new(), "no saved state of weir"),
    ];
    for (bytes, why) in files {
        fs::write(folder.file(), bytes)?;
        bench.restart(&[&flag])?;
        ensure!(bench.stat("weir.last_good.ignored")? == 1, "{why}: not counted");
        ensure!(bench.stat("weir.last_good.in_force")? == 0, "{why}: in force");
        let log = bench.proxy.logged();
        ensure!(log.contains(why) && log.contains("last-good"), "{why} is not in the log: {log}");
        let told = bench.asks("/last_good")?;
        ensure!(told["ignored"].as_str().is_some_and(|text| text.contains(why)), "{told}");
    }
    // Of another node.
    fs::write(folder.file(), &good)?;
    bench.restart(&[&flag, "--service-node", "somebody"])?;
    ensure!(bench.stat("weir.last_good.ignored")? == 1, "a foreign node");
    ensure!(bench.proxy.logged().contains("by the node 'sidecar~"), "{}", bench.proxy.said());
    // A folder that cannot be one.
    bench.restart(&["--state-dir", "/proc/version"])?;
    ensure!(
        bench.proxy.logged().contains("--state-dir: /proc/version is no folder"),
        "{}",
        bench.proxy.said()
    );
    // A good one again.
    fs::write(folder.file(), &good)?;
    bench.restart(&[&flag])?;
    bench.answers("/", 200, b"a")?;
    bench.plane.up()?;
    bench.shows("weir.last_good.in_force", |n| n == 0)?;
    bench.done()
}

/// A process that ends leaves what it was told a moment ago.
fn ended(mode: Mode) -> anyhow::Result<()> {
    let (folder, flag, mut bench) = saving(mode, &[])?;
    folder.holds("routes")?;
    bench.push("b", backend("b")?)?;
    bench.answers("/", 200, b"b")?;
    bench.quit()?;
    bench.plane.down();
    bench.restart(&[&flag])?;
    bench.answers("/", 200, b"b")?;
    bench.proxy.alive()
}

/// The cases.
pub const CASES: [Case<InMode>; 4] =
    [("bad-push", bad_push), ("gone", gone), ("unusable", unusable), ("ended", ended)];
