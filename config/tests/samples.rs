//! Istio's own samples: what Istio takes has no error here.

mod corpora;

use std::path::{Path, PathBuf};

use weir_config::diag::{Diagnostic, Severity, render_text};
use weir_config::world::read_paths;
use weir_config::{World, check};

/// Errors that are right: file, code. Everything else has none.
const RIGHT: &[(&str, &str)] = &[
    // One JSON value a line: data, not configuration.
    ("mongodb/ratings_data.json", "syntax"),
    // TCP rules have no name; the Go test reads its YAML leniently.
    ("external-name-services-3/input.yaml", "unknown-field"),
];

fn right(error: &Diagnostic) -> bool {
    let file = error.at.as_ref().map_or("", |at| &at.file);
    RIGHT.iter().any(|(name, code)| file.ends_with(name) && *code == error.code)
}

/// Errors that only the simulations' way of being recorded makes: services that a test gives as Go values are not in
/// its YAML, port names that Kubernetes would refuse, and conflicts that are the subject of the test.
const SIMULATED: [&str; 3] = ["missing-host", "duplicate-port", "host-conflict"];

/// All YAML files below a folder of the corpora.
fn files(root: &Path, folder: &str) -> Vec<(String, String)> {
    let read = read_paths(&[root.join(folder)]);
    assert!(read.diagnostics.is_empty(), "{}", render_text(&read.diagnostics));
    assert!(!read.sources.is_empty(), "no files in {folder}");
    let strip = |name: String| PathBuf::from(name).strip_prefix(root).map(|path| path.display().to_string());
    read.sources.into_iter().map(|(name, text)| (strip(name).expect("below the root"), text)).collect()
}

fn errors(diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.into_iter().filter(|diagnostic| diagnostic.severity == Severity::Error).collect()
}

/// Each file by itself, read only.
#[test]
fn every_file_is_read_without_errors() {
    let Some(root) = corpora::root("samples") else { return };
    let mut all = Vec::new();
    for folder in ["istio-samples", "istiod-recorded", "istio-simulation", "k8s-combat"] {
        for source in files(&root, folder) {
            let (_, diagnostics) = World::read(&[source]);
            all.extend(errors(diagnostics));
        }
    }
    all.retain(|error| !right(error));
    assert!(all.is_empty(), "{}", render_text(&all));
}

/// Each routing file of bookinfo with the services and subsets it is meant for.
#[test]
fn bookinfo_has_no_semantic_errors() {
    let Some(root) = corpora::root("samples") else { return };
    let folder = "istio-samples/samples/bookinfo";
    let base = |name: &str| {
        let path = root.join(folder).join(name);
        (
            name.to_owned(),
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        )
    };
    let common = [
        base("platform/kube/bookinfo.yaml"),
        base("platform/kube/bookinfo-ratings-v2.yaml"),
        base("platform/kube/bookinfo-ratings-v2-mysql.yaml"),
        base("platform/kube/bookinfo-ratings-v2-mysql-vm.yaml"),
        base("platform/kube/bookinfo-details-v2.yaml"),
    ];
    let mut failures = Vec::new();
    for source in files(&root, &format!("{folder}/networking")) {
        let mut sources = common.to_vec();
        if !source.0.contains("destination-rule") {
            sources.push(base("networking/destination-rule-all.yaml"));
        }
        let gateway = base("networking/bookinfo-gateway.yaml");
        if !source.0.contains("gateway") {
            sources.push(gateway);
        }
        sources.push(source);
        let (world, mut diagnostics) = World::read(&sources);
        diagnostics.extend(check::check(&world));
        println!("{}", render_text(&diagnostics));
        // The files of `common` are alternatives to each other.
        failures.extend(errors(diagnostics).into_iter().filter(|error| error.code != "duplicate-resource"));
    }
    assert!(failures.is_empty(), "{}", render_text(&failures));
}

/// What Istio's own tests give to Istio: warnings are possible, errors only where Istio's validation has them too.
#[test]
fn simulations_have_no_semantic_errors() {
    let Some(root) = corpora::root("samples") else { return };
    let mut failures = Vec::new();
    for folder in ["istio-simulation", "istiod-recorded/ads/shop/input", "istiod-recorded/ads/bookinfo/input"]
    {
        for source in files(&root, folder) {
            let (world, mut diagnostics) = World::read(&[source]);
            diagnostics.extend(check::check(&world));
            failures.extend(errors(diagnostics));
        }
    }
    failures.retain(|error| {
        let simulated = error.at.as_ref().is_some_and(|at| at.file.starts_with("istio-simulation/"));
        !(right(error) || (simulated && SIMULATED.contains(&error.code)))
    });
    assert!(failures.is_empty(), "{}", render_text(&failures));
}
