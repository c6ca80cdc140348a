//! Every resource that istiod was recorded to push, through the compiler: what is refused, and why, stands in
//! `tests/data/istiod-refused.txt`. `WEIR_BLESS=1` writes the table anew.

use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use weir_proto::envoy::config::cluster::v3::Cluster;
use weir_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use weir_proto::envoy::config::listener::v3::Listener;
use weir_proto::envoy::config::route::v3::RouteConfiguration;
use weir_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use weir_proxy::base::ledger::{At, Sink};
use weir_proxy::control::compile::{Cx, Node, Runtime, cluster, endpoints, listener, route_config};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/istiod-refused.txt");

const HEAD: &str = "\
# What istiod was recorded to push and weir refuses, by scenario, step and node: the resource, and every reason.
# Written by proxy/tests/istiod_recorded.rs (WEIR_BLESS=1), which compares it with what it finds.
";

fn recordings() -> Option<PathBuf> {
    let corpora = std::env::var_os("WEIR_CORPORA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"), PathBuf::from);
    Some(corpora.join("istiod-recorded/ads")).filter(|folder| folder.is_dir())
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The last file number of each step.
fn steps(node: &Path) -> Vec<(String, u32)> {
    let text = fs::read_to_string(node.join("steps.jsonl")).expect("steps");
    let of = |line: &str| {
        let step: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        let through = step["through"].as_u64().and_then(|n| u32::try_from(n).ok()).expect("a number");
        (step["step"].as_str().expect("a name").to_owned(), through)
    };
    text.lines().map(of).collect()
}

fn decoded<M: Message + Default>(bytes: &[u8]) -> M {
    M::decode(bytes).expect("a message of its type")
}

/// Compiles a resource; every reason why not.
fn refusals(cx: &Cx<'_>, type_url: &str, name: &str, body: &[u8]) -> BTreeSet<String> {
    let sink = Sink::new();
    let at: At<'_> = sink.root("");
    let compiled = match type_url.rsplit('.').next() {
        Some("Cluster") => cluster::cluster(cx, &at, &decoded::<Cluster>(body)).is_some(),
        Some("Listener") => listener::listener(cx, &at, &decoded::<Listener>(body), name).is_some(),
        Some("RouteConfiguration") => {
            route_config::route_config(cx, &at, &decoded::<RouteConfiguration>(body), false).is_some()
        }
        Some("ClusterLoadAssignment") => {
            let message = decoded::<ClusterLoadAssignment>(body);
            endpoints::assignment(&at, &message, endpoints::Names::Refuse);
            true
        }
        other => panic!("no compiler for {other:?}"),
    };
    let errors = sink.into_errors();
    assert_eq!(compiled && errors.is_empty(), errors.is_empty(), "{name}: refused without a reason");
    errors.into_iter().map(|error| error.message).collect()
}

#[test]
fn what_istiod_pushes_is_taken_or_refused_for_a_reason() {
    let Some(folder) = recordings() else {
        println!(
            "SKIP proxy/istiod_recorded: istiod-recorded is neither in ../shared/corpora nor in WEIR_CORPORA"
        );
        return;
    };
    let (node, runtime) = (Node::default(), Runtime::default());
    let known = |_: &str| true;
    let live = |name: &weir_proxy::base::Name| weir_proxy::live::clusters().get_or_make(name);
    let cx = Cx::new(&node, &runtime, &known, &live);
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut judged = 0;
    for scenario in children(&folder) {
        for node in children(&scenario).into_iter().filter(|path| path.join("steps.jsonl").is_file()) {
            let steps = steps(&node);
            for push in
                children(&node).into_iter().filter(|p| name(p).contains("-push-") && name(p).ends_with(".pb"))
            {
                let number: u32 = name(&push)[..3].parse().expect("a number");
                let step = steps.iter().position(|(_, through)| number <= *through).expect("a step");
                let at = format!("{}/{step:02}-{}/{}", name(&scenario), steps[step].0, name(&node));
                let message: DeltaDiscoveryResponse = decoded(&fs::read(&push).expect("a push"));
                for resource in message.resources {
                    let body = resource.resource.expect("a body");
                    judged += 1;
                    let reasons = refusals(&cx, &body.type_url, &resource.name, &body.value);
                    let kind = body.type_url.rsplit('.').next().unwrap_or_default().to_lowercase();
                    for reason in reasons {
                        found.entry(format!("{at} {kind} {}", resource.name)).or_default().insert(reason);
                    }
                }
            }
        }
    }
    assert!(judged > 2000, "only {judged} resources: is the corpus empty?");
    let mut table = HEAD.to_owned();
    for (resource, reasons) in &found {
        table.push_str(resource);
        table.push('\n');
        reasons.iter().for_each(|reason| table.push_str(&format!("    {reason}\n")));
    }
    println!("{judged} resources, {} refused", found.len());
    if std::env::var_os("WEIR_BLESS").is_some() {
        fs::write(TABLE, table).expect("the table can be written");
        return;
    }
    let committed = fs::read_to_string(TABLE).expect("the table");
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (committed.lines().collect(), table.lines().collect());
    let more: Vec<_> = new.difference(&old).collect();
    let less: Vec<_> = old.difference(&new).collect();
    assert!(committed == table, "refused, not in the table: {more:#?}\nin the table, not refused: {less:#?}");
}
