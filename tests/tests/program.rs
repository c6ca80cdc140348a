//! The program itself: what it says of a bootstrap and of a folder, and how it lives with what changes there.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_tests::oracle::binaries;
use weir_tests::ports;
use weir_tests::process::Proxy;
use weir_tests::wire::h1;

/// Longest time for anything, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of this test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weir-program-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn weir() -> Command {
    Command::new(binaries::weir().expect("weir is not built"))
}

/// Exit code, and everything said.
fn said(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn validate(args: &[&str], path: &Path) -> (Option<i32>, String) {
    said(&weir().args(["--mode", "validate"]).args(args).arg(path).output().expect("weir starts"))
}

/// A running weir, ended with the test.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(mut command: Command, folder: &Folder) -> Self {
        let log = folder.0.join("log");
        let file = fs::File::create(&log).expect("a log");
        let child = command.stdout(Stdio::null()).stderr(file).spawn().expect("weir starts");
        Self { child, log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("the log")
    }

    fn waits_for(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(Instant::now() < end, "no `{text}` in {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(port: u16) -> TcpStream {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let end = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                return stream;
            }
            Err(error) => assert!(Instant::now() < end, "{address}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a request and reads a response without body.
fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").expect("sent");
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&bytes)),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

const UNSUPPORTED: &str = r#"static_resources:
  clusters:
  - name: a
    type: STATIC
    healthChecks: [{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}]
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: t
          cluster: a
          tunneling_config: {hostname: x}
"#;

#[test]
fn what_the_engine_refuses_is_told_with_its_place() {
    let folder = Folder::new("places");
    let path = folder.write("b.yaml", UNSUPPORTED);
    let (code, text) = validate(&["-c"], &path);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("b.yaml:5:5: static_resources.clusters[0].health_checks: "), "{text}");
    let tcp = "b.yaml:15:11: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.tunneling_config: ";
    assert!(text.contains(tcp), "{text}");
    assert!(text.contains("5 |     healthChecks: ["), "the line itself: {text}");
    // The cluster is there, if only wrongly: that is no second mistake.
    assert!(!text.contains("unknown cluster"), "{text}");
}

#[test]
fn a_mistake_of_the_merged_text_is_found_there() {
    let folder = Folder::new("merged");
    let path = folder.write("b.yaml", "node: {id: a}\n");
    let over = "static_resources: {clusters: [{name: a, lb_policy: CLUSTER_PROVIDED}]}";
    let (code, text) = validate(&["--config-yaml", over, "-c"], &path);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("--config-yaml:1:41: static_resources.clusters[0].lb_policy: "), "{text}");
}

#[test]
fn a_folder_is_validated_too() {
    let folder = Folder::new("validate");
    let mesh = folder.0.join("mesh");
    fs::create_dir(&mesh).expect("a folder");
    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{name: http, port: 80}]}\n";
    fs::write(mesh.join("a.yaml"), service).expect("a file");
    let (code, text) = validate(&["--mesh-config"], &mesh);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("OK"), "{text}");
    fs::write(mesh.join("b.yaml"), service.replace("ports", "prots")).expect("a file");
    let (code, text) = validate(&["--mesh-config"], &mesh);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("b.yaml:4:8") && text.contains("did you mean `ports`"), "{text}");
    let (code, text) = validate(&["--service-node", "nonsense", "--mesh-config"], &mesh);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("nonsense"), "{text}");
}

/// A gateway's folder: its ports answer by themselves.
fn gateway(ports: &[u16]) -> String {
    let servers: String = ports
        .iter()
        .map(|p| format!("  - {{port: {{number: {p}, name: http-{p}, protocol: HTTP}}, hosts: [\"*\"]}}\n"))
        .collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: g}}\nspec:\n  selector: {{istio: ingressgateway}}\n  \
         servers:\n{servers}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec:\n  \
         hosts: [\"*\"]\n  gateways: [g]\n  http: [{{directResponse: {{status: 204}}}}]\n"
    )
}

/// weir over a folder, without an admin port.
fn over(mesh: &Path) -> Command {
    let mut command = weir();
    command.args(["--config-yaml", "node: {id: a}", "--concurrency", "1", "--mesh-config"]).arg(mesh);
    command
}

