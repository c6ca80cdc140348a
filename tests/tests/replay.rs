//! What istiod was recorded to push, played to weir step by step in a network namespace, with requests through the
//! listeners after each step. What is rejected stands in `tests/data/replay-rejected.txt` (`WEIR_BLESS=1` writes it
//! anew), what requests must do in `tests/data/replay.yaml`.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use weir_tests::namespace;
use weir_tests::plane::Plane;
use weir_tests::ports::free;
use weir_tests::process::Proxy;
use weir_tests::replay::{self, Backend, Call, Line, Made, Node, Recording, Want, Way};
use weir_tests::suite::Suite;
use weir_tests::wire::h1::fetch;

const SCENARIOS: [&str; 4] = ["ftgo", "combat", "shop", "bookinfo"];
/// After it come steps with filters of later releases.
const LAST: &str = "mtls-strict";
const TABLE: &str = "data/replay-rejected.txt";
const EXPECTED: &str = "data/replay.yaml";
const HEAD: &str = "\
# What weir rejects of istiod's recorded pushes, by scenario, step and node: what the NACK says of each resource.
# Written by tests/tests/replay.rs (WEIR_BLESS=1), which compares it with what it finds.
";
/// Clients of what comes in from elsewhere.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 9));
/// Longest wait for a push to be in force, and for a line of the access log.
const WITHIN: Duration = Duration::from_secs(30);
/// Calls of one kind at once.
const AT_ONCE: usize = 8;
/// A route configuration that names an unknown cluster is held for 2 s; then requests must be right.
const HELD: Duration = Duration::from_secs(10);

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A node that is played.
struct Play<'a> {
    plane: Plane,
    proxy: Proxy,
    admin: u16,
    address: IpAddr,
    calls: Vec<(&'a Call, Option<&'a Want>)>,
}

impl<'a> Play<'a> {
    fn start(recording: &Recording, node: Option<&'a Node>) -> anyhow::Result<Self> {
        let plane = Plane::start()?;
        plane.tell_empty();
        let admin = free()?;
        let proxy = Proxy::start(&replay::bootstrap(&recording.node, plane.port, admin), admin)?;
        let id = recording.node.get("id").and_then(|id| id.as_str()).context("a node without id")?;
        let address = id.split('~').nth(1).context("an id without address")?.parse()?;
        let calls = node.into_iter().flat_map(|node| node.calls.iter().map(|call| (call, None))).collect();
        Ok(Self { plane, proxy, admin, address, calls })
    }

