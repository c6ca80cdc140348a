//! Istio's own filters on a running weir that is both sides of a mesh: its outbound listener calls its inbound one.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use weir_tests::oracle::binaries;
use weir_tests::ports;

/// Longest time for anything, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Weir {
    child: Child,
    folder: PathBuf,
    admin: u16,
}

impl Weir {
    fn start(name: &str, resources: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("weir-istio-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        let admin = ports::free().expect("a free port");
        let text = format!(
            "node: {{id: sidecar~1, cluster: c, metadata: {{WORKLOAD_NAME: reviews-v2, NAMESPACE: default, CLUSTER_ID: K8s, LABELS: {{app: reviews, version: v2, service.istio.io/canonical-name: reviews}}}}}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
static_resources:
{resources}"
        );
        let file = folder.join("weir.yaml");
        fs::write(&file, text).expect("a bootstrap");
        let log = fs::File::create(folder.join("log")).expect("a log");
        let child = Command::new(binaries::weir().expect("weir is not built"))
            .args(["--concurrency", "1", "--file-flush-interval-msec", "50", "-c"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("weir starts");
        Self { child, folder, admin }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Statistics, once they hold the text.
    fn stats_with(&self, text: &str) -> String {
        self.stats_when(text, |stats| stats.contains(text))
    }

    /// Statistics, once they are so.
    fn stats_when(&self, what: &str, so: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let stats =
                ask(self.admin, "GET /stats/prometheus HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            if so(&stats) {
                return stats;
            }
            assert!(Instant::now() < end, "no `{what}` in\n{stats}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn connect(port: u16) -> TcpStream {
    let (address, end) = (SocketAddr::from(([127, 0, 0, 1], port)), Instant::now() + PATIENCE);
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

/// Sends bytes, and reads until the peer ends.
fn ask(port: u16, bytes: &str) -> String {
    let mut stream = connect(port);
    stream.write_all(bytes.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    // A reset after the answer is an end, too.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

const GET: &str = "GET / HTTP/1.1\r\nhost: ratings:9080\r\nconnection: close\r\n\r\n";

fn listener(name: &str, port: u16, rest: &str) -> String {
    format!(
        "  - {{name: {name}, address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}, {rest}}}\n"
    )
}

fn manager(filters: &str, route: &str) -> String {
    format!(
        "filters: [{{name: hcm, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: h, http_filters: [{filters}, {{name: router, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}], route_config: {{virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, {route}}}]}}]}}}}}}]"
    )
}

fn cluster(name: &str, port: u16, rest: &str) -> String {
    format!(
        "  - {{name: {name}, type: STATIC, load_assignment: {{cluster_name: x, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}, metadata: {{filter_metadata: {{istio: {{workload: 'ratings-v1;prod;ratings;v1;K8s'}}, envoy.transport_socket_match: {{tlsMode: istio}}}}}}}}]}}]}}{rest}}}\n"
    )
}

/// An Istio filter as istiod writes it.
fn typed_struct(name: &str, message: &str, value: &str) -> String {
    format!(
        "{{name: {name}, typed_config: {{'@type': type.googleapis.com/udpa.type.v1.TypedStruct, type_url: type.googleapis.com/{message}, value: {value}}}}}"
    )
}

const STATS: &str = "{name: istio.stats, typed_config: {'@type': type.googleapis.com/stats.PluginConfig}}";

#[test]
fn two_sidecars_tell_each_other_who_they_are_and_count() {
    let (out, inbound) = (ports::free().expect("a free port"), ports::free().expect("a free port"));
    let exchange =
        |value: &str| typed_struct("istio.metadata_exchange", "io.istio.http.peer_metadata.Config", value);
    let upstream = exchange(
        "{upstream_discovery: [{istio_headers: {}}, {workload_discovery: {}}], upstream_propagation: [{istio_headers: {}}]}",
    );
    let downstream = exchange(
        "{downstream_discovery: [{istio_headers: {}}, {workload_discovery: {}}], downstream_propagation: [{istio_headers: {}}]}",
    );
    let resources = [
        "  listeners:\n",
        &listener("out", out, &format!("traffic_direction: OUTBOUND, filter_chains: [{{{}}}]", manager(&format!("{upstream}, {STATS}"), "route: {cluster: outbound}"))),
        &listener("in", inbound, &format!("traffic_direction: INBOUND, filter_chains: [{{{}}}]", manager(&format!("{downstream}, {STATS}"), "direct_response: {status: 202, body: {inline_string: hello}}"))),
        "  clusters:\n",
        &cluster("outbound", inbound, ", metadata: {filter_metadata: {istio: {services: [{host: ratings.prod.svc, name: ratings, namespace: prod}]}}}"),
    ]
    .concat();
    let weir = Weir::start("exchange", &resources);
    let answer = ask(out, GET);
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}\n{}", weir.log());
    assert!(!answer.to_lowercase().contains("x-envoy-peer-metadata"), "{answer}");
    let stats = weir.stats_with("istio_requests_total{reporter=\"source\"");
    // The upstream's own description counts before what its endpoint says.
    let source = "istio_requests_total{reporter=\"source\",source_workload=\"reviews-v2\",source_workload_namespace=\"default\",source_principal=\"unknown\",source_app=\"reviews\",source_version=\"v2\",source_canonical_service=\"reviews\",source_canonical_revision=\"latest\",source_cluster=\"K8s\",destination_workload=\"reviews-v2\",destination_workload_namespace=\"default\",destination_principal=\"unknown\",destination_app=\"reviews\",destination_version=\"v2\",destination_canonical_service=\"reviews\",destination_canonical_revision=\"latest\",destination_cluster=\"K8s\",destination_service=\"ratings.prod.svc\",destination_service_name=\"ratings\",destination_service_namespace=\"prod\",request_protocol=\"http\",response_code=\"202\",grpc_response_status=\"\",response_flags=\"-\",connection_security_policy=\"unknown\"} 1";
    assert!(stats.contains(source), "{stats}");
    let stats =
        weir.stats_with("istio_requests_total{reporter=\"destination\",source_workload=\"reviews-v2\"");
    assert!(stats.contains("destination_service=\"ratings:9080\""), "{stats}");
    assert!(stats.contains("connection_security_policy=\"none\"} 1"), "{stats}");
    // A client that tells nothing is unknown, and is told nothing.
    let answer = ask(inbound, GET);
    assert!(!answer.to_lowercase().contains("x-envoy-peer-metadata"), "{answer}");
    weir.stats_with("istio_requests_total{reporter=\"destination\",source_workload=\"unknown\"");
    weir.stats_with("istio_response_bytes_count{reporter=\"source\"");
}

#[test]
fn raw_connections_are_counted_by_their_services() {
    let (out, upstream) =
        (ports::free().expect("a free port"), TcpListener::bind("127.0.0.1:0").expect("a port"));
    let port = upstream.local_addr().expect("an address").port();
    let exchange = typed_struct(
        "mx",
        "envoy.tcp.metadataexchange.config.MetadataExchange",
        "{protocol: istio-peer-exchange, enable_discovery: true}",
    );
    let tcp = format!(
        "traffic_direction: OUTBOUND, filter_chains: [{{filters: [{exchange}, {STATS}, {{name: mongo, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy, stat_prefix: m}}}}, {{name: tcp, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: raw}}}}]}}]"
    );
    let resources = [
        "  listeners:\n",
        &listener("out", out, &tcp),
        "  clusters:\n",
        &cluster("raw", port, &format!(", filters: [{exchange}]")),
    ]
    .concat();
    let weir = Weir::start("raw", &resources);
    let mut client = connect(out);
    client.write_all(b"ping").expect("sent");
    let (mut server, _) = upstream.accept().expect("a connection");
    let mut bytes = [0; 4];
    server.read_exact(&mut bytes).expect("what was sent");
    server.write_all(b"pong!").expect("answered");
    drop(server);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("the answer");
    drop(client);
    assert_eq!((&bytes, answer.as_slice()), (b"ping", &b"pong!"[..]));
    // The series stands from the opening on; the closing is counted a moment after the client has seen it.
    let closed = "istio_tcp_connections_closed_total";
    let stats = weir.stats_when(closed, |stats| {
        stats.lines().any(|line| line.starts_with(closed) && line.ends_with("} 1"))
    });
    let of = |metric: &str| {
        let line = stats.lines().find(|line| line.starts_with(&format!("{metric}{{")));
        line.unwrap_or_else(|| panic!("no {metric} in {stats}")).to_owned()
    };
    for (metric, count) in [
        ("istio_tcp_connections_opened_total", 1),
        ("istio_tcp_connections_closed_total", 1),
        ("istio_tcp_received_bytes_total", 4),
        ("istio_tcp_sent_bytes_total", 5),
    ] {
        let line = of(metric);
        assert!(line.ends_with(&format!("}} {count}")), "{line}");
        assert!(
            line.contains("destination_workload=\"ratings-v1\"") && line.contains("request_protocol=\"tcp\""),
            "{line}"
        );
        assert!(!line.contains("response_code"), "{line}");
    }
    assert!(stats.contains("envoy_metadata_exchange_alpn_protocol_not_found{} 2"), "{stats}");
}

#[test]
fn what_needs_tls_is_never_in_plain_text() {
    let (strict, calls) = (ports::free().expect("a free port"), ports::free().expect("a free port"));
    let upstream = TcpListener::bind("127.0.0.1:0").expect("a port");
    upstream.set_nonblocking(true).expect("not blocking");
    let port = upstream.local_addr().expect("an address").port();
    let secrets = "common_tls_context: {tls_certificate_sds_secret_configs: [{name: default, sds_config: {ads: {}}}], tls_params: {cipher_suites: [ECDHE-RSA-AES256-GCM-SHA384, AES256-GCM-SHA384]}}";
    let tls = |kind: &str, rest: &str| {
        format!(
            "{{name: tls, typed_config: {{'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{kind}, {rest}}}}}"
        )
    };
    let direct = manager(
        "{name: c, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}}",
        "direct_response: {status: 200}",
    );
    let called = manager(
        "{name: c, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}}",
        "route: {cluster: mutual}",
    );
    let log = "access_log: [{name: l, typed_config: {'@type': type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StderrAccessLog, log_format: {text_format_source: {inline_string: \"%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\\n\"}}}}]";
    let resources = [
        "  listeners:\n",
        &listener(
            "strict",
            strict,
            &format!(
                "{log}, filter_chains: [{{transport_socket: {}, {direct}}}]",
                tls("DownstreamTlsContext", secrets)
            ),
        ),
        &listener("calls", calls, &format!("filter_chains: [{{{called}}}]")),
        "  clusters:\n",
        &cluster(
            "mutual",
            port,
            &format!(
                ", transport_socket_matches: [{{name: m, match: {{tlsMode: istio}}, transport_socket: {}}}]",
                tls("UpstreamTlsContext", "sni: a.b")
            ),
        ),
    ]
    .concat();
    let weir = Weir::start("tls", &resources);
    assert_eq!(ask(strict, GET), "");
    let answer = ask(calls, GET);
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}\n{}", weir.log());
    assert!(upstream.accept().is_err(), "the upstream was connected");
    // The client, the call, and its replay: a failed connection proves that nobody saw the request.
    weir.stats_with("envoy_weir_tls_not_available{} 3");
    weir.stats_with("envoy_weir_tls_cipher_suites_left_out{} 1");
    let end = Instant::now() + PATIENCE;
    while !weir.log().contains("UF tls_not_available") {
        assert!(Instant::now() < end, "{}", weir.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}
