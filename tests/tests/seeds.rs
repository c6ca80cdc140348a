//! The seed examples, on real traffic: each behaves as its head comment says, with endpoints that the test adds.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use weir_tests::reload::backend_on;
use weir_tests::seeds::{
    Client, Folder, Kind, Listening, SIDECAR, Version, backend, call, endpoints, fields, kind,
};
use weir_tests::suite::Suite;

/// The addresses of the two versions.
const V1: &str = "127.0.8.1";
const V2: &str = "127.0.8.2";
/// Address of the pod whose sidecar is on both sides of a call.
const BOTH: &str = "127.0.8.3";
const FTGO: &str = "ftgo-consumer-service";
const COMBAT: &str = "k8s-combat-service-istio-mesh";
const HELLO: &str = "/helloworld.Greeter/SayHello";
/// A changed file is in force, or refused, within this time.
const IN_FORCE: Duration = Duration::from_secs(3);
/// Requests whose shares are counted, and the connections that they come on.
const CANARY: u64 = 20_000;
const WEIGHTS: u64 = 4_000;
const CLIENTS: u64 = 4;
/// A share may be off by so many standard deviations: wrong by chance once in 150,000 runs.
const SIGMAS: f64 = 4.5;
/// 61 bytes, as in the recorded log.
const ANSWER: &str = "0123456789012345678901234567890123456789012345678901234567890";

/// The Consumer service in two versions; the Deployments of the seed give the pods their labels.
/// A case: its name and what it runs on the corpus.
type Case = (&'static str, fn(&Path) -> anyhow::Result<()>);

fn ftgo(corpus: &Path, rule: &str) -> anyhow::Result<Folder> {
    let files = ["ftgo-consumer-service.yaml", "ftgo-destination-rule.yaml"];
    let folder = Folder::with(corpus.to_path_buf(), &files)?;
    folder.seed(rule, "rule.yaml")?;
    let ports = [[("http", backend_on(V1, "v1")?)], [("http", backend_on(V2, "v2")?)]];
    let [first, second] = &ports;
    let version = |pod, address, ports| Version { pod, labels: "", address, ports };
    let versions = [
        version("ftgo-consumer-service-v1-7d9c-x1", V1, &first[..]),
        version("ftgo-consumer-service-v2-5f6b-x2", V2, &second[..]),
    ];
    folder.write("endpoints.yaml", &endpoints(FTGO, &versions))?;
    Ok(folder)
}

/// The combat service in two groups of pods, HTTP and gRPC.
fn combat(corpus: &Path, files: &[&str]) -> anyhow::Result<Folder> {
    let folder = Folder::with(corpus.to_path_buf(), &["combat-mesh.yaml"])?;
    for file in files {
        folder.seed(file, file)?;
    }
    let ports = [both_protocols(V1, "v1")?, both_protocols(V2, "v2")?];
    let [first, second] = &ports;
    let versions = [
        Version { pod: "combat-a", labels: COMBAT_V1, address: V1, ports: first },
        Version {
            pod: "combat-b",
            labels: "appId: '12345', app: k8s-combat-service-v2",
            address: V2,
            ports: second,
        },
    ];
    folder.write("endpoints.yaml", &endpoints(COMBAT, &versions))?;
    Ok(folder)
}

const COMBAT_V1: &str = "appId: '12345', app: k8s-combat-service-v1";

fn both_protocols(address: &str, version: &'static str) -> anyhow::Result<[(&'static str, u16); 2]> {
    let (listener, grpc) = weir_tests::ports::listen_on(address)?;
    backend(listener, version)?;
    Ok([("app", backend_on(address, version)?), ("grpc", grpc)])
}

/// Ten requests that all must be answered with `want`.
fn all(client: &mut Client, host: &str, path: &str, headers: &str, want: (u16, &str)) -> anyhow::Result<()> {
    for _ in 0..10 {
        let (status, body) = client.get(host, path, headers)?;
        let as_wanted = status == want.0 && (status != 200 || body == want.1);
        ensure!(as_wanted, "{host}{path} {headers:?}: {status} {body:?} instead of {want:?}");
    }
    Ok(())
}

