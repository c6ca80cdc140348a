//! weir programmed over a stream, in both dialects: order, partly bad pushes, removals, a server that is absent, that
//! goes and comes back; what is kept on disk.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use weir_proto::any::proto_duration;
use weir_tests::plane::{Plane, any, assignment, cluster, route};
use weir_tests::reload::backend;
use weir_tests::restart::{Client, Ended};
use weir_tests::suite::Suite;
use weir_tests::xds::{Bench, MODES, Mode, WITHIN, around, bad, counted, eds, files, last_good, own};
use weir_xds::{CLUSTER, ENDPOINTS, LISTENER, ROUTE};

/// The control plane comes after the proxy; the first resources bring readiness.
fn absent(mode: Mode) -> anyhow::Result<()> {
    let upstream = backend("a")?;
    let mut bench = Bench::start(mode, Plane::absent()?)?;
    anyhow::ensure!(bench.ready()? == (503, "INITIALIZING".into()), "{:?}", bench.ready()?);
    anyhow::ensure!(bench.stat("listener_manager.workers_started")? == 0, "workers");
    bench.shows("cluster_manager.cds.update_failure", |n| n >= 2)?;
    bench.push("a", upstream)?;
    bench.plane.up()?;
    bench.answers("/", 200, b"a")?;
    bench.shows("listener_manager.workers_started", |n| n == 1)?;
    anyhow::ensure!(bench.ready()? == (200, "LIVE".into()), "{:?}", bench.ready()?);
    for name in ["cluster_manager.cds.update_success", "listener_manager.lds.update_success"] {
        bench.shows(name, |n| n >= 1)?;
    }
    bench.shows("cluster.a.update_success", |n| n >= 1)?;
    bench.shows("http.edge.rds.routes.update_success", |n| n >= 1)?;
    anyhow::ensure!(bench.stat("control_plane.connected_state")? == 1, "connected");
    let agent = bench.plane.told().node.user_agent_name;
    anyhow::ensure!(agent == "envoy", "user agent '{agent}'");
    bench.done()
}

/// Three bad clusters of 1,000: the others serve, the NACK names the three, versions before stay in force.
fn partly_bad(mode: Mode) -> anyhow::Result<()> {
    let bench = Bench::serving(mode, backend("a")?)?;
    let names: Vec<String> = (0..1000).map(|i| format!("c{i:03}")).collect();
    let wrong = ["c007", "c500", "c999"];
    let upstream = backend("many")?;
    let routes = route("routes", &[("/c998", "c998"), ("/c007", "c007"), ("/", "a")])?;
    bench.plane.change(|batch| {
        let made =
            names.iter().map(|name| if wrong.contains(&name.as_str()) { bad(name) } else { eds(name) });
        batch.put(&CLUSTER, made.collect());
        batch.put(&ENDPOINTS, names.iter().map(|name| assignment(name, &[upstream])).collect());
        batch.put(&ROUTE, vec![routes]);
    });
    let told = bench.plane.wait("a NACK", |told| !told.nacks.is_empty())?;
    let (kind, text) = told.nacks.first().context("a NACK")?;
    anyhow::ensure!(kind == CLUSTER.name, "a NACK of {kind}");
    for name in wrong {
        let part = format!("{name}: connect_timeout: is a negative duration");
        anyhow::ensure!(text.contains(&part), "'{part}' is not in: {text}");
    }
    anyhow::ensure!(text.starts_with("3 of 100"), "{text}");
    bench.shows("cluster_manager.active_clusters", |n| n == 999)?;
    bench.answers("/c998", 200, b"many")?;
    bench.answers("/c007", 503, b"")?;
    bench.answers("/", 200, b"a")?;
    bench.shows("cluster_manager.cds.update_rejected", |n| n >= 1)?;
    let dump = bench.dump()?.to_string();
    anyhow::ensure!(dump.contains("error_state") && dump.contains("is a negative duration"), "/config_dump");
    // A good one becomes bad: the version before serves on. A bad one is mended.
    bench.plane.put(&CLUSTER, vec![bad("a"), eds("c007")]);
    bench.plane.wait("a second NACK", |told| told.nacks.iter().any(|(_, text)| text.contains("; a: ")))?;
    bench.answers("/c007", 200, b"many")?;
    bench.answers("/", 200, b"a")?;
    bench.done()
}

