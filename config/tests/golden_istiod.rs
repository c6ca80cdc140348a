//! The compiler against recordings of a real istiod: at every step of a scenario, for every node, the routes,
//! clusters and endpoints must be those that were pushed, or the difference must stand in
//! `golden/differences.txt` with its reason. What is compared, and how, stands in `docs/compiler-golden.md`.

#[path = "golden/compare.rs"]
mod compare;
#[path = "golden/differences.rs"]
mod differences;
#[path = "golden/normalise.rs"]
mod normalise;
#[path = "golden/recording.rs"]
mod recording;

use std::collections::BTreeMap;

use differences::Allowed;
use prost::{Message, Name};
use recording::{Resources, Scenario};
use serde_json::Value;
use weir_config::World;
use weir_config::compile::{Compiled, Node, Target, compile};
use weir_proto::{Pool, Secrets};

/// The scenarios of the acceptance list, each with the last step that is compared (none: all of them).
const SCENARIOS: &[(&str, Option<&str>)] =
    &[("ftgo", None), ("combat", None), ("shop", Some("gateway")), ("bookinfo", None)];

/// Most unlisted differences that are printed.
const MAX_SHOWN: usize = 60;

#[test]
fn compiled_resources_equal_those_that_istiod_sent() {
    let Some(folder) = recording::folder() else {
        eprintln!(
            "SKIP config/golden_istiod: no corpora: istiod-recorded is neither in ../shared/corpora nor in WEIR_CORPORA"
        );
        return;
    };
    let pool = Pool::load().expect("descriptors");
    let mut allowed = Allowed::parse(include_str!("golden/differences.txt"));
    let mut tally: BTreeMap<String, Tally> = BTreeMap::new();
    let mut unlisted = Vec::new();
    for (name, last) in SCENARIOS {
        let scenario = Scenario::read(&folder, name, *last, &pool);
        for node in &scenario.nodes {
            for step in &node.steps {
                let place = format!("{name} / {} / {}", node.name, step.name);
                let (world, diagnostics) = World::read(&scenario.input_at(&step.name));
                assert!(!weir_config::diag::has_errors(&diagnostics), "{place}: {diagnostics:#?}");
                let compiled = compile(&world, &parse_node(&node.first_request), Target::Istiod);
                let ours = dump(&compiled, &pool);
                for (kind, theirs) in &step.pushed {
                    let theirs = normalise::all(kind, theirs);
                    let ours = normalise::all(kind, ours.get(kind.as_str()).unwrap_or(&Resources::new()));
                    let tally = tally.entry(format!("{name} {kind}")).or_default();
                    for resource in
                        theirs.keys().chain(ours.keys()).collect::<std::collections::BTreeSet<_>>()
                    {
                        let found = compare::compare(theirs.get(resource), ours.get(resource));
                        tally.count(&found);
                        for one in found {
                            let at = format!("{place} / {kind} / {resource} / {}", one.path);
                            if !allowed.takes(&at) {
                                tally.unlisted += 1;
                                unlisted.push(format!(
                                    "{at}\n    istiod: {}\n    weir:   {}",
                                    one.theirs, one.ours
                                ));
                            }
                        }
                    }
                }
            }
        }
    }
    println!("compared with istiod (resources, over all nodes and steps):");
    for (name, tally) in &tally {
        println!(
            "  {name:<22} {:>5} equal {:>4} different ({} differences, {} not listed)",
            tally.equal, tally.different, tally.differences, tally.unlisted
        );
    }
    let shown: Vec<_> = unlisted.iter().take(MAX_SHOWN).map(String::as_str).collect();
    assert!(unlisted.is_empty(), "{} differences are not listed:\n{}", unlisted.len(), shown.join("\n"));
    let stale = allowed.unused();
    assert!(
        stale.is_empty(),
        "these entries of golden/differences.txt no longer differ:\n{}",
        stale.join("\n")
    );
    assert!(tally.values().map(|tally| tally.equal).sum::<usize>() > 1000, "too little was compared");
}

/// Results of one kind of resource in one scenario.
#[derive(Default)]
struct Tally {
    equal: usize,
    different: usize,
    differences: usize,
    unlisted: usize,
}

impl Tally {
    fn count(&mut self, found: &[compare::Difference]) {
        if found.is_empty() {
            self.equal += 1;
        } else {
            self.different += 1;
        }
        self.differences += found.len();
    }
}

/// The node as the recorded client named itself.
fn parse_node(request: &Value) -> Node {
    let id = request.pointer("/node/id").and_then(Value::as_str).expect("node id");
    let metadata = request.pointer("/node/metadata").and_then(Value::as_object).expect("metadata");
    Node::parse(id).expect("node id").with_metadata(metadata).expect("node metadata")
}

fn dump(compiled: &Compiled, pool: &Pool) -> BTreeMap<&'static str, Resources> {
    let mut all = BTreeMap::new();
    all.insert("clusters", named(&compiled.clusters, |one| one.name.clone(), pool));
    all.insert("routes", named(&compiled.routes, |one| one.name.clone(), pool));
    all.insert("endpoints", named(&compiled.endpoints, |one| one.cluster_name.clone(), pool));
    all
}

fn named<M: Message + Name>(list: &[M], name: impl Fn(&M) -> String, pool: &Pool) -> Resources {
    let json = |one: &M| pool.to_json(&M::full_name(), &one.encode_to_vec(), Secrets::Show).expect("dump");
    let named: Resources = list.iter().map(|one| (name(one), json(one))).collect();
    assert_eq!(named.len(), list.len(), "two resources of one name");
    named
}