/// Connections of a listener that stays, and two of one that goes, of which one was never used; with these flags.
fn removed(name: &str, flags: &[&str]) -> (Folder, Running, [TcpStream; 3]) {
    let folder = Folder::new(name);
    let mesh = folder.0.join("mesh");
    fs::create_dir(&mesh).expect("a folder");
    let (stays, goes) = (ports::free().expect("a free port"), ports::free().expect("a free port"));
    fs::write(mesh.join("g.yaml"), gateway(&[stays, goes])).expect("a file");
    let mut command = over(&mesh);
    command.args(flags);
    let weir = Running::start(command, &folder);
    let (mut kept, mut used, unused) = (connect(stays), connect(goes), connect(goes));
    for stream in [&mut kept, &mut used] {
        let answer = ask(stream);
        assert!(answer.starts_with("HTTP/1.1 204") && !answer.contains("connection: close"), "{answer}");
    }
    fs::write(mesh.join("g.yaml"), gateway(&[stays])).expect("a file");
    weir.waits_for("version=2");
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], goes))).is_ok() {
        assert!(Instant::now() < end, "the port stays open");
        std::thread::sleep(Duration::from_millis(20));
    }
    (folder, weir, [kept, used, unused])
}

#[test]
fn the_connections_of_a_removed_listener_are_served_and_asked_to_close() {
    let (_folder, _weir, [mut kept, mut used, mut unused]) =
        removed("removed", &["--drain-strategy", "immediate"]);
    for stream in [&mut used, &mut unused] {
        let answer = ask(stream);
        assert!(answer.starts_with("HTTP/1.1 204") && answer.contains("connection: close"), "{answer}");
    }
    let answer = ask(&mut kept);
    assert!(answer.starts_with("HTTP/1.1 204") && !answer.contains("connection: close"), "{answer}");
}

#[test]
fn the_connections_of_a_removed_listener_do_not_all_leave_at_once() {
    let (_folder, _weir, connections) = removed("spread", &["--drain-time-s", "1000000"]);
    for mut stream in connections {
        for _ in 0..10 {
            let answer = ask(&mut stream);
            assert!(answer.starts_with("HTTP/1.1 204") && !answer.contains("connection: close"), "{answer}");
        }
    }
}

#[test]
fn the_connections_of_a_removed_listener_end_with_the_drain_time() {
    let (_folder, _weir, [mut kept, used, unused]) = removed("over", &["--drain-time-s", "1"]);
    for mut stream in [used, unused] {
        assert_eq!(stream.read(&mut [0]).expect("an orderly end"), 0);
    }
    ask(&mut kept);
}

