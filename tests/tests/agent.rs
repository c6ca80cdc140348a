//! pilot-agent's contract with its proxy, for each of its recorded starts: the recorded arguments and bootstrap, the
//! files and sockets that it has by then, its questions until the proxy is ready, its drain, the end.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use weir_tests::agent::{
    ACTIVE, ADMIN, Agent, HEALTH, Identity, Kept, METRICS, Probe, Start, active, health, page, post, rotates,
};
use weir_tests::namespace;
use weir_tests::oracle::content;
use weir_tests::oracle::wire::Message;
use weir_tests::replay::{self, Backend, Recording, Step, Way};
use weir_tests::suite::Suite;
use weir_tests::wire::h1;

/// Clients from elsewhere.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 9));
/// The application beside the proxy.
const APPLICATION: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 1, 11));
/// A host outside of the mesh.
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 7, 7, 7));
/// An end that waits for nothing: well below the grace time of SIGTERM (25 s), which is for open requests.
const SOON: Duration = Duration::from_secs(10);

/// What the control plane pushes to a start, and the connections that the proxy takes then.
struct Traffic {
    steps: Vec<Step>,
    /// From elsewhere, and what the answer is.
    inward: (Way, SocketAddr, u16),
    /// From the application.
    outward: Option<SocketAddr>,
}

impl Traffic {
    /// A recording of the same kind of node.
    fn of(start: &Start, ads: &Path) -> anyhow::Result<Self> {
        let (node, step, way, to, status, outward) = match (start.is_gateway(), start.is_transparent()) {
            (true, _) => {
                ("bookinfo/istio-ingressgateway-1", "gateway", Way::Direct, "10.1.1.80:8080", 404, None)
            }
            (_, true) => {
                ("bookinfo/ratings-v2-1", "services", Way::Tproxy, "10.1.3.62:9080", 200, Some(9080))
            }
            _ => (
                "ftgo/ftgo-consumer-service-v1-1",
                "service",
                Way::Inbound,
                "10.1.1.11:8080",
                200,
                Some(8080),
            ),
        };
        Ok(Self {
            steps: Recording::read(&ads.join(node), step)?.steps,
            inward: (way, to.parse()?, status),
            outward: outward.map(|port| SocketAddr::new(OUTSIDE, port)),
        })
    }

    fn inward(&self) -> anyhow::Result<Kept> {
        let (way, to, _) = self.inward;
        Kept::open(way, to, STRANGER)
    }

    /// A connection from elsewhere that was used, and whether it is to be closed.
    fn inward_used(&self) -> anyhow::Result<(Kept, bool)> {
        let mut kept = self.inward()?;
        let (status, closes) = kept.ask()?;
        anyhow::ensure!(status == self.inward.2, "a request from elsewhere is answered {status}");
        Ok((kept, closes))
    }

    /// One from the application.
    fn outward_used(&self) -> anyhow::Result<Option<(Kept, bool)>> {
        let Some(to) = self.outward else { return Ok(None) };
        let mut kept = Kept::open(Way::Outbound, to, APPLICATION)?;
        let (status, closes) = kept.ask()?;
        anyhow::ensure!(status == 200, "a request of the application is answered {status}");
        Ok(Some((kept, closes)))
    }
}

/// Nothing has come yet: the proxy lives, has told who it is, and is not ready.
fn waits(agent: &mut Agent, start: &Start) -> anyhow::Result<()> {
    agent.until(Probe::take)?;
    let told = agent.plane.wait("a stream that asks", |told| !told.names.is_empty())?;
    let node = start.node()?;
    anyhow::ensure!(
        (&told.node.id, &told.node.cluster, &told.node.metadata, &told.node.locality)
            == (&node.id, &node.cluster, &node.metadata, &node.locality),
        "the node is {:?}, not {node:?}",
        told.node
    );
    let probe = Probe::take()?;
    anyhow::ensure!(probe == Probe::default(), "before the first answer: {probe:?}");
    let (status, _) = h1::fetch(ADMIN, "/ready", SOON)?;
    anyhow::ensure!(status == 503, "/ready says {status} before the first answer");
    if let Ok((status, _)) = h1::fetch(HEALTH, "/healthz/ready", SOON) {
        anyhow::ensure!(status == 503, "the page of health says {status} before the first answer");
    }
    agent.proxy.alive()
}

