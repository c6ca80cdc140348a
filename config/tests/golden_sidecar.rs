//! Sidecars against what istiod makes of them: for every config of Istio's own simulation tests that has one, the
//! routes, clusters and endpoints must be those of istiod, and the listeners for what the pod calls must be where
//! istiod's are and tell connections apart as they do. Without the corpora the test says SKIP.

#[path = "golden/compare.rs"]
mod compare;
mod corpora;
#[path = "golden/normalise.rs"]
mod normalise;
// Its types are shared with the other golden test.
#[allow(dead_code)]
#[path = "golden/recording.rs"]
mod recording;

use std::collections::BTreeMap;
use std::path::Path;

use prost::{Message, Name};
use recording::Resources;
use serde_json::{Value, json};
use weir_config::World;
use weir_config::compile::{Compiled, Node, Target, compile};
use weir_proto::{Pool, Secrets};

/// Kinds whose resources are not read here: what they add is not compared.
const OTHER_KINDS: [&str; 2] = ["kind: HTTPRoute", "kind: GRPCRoute"];

/// Cases that there are at least.
const LEAST: usize = 20;

#[test]
fn sidecars_are_obeyed_as_istiod_obeys_them() {
    let Some(root) = corpora::root("golden_sidecar") else { return };
    let folder = root.join("istio-simulation");
    let pool = Pool::load().expect("descriptors");
    let mut cases = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("cases") {
        let case = entry.expect("entry").file_name().to_string_lossy().into_owned();
        let Ok(text) = std::fs::read_to_string(folder.join(&case).join("input.yaml")) else { continue };
        if !text.contains("kind: Sidecar") || OTHER_KINDS.iter().any(|kind| text.contains(kind)) {
            continue;
        }
        cases += 1;
        let theirs = theirs(&folder, &case);
        let (world, _) = World::read(&[(format!("{case}.yaml"), text)]);
        let compiled = compile(&world, &node(&folder, &case), Target::Istiod);
        let ours = ours(&compiled, &pool);
        for kind in ["clusters", "routes", "endpoints", "listeners"] {
            for (name, found) in differences(kind, &theirs, &ours) {
                wrong.push(format!(
                    "{case} / {kind} / {name} / {}\n    istiod: {}\n    weir:   {}",
                    found.path, found.theirs, found.ours
                ));
            }
        }
    }
    println!("compared with istiod: {cases} configs with a Sidecar");
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases >= LEAST, "only {cases} cases");
}

type ByKind = BTreeMap<&'static str, Resources>;

fn differences(kind: &str, theirs: &ByKind, ours: &ByKind) -> Vec<(String, compare::Difference)> {
    let of = |all: &ByKind| match kind {
        "listeners" => listeners(&all[kind]),
        kind => normalise::all(kind, &all[kind]),
    };
    let (theirs, ours) = (of(theirs), of(ours));
    let names: std::collections::BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    let each = |name: &String| {
        let found = compare::compare(theirs.get(name), ours.get(name));
        found.into_iter().map(|one| (name.clone(), one)).collect::<Vec<_>>()
    };
    names.into_iter().flat_map(each).collect()
}

/// Of a listener: where it is, how connections are told apart, and where each kind of them goes. The ones for what
/// comes to the pod depend on mutual TLS.
fn listeners(all: &Resources) -> Resources {
    let chain = |chain: &Value| {
        let routes = "/typed_config/rds/route_config_name";
        let goes = chain["filters"].as_array().into_iter().flatten().find_map(|filter| {
            filter.pointer(routes).or_else(|| filter.pointer("/typed_config/cluster")).cloned()
        });
        json!({"match": chain.get("filter_chain_match"), "name": chain.get("name"), "goes": goes})
    };
    let one = |(name, value): (&String, &Value)| {
        let chains: Vec<Value> = value["filter_chains"].as_array().into_iter().flatten().map(chain).collect();
        let shown = json!({
            "address": value["address"], "bind_to_port": value.get("bind_to_port"), "chains": chains,
            "rest": value.get("default_filter_chain").map(chain),
        });
        (name.clone(), shown)
    };
    all.iter().filter(|(name, _)| *name != "virtualInbound").map(one).collect()
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("case");
    serde_json::from_str(&text).expect("json")
}

fn theirs(folder: &Path, case: &str) -> ByKind {
    let mut all = read(&folder.join(case).join("xds.json"));
    if let Some(same) = all.get("same_as").and_then(Value::as_str) {
        all = read(&folder.join(same).join("xds.json"));
    }
    let of = |kind: &str, name: &str| -> Resources {
        let list = all[kind].as_array().into_iter().flatten();
        list.map(|one| (one[name].as_str().expect("name").to_owned(), one.clone())).collect()
    };
    [("clusters", "name"), ("routes", "name"), ("endpoints", "cluster_name"), ("listeners", "name")]
        .map(|(kind, name)| (kind, of(kind, name)))
        .into()
}

fn ours(compiled: &Compiled, pool: &Pool) -> ByKind {
    [
        ("clusters", named(&compiled.clusters, |one| &one.name, pool)),
        ("routes", named(&compiled.routes, |one| &one.name, pool)),
        ("endpoints", named(&compiled.endpoints, |one| &one.cluster_name, pool)),
        ("listeners", named(&compiled.listeners, |one| &one.name, pool)),
    ]
    .into()
}

fn named<M: Message + Name>(list: &[M], name: impl Fn(&M) -> &String, pool: &Pool) -> Resources {
    let json = |one: &M| pool.to_json(&M::full_name(), &one.encode_to_vec(), Secrets::Show).expect("dump");
    list.iter().map(|one| (name(one).clone(), json(one))).collect()
}

/// The proxy that the case is for.
fn node(folder: &Path, case: &str) -> Node {
    let proxy = read(&folder.join(case).join("proxy.json"))["proxy"].clone();
    let text = |key: &str| proxy[key].as_str().unwrap_or_default().to_owned();
    let ip = proxy["ip_addresses"][0].as_str().expect("address");
    let id = format!("{}~{ip}~{}~{}", text("type"), text("id"), text("dns_domain"));
    let metadata = proxy["metadata"].as_object().expect("metadata");
    Node::parse(&id).expect("node id").with_metadata(metadata).expect("node metadata")
}
