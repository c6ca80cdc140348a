//! Control planes reached otherwise: by a stream of each type's own without an aggregated one, and on a Unix socket.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use weir_proto::envoy::config::cluster::v3::Cluster;
use weir_proto::envoy::config::listener::v3::Listener;
use weir_xds::{CLUSTER, ENDPOINTS, LISTENER, ROUTE};

use super::{Bench, Case, Folder, InMode, Mode, api, bootstrap, manager};
use crate::plane::{Plane, any, assignment, parsed, route};
use crate::ports::free;
use crate::reload::backend;

/// Clusters, listeners, endpoints and routes, each over a stream of its own; nothing is aggregated.
fn each(mode: Mode) -> anyhow::Result<()> {
    let plane = Plane::start()?;
    let (admin, upstream) = (free()?, backend("a")?);
    let mut settings = bootstrap(Mode { apart: true, ..mode }, plane.port, admin);
    settings["dynamic_resources"].as_object_mut().context("an object")?.remove("ads_config");
    let bench = Bench::start_on(settings, plane, admin, &[])?;
    let source = json!({"api_config_source": api(mode), "resource_api_version": "V3"});
    let cluster = |name: &str| -> anyhow::Result<_> {
        let eds = json!({"name": name, "type": "EDS", "eds_cluster_config": {"eds_config": source}});
        Ok((name.to_owned(), any(&parsed::<Cluster>(&eds)?)))
    };
    let filters = json!([{"name": "http", "typed_config": manager("edge", "routes", &source)}]);
    let listener: Listener = parsed(&json!({
        "name": "edge",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": bench.listen}},
        "filter_chains": [{"filters": filters}],
    }))?;
    let (clusters, routes) =
        (vec![cluster("a")?, cluster("b")?], route("routes", &[("/b", "b"), ("/", "a")])?);
    bench.plane.change(|batch| {
        batch.put(&CLUSTER, clusters);
        batch.put(&ENDPOINTS, vec![assignment("a", &[upstream]), assignment("b", &[upstream])]);
        batch.put(&LISTENER, vec![("edge".to_owned(), any(&listener))]);
        batch.put(&ROUTE, vec![routes]);
    });
    bench.answers("/", 200, b"a")?;
    bench.answers("/b", 200, b"a")?;
    let told = bench.plane.told();
    ensure!(told.streams == 4, "{} streams: equal sources share one for each type", told.streams);
    let names = told.names.get(ENDPOINTS.name).context("names of endpoints")?;
    ensure!(names.len() == 2, "{names:?}");
    bench.plane.put(&ENDPOINTS, vec![assignment("b", &[backend("b")?])]);
    bench.answers("/b", 200, b"b")?;
    bench.shows("cluster.b.update_success", |n| n >= 1)?;
    // The streams end with the last resource that names them, and begin again with the next.
    bench.plane.remove(&CLUSTER, &["a", "b"]);
    bench.plane.remove(&LISTENER, &["edge"]);
    bench.shows("cluster_manager.active_clusters", |n| n == 1)?;
    bench.plane.put(&CLUSTER, vec![cluster("a")?]);
    bench.plane.put(&LISTENER, vec![("edge".to_owned(), any(&listener))]);
    bench.answers("/", 200, b"a")?;
    bench.done()
}

/// A control plane on a Unix socket, which goes and comes back.
fn unix(mode: Mode) -> anyhow::Result<()> {
    let folder = Folder::unique();
    std::fs::create_dir_all(&folder.0)?;
    let path = folder.0.join("plane.sock");
    let plane = Plane::start_at(path.clone())?;
    let admin = free()?;
    let mut settings = bootstrap(mode, plane.port, admin);
    let address = settings.pointer_mut(
        "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address",
    );
    *address.context("an address")? = Value::from_iter([("pipe", json!({"path": path}))]);
    let mut bench = Bench::start_on(settings, plane, admin, &[])?;
    bench.push("a", backend("a")?)?;
    bench.answers("/", 200, b"a")?;
    bench.plane.down();
    bench.shows("control_plane.connected_state", |n| n == 0)?;
    bench.push("b", backend("b")?)?;
    bench.plane.up()?;
    bench.answers("/", 200, b"b")?;
    bench.done()
}

/// The cases.
pub const CASES: [Case<InMode>; 2] = [("each", each), ("unix", unix)];