/// `count` requests: the number that v2 has answered; every answer must be 200 from v1 or v2.
fn second_share(port: u16, host: &str, path: &str, count: u64) -> anyhow::Result<u64> {
    let second = AtomicU64::new(0);
    let one = || -> anyhow::Result<()> {
        let mut client = Client::new(port)?;
        for _ in 0..count / CLIENTS {
            match client.get(host, path, "")? {
                (200, body) if body == "v1" => {}
                (200, body) if body == "v2" => {
                    second.fetch_add(1, Ordering::Relaxed);
                }
                other => anyhow::bail!("{other:?}"),
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(one)).collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().unwrap_or_else(|_| anyhow::bail!("a client panicked")))
    })?;
    Ok(second.load(Ordering::Relaxed))
}

fn within_chance(got: u64, count: u64, share: f64) -> anyhow::Result<()> {
    let (expected, deviation) = (count as f64 * share, (count as f64 * share * (1.0 - share)).sqrt());
    let off = (got as f64 - expected) / deviation;
    println!("{got} of {count} to v2, {expected} expected: {off:+.2} standard deviations");
    ensure!(off.abs() <= SIGMAS, "{got} of {count} to v2 is {off:+.1} standard deviations from {expected}");
    Ok(())
}

/// Everything goes to v1; what only describes pods and their disks is read without a complaint.
fn all_to_v1(corpus: &Path) -> anyhow::Result<()> {
    let folder = ftgo(corpus, "ftgo-vs-1-all-v1.yaml")?;
    folder.seed("statics.yaml", "statics.yaml")?;
    let weir = Listening::start(&folder, Some(SIDECAR), &[8080])?;
    let mut client = Client::new(weir.ports[0])?;
    for host in [FTGO, "ftgo-consumer-service:8080", "ftgo-consumer-service.default.svc.cluster.local"] {
        for _ in 0..10 {
            all(&mut client, host, "/consumers", "testuser: ann\r\n", (200, "v1"))?;
        }
    }
    let log = weir.proxy.logged();
    ensure!(
        !log.contains("mistakes") && !log.contains("statics.yaml"),
        "statics.yaml is complained of: {log}"
    );
    // The service is there, but no pod of it.
    all(&mut client, "statics", "/", "", (503, ""))
}

fn testuser(corpus: &Path) -> anyhow::Result<()> {
    let folder = ftgo(corpus, "ftgo-vs-2-testuser.yaml")?;
    let weir = Listening::start(&folder, Some(SIDECAR), &[8080])?;
    let mut client = Client::new(weir.ports[0])?;
    all(&mut client, FTGO, "/", "", (200, "v1"))?;
    all(&mut client, FTGO, "/", "TestUser: ann\r\n", (200, "v2"))?;
    all(&mut client, FTGO, "/", "testuser:\r\n", (200, "v1"))
}

fn canary(corpus: &Path) -> anyhow::Result<()> {
    let folder = ftgo(corpus, "ftgo-vs-3-canary-95-5.yaml")?;
    let weir = Listening::start(&folder, Some(SIDECAR), &[8080])?;
    within_chance(second_share(weir.ports[0], FTGO, "/", CANARY)?, CANARY, 0.05)
}