#[test]
fn what_cannot_be_read_is_told_and_a_new_folder_is_followed() {
    let folder = Folder::new("unreadable");
    let mesh = folder.0.join("mesh");
    fs::create_dir(&mesh).expect("a folder");
    let port = ports::free().expect("a free port");
    fs::write(mesh.join("g.yaml"), gateway(&[port])).expect("a file");
    let weir = Running::start(over(&mesh), &folder);
    ask(&mut connect(port));
    std::os::unix::fs::symlink("/dev/zero", mesh.join("z.yaml")).expect("a link");
    weir.waits_for("z.yaml: a folder, pipe, socket or device");
    ask(&mut connect(port));
    // Another folder of the same name, as a deployment leaves it.
    fs::rename(&mesh, folder.0.join("old")).expect("renamed");
    weir.waits_for("mesh: No such file or directory");
    fs::create_dir(&mesh).expect("a folder");
    let other = ports::free().expect("a free port");
    fs::write(mesh.join("g.yaml"), gateway(&[other])).expect("a file");
    ask(&mut connect(other));
    // The watch is on the new one: within a second.
    let third = ports::free().expect("a free port");
    let begin = Instant::now();
    fs::write(mesh.join("g.yaml"), gateway(&[third])).expect("a file");
    ask(&mut connect(third));
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

#[test]
fn a_port_that_is_taken_is_tried_again() {
    let folder = Folder::new("taken");
    let mesh = folder.0.join("mesh");
    fs::create_dir(&mesh).expect("a folder");
    let taken = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    fs::write(mesh.join("g.yaml"), gateway(&[port])).expect("a file");
    let weir = Running::start(over(&mesh), &folder);
    weir.waits_for("Address already in use");
    drop(taken);
    ask(&mut connect(port));
    assert_eq!(weir.log().matches("Address already in use").count(), 1, "{}", weir.log());
}

#[test]
fn want_of_descriptors_is_counted_and_outlived() {
    let folder = Folder::new("descriptors");
    let (port, admin) = (ports::free().expect("a free port"), ports::free().expect("a free port"));
    let text = format!(
        r#"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config: {{virtual_hosts: [{{name: v, domains: ["*"], routes: [{{match: {{prefix: /}}, direct_response: {{status: 204}}}}]}}]}}
          http_filters: [{{name: router, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]
"#
    );
    let path = folder.write("b.yaml", &text);
    let mut command = Command::new("sh");
    let run = r#"ulimit -n 48; exec "$0" "$@""#;
    let weir = binaries::weir().expect("weir is not built");
    command.args(["-c", run]).arg(weir).args(["--concurrency", "1", "-c"]).arg(&path);
    let weir = Running::start(command, &folder);
    let mut first = connect(port);
    ask(&mut first);
    let crowd: Vec<TcpStream> = (0..80).map(|_| connect(port)).collect();
    weir.waits_for("cannot accept");
    std::thread::sleep(Duration::from_millis(500));
    ask(&mut first);
    drop(crowd);
    ask(&mut connect(port));
    assert_eq!(weir.log().matches("cannot accept").count(), 1, "{}", weir.log());
    let mut stats = connect(admin);
    stats
        .write_all(b"GET /stats?filter=accept_error HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .expect("sent");
    let mut shown = String::new();
    stats.read_to_string(&mut shown).expect("an answer");
    let count = shown.lines().find_map(|line| line.split_once("downstream_cx_accept_error: "));
    assert!(count.is_some_and(|(_, n)| n.trim().parse::<u64>().is_ok_and(|n| n > 1)), "{shown}");
}

/// A listener that answers by itself.
fn answering(name: &str, port: u16, rest: Value) -> Value {
    let listener = json!({
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name,
            "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "direct_response": {"status": 204}}]}]},
            "http_filters": [{"name": "router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}],
    });
    merged(listener, rest)
}

fn merged(mut value: Value, rest: Value) -> Value {
    if let (Some(value), Value::Object(rest)) = (value.as_object_mut(), rest) {
        value.extend(rest);
    }
    value
}

#[test]
fn clients_that_say_nothing_do_not_hold_the_end() {
    let inspector = |name: &str, message: &str| {
        let kind = format!("type.googleapis.com/envoy.extensions.filters.listener.{message}");
        json!({"name": name, "typed_config": {"@type": kind}})
    };
    let inspected = json!({
        "traffic_direction": "INBOUND",
        "listener_filters_timeout": "0s",
        "listener_filters": [
            inspector("tls", "tls_inspector.v3.TlsInspector"), inspector("http", "http_inspector.v3.HttpInspector")],
    });
    let [plain, looked, admin] = [(); 3].map(|()| ports::free().expect("a free port"));
    let bootstrap = json!({
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "static_resources": {
            "listeners": [answering("plain", plain, json!({})), answering("looked", looked, inspected)]},
    });
    let mut weir = Proxy::start_more(&bootstrap, &["--concurrency", "1"], plain).expect("weir starts");
    let silent = [connect(plain), connect(looked)];
    let mut late = connect(plain);
    // One worker accepts in turn: when this one is served, the others are there.
    ask(&mut connect(looked));
    weir.signal("TERM").expect("a signal");
    // A first request that was on its way is answered.
    std::thread::sleep(Duration::from_millis(100));
    let answer = ask(&mut late);
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    let status = weir.ended(Duration::from_secs(15)).expect("an end long before the grace time (25 s)");
    assert_eq!(status.code(), Some(0));
    for mut client in silent {
        assert_eq!(client.read(&mut [0]).expect("an orderly end"), 0);
    }
}

#[test]
fn stopped_listeners_are_counted_once() {
    let [inward, outward, admin] = [(); 3].map(|()| ports::free().expect("a free port"));
    let bootstrap = json!({
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "static_resources": {"listeners": [
            answering("in", inward, json!({"traffic_direction": "INBOUND"})), answering("out", outward, json!({}))]},
    });
    let _weir = Proxy::start(&bootstrap, outward).expect("weir starts");
    // The admin API may come a moment after the listeners.
    drop(connect(admin));
    // As Envoy 1.40 counts.
    for (query, stopped) in [("?inboundonly", 1), ("?inboundonly", 1), ("", 2)] {
        let request =
            format!("POST /drain_listeners{query} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        h1::exchange(admin, request.as_bytes(), PATIENCE).expect("an answer");
        let end = Instant::now() + PATIENCE;
        loop {
            let (_, shown) =
                h1::fetch(admin, "/stats?filter=listener_stopped", PATIENCE).expect("statistics");
            let shown = String::from_utf8_lossy(&shown).into_owned();
            if shown.trim() == format!("listener_manager.listener_stopped: {stopped}") {
                break;
            }
            assert!(Instant::now() < end, "{query}: {shown}, not {stopped}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
