//! Ports that `weirctl serve` opens on Envoys and weirs: of a gateway that passes TLS through, and of a sidecar's own pod,
//! without redirection and, in a network namespace, with it.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};
use weir_tests::beside::page;
use weir_tests::namespace;
use weir_tests::oracle::binaries;
use weir_tests::ports::{free, listen_on};
use weir_tests::process::{Proxy, folder};
use weir_tests::reload::{backend, backend_on};
use weir_tests::served::{Served, WITHIN, gateway, sidecar, until};
use weir_tests::suite::Suite;

/// Address of the pod whose connections are redirected; the namespace has it alone.
const POD: &str = "10.7.0.1";

/// A folder of one file, and its control plane.
struct Plane {
    folder: PathBuf,
    served: Served,
    xds: u16,
}

impl Plane {
    fn start(text: &str) -> anyhow::Result<Self> {
        let folder = folder()?;
        fs::write(folder.join("mesh.yaml"), text)?;
        let xds = free()?;
        let served = Served::start(&folder, xds, free()?)?;
        Ok(Self { folder, served, xds })
    }

    fn none_refused(&self) -> anyhow::Result<()> {
        let nacks = self.served.metric("weirctl_xds_nacks_total")?;
        anyhow::ensure!(nacks == 0, "something was refused: {}", self.served.said());
        Ok(())
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // A folder left behind harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The programs that are programmed: weir, and Envoy where there is one.
fn programs() -> anyhow::Result<Vec<PathBuf>> {
    let weir = binaries::weir().context("weir is not built")?;
    Ok(std::iter::once(weir).chain(binaries::envoy()).collect())
}

/// Sends bytes on a new connection, and gives what comes until it is closed.
fn ask(address: &str, bytes: &[u8]) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";

/// A backend that answers the first bytes of every connection with its name, whatever they are.
fn raw(address: &str, name: &'static str) -> anyhow::Result<u16> {
    let (listener, port) = listen_on(address)?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut first = [0u8; 512];
            // A connection that breaks is seen by the client at the other end.
            let _ = stream.read(&mut first).and_then(|_| stream.write_all(name.as_bytes()));
        }
    });
    Ok(port)
}

fn vector(width: usize, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length[4 - width..], bytes].concat()
}

/// How a TLS client begins that asks for a name (RFC 8446, 4.1.2).
fn hello(name: &str) -> Vec<u8> {
    let entry = [&[0][..], &vector(2, name.as_bytes())].concat();
    let extension = [&[0, 0][..], &vector(2, &vector(2, &entry))].concat();
    let body =
        [&[3, 3][..], &[7; 32], &[0], &vector(2, &[0x13, 1]), &vector(1, &[0]), &vector(2, &extension)];
    let message = [&[1][..], &vector(3, &body.concat())].concat();
    [&[22, 3, 1][..], &vector(2, &message)].concat()
}

fn service(name: &str, address: &str, ports: &str, endpoint: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: default}}\n\
         spec:\n  hosts: [{name}.test]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  ports: [{ports}]\n\
         \x20 endpoints: [{{address: {address}, ports: {{{endpoint}}}}}]\n---\n"
    )
}

fn tls_passes_through_by_name() -> anyhow::Result<()> {
    let tls = "{number: 443, name: tls, protocol: TLS}";
    let mut text = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: default}}\n\
         spec:\n  selector: {{istio: ingressgateway}}\n\
         \x20 servers: [{{port: {tls}, hosts: ['*.test'], tls: {{mode: PASSTHROUGH}}}}]\n---\n"
    );
    for name in ["one", "two"] {
        text += &service(name, "127.0.0.1", tls, &format!("tls: {}", raw("127.0.0.1", name)?));
        text += &format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: default}}\n\
             spec:\n  hosts: [{name}.test]\n  gateways: [edge]\n\
             \x20 tls: [{{match: [{{sniHosts: [{name}.test]}}], route: [{{destination: {{host: {name}.test}}}}]}}]\n---\n"
        );
    }
    let plane = Plane::start(&text)?;
    for program in programs()? {
        let (port, admin) = (free()?, free()?);
        let bootstrap = gateway("DELTA_GRPC", &format!("443={port}"), plane.xds, admin);
        let mut proxy = Proxy::start_program(&program, &bootstrap, &[], admin)?;
        let address = format!("127.0.0.1:{port}");
        for name in ["one", "two"] {
            let what = format!("{name} of {}", program.display());
            until(&what, || Ok(ask(&address, &hello(&format!("{name}.test")))? == name))?;
        }
        let answer = ask(&address, &hello("three.test"))?;
        anyhow::ensure!(answer.is_empty(), "a name that nobody has: {answer}");
        proxy.alive()?;
    }
    plane.none_refused()
}