/// What is removed goes, and its statistics with it; what a route still names stays.
fn removals(mode: Mode) -> anyhow::Result<()> {
    let bench = Bench::serving(mode, backend("a")?)?;
    bench.plane.remove(&CLUSTER, &["a"]);
    bench.shows("cluster_manager.active_clusters", |n| n == 1)?;
    for _ in 0..20 {
        anyhow::ensure!(bench.get("/")?.0 == 200, "a removed cluster lives while a route names it");
    }
    bench.push("b", backend("b")?)?;
    bench.answers("/", 200, b"b")?;
    bench.forgets("cluster.a.")?;
    bench.shows("cluster.b.upstream_rq_total", |n| n >= 1)?;
    bench.plane.remove(&LISTENER, &["edge"]);
    let end = Instant::now() + WITHIN;
    while std::net::TcpStream::connect(("127.0.0.1", bench.listen)).is_ok() {
        anyhow::ensure!(Instant::now() < end, "the listener is not gone");
        std::thread::sleep(Duration::from_millis(20));
    }
    bench.plane.wait("no routes are asked for", |told| {
        told.names.get(ROUTE.name).is_none_or(|names| names.is_empty())
    })?;
    for prefix in ["http.edge.", "listener.127.0.0.1_"] {
        bench.forgets(prefix)?;
    }
    bench.push("b", backend("b")?)?;
    bench.answers("/", 200, b"b")?;
    bench.shows("http.edge.downstream_rq_total", |n| n >= 1)?;
    bench.done()
}