    /// Waits until what was pushed is answered and warm; gives what the NACKs say.
    fn settle(&self, before: usize) -> anyhow::Result<Vec<(String, String)>> {
        let end = Instant::now() + WITHIN;
        loop {
            if self.plane.settled() && self.warm()? && self.plane.settled() {
                let told = self.plane.told();
                return Ok(told.nacks.get(before..).unwrap_or_default().to_vec());
            }
            let told = self.plane.told();
            anyhow::ensure!(
                Instant::now() < end,
                "not in force after {WITHIN:?}: {} of {} responses answered; {}",
                told.answers,
                told.responses,
                self.proxy.said()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn warm(&self) -> anyhow::Result<bool> {
        let (_, body) = fetch(self.admin, "/stats?filter=warming", WITHIN)?;
        let text = String::from_utf8_lossy(&body);
        let zero = |name: &str| text.lines().any(|line| line.strip_prefix(name) == Some(": 0"));
        Ok(zero("cluster_manager.warming_clusters") && zero("listener_manager.total_listeners_warming"))
    }

    /// Makes a call many times, a few at once: a retry waits before each attempt.
    fn calls(&self, call: &Call, times: usize) -> anyhow::Result<Vec<Made>> {
        let from = if call.way == Way::Outbound { self.address } else { STRANGER };
        let left = AtomicUsize::new(times);
        let work = || {
            let mut made = Vec::new();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                made.push(replay::call(call, from)?);
            }
            anyhow::Ok(made)
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..times.min(AT_ONCE)).map(|_| scope.spawn(work)).collect();
            let mut all = Vec::new();
            for thread in threads {
                all.extend(thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
            }
            Ok(all)
        })
    }

    /// The line of a call in the access log, behind what was printed before it.
    fn line(&self, own: SocketAddr, since: usize) -> anyhow::Result<Line> {
        let end = Instant::now() + WITHIN;
        let own = own.to_string();
        loop {
            let printed = self.proxy.printed();
            let mut lines = printed.get(since..).unwrap_or_default().lines().filter_map(Line::parse);
            if let Some(line) = lines.find(|line| line.remote == own) {
                return Ok(line);
            }
            anyhow::ensure!(
                Instant::now() < end,
                "no line of the access log for {own}: {}",
                self.proxy.said()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Makes the calls, and compares all of them.
    fn judge(&self, call: &Call, want: &Want) -> anyhow::Result<()> {
        let since = self.proxy.printed().len();
        let made = self.calls(call, want.times.unwrap_or(1))?;
        let mut seen = BTreeSet::new();
        for Made { own, answered } in made {
            let line = self.line(own, since)?;
            want.judge(call.speaks, &line, &answered).with_context(|| format!("{line:?} {answered:?}"))?;
            seen.insert(line.cluster);
        }
        let mut all = want.all_of().into_iter().flatten();
        all.find(|cluster| !seen.contains(*cluster))
            .map_or(Ok(()), |missed| Err(anyhow::anyhow!("{missed} never chosen")))
    }

    /// The same, with patience where the present push may not be in force for a moment.
    fn judge_soon(&self, call: &Call, want: &Want) -> anyhow::Result<()> {
        let end = Instant::now() + HELD;
        loop {
            match self.judge(call, want) {
                Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(100)),
                verdict => return verdict,
            }
        }
    }
}

/// Resources and reasons of a NACK.
fn rejected(kind: &str, text: &str) -> Vec<String> {
    let kind = kind.rsplit('.').next().unwrap_or(kind);
    text.split("; ").skip(1).map(|one| format!("    {kind} {one}\n")).collect()
}

/// Plays one node; what is rejected goes into the table.
fn play(
    suite: &mut Suite,
    folder: &Path,
    name: &str,
    node: Option<&Node>,
    table: &mut String,
) -> anyhow::Result<()> {
    let recording = Recording::read(&folder.join(name), LAST)?;
    let mut play = Play::start(&recording, node)?;
    for (number, step) in recording.steps.iter().enumerate() {
        let before = play.plane.told().nacks.len();
        step.push_to(&play.plane);
        let nacks = play.settle(before).with_context(|| step.name.clone())?;
        let lines: BTreeSet<String> = nacks.iter().flat_map(|(kind, text)| rejected(kind, text)).collect();
        table.push_str(&format!("{name} {number:02}-{}\n", step.name));
        lines.iter().for_each(|line| table.push_str(line));
        for at in 0..play.calls.len() {
            let Some((call, current)) = play.calls.get_mut(at) else { continue };
            let call: &Call = call;
            if let Some(want) = call.after.get(&step.name) {
                *current = want.as_ref();
            }
            let Some(want) = *current else { continue };
            suite.case(&format!("{name}/{}/{}", step.name, call.name), || play.judge_soon(call, want));
        }
    }
    play.plane.honoured()?;
    play.proxy.alive()
}

/// `SCENARIO/NODE` of all recordings.
fn nodes(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for scenario in SCENARIOS {
        let entries = std::fs::read_dir(folder.join(scenario)).with_context(|| scenario.to_owned())?;
        for entry in entries.flatten().filter(|entry| entry.path().join("steps.jsonl").is_file()) {
            names.push(format!("{scenario}/{}", entry.file_name().to_string_lossy()));
        }
    }
    names.sort();
    Ok(names)
}

fn compare(table: &str) -> anyhow::Result<()> {
    if std::env::var_os("WEIR_BLESS").is_some() {
        return std::fs::write(data(TABLE), table).context(TABLE);
    }
    let committed = std::fs::read_to_string(data(TABLE)).context(TABLE)?;
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (committed.lines().collect(), table.lines().collect());
    let (more, less) = (new.difference(&old).collect::<Vec<_>>(), old.difference(&new).collect::<Vec<_>>());
    anyhow::ensure!(
        committed == table,
        "rejected, not in the table: {more:#?}; in the table only: {less:#?}"
    );
    Ok(())
}

fn run(suite: &mut Suite, folder: &Path) -> anyhow::Result<()> {
    replay::prepare()?;
    let _backend = Backend::start()?;
    let expected: BTreeMap<String, Node> =
        replay::expectations(&data(EXPECTED))?.into_iter().map(|node| (node.node.clone(), node)).collect();
    let mut table = HEAD.to_owned();
    let names = nodes(folder)?;
    let unknown: Vec<&String> = expected.keys().filter(|name| !names.contains(name)).collect();
    anyhow::ensure!(
        unknown.is_empty(),
        "{EXPECTED} has requests for nodes that were not recorded: {unknown:?}"
    );
    for name in &names {
        let played = play(suite, folder, name, expected.get(name), &mut table);
        suite.case(&format!("{name}/played"), || played);
    }
    if names.iter().all(|name| suite.wants(name)) {
        suite.case("table-of-rejections", || compare(&table));
    }
    Ok(())
}

fn main() -> ExitCode {
    namespace::suite("replay", "istiod-recorded/ads", run)
}
