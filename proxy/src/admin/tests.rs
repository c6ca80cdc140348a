use super::*;
use crate::base::addr::Address;
use crate::observe::metrics::Registry;
use crate::observe::stats::cluster as stat;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

mod histograms;

#[derive(Default)]
struct Process {
    tags: Tags,
    failed: AtomicBool,
    quit: AtomicBool,
    drains: Mutex<Vec<DrainRequest>>,
    levels: Mutex<Vec<(Option<String>, String)>>,
}

fn at(text: &str) -> Address {
    Address::Ip(text.parse().unwrap())
}

fn host() -> HostStatus {
    HostStatus {
        address: at("127.0.0.1:19911"),
        hostname: "hh".into(),
        cx_active: 1,
        cx_connect_fail: 0,
        cx_total: 1,
        rq_active: 0,
        rq_error: 0,
        rq_pending_active: 0,
        rq_success: 3,
        rq_timeout: 0,
        rq_total: 3,
        health: Vec::new(),
        weight: 3,
        locality: ["r1".into(), "z1".into(), String::new()],
        canary: false,
        priority: 0,
        success_rate: None,
        local_origin_success_rate: None,
    }
}

impl AdminState for Process {
    fn state(&self) -> ServerState {
        if self.failed.load(Ordering::SeqCst) { ServerState::Draining } else { ServerState::Live }
    }
    fn server_info(&self) -> ServerInfo {
        ServerInfo {
            version: "x/0.1.0/Clean/RELEASE/rustls".into(),
            uptime: Duration::from_secs(11),
            uptime_all: Duration::from_secs(11),
            hot_restart_version: "disabled".into(),
            concurrency: 2,
            command_line_options: json!({"concurrency": 2}),
            node: json!({"id": "n1"}),
        }
    }
    fn clusters(&self) -> Vec<ClusterStatus> {
        let limits = ThresholdStatus {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
            ..ThresholdStatus::default()
        };
        let ejected = HostStatus { health: vec![HealthFlag::FailedOutlier, HealthFlag::FailedEds], ..host() };
        vec![ClusterStatus {
            touched: true,
            name: "admin-test".into(),
            observability_name: "admin-test".into(),
            added_via_api: false,
            eds_service_name: None,
            thresholds: [limits, ThresholdStatus { rq_open: true, ..limits }],
            outlier: Some(OutlierStatus::default()),
            hosts: vec![host(), ejected],
        }]
    }
    fn listeners(&self) -> Vec<ListenerStatus> {
        vec![ListenerStatus { name: "l1".into(), addresses: vec![at("127.0.0.1:19912")] }]
    }
    fn config_dump(&self, include_eds: bool) -> Value {
        let mut configs = vec![
            json!({"@type": "b", "bootstrap": {"node": {"id": "n1"}}}),
            json!({"@type": "c", "version_info": "7", "static_clusters": [
                {"cluster": {"name": "a", "type": "STATIC"}}, {"cluster": {"name": "b"}}]}),
        ];
        if include_eds {
            configs.push(json!({"@type": "e"}));
        }
        json!({"configs": configs})
    }
    fn drain(&self, request: DrainRequest) {
        self.drains.lock().unwrap().push(request);
    }
    fn fail_health_checks(&self, fail: bool) {
        self.failed.store(fail, Ordering::SeqCst);
    }
    fn quit(&self) {
        self.quit.store(true, Ordering::SeqCst);
    }
    fn log_levels(&self) -> Vec<(String, String)> {
        vec![("http".into(), "info".into())]
    }
    fn set_log_level(&self, logger: Option<&str>, level: &str) -> Result<(), String> {
        if logger.is_some_and(|logger| logger != "http") {
            return Err("unknown logger name".into());
        }
        self.levels.lock().unwrap().push((logger.map(str::to_owned), level.to_owned()));
        Ok(())
    }
    fn tags(&self) -> &Tags {
        &self.tags
    }
}

struct Served {
    process: Arc<Process>,
    admin: Admin,
}

fn serve() -> Served {
    let process = Arc::new(Process::default());
    let options = Options { flush_interval: Duration::from_millis(20) };
    let admin = start(bind(&at("127.0.0.1:0")).unwrap(), process.clone(), options).unwrap();
    Served { process, admin }
}

impl Served {
    /// Status, head and body of one request.
    fn call(&self, method: &str, path: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.admin.address.unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
    }

    fn get(&self, path: &str) -> String {
        let (status, _, body) = self.call("GET", path);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path)).unwrap()
    }
}

