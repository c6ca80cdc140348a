//! What the YAML compiler makes for this engine, the engine takes: every resource that `Target::Weir` gives for our
//! own mesh of all features, and for the files of the recordings, compiles to the model without a complaint.

use std::path::Path;

use weir_config::World;
use weir_config::compile::{Compiled, Node, Target, compile};
use weir_proxy::base::Name;
use weir_proxy::base::ledger::Sink;
use weir_proxy::control::compile::{Cx, cluster, endpoints, listener, route_config};
use weir_proxy::live;

/// A mesh with every field of routing and policy at once.
const MESH: &str = include_str!("mesh/everything.yaml");

/// The complaints of the engine, one a line; empty when it takes everything.
fn complaints(compiled: &Compiled) -> String {
    let node = weir_proxy::control::compile::Node {
        id: "test".into(),
        cluster: "test".into(),
        ..Default::default()
    };
    let runtime = Default::default();
    let known = |name: &str| compiled.clusters.iter().any(|cluster| cluster.name == name);
    let live = |name: &Name| live::clusters().get_or_make(name);
    let cx = Cx::new(&node, &runtime, &known, &live);
    let sink = Sink::new();
    for message in &compiled.clusters {
        cluster::cluster(&cx, &sink.root(&format!("cluster {}", message.name)), message);
    }
    for message in &compiled.endpoints {
        let path = format!("endpoints {}", message.cluster_name);
        endpoints::assignment(&sink.root(&path), message, endpoints::Names::Refuse);
    }
    for message in &compiled.routes {
        route_config::route_config(&cx, &sink.root(&format!("routes {}", message.name)), message, false);
    }
    for message in &compiled.listeners {
        listener::listener(&cx, &sink.root(&format!("listener {}", message.name)), message, "unnamed");
    }
    drop(cx);
    sink.into_errors().into_iter().map(|error| format!("{error}\n")).collect()
}

fn nodes() -> Vec<Node> {
    let sidecar = "sidecar~10.1.4.11~shop-v1-1.default~default.svc.cluster.local";
    let router = "router~10.1.1.80~istio-ingressgateway-1.default~default.svc.cluster.local";
    let node = |id: &str| Node::parse(id).expect("node id");
    vec![
        node(sidecar).with("INTERCEPTION_MODE", "NONE").unwrap(),
        node(sidecar),
        node(router),
        node(router).with("LABELS", "istio=ingressgateway,app=istio-ingressgateway").unwrap(),
    ]
}

fn takes(name: &str, sources: &[(String, String)]) -> usize {
    let (world, diagnostics) = World::read(sources);
    assert!(!weir_config::diag::has_errors(&diagnostics), "{name}: {diagnostics:#?}");
    let mut resources = 0;
    for node in nodes() {
        let compiled = compile(&world, &node, Target::Weir);
        let found = complaints(&compiled);
        assert!(found.is_empty(), "{name}, {:?} {}:\n{found}", node.kind, node.id);
        resources += compiled.listeners.len() + compiled.clusters.len() + compiled.routes.len();
    }
    resources
}

#[test]
fn takes_a_mesh_with_every_feature() {
    let resources = takes("everything.yaml", &[("everything.yaml".to_owned(), MESH.to_owned())]);
    assert!(resources > 80, "only {resources} resources: is the mesh empty?");
}

#[test]
fn takes_the_recorded_meshes() {
    let corpora = std::env::var_os("WEIR_CORPORA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
        std::path::PathBuf::from,
    );
    let folder = corpora.join("istiod-recorded/ads");
    if !folder.is_dir() {
        println!(
            "SKIP proxy/takes_mesh: no corpora: istiod-recorded is neither in ../shared/corpora nor in WEIR_CORPORA"
        );
        return;
    }
    for scenario in ["ftgo", "combat", "shop", "bookinfo"] {
        let files = weir_config::world::read_paths(&[folder.join(scenario).join("input")]).sources;
        // The last text of a file is the one in force.
        let mut last: Vec<(String, String)> = Vec::new();
        for (path, text) in files {
            let name = path.rsplit_once("--").map_or(path.clone(), |(_, name)| name.to_owned());
            last.retain(|(known, _)| *known != name);
            last.push((name, text));
        }
        let resources = takes(scenario, &last);
        assert!(resources >= 16, "{scenario}: only {resources} resources");
    }
}
