//! 500 pushes of every kind, in both dialects, with 100 open WebSockets, 50 open gRPC streams and keep-alive clients: no
//! request fails, nothing is disconnected.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use serde_json::json;
use weir_proto::envoy::config::cluster::v3::Cluster;
use weir_proto::envoy::config::listener::v3::Listener;
use weir_proto::envoy::config::route::v3::RouteConfiguration;
use weir_proto::google::protobuf::Any;
use weir_tests::load::Load;
use weir_tests::plane::{Plane, Told, aggregated, any, assignment, dynamic, listener, parsed, reached_at};
use weir_tests::ports::free;
use weir_tests::process::Proxy;
use weir_tests::reload::backend;
use weir_tests::streams::echoes;
use weir_tests::suite::Suite;
use weir_xds::{CLUSTER, ENDPOINTS, LISTENER, ROUTE};

const PUSHES: usize = 500;
const LOAD: Load = Load { clients: 10, sockets: 100, streams: 50 };
const HTTP2: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The ports of everything.
struct Ports {
    listen: u16,
    second: u16,
    v1: u16,
    v2: u16,
    grpc: u16,
}

/// A cluster of the kind; `http2`, `seconds` to connect, and what else a policy says.
fn cluster(name: &str, http2: bool, policy: usize) -> anyhow::Result<(String, Any)> {
    let balancer = ["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"].get(policy % 3);
    let mut cluster = json!({
        "name": name, "type": "EDS", "eds_cluster_config": {"eds_config": aggregated()},
        "connect_timeout": format!("{}s", 1 + policy % 5),
        "lb_policy": balancer,
        "circuit_breakers": {"thresholds": [{"max_requests": 2000 + policy, "max_connections": 2000}]},
    });
    if http2 {
        cluster["typed_extension_protocol_options"] = json!({HTTP2: {
            "@type": format!("type.googleapis.com/{HTTP2}"),
            "explicit_http_config": {"http2_protocol_options": {}},
        }});
    }
    Ok((name.to_owned(), any(&parsed::<Cluster>(&cluster)?)))
}