#[test]
fn paths_methods_and_headers() {
    let admin = serve();
    let (status, head, body) = admin.call("GET", "/ready");
    assert_eq!((status, body.as_str()), (200, "LIVE\n"));
    for header in [
        "content-type: text/plain; charset=utf-8",
        "cache-control: no-cache, max-age=0",
        "x-content-type-options: nosniff",
        "server: envoy",
    ] {
        assert!(head.contains(header), "{head}");
    }
    let (status, _, body) = admin.call("GET", "/readyfoo");
    assert_eq!(status, 404);
    assert!(body.starts_with("invalid path. admin commands are:\n  /: Admin home page\n"), "{body}");
    for endpoint in ENDPOINTS {
        assert!(body.contains(&format!("\n  {}", endpoint.path)), "{}", endpoint.path);
        if endpoint.changes {
            let (status, _, body) = admin.call("GET", endpoint.path);
            assert_eq!(
                (status, body.as_str()),
                (405, "Method GET not allowed, POST required."),
                "{}",
                endpoint.path
            );
        } else {
            assert_eq!(admin.call("GET", endpoint.path).0, 200, "{}", endpoint.path);
        }
    }
    assert_eq!(admin.call("HEAD", "/ready").2, "");
}

#[test]
fn clients_that_stay_keep_nobody_out() {
    let admin = serve();
    let mut kept = Vec::new();
    for _ in 0..MAX_CONNECTIONS + 5 {
        let mut stream = TcpStream::connect(admin.admin.address.unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET /ready HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let mut head = [0; 15];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        kept.push(stream);
    }
    let begun = Instant::now();
    assert_eq!(admin.get("/ready"), "LIVE\n");
    assert!(begun.elapsed() < Duration::from_secs(8), "less than it takes to close one that is idle");
    // The first one gave way.
    let mut first = kept.swap_remove(0);
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"LIVE\n"));
}

#[test]
fn state_changes() {
    let admin = serve();
    assert_eq!(admin.call("POST", "/healthcheck/fail").2, "OK\n");
    let (status, _, body) = admin.call("GET", "/ready");
    assert_eq!((status, body.as_str()), (503, "DRAINING\n"));
    assert_eq!(admin.json("/server_info")["state"], "DRAINING");
    assert_eq!(admin.call("POST", "/healthcheck/ok").0, 200);
    assert_eq!(admin.get("/ready"), "LIVE\n");
    assert_eq!(admin.call("POST", "/drain_listeners?graceful&inboundonly").2, "OK\n");
    assert_eq!(admin.call("POST", "/drain_listeners?skip_exit").0, 400);
    let drains = admin.process.drains.lock().unwrap().clone();
    assert_eq!(drains, [DrainRequest { graceful: true, skip_exit: false, inbound_only: true }]);
    assert_eq!(admin.call("POST", "/logging?paths=http:debug").2, "active loggers:\n  http: info\n");
    assert_eq!(admin.call("POST", "/logging?level=trace").0, 200);
    for bad in ["/logging?level=loud", "/logging?nope=info", "/logging?paths=x"] {
        let (status, _, body) = admin.call("POST", bad);
        assert!(status == 400 && body.starts_with("error: "), "{bad}: {body}");
    }
    let levels = admin.process.levels.lock().unwrap().clone();
    assert_eq!(levels, [(Some("http".to_owned()), "debug".to_owned()), (None, "trace".to_owned())]);
    let (status, _, body) = admin.call("POST", "/runtime_modify?a=b");
    assert_eq!((status, body.as_str()), (503, "No admin layer specified\n"));
    assert_eq!(admin.call("POST", "/quitquitquit").2, "OK\n");
    let begun = Instant::now();
    while !admin.process.quit.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(admin.process.quit.load(Ordering::SeqCst));
}