/// Resources come in the wrong order: routes before clusters, clusters before endpoints. Nothing fails meanwhile.
fn order(mode: Mode) -> anyhow::Result<()> {
    let bench = Bench::serving(mode, backend("a")?)?;
    let (next, over, failed) = (backend("b")?, AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let load = || {
            let mut client = Client::new(bench.listen);
            while !over.load(Ordering::SeqCst) {
                if client.request("GET", "") != Ended::Status(200) {
                    failed.fetch_add(1, Ordering::SeqCst);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        scope.spawn(load);
        scope.spawn(load);
        let turn = || {
            bench.plane.hold(&ENDPOINTS, true);
            bench.plane.put(&ROUTE, vec![route("routes", &[("/", "b")])?]);
            std::thread::sleep(Duration::from_millis(300));
            bench.plane.put(&CLUSTER, vec![eds("b")]);
            std::thread::sleep(Duration::from_millis(2500));
            bench.plane.put(&ENDPOINTS, vec![assignment("b", &[next])]);
            anyhow::ensure!(bench.get("/")?.1 == b"a", "a route waits for the endpoints of its cluster");
            bench.shows("cluster_manager.warming_clusters", |n| n == 1)?;
            bench.plane.hold(&ENDPOINTS, false);
            bench.answers("/", 200, b"b")
        };
        let turned = turn();
        over.store(true, Ordering::SeqCst);
        turned
    })?;
    let failed = failed.load(Ordering::SeqCst);
    anyhow::ensure!(failed == 0, "{failed} requests failed");
    bench.shows("cluster_manager.warming_clusters", |n| n == 0)?;
    // A route to a cluster that nobody has heard of serves after a while, with 503.
    bench.plane.put(&ROUTE, vec![route("routes", &[("/", "nowhere")])?]);
    bench.answers("/", 503, b"")?;
    bench.done()
}

/// A server that is killed and comes back 20 times under load: no request fails, little is sent again.
fn restarts(mode: Mode) -> anyhow::Result<()> {
    let mut bench = Bench::serving(mode, backend("a")?)?;
    bench.plane.put(&CLUSTER, (0..200).map(|i| eds(&format!("x{i}"))).collect());
    bench.plane.put(&ENDPOINTS, (0..200).map(|i| assignment(&format!("x{i}"), &[1])).collect());
    bench.shows("cluster_manager.active_clusters", |n| n == 202)?;
    bench.shows("cluster_manager.warming_clusters", |n| n == 0)?;
    let before = bench.plane.told();
    let (over, seen) = (AtomicBool::new(false), AtomicU64::new(0));
    let troubles: Mutex<Vec<Ended>> = Mutex::default();
    let (port, plane) = (bench.listen, &mut bench.plane);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::new(port);
                while !over.load(Ordering::SeqCst) {
                    match client.request("GET", "") {
                        Ended::Status(200) => _ = seen.fetch_add(1, Ordering::SeqCst),
                        other => troubles.lock().unwrap_or_else(PoisonError::into_inner).push(other),
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
        let mut turns = || {
            for turn in 1..=20 {
                plane.down();
                std::thread::sleep(Duration::from_millis(20));
                plane.up()?;
                plane.wait("a new stream", |told| told.streams >= before.streams + turn)?;
            }
            anyhow::Ok(())
        };
        let turned = turns();
        over.store(true, Ordering::SeqCst);
        turned
    })?;
    let troubles = troubles.into_inner().unwrap_or_else(PoisonError::into_inner);
    anyhow::ensure!(troubles.is_empty(), "{} requests failed: {:?}", troubles.len(), troubles.first());
    anyhow::ensure!(seen.load(Ordering::SeqCst) > 500, "hardly any load");
    let sent = bench.plane.told().sent - before.sent;
    if mode.api == "DELTA_GRPC" {
        anyhow::ensure!(sent <= 40, "{sent} resources were sent again, the versions known to the client");
    }
    // What changed while the server was away is noticed.
    bench.plane.down();
    bench.plane.remove(&CLUSTER, &["x0", "x1"]);
    bench.push("b", backend("b")?)?;
    bench.plane.up()?;
    bench.answers("/", 200, b"b")?;
    bench.shows("cluster_manager.active_clusters", |n| n == 201)?;
    anyhow::ensure!(bench.stat("listener_manager.listener_modified")? == 0, "an equal listener is no change");
    bench.done()
}

/// A cluster's endpoints never come: it is given up after its `initial_fetch_timeout`.
fn never(mode: Mode) -> anyhow::Result<()> {
    let bench = Bench::serving(mode, backend("a")?)?;
    bench.plane.hold(&ENDPOINTS, true);
    let mut message = cluster("mute");
    if let Some(source) = message.eds_cluster_config.as_mut().and_then(|eds| eds.eds_config.as_mut()) {
        source.initial_fetch_timeout = Some(proto_duration(Duration::from_secs(1)));
    }
    bench.plane.put(&CLUSTER, vec![("mute".to_owned(), any(&message))]);
    bench.shows("cluster_manager.warming_clusters", |n| n == 1)?;
    bench.plane.put(&ROUTE, vec![route("routes", &[("/mute", "mute"), ("/", "a")])?]);
    bench.answers("/mute", 503, b"")?;
    bench.answers("/", 200, b"a")?;
    bench.shows("cluster_manager.warming_clusters", |n| n == 0)?;
    bench.shows("cluster.mute.init_fetch_timeout", |n| n == 1)?;
    bench.done()
}

/// A cluster without requests and connections is given back; the next request finds its present endpoints. One that
/// was never used has no statistics.
// The short way to an idle timeout.
#[expect(deprecated)]
fn cold(mode: Mode) -> anyhow::Result<()> {
    let bench = Bench::serving(mode, backend("a")?)?;
    let mut message = cluster("a");
    let mut options = message.common_http_protocol_options.take().unwrap_or_default();
    options.idle_timeout = Some(proto_duration(Duration::from_millis(200)));
    message.common_http_protocol_options = Some(options);
    bench.plane.put(&CLUSTER, vec![("a".to_owned(), any(&message)), eds("unused")]);
    bench.plane.put(&ENDPOINTS, vec![assignment("unused", &[1])]);
    bench.shows("cluster_manager.active_clusters", |n| n == 3)?;
    bench.shows("cluster_manager.warming_clusters", |n| n == 0)?;
    bench.answers("/", 200, b"a")?;
    // What its hosts have counted is forgotten.
    let hot = || -> anyhow::Result<bool> {
        let text = bench.text("/clusters")?;
        let line =
            text.lines().find(|line| line.starts_with("a::127.0.0.1:") && line.contains("::rq_total::"));
        Ok(!line.context("its host is not listed")?.ends_with("::rq_total::0"))
    };
    let given_back = || {
        let end = Instant::now() + WITHIN;
        while hot()? {
            anyhow::ensure!(Instant::now() < end, "it is hot for ever");
            std::thread::sleep(Duration::from_millis(50));
        }
        anyhow::Ok(())
    };
    given_back()?;
    let before = bench.stat("cluster.a.upstream_rq_total")?;
    anyhow::ensure!(bench.get("/")? == (200, b"a".to_vec()), "hot again at the first request");
    anyhow::ensure!(bench.stat("cluster.a.upstream_rq_total")? > before, "its counters go on");
    given_back()?;
    bench.plane.put(&ENDPOINTS, vec![assignment("a", &[backend("b")?])]);
    bench.answers("/", 200, b"b")?;
    // Its host is told all the same.
    let told = bench.asks("/clusters?format=json&filter=unused")?;
    let told = told.pointer("/cluster_statuses/0/host_statuses").and_then(serde_json::Value::as_array);
    let told = told.context("the hosts of a cold cluster")?;
    anyhow::ensure!(
        told.len() == 1 && told[0]["health_status"]["eds_health_status"] == "HEALTHY",
        "{told:?}"
    );
    let dump = bench.asks("/config_dump?resource=dynamic_endpoint_configs&include_eds")?;
    let dump = dump["configs"].as_array().context("endpoints")?;
    let unused = dump.iter().find(|one| one["endpoint_config"]["cluster_name"] == "unused");
    let unused = &unused.context("the endpoints of a cold cluster")?["endpoint_config"];
    let host = &unused["endpoints"][0]["lb_endpoints"][0];
    anyhow::ensure!(host["health_status"] == "HEALTHY" && host["load_balancing_weight"] == 1, "{unused}");
    anyhow::ensure!(unused["policy"]["overprovisioning_factor"] == 140, "{unused}");
    let shown = bench.stats()?;
    let of =
        |name: &str| shown.keys().filter(|key| key.starts_with(&format!("cluster.{name}.upstream_"))).count();
    anyhow::ensure!(of("a") > 0 && of("unused") == 0, "{} and {}", of("a"), of("unused"));
    anyhow::ensure!(!shown.contains_key("cluster.unused.membership_total"), "no gauges either");
    bench.done()
}

type Case = (&'static str, fn(Mode) -> anyhow::Result<()>);

const CASES: [Case; 7] = [
    ("absent", absent),
    ("partly-bad", partly_bad),
    ("removals", removals),
    ("order", order),
    ("restarts", restarts),
    ("never", never),
    ("cold", cold),
];

fn main() -> ExitCode {
    let mut suite = Suite::new("xds");
    for (mode_name, mode) in MODES {
        for (name, case) in CASES {
            // Streams of their own differ in how they are opened, not in what is done with what they bring.
            if mode.apart && !matches!(name, "absent" | "removals") {
                continue;
            }
            suite.case(&format!("{mode_name}/{name}"), || case(mode));
        }
        for (name, case) in around::CASES {
            suite.case(&format!("{mode_name}/{name}"), || case(mode));
        }
        if mode.apart {
            continue;
        }
        for (name, case) in last_good::CASES {
            suite.case(&format!("{mode_name}/last-good-{name}"), || case(mode));
        }
        for (name, case) in counted::CASES {
            suite.case(&format!("{mode_name}/{name}"), || case(mode));
        }
        for (name, case) in own::CASES {
            suite.case(&format!("{mode_name}/{name}"), || case(mode));
        }
    }
    for (name, case) in files::CASES {
        suite.case(name, case);
    }
    suite.finish()
}