/// The pod's own address, where each of its ports has a listener that leads to the application beside it.
fn a_pod_is_reached_without_redirection() -> anyhow::Result<()> {
    let (http, tcp) = (backend("app")?, raw("127.0.0.1", "raw")?);
    let ports = "{number: 80, name: http, protocol: HTTP}, {number: 90, name: tcp, protocol: TCP}";
    let plane = Plane::start(&service("app", "127.0.0.9", ports, &format!("http: {http}, tcp: {tcp}")))?;
    for program in programs()? {
        let admin = free()?;
        let map = format!("80={},90={}", free()?, free()?);
        let bootstrap = sidecar("app", "DELTA_GRPC", &map, plane.xds, admin);
        let mut proxy = Proxy::start_program(&program, &bootstrap, &[], admin)?;
        let what = program.display();
        until(&format!("HTTP of {what}"), || {
            let answer = ask(&format!("127.0.0.9:{http}"), GET)?;
            Ok(answer.starts_with("HTTP/1.1 200") && answer.contains("server: istio-envoy"))
        })?;
        until(&format!("TCP of {what}"), || Ok(ask(&format!("127.0.0.9:{tcp}"), b"hello")? == "raw"))?;
        proxy.alive()?;
    }
    plane.none_refused()
}

/// What is sent to the pod arrives at the proxy, save for what the proxy itself sends.
fn a_pod_is_reached_through_redirection() -> anyhow::Result<()> {
    let envoy = binaries::envoy().context("no Envoy in .venv (make setup-test)")?;
    namespace::script(&format!("ip route add local {POD}/32 dev lo"))?;
    let (http, tcp, any, other) =
        (backend_on(POD, "app")?, raw(POD, "raw")?, backend_on(POD, "any")?, raw(POD, "other")?);
    namespace::script(&format!(
        "nft -f - <<'END'\ntable ip ways_in {{\nchain out {{\ntype nat hook output priority -100;\n\
         ip saddr != 127.0.0.6 ip daddr {POD} tcp dport {{ {http}, {tcp}, {any}, {other} }} redirect to :15006\n}}\n}}\nEND"
    ))?;
    let ports = "{number: 80, name: http, protocol: HTTP}, {number: 90, name: tcp, protocol: TCP}, \
                 {number: 70, name: any}";
    let plane = Plane::start(&service("app", POD, ports, &format!("http: {http}, tcp: {tcp}, any: {any}")))?;
    let admin = free()?;
    let mut bootstrap = sidecar("app", "DELTA_GRPC", "", plane.xds, admin);
    let node = bootstrap.pointer_mut("/node").and_then(Value::as_object_mut).context("node")?;
    node.insert("id".to_owned(), json!(format!("sidecar~{POD}~app-1.default~default.svc.cluster.local")));
    node.insert("metadata".to_owned(), json!({"INTERCEPTION_MODE": "REDIRECT"}));
    let mut proxy = Proxy::start_program(&envoy, &bootstrap, &[], admin)?;
    for (port, body) in [(http, "app"), (any, "any")] {
        until(&format!("HTTP of {body}"), || {
            let answer = ask(&format!("{POD}:{port}"), GET)?;
            Ok(answer.contains("server: istio-envoy") && answer.ends_with(body))
        })?;
    }
    // Where the first bytes tell, half a line may still become HTTP.
    for (port, name) in [(tcp, "raw"), (other, "other")] {
        let answer = ask(&format!("{POD}:{port}"), b"hello\r\n")?;
        anyhow::ensure!(answer == name, "{name}: {answer}");
    }
    anyhow::ensure!(ask("127.0.0.1:15006", GET)?.is_empty(), "the listener itself answers");
    for cluster in ["InboundPassthroughCluster".to_owned(), format!("inbound|{tcp}||")] {
        let name = format!("tcp.{cluster}.downstream_cx_total");
        let told = page(admin, "admin", "/stats?filter=downstream_cx_total")?;
        anyhow::ensure!(told.contains(&format!("{name}: 1")), "{name}: {told}");
    }
    plane.none_refused()?;
    proxy.alive()
}

fn main() -> ExitCode {
    let mut suite = Suite::new("ways-in");
    let inside = namespace::allowed().and_then(|()| namespace::enter());
    if let Ok(Some(code)) = inside {
        return code;
    }
    if inside.is_ok() {
        suite.case("namespace", || namespace::script("ip link set lo up"));
    }
    suite.case("tls-passes-through-by-name", tls_passes_through_by_name);
    suite.case("a-pod-is-reached-without-redirection", a_pod_is_reached_without_redirection);
    match inside {
        Err(reason) => suite.skip("a-pod-is-reached-through-redirection", format!("{reason:#}")),
        Ok(_) if binaries::envoy().is_none() => {
            suite.skip("a-pod-is-reached-through-redirection", "no Envoy in .venv (make setup-test)");
        }
        Ok(_) => suite.case("a-pod-is-reached-through-redirection", a_pod_is_reached_through_redirection),
    }
    suite.finish()
}