#[test]
fn clusters_and_listeners() {
    let admin = serve();
    let text = admin.get("/clusters");
    for line in [
        "admin-test::observability_name::admin-test",
        "admin-test::outlier::success_rate_average::-1",
        "admin-test::default_priority::max_retries::3",
        "admin-test::added_via_api::false",
        "admin-test::127.0.0.1:19911::rq_success::3",
        "admin-test::127.0.0.1:19911::health_flags::healthy",
        "admin-test::127.0.0.1:19911::health_flags::/failed_outlier_check/failed_eds_health",
        "admin-test::127.0.0.1:19911::local_origin_success_rate::-1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert_eq!(admin.get("/clusters?filter=%5Eother"), "");
    assert_eq!(admin.call("GET", "/clusters?filter=%5B").0, 400);
    let status = admin.json("/clusters?format=json")["cluster_statuses"][0].clone();
    assert_eq!(
        status["host_statuses"][0],
        json!({
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 19911}},
            "stats": [
                {"name": "cx_connect_fail"}, {"value": "1", "name": "cx_total"}, {"name": "rq_error"},
                {"value": "3", "name": "rq_success"}, {"name": "rq_timeout"}, {"value": "3", "name": "rq_total"},
                {"type": "GAUGE", "value": "1", "name": "cx_active"}, {"type": "GAUGE", "name": "rq_active"},
                {"type": "GAUGE", "name": "rq_pending_active"}
            ],
            "health_status": {"eds_health_status": "HEALTHY"},
            "weight": 3, "hostname": "hh", "locality": {"region": "r1", "zone": "z1"}
        })
    );
    assert_eq!(
        status["host_statuses"][1]["health_status"],
        json!({"failed_outlier_check": true, "eds_health_status": "UNHEALTHY"})
    );
    assert_eq!(status["circuit_breakers"]["thresholds"][1]["priority"], "HIGH");
    assert_eq!(admin.get("/listeners"), "l1::127.0.0.1:19912\n");
    assert_eq!(
        admin.get("/listeners?format=json"),
        concat!(
            "{\n \"listener_statuses\": [\n  {\n   \"local_address\": {\n    \"socket_address\": {\n",
            "     \"address\": \"127.0.0.1\",\n     \"port_value\": 19912\n    }\n   },\n   \"name\": \"l1\"\n  }\n ]\n}\n"
        )
    );
}

#[test]
fn config_dumps() {
    let admin = serve();
    assert_eq!(admin.json("/config_dump")["configs"].as_array().unwrap().len(), 2);
    assert_eq!(admin.json("/config_dump?include_eds")["configs"].as_array().unwrap().len(), 3);
    assert_eq!(
        admin.json("/config_dump?resource=static_clusters&name_regex=%5Eb$"),
        json!({"configs": [{
            "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.StaticCluster", "cluster": {"name": "b"}
        }]})
    );
    assert_eq!(
        admin.json("/config_dump?mask=static_clusters.cluster.name")["configs"],
        json!([{"@type": "c", "static_clusters": [{"cluster": {"name": "a"}}, {"cluster": {"name": "b"}}]}])
    );
    let whole = admin.json("/config_dump");
    assert_eq!(admin.json("/config_dump?mask="), whole);
    assert_eq!(
        admin.json("/config_dump?resource=static_clusters&mask=")["configs"][0]["cluster"]["type"],
        "STATIC"
    );
    assert_eq!(
        admin.json("/config_dump?mask=bootstrap.node.id,nope"),
        json!({"configs": [{"@type": "b", "bootstrap": {"node": {"id": "n1"}}}]})
    );
    for (query, text) in [
        ("mask=nope.nope", "FieldMask nope.nope could not be successfully applied to any configs."),
        ("mask=bootstrap.nope", "FieldMask bootstrap.nope could not be successfully applied to any configs."),
        (
            "resource=bootstrap",
            "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field",
        ),
    ] {
        let (status, _, body) = admin.call("GET", &format!("/config_dump?{query}"));
        assert_eq!((status, body.as_str()), (400, text), "{query}");
    }
    let (status, _, body) = admin.call("GET", "/config_dump?resource=foo");
    assert_eq!((status, body.as_str()), (404, "foo not found in config dump"));
    assert_eq!(admin.call("GET", "/config_dump?name_regex=%5B").0, 400);
}