/// Waits until the log says all of `words`.
fn says(weir: &Listening, words: &[&str]) -> anyhow::Result<()> {
    let end = Instant::now() + IN_FORCE;
    loop {
        let log = weir.proxy.logged();
        let Some(missing) = words.iter().find(|word| !log.contains(**word)) else { return Ok(()) };
        ensure!(Instant::now() < end, "{missing:?} is not said: {log}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The rule with the nested `route` is refused where it is wrong; v1 goes on serving, and a mended file is taken.
fn as_printed(corpus: &Path) -> anyhow::Result<()> {
    let folder = ftgo(corpus, "ftgo-vs-1-all-v1.yaml")?;
    let weir = Listening::start(&folder, Some(SIDECAR), &[8080])?;
    let mut client = Client::new(weir.ports[0])?;
    all(&mut client, FTGO, "/", "", (200, "v1"))?;
    folder.seed("ftgo-vs-2-as-printed.yaml", "rule.yaml")?;
    says(&weir, &["last good state", "rule.yaml:20:9", "has no field `route`", "dedent"])?;
    for headers in ["", "testuser: ann\r\n"] {
        all(&mut client, FTGO, "/", headers, (200, "v1"))?;
    }
    folder.seed("ftgo-vs-2-testuser.yaml", "rule.yaml")?;
    let end = Instant::now() + IN_FORCE;
    while client.get(FTGO, "/", "testuser: ann\r\n")?.1 != "v2" {
        ensure!(Instant::now() < end, "the mended rule is not in force after {IN_FORCE:?}");
    }
    all(&mut client, FTGO, "/", "", (200, "v1"))
}

fn version_header(corpus: &Path) -> anyhow::Result<()> {
    let folder = combat(corpus, &["combat-vs-version-header.yaml"])?;
    let weir = Listening::start(&folder, Some(SIDECAR), &[8081, 50051])?;
    for port in &weir.ports {
        let mut client = Client::new(*port)?;
        for (headers, version) in
            [("version: 100\r\n", "v1"), ("version: 200\r\n", "v2"), ("version: 2000\r\n", "v1"), ("", "v1")]
        {
            all(&mut client, COMBAT, HELLO, headers, (200, version))?;
        }
    }
    Ok(())
}

fn weights(corpus: &Path) -> anyhow::Result<()> {
    let folder = combat(corpus, &["combat-vs-weights-timeout.yaml"])?;
    let weir = Listening::start(&folder, Some(SIDECAR), &[50051])?;
    within_chance(second_share(weir.ports[0], COMBAT, HELLO, WEIGHTS)?, WEIGHTS, 0.9)?;
    let mut client = Client::new(weir.ports[0])?;
    all(&mut client, COMBAT, "/helloworld.Greeter/Other", "", (404, ""))
}

/// 4 s are granted, 5 s are the limit.
fn timeout(corpus: &Path) -> anyhow::Result<()> {
    let folder = combat(corpus, &["combat-vs-weights-timeout.yaml"])?;
    let weir = Listening::start(&folder, Some(SIDECAR), &[50051])?;
    let mut client = Client::new(weir.ports[0])?;
    let (status, body) = client.get(COMBAT, HELLO, "x-delay-ms: 4000\r\n")?;
    ensure!(status == 200, "after 4 s: {status} {body}");
    let begun = Instant::now();
    let (status, body) = client.get(COMBAT, HELLO, "x-delay-ms: 9000\r\n")?;
    let took = begun.elapsed();
    ensure!((status, body.as_str()) == (504, "upstream request timeout"), "{status} {body}");
    let as_set = Duration::from_millis(4900)..Duration::from_millis(6500);
    ensure!(as_set.contains(&took), "the time limit struck after {took:?}");
    Ok(())
}

fn gateway(corpus: &Path) -> anyhow::Result<()> {
    let folder = combat(corpus, &["combat-gateway.yaml"])?;
    let weir = Listening::start(&folder, None, &[80])?;
    let mut client = Client::new(weir.ports[0])?;
    for host in ["www.service1.io", "WWW.service1.io", "www.service1.io:80"] {
        all(&mut client, host, "/ping", "", (200, "v1"))?;
    }
    for host in ["www.service2.io", "service1.io", COMBAT, "127.0.0.1"] {
        all(&mut client, host, "/ping", "", (404, ""))?;
    }
    Ok(())
}

fn ingress(corpus: &Path) -> anyhow::Result<()> {
    let folder = Folder::with(corpus.to_path_buf(), &["combat-ingress.yaml"])?;
    for (service, address, answer) in [("k8s-combat-service", V1, "one"), ("k8s-combat-service-2", V2, "two")]
    {
        let ports = [("http", backend_on(address, answer)?)];
        let version = Version { pod: answer, labels: "app: combat", address, ports: &ports };
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {service}}}\n\
             spec: {{ports: [{{name: http, port: 8081}}]}}\n{}",
            endpoints(service, &[version])
        );
        folder.write(&format!("{answer}.yaml"), &text)?;
    }
    let weir = Listening::start(&folder, None, &[80])?;
    let mut client = Client::new(weir.ports[0])?;
    all(&mut client, "www.service1.io", "/", "", (200, "one"))?;
    all(&mut client, "www.service2.io", "/any/path?q", "", (200, "two"))?;
    for host in ["www.service3.io", "service1.io", "k8s-combat-service"] {
        all(&mut client, host, "/", "", (404, ""))?;
    }
    Ok(())
}