/// The flags are in force as Envoy shows them.
fn obeys(start: &Start) -> anyhow::Result<()> {
    let info: Value = serde_json::from_str(&page(ADMIN, "/server_info")?)?;
    let options = info.get("command_line_options").context("no command_line_options")?;
    let drain = start.flag("--drain-time-s").context("no --drain-time-s")?;
    let mut expected = json!({
        "config_path": start.flag("-c"),
        "drain_time": format!("{drain}s"),
        "drain_strategy": "Immediate",
        "local_address_ip_version": "v4",
        "file_flush_interval": "1s",
        "disable_hot_restart": true,
        "allow_unknown_static_fields": true,
        "log_level": "warning",
        "component_log_level": "misc:error",
        "skip_deprecated_logs": true,
    });
    if let Some(workers) = start.flag("--concurrency") {
        expected["concurrency"] = workers.parse::<u32>()?.into();
    }
    for (name, value) in expected.as_object().into_iter().flatten() {
        anyhow::ensure!(options.get(name) == Some(value), "{name} is {:?}, not {value}", options.get(name));
    }
    Ok(())
}

/// The proxy's own ports: health asks the agent, metrics are the admin page's, compressed as the client likes.
fn serves(agent: &mut Agent) -> anyhow::Result<()> {
    agent.until(|| page(HEALTH, "/healthz/ready"))?;
    for coding in ["identity", "gzip", "br", "zstd"] {
        let request = format!(
            "GET /stats/prometheus HTTP/1.1\r\nhost: proxy\r\naccept-encoding: {coding}\r\nconnection: close\r\n\r\n"
        );
        let reply = h1::exchange(METRICS, request.as_bytes(), SOON)?;
        let reply = Message::parse_closed(&reply.bytes)?;
        let coded = reply.header("content-encoding").unwrap_or("identity");
        anyhow::ensure!(coded == coding, "{coding} was asked for, {coded} came");
        let text = content::text(&reply.headers, &reply.body);
        anyhow::ensure!(text.contains("# TYPE envoy_server_state gauge\nenvoy_server_state{} 0\n"), "{text}");
    }
    Ok(())
}

/// The bootstrap says which statistics there are.
fn counts() -> anyhow::Result<()> {
    let all = page(ADMIN, "/stats")?;
    let has = |prefix: &str| all.lines().any(|line| line.starts_with(prefix));
    anyhow::ensure!(has("cluster.xds-grpc;.") && has("server.") && !has("control_plane."), "{all}");
    Ok(())
}

/// Open connections, where the agent looks at them; elsewhere the bootstrap leaves the statistic out.
fn connected(start: &Start, expected: u64) -> anyhow::Result<()> {
    let body = page(ADMIN, ACTIVE)?;
    let expected = start.awaits_connections().then_some(expected);
    anyhow::ensure!(active(&body)? == expected, "not {expected:?} connections: {body}");
    Ok(())
}

fn drain(start: &Start) -> anyhow::Result<()> {
    post(if start.is_gateway() {
        "/drain_listeners?graceful"
    } else {
        "/drain_listeners?inboundonly&graceful"
    })
}

/// The agent drains: clients from elsewhere are asked to connect anew, and may; those of the application are not.
fn drains(agent: &mut Agent, start: &Start, traffic: &Traffic) -> anyhow::Result<()> {
    let (mut inward, closes) = agent.until(|| traffic.inward_used())?;
    anyhow::ensure!(!closes, "a response asks for the end of its connection before the drain");
    let mut outward = agent.until(|| traffic.outward_used())?;
    let open = 1 + u64::from(outward.is_some());
    agent.until(|| connected(start, open))?;
    drain(start)?;
    anyhow::ensure!(inward.ask()?.1, "a response does not ask for the end of its connection");
    if let Some((kept, before)) = &mut outward {
        anyhow::ensure!(!*before && !kept.ask()?.1, "the application is to close its connection");
    }
    anyhow::ensure!(traffic.inward_used()?.1, "a new connection is not to be closed");
    drop((inward, outward));
    agent.until(|| connected(start, 0))
}

