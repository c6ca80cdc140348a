//! 100 weight changes with 50 keep-alive clients and 50 open WebSockets: no failure, no disconnect. Raw connections of
//! a listener that is taken away have the drain time left. With the folder watched by weir itself, and by `weirctl
//! serve`, which pushes it.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use weir_tests::load::Load;
use weir_tests::ports::free;
use weir_tests::process::Proxy;
use weir_tests::reload::{Mesh, Socket, backend};
use weir_tests::served::{Served, gateway};
use weir_tests::suite::Suite;

const LOAD: Load = Load { clients: 50, sockets: 50, streams: 0 };
const CHANGES: u32 = 100;
const BETWEEN: Duration = Duration::from_millis(60);
/// A change is in force within this time.
const IN_FORCE: Duration = Duration::from_secs(1);

/// Requests on one connection until `version` alone has answered ten times in a row.
fn settles(port: u16, version: &str) -> anyhow::Result<()> {
    let end = Instant::now() + IN_FORCE;
    let mut row = 0;
    while row < 10 {
        anyhow::ensure!(
            Instant::now() < end,
            "{version} does not get all requests {IN_FORCE:?} after the change"
        );
        let (status, body) = weir_tests::wire::h1::fetch(port, "/", Duration::from_secs(2))?;
        anyhow::ensure!(status == 200, "status {status}");
        row = if body == version.as_bytes() { row + 1 } else { 0 };
    }
    Ok(())
}

/// How a folder comes to the proxy.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// `weir --mesh-config`.
    Within,
    /// `weirctl serve`, over a stream.
    Served,
}

impl Way {
    /// Starts a gateway that binds its ports as `map` says, and waits until `port` accepts.
    fn start(self, folder: &Path, map: &str, port: u16) -> anyhow::Result<(Proxy, Option<Served>)> {
        let drain = DRAIN.as_secs().to_string();
        let drain = ["--drain-time-s", &drain];
        match self {
            Self::Within => {
                let folder = folder.display().to_string();
                let own = ["--mesh-config", &folder, "--listen-port-map", map];
                let labels = ["--gateway-labels", "istio=ingressgateway"];
                Ok((Proxy::start_with(&[&own[..], &labels, &drain].concat(), port)?, None))
            }
            Self::Served => {
                let (xds, admin) = (free()?, free()?);
                let served = Served::start(folder, xds, free()?)?;
                let bootstrap = gateway("DELTA_GRPC", map, xds, admin).to_string();
                let own = ["--config-yaml", &bootstrap];
                Ok((Proxy::start_with(&[&own[..], &drain].concat(), port)?, Some(served)))
            }
        }
    }
}

fn run(way: Way) -> anyhow::Result<()> {
    let mesh = Mesh::write([backend("v1")?, backend("v2")?])?;
    let port = free()?;
    let (mut proxy, _served) = way.start(mesh.path(), &format!("80={port}"), port)?;
    settles(port, "v1")?;
    LOAD.during(port, 1000, || change(&mesh, port))?;
    proxy.alive()
}

fn change(mesh: &Mesh, port: u16) -> anyhow::Result<()> {
    for step in 0..CHANGES {
        mesh.weigh(step * 37 % 101)?;
        std::thread::sleep(BETWEEN);
    }
    mesh.weigh(0)?;
    settles(port, "v2")?;
    mesh.break_file()?;
    std::thread::sleep(IN_FORCE);
    settles(port, "v2")
        .map_err(|error| error.context("with a broken file the last good state is in force"))?;
    mesh.weigh(100)?;
    settles(port, "v1").map_err(|error| error.context("after the broken file was mended"))
}

/// `--drain-time-s` of the case.
const DRAIN: Duration = Duration::from_secs(2);

/// A gateway for raw connections on port 9000, and one for HTTP, before one service.
fn raw_mesh(upstream: u16) -> String {
    let servers: String = [(80, "http", "HTTP"), (9000, "raw", "TCP")]
        .map(|(port, name, protocol)| {
            format!(
                "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec:\n\
                 \x20 selector: {{istio: ingressgateway}}\n  servers:\n\
                 \x20 - port: {{number: {port}, name: {name}, protocol: {protocol}}}\n    hosts: [\"*\"]\n"
            )
        })
        .concat();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: app}}\nspec:\n\
         \x20 hosts: [app.test]\n  location: MESH_INTERNAL\n  resolution: STATIC\n\
         \x20 ports:\n  - {{number: 9000, name: tcp, protocol: TCP}}\n\
         \x20 endpoints: [{{address: 127.0.0.1, ports: {{tcp: {upstream}}}}}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: web}}\nspec:\n\
         \x20 hosts: [\"*\"]\n  gateways: [http]\n  http: [{{directResponse: {{status: 200}}}}]\n{servers}"
    )
}

/// The rule that sends raw connections to the service.
const RAW_RULE: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: raw}\nspec:\n  hosts: [\"*\"]\n  gateways: [raw]\n  tcp: [{route: [{destination: {host: app.test, port: {number: 9000}}}]}]\n";

fn removed_listener(way: Way) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("weir-mesh-raw-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("app.yaml"), raw_mesh(backend("v1")?))?;
    let rule = folder.join("raw.yaml");
    std::fs::write(&rule, RAW_RULE)?;
    let (http, raw) = (free()?, free()?);
    let (mut proxy, _served) = way.start(&folder, &format!("80={http},9000={raw}"), raw)?;
    let mut socket = Socket::open(raw)?;
    socket.ping(b"before")?;
    std::fs::remove_file(&rule)?;
    let end = Instant::now() + Duration::from_secs(5);
    while std::net::TcpStream::connect(("127.0.0.1", raw)).is_ok() {
        anyhow::ensure!(Instant::now() < end, "the listener is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
    let gone = Instant::now();
    socket.ping(b"while it drains")?;
    while socket.ping(b"still").is_ok() {
        anyhow::ensure!(gone.elapsed() < DRAIN * 2, "the connection outlived the drain time");
        std::thread::sleep(Duration::from_millis(20));
    }
    anyhow::ensure!(gone.elapsed() > DRAIN / 2, "ended after {:?} already", gone.elapsed());
    proxy.alive()?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn main() -> ExitCode {
    let mut suite = Suite::new("reload");
    for (way, suffix) in [(Way::Within, ""), (Way::Served, "-over-a-stream")] {
        suite.case(&format!("removed-listener{suffix}"), || removed_listener(way));
        suite.case(&format!("weights{suffix}"), || run(way));
    }
    suite.finish()
}
