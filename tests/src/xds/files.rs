//! Resources from files, which are replaced while the proxy serves.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::ensure;
use prost::Message;
use serde_json::{Value, json};
use weir_proto::envoy::service::discovery::v3::DiscoveryResponse;
use weir_xds::ENDPOINTS;

use super::{Bench, Case, Folder, hosts, manager};
use crate::plane::{Plane, route};
use crate::ports::free;
use crate::reload::backend;

/// Files in a folder of their own.
struct Files(Folder);

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.0.0.join(name)
    }

    /// Puts a file in the place of another at one stroke.
    fn swap(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let draft = self.path("draft");
        fs::write(&draft, content)?;
        fs::rename(draft, self.path(name))?;
        Ok(())
    }

    fn source(&self, name: &str) -> Value {
        json!({"path_config_source": {"path": self.path(name)}, "resource_api_version": "V3"})
    }

    fn endpoints(&self, name: &str, service: &str, port: u16) -> anyhow::Result<()> {
        let text = format!(
            "version_info: '{port}'\nresources:\n- '@type': type.googleapis.com/{}\n  cluster_name: {service}\n  endpoints:\n  - lb_endpoints:\n    - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}\n",
            ENDPOINTS.name
        );
        self.swap(name, text.as_bytes())
    }

    fn clusters(&self, list: &[Value]) -> anyhow::Result<()> {
        let all: Vec<Value> = list
            .iter()
            .map(|cluster| {
                let mut cluster = cluster.clone();
                cluster["@type"] = "type.googleapis.com/envoy.config.cluster.v3.Cluster".into();
                cluster
            })
            .collect();
        self.swap("cds.yaml", json!({"version_info": "1", "resources": all}).to_string().as_bytes())
    }

    fn cluster(&self, name: &str, source: &Value) -> Value {
        json!({"name": name, "type": "EDS", "eds_cluster_config": {"eds_config": source}})
    }
}

/// Clusters, listeners, endpoints and routes from files in three notations: swaps, mistakes, folders that are swapped.
fn files() -> anyhow::Result<()> {
    let files = Files(Folder::unique());
    fs::create_dir_all(files.path("v1"))?;
    fs::create_dir_all(files.path("v2"))?;
    symlink("v1", files.path("now"))?;
    files.endpoints("eds.yaml", "a", backend("a")?)?;
    for (folder, name) in [("v1", "one"), ("v2", "two")] {
        files.endpoints(&format!("{folder}/eds.yaml"), "w", backend(name)?)?;
    }
    let watched = json!({"path_config_source": {
        "path": files.path("now/eds.yaml"), "watched_directory": {"path": files.path("")}}});
    let a = files.cluster("a", &files.source("eds.yaml"));
    let w = files.cluster("w", &watched);
    files.clusters(&[a.clone(), w.clone(), hosts("old", &[1])])?;
    let routes = |list| -> anyhow::Result<Vec<u8>> {
        let resources = vec![route("routes", list)?.1];
        Ok(DiscoveryResponse { version_info: "1".into(), resources, ..DiscoveryResponse::default() }
            .encode_to_vec())
    };
    files.swap("rds.pb", &routes(&[("/w", "w"), ("/", "a")])?)?;
    let (admin, listen) = (free()?, free()?);
    let listener = json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "edge",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": listen}},
        "filter_chains": [{"filters": [
            {"name": "http", "typed_config": manager("edge", "routes", &files.source("rds.pb"))}]}],
    });
    files.swap("lds.json", json!({"resources": [listener]}).to_string().as_bytes())?;
    let bootstrap = json!({
        "node": {"id": "a", "cluster": "a"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "dynamic_resources": {"cds_config": files.source("cds.yaml"), "lds_config": files.source("lds.json")},
    });
    let mut bench = Bench::start_on(bootstrap, Plane::absent()?, admin, &[])?;
    bench.listen = listen;
    bench.answers("/", 200, b"a")?;
    bench.answers("/w", 200, b"one")?;
    bench.shows("listener_manager.workers_started", |n| n == 1)?;
    ensure!(bench.stat("cluster_manager.active_clusters")? == 3, "clusters");
    // Swaps of files and of a folder.
    files.endpoints("eds.yaml", "a", backend("b")?)?;
    bench.answers("/", 200, b"b")?;
    symlink("v2", files.path("then"))?;
    fs::rename(files.path("then"), files.path("now"))?;
    bench.answers("/w", 200, b"two")?;
    files.swap("rds.pb", &routes(&[("/w", "a"), ("/", "w")])?)?;
    bench.answers("/w", 200, b"b")?;
    bench.answers("/", 200, b"two")?;
    // A file that cannot be read, one with a mistake, and what is left out.
    files.swap("cds.yaml", b"resources: [")?;
    bench.shows("cluster_manager.cds.update_failure", |n| n == 1)?;
    ensure!(bench.proxy.logged().contains("cds.yaml:"), "the file is not named: {}", bench.proxy.said());
    let mut wrong = hosts("wrong", &[1]);
    wrong["connect_timeout"] = "-1s".into();
    files.clusters(&[a.clone(), w.clone(), wrong, hosts("new", &[1])])?;
    bench.shows("cluster_manager.cds.update_rejected", |n| n == 1)?;
    bench.shows("cluster_manager.active_clusters", |n| n == 3)?;
    ensure!(bench.stat("cluster_manager.cluster_removed")? == 1, "the cluster 'old'");
    fs::write(files.path("eds.yaml"), b"\xff")?;
    bench.shows("cluster.a.update_failure", |n| n >= 1)?;
    bench.answers("/w", 200, b"b")?;
    files.endpoints("eds.yaml", "a", backend("c")?)?;
    bench.answers("/w", 200, b"c")?;
    // A file that is not there refuses what names it.
    files.clusters(&[a, w, files.cluster("lost", &files.source("nowhere.yaml"))])?;
    bench.shows("cluster_manager.cds.update_rejected", |n| n == 2)?;
    ensure!(bench.proxy.logged().contains("nowhere.yaml' does not exist"), "{}", bench.proxy.said());
    bench.answers("/w", 200, b"c")?;
    secrets(&files, &bench)?;
    bench.done()
}

/// A mistake in a file of secrets is told without a word of it.
fn secrets(files: &Files, bench: &Bench) -> anyhow::Result<()> {
    files.swap("sds.yaml", b"resources: []")?;
    let context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {"tls_certificate_sds_secret_configs": [
            {"name": "own", "sds_config": files.source("sds.yaml")},
        ]},
    });
    let mut secure = hosts("secure", &[1]);
    secure["transport_socket"] = json!({"name": "tls", "typed_config": context});
    files.clusters(&[files.cluster("a", &files.source("eds.yaml")), secure])?;
    let secret = "resources:\n- '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret\n  name: own\n  tls_certificate: {private_key: c2VjcmV0LWtleQ}\n";
    files.swap("sds.yaml", secret.as_bytes())?;
    bench.shows("sds.own.update_failure", |n| n >= 1)?;
    let log = bench.proxy.logged();
    ensure!(log.contains("sds.yaml:4:") && !log.contains("c2VjcmV0LWtleQ"), "{}", bench.proxy.said());
    Ok(())
}

type Check = fn() -> anyhow::Result<()>;

/// The cases.
pub const CASES: [Case<Check>; 1] = [("files", files)];