/// The inbound and the outbound line of one gRPC call, field by field as the recorded ones.
fn access_log(corpus: &Path) -> anyhow::Result<()> {
    let file = corpus.join("access-log-lines.txt");
    let recorded = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let folder = Folder::with(corpus.to_path_buf(), &["combat-mesh.yaml"])?;
    // The application is on 127.0.0.1, its sidecar on the pod's address, both on the same port.
    let (listener, port) = weir_tests::ports::listen()?;
    backend(listener, ANSWER)?;
    let ports = [("grpc", port)];
    let pod = Version { pod: "combat-a", labels: COMBAT_V1, address: BOTH, ports: &ports };
    folder.write("endpoints.yaml", &endpoints(COMBAT, &[pod]))?;
    let node = SIDECAR.replace("127.0.0.1", BOTH);
    let weir = Listening::start(&folder, Some(&node), &[50051])?;
    let uri = format!("http://{COMBAT}:50051{HELLO}");
    let answer = call(weir.ports[0], &uri, "grpc-go/1.58.3", b"\0\0\0\0\x07weirweb")?;
    let status = (answer.0, answer.1.as_deref());
    ensure!(status == (200, Some("0")) && answer.2 == ANSWER.as_bytes(), "{answer:?}");
    let written = two_lines(&weir)?;
    let mut ids = Vec::new();
    for direction in [" inbound|", " outbound|"] {
        let find = |text: &str| text.lines().find(|line| line.contains(direction)).map(str::to_owned);
        let like = find(&recorded).context("the corpus has no such line")?;
        let line = find(&written).with_context(|| format!("no{direction} line: {written}"))?;
        ids.push(same_shape(&line, &like)?);
    }
    ensure!(ids[0] == ids[1], "one call, two request ids: {ids:?}");
    let (inbound, outbound) =
        (format!(" inbound|{port}|| "), format!(" outbound|50051||{COMBAT}.default.svc.cluster.local "));
    ensure!(written.contains(&inbound) && written.contains(&outbound), "{written}");
    Ok(())
}

fn two_lines(weir: &Listening) -> anyhow::Result<String> {
    let end = Instant::now() + IN_FORCE;
    loop {
        let text = weir.proxy.printed();
        if text.lines().count() >= 2 && text.ends_with('\n') {
            return Ok(text);
        }
        ensure!(Instant::now() < end, "the access log after {IN_FORCE:?}: {text:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Compares two lines; the request id of the first.
fn same_shape(line: &str, like: &str) -> anyhow::Result<String> {
    let (own, recorded) = (fields(line), fields(like));
    ensure!(own.len() == recorded.len(), "{} fields instead of {}: {line}", own.len(), recorded.len());
    for (index, (own, recorded)) in own.iter().zip(&recorded).enumerate() {
        // Up to the sizes of the bodies, and from the absent client address to its program, all is the same; the
        // server's name is there only with TLS between the sidecars.
        let same = match index {
            1..=8 | 11 | 12 | 21 => own == recorded,
            20 => kind(own) == (Kind::Nothing, false),
            _ => kind(own) == kind(recorded),
        };
        ensure!(same, "field {index} is {own} and not like {recorded}: {line}");
    }
    Ok(own.get(13).copied().unwrap_or_default().to_owned())
}

fn main() -> ExitCode {
    let mut suite = Suite::new("seeds");
    let corpus: PathBuf = match weir_tests::corpora::folder("seeds") {
        Ok(corpus) => corpus,
        Err(reason) => {
            suite.skip("all", reason);
            return suite.finish();
        }
    };
    let cases: [Case; 10] = [
        ("ftgo-all-v1", all_to_v1),
        ("ftgo-testuser", testuser),
        ("ftgo-canary", canary),
        ("ftgo-as-printed", as_printed),
        ("combat-version-header", version_header),
        ("combat-weights", weights),
        ("combat-timeout", timeout),
        ("combat-gateway", gateway),
        ("combat-ingress", ingress),
        ("access-log", access_log),
    ];
    for (name, run) in cases {
        suite.case(name, || run(&corpus));
    }
    suite.finish()
}