#[test]
fn statistics() {
    let admin = serve();
    let cells = Registry::global().cells(&stat::SCHEMA, "cluster.admin-test.");
    cells.add(stat::UPSTREAM_RQ_TOTAL, 3);
    cells.response_code(200);
    cells.gauge_add(stat::UPSTREAM_RQ_ACTIVE, 1);
    cells.record(stat::UPSTREAM_RQ_TIME, 1);
    let begun = Instant::now();
    // Histograms appear with the next flush.
    while admin.get("/stats?filter=admin-test.upstream_rq_time").contains("No recorded values")
        && begun.elapsed() < Duration::from_secs(10)
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(60));
    let text = admin.get("/stats?usedonly&filter=%5Ecluster.admin-test");
    for line in [
        "cluster.admin-test.upstream_rq_total: 3",
        "cluster.admin-test.upstream_rq_200: 1",
        "cluster.admin-test.upstream_rq_active: 1",
        "cluster.admin-test.membership_total: 2",
        "cluster.admin-test.membership_healthy: 1",
        "cluster.admin-test.circuit_breakers.default.rq_open: 0",
        "cluster.admin-test.circuit_breakers.high.rq_open: 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(!text.contains("upstream_rq_timeout") && !text.contains("server."), "{text}");
    assert!(text.contains(
        "cluster.admin-test.upstream_rq_time: P0(nan,1.05) P25(nan,1.05) P50(nan,1.05) P75(nan,1.05) P90(nan,1.05) P95(nan,1.05) P99(nan,1.05) P99.5(nan,1.05) P99.9(nan,1.05) P100(nan,1.05)\n"
    ), "{text}");
    assert!(
        admin
            .get("/stats?histogram_buckets=cumulative&filter=admin-test.upstream_rq_time")
            .contains("B0.5(0,0) B1(0,1) B5(0,1)")
    );
    assert!(
        admin
            .get("/stats?histogram_buckets=disjoint&filter=admin-test.upstream_rq_time")
            .contains("B1(0,1) B5(0,0) ")
    );
    assert!(
        admin.get("/stats?type=Histograms").lines().all(|l| l.contains(": P0(") || l.contains("No recorded"))
    );
    let found = admin.json("/stats?format=json&usedonly&filter=admin-test.upstream_rq_t");
    assert_eq!(found["stats"][0], json!({"name": "cluster.admin-test.upstream_rq_total", "value": 3}));
    assert_eq!(
        found["stats"][1]["histograms"]["computed_quantiles"][0]["values"][0],
        json!({"cumulative": 1.05, "interval": null})
    );
    assert_eq!(found["stats"][1]["histograms"]["supported_quantiles"][7], 99.5);
    for bad in [
        "/stats?filter=%5B",
        "/stats?type=Foo",
        "/stats?format=html",
        "/stats?histogram_buckets=x",
        "/stats?histogram_buckets=prometheusnative",
        "/stats/prometheus?histogram_buckets=disjoint",
        "/stats?hidden=x",
    ] {
        assert_eq!(admin.call("GET", bad).0, 400, "{bad}");
    }
    assert!(admin.get("/stats?filter=server").contains("server.uptime: 11\n"));
}

#[test]
fn prometheus_format() {
    let admin = serve();
    let cells = Registry::global().cells(&stat::SCHEMA, "cluster.prom-test.");
    cells.response_code(503);
    cells.record(stat::UPSTREAM_RQ_TIME, 7);
    let begun = Instant::now();
    let mut text = String::new();
    while !text.contains("_count{envoy_cluster_name=\"prom-test\"} 1")
        && begun.elapsed() < Duration::from_secs(10)
    {
        text = admin.get("/stats/prometheus?filter=prom-test&usedonly");
    }
    assert_eq!(text, admin.get("/stats?format=prometheus&filter=prom-test&usedonly"));
    for line in [
        "# TYPE envoy_cluster_upstream_rq counter",
        "envoy_cluster_upstream_rq{envoy_response_code=\"503\",envoy_cluster_name=\"prom-test\"} 1",
        "envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"5\",envoy_cluster_name=\"prom-test\"} 1",
        "# TYPE envoy_cluster_upstream_rq_time histogram",
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"prom-test\",le=\"5\"} 0",
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"prom-test\",le=\"10\"} 1",
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"prom-test\",le=\"3600000\"} 1",
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"prom-test\",le=\"+Inf\"} 1",
        "envoy_cluster_upstream_rq_time_sum{envoy_cluster_name=\"prom-test\"} 7",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    let server = admin.get("/stats/prometheus?filter=server.state");
    assert_eq!(server, "# TYPE envoy_server_state gauge\nenvoy_server_state{} 0\n");
    let types: Vec<_> = admin
        .get("/stats/prometheus")
        .lines()
        .filter(|l| l.starts_with("# TYPE"))
        .map(str::to_owned)
        .collect();
    let mut once = types.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), types.len(), "a family is declared once");
}

#[test]
fn queries() {
    let query = Query::parse("a=%41%2&b&c=1=2&a=x&%C3%A9=%ff");
    assert_eq!(query.value("a"), Some("A%2"));
    assert_eq!(query.value("b"), Some(""));
    assert_eq!(query.value("c"), Some("1=2"));
    assert_eq!(query.value("é"), Some("\u{fffd}"));
    assert!(!query.has("d"));
}

#[test]
fn an_admin_interface_on_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("weir-admin-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listening = bind(&Address::Unix(path.as_path().into())).unwrap();
    let _admin = start(listening, Arc::new(Process::default()), Options::default()).unwrap();
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET /ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("\r\n\r\nLIVE\n"), "{text}");
    let _ = std::fs::remove_file(&path);
}