/// After the drain time the listeners stop, those of the application of a sidecar go on.
fn stops(start: &Start, identity: &Identity, traffic: &Traffic) -> anyhow::Result<()> {
    let mut agent = Agent::start(start, &identity.secrets())?;
    agent.ready(&traffic.steps)?;
    agent.until(|| traffic.inward_used())?;
    agent.until(|| traffic.outward_used())?;
    let begun = Instant::now();
    drain(start)?;
    agent.until(|| match traffic.inward() {
        Ok(_) => Err(anyhow::anyhow!("connections are accepted")),
        Err(_) => Ok(()),
    })?;
    let taken = begun.elapsed();
    anyhow::ensure!(taken >= Duration::from_secs(1), "connections are refused after {taken:?}");
    traffic.outward_used()?;
    agent.proxy.alive()
}

/// The process ends, with a client's idle connection open.
fn ends(
    start: &Start,
    identity: &Identity,
    how: impl FnOnce(&Agent) -> anyhow::Result<()>,
    expected: impl FnOnce(ExitStatus) -> bool,
) -> anyhow::Result<()> {
    let mut agent = Agent::start(start, &identity.secrets())?;
    agent.ready(&[])?;
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut idle = Kept::open(Way::Direct, SocketAddr::new(local, METRICS), local)?;
    anyhow::ensure!(!idle.ask()?.1, "a response asks for the end of its connection");
    how(&agent)?;
    let status = agent.proxy.ended(SOON)?;
    anyhow::ensure!(expected(status), "it ended with {status}: {}", agent.proxy.said());
    Ok(())
}

fn play(suite: &mut Suite, start: Start, identity: &Identity, ads: &Path) -> anyhow::Result<()> {
    let name = start.name.clone();
    let traffic = Traffic::of(&start, ads)?;
    let mut agent = Agent::start(&start, &identity.secrets())?;
    suite.case(&format!("{name}/waits"), || waits(&mut agent, &start));
    suite.case(&format!("{name}/obeys"), || obeys(&start));
    agent.ready(&traffic.steps).with_context(|| format!("{name} becomes ready"))?;
    suite.case(&format!("{name}/serves"), || serves(&mut agent));
    suite.case(&format!("{name}/counts"), counts);
    suite.case(&format!("{name}/drains"), || drains(&mut agent, &start, &traffic));
    suite.case(&format!("{name}/honours"), || agent.plane.honoured());
    drop(agent);
    suite.case(&format!("{name}/killed"), || {
        ends(&start, identity, |agent| agent.proxy.signal("KILL"), |status| status.signal() == Some(9))
    });
    suite.case(&format!("{name}/terminated"), || {
        ends(&start, identity, |agent| agent.proxy.signal("TERM"), |status| status.code() == Some(0))
    });
    suite.case(&format!("{name}/told-to-quit"), || {
        ends(&start, identity, |_| post("/quitquitquit"), |status| status.code() == Some(0))
    });
    let brief = start.clone().with("--drain-time-s", "1")?;
    suite.case(&format!("{name}/stops"), || stops(&brief, identity, &traffic));
    suite.case(&format!("{name}/rotates"), || {
        let node = match (start.is_gateway(), start.is_transparent()) {
            (true, _) => "istio-ingressgateway-1",
            (_, true) => "ratings-v2-1",
            _ => "productpage-v1-1",
        };
        let recording = Recording::read(&ads.join("bookinfo").join(node), "mtls-strict")?;
        rotates(start.clone(), &recording.steps, identity)
    });
    Ok(())
}

fn run(suite: &mut Suite, ads: &Path) -> anyhow::Result<()> {
    let identity = match Identity::make() {
        Ok(identity) => identity,
        Err(reason) => {
            suite.skip("all", format!("{reason:#}"));
            return Ok(());
        }
    };
    replay::prepare()?;
    let _backend = Backend::start()?;
    health()?;
    for start in Start::all()? {
        let name = start.name.clone();
        if let Err(error) = play(suite, start, &identity, ads) {
            suite.verdict(&name, Err(error));
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    namespace::suite("agent", "istiod-recorded/ads", run)
}