/// Routes: gRPC to its cluster, one prefix for each of `extra`, the rest divided between the versions.
fn routes(share: usize, extra: &[String]) -> anyhow::Result<(String, Any)> {
    let to = |prefix: &str, cluster: &str| json!({"match": {"prefix": prefix}, "route": {"cluster": cluster, "timeout": "0s"}});
    let mut all = vec![to("/grpc.", "grpc")];
    all.extend(extra.iter().map(|name| to(&format!("/{name}"), name)));
    let weights = json!([{"name": "v1", "weight": share}, {"name": "v2", "weight": 100 - share}]);
    all.push(json!({
        "match": {"prefix": "/"},
        "route": {"timeout": "0s", "weighted_clusters": {"clusters": weights}},
    }));
    let routes: RouteConfiguration = parsed(
        &json!({"name": "routes", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": all}]}),
    )?;
    Ok(("routes".to_owned(), any(&routes)))
}

/// The listener with another name of the server: its connections are not what has changed.
fn renamed(port: u16, number: usize) -> anyhow::Result<(String, Any)> {
    let (name, made) = listener("first", port, "routes")?;
    let mut message: Listener = weir_tests::plane::unpacked(&made)?;
    message.stat_prefix = format!("first-{}", number % 3);
    Ok((name, any(&message)))
}

/// One push; every kind comes in turn.
fn push(plane: &Plane, number: usize, ports: &Ports, extra: &mut Vec<String>) -> anyhow::Result<()> {
    let round = number / 10;
    match number % 10 {
        0 => plane.put(&ROUTE, vec![routes(number % 101, extra)?]),
        1 => plane.put(&CLUSTER, vec![cluster("v1", false, round)?]),
        2 => {
            let hosts = if round.is_multiple_of(2) { vec![ports.v2, ports.v1] } else { vec![ports.v2] };
            plane.put(&ENDPOINTS, vec![assignment("v2", &hosts)]);
        }
        3 => {
            let name = format!("extra-{round}");
            let (made, hosts) = (cluster(&name, false, 0)?, assignment(&name, &[ports.v1]));
            extra.push(name);
            let routes = routes(50, extra)?;
            plane.change(|batch| {
                batch.put(&CLUSTER, vec![made]);
                batch.put(&ENDPOINTS, vec![hosts]);
                batch.put(&ROUTE, vec![routes]);
            });
        }
        4 => plane.put(&LISTENER, vec![renamed(ports.listen, round)?]),
        5 => plane.put(&LISTENER, vec![listener("second", ports.second, "routes")?]),
        6 => plane.put(&CLUSTER, vec![cluster("grpc", true, round)?]),
        7 => plane.remove(&LISTENER, &["second"]),
        8 => {
            let mut bad = cluster("bad", false, 0)?;
            let mut message: Cluster = weir_tests::plane::unpacked(&bad.1)?;
            message.connect_timeout = Some(weir_proto::google::protobuf::Duration { seconds: -1, nanos: 0 });
            bad.1 = any(&message);
            plane.change(|batch| {
                if round.is_multiple_of(2) {
                    batch.put(&CLUSTER, vec![bad]);
                } else {
                    batch.remove(&CLUSTER, "bad");
                }
            });
        }
        _ => {
            let gone = if extra.len() > 3 { Some(extra.remove(0)) } else { None };
            let routes = routes(30, extra)?;
            plane.change(|batch| {
                batch.put(&ROUTE, vec![routes]);
                if let Some(gone) = &gone {
                    batch.remove(&CLUSTER, gone);
                    batch.remove(&ENDPOINTS, gone);
                }
            });
        }
    }
    Ok(())
}

/// Answers to what was sent so far.
fn answers(told: &Told) -> usize {
    told.acks.values().sum::<usize>() + told.nacks.len()
}

fn all(plane: &Plane, ports: &Ports) -> anyhow::Result<()> {
    let mut extra = Vec::new();
    for number in 0..PUSHES {
        let before = answers(&plane.told());
        push(plane, number, ports, &mut extra)?;
        plane.wait(&format!("an answer to push {number}"), |told| answers(told) > before)?;
    }
    let (sent, told) = (plane.told().sent, plane.told());
    println!("{PUSHES} pushes, {sent} resources, {} refusals", told.nacks.len());
    anyhow::ensure!(told.nacks.len() >= PUSHES / 20, "the bad resources were not refused: {:?}", told.nacks);
    let strange = told.nacks.iter().find(|(_, text)| !text.contains("bad"));
    anyhow::ensure!(strange.is_none(), "a resource was refused that is right: {strange:?}");
    plane.honoured()
}

fn run(api: &str) -> anyhow::Result<()> {
    let plane = Plane::start()?;
    let ports =
        Ports { listen: free()?, second: free()?, v1: backend("v1")?, v2: backend("v2")?, grpc: echoes()? };
    plane.put(&CLUSTER, vec![cluster("v1", false, 0)?, cluster("v2", false, 0)?, cluster("grpc", true, 0)?]);
    let hosts = [("v1", ports.v1), ("v2", ports.v2), ("grpc", ports.grpc)];
    plane.put(&ENDPOINTS, hosts.iter().map(|(name, port)| assignment(name, &[*port])).collect());
    plane.put(&ROUTE, vec![routes(50, &[])?]);
    plane.put(&LISTENER, vec![listener("first", ports.listen, "routes")?]);
    let bootstrap = json!({
        "node": {"id": "test", "cluster": "test"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": free()?}}},
        "dynamic_resources": dynamic(api),
        "static_resources": {"clusters": [reached_at(plane.port)]},
    });
    let mut proxy = Proxy::start(&bootstrap, ports.listen)?;
    LOAD.during(ports.listen, 500, || all(&plane, &ports))?;
    proxy.alive()
}

fn main() -> ExitCode {
    let mut suite = Suite::new("pushes");
    suite.case("delta", || run("DELTA_GRPC"));
    suite.case("state-of-the-world", || run("GRPC"));
    suite.finish()
}
