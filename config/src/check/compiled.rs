//! What the compiler has to say: fields that this release does not obey, and what only shows when resources are put
//! together for a proxy. It is asked for a sidecar of each namespace and a gateway of each selector. What it makes goes
//! on to a judge, who says what a proxy would refuse.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::compile::{Compiled, Node, Target, compile_located};
use crate::diag::{Diagnostic, Location, Severity};
use crate::world::World;

/// Most proxies that are compiled for.
pub const MAX_PROXIES: usize = 16;

/// Warnings and notes that the checks give too, each at a place of its own. Errors are never left out by their code.
const CHECKED: [&str; 6] = [
    "undeclared-protocol",
    "delegate-not-found",
    "delegate-of-delegate",
    "port-not-found",
    "no-weight",
    "rule-without-action",
];

/// Says what a proxy would refuse of what was compiled for it.
pub type Judge<'j> = dyn FnMut(&Compiled) -> Vec<Diagnostic> + 'j;

/// The compiler's findings, without those on a line of which `known` says as much or worse, and the judge's, without those
/// on resources that have a mistake anyway.
pub(super) fn findings(world: &World, known: &[Diagnostic], judge: &mut Judge<'_>) -> Vec<Diagnostic> {
    let mut lines: HashMap<_, Severity> = HashMap::new();
    for (line, severity) in known.iter().filter_map(|finding| Some((line(finding)?, finding.severity))) {
        let worst = lines.entry(line).or_insert(severity);
        *worst = severity.max(*worst);
    }
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for node in proxies(world) {
        let compiled = compile_located(world, &node, Target::Weir);
        refused.extend(judge(&compiled));
        found.extend(compiled.diagnostics);
    }
    found.retain(|finding| {
        let worst = line(finding).and_then(|line| lines.get(&line));
        let checked = finding.severity < Severity::Error && CHECKED.contains(&finding.code);
        !checked && worst.is_none_or(|worst| *worst < finding.severity)
    });
    let broken = broken(world, known.iter().chain(&found));
    refused.retain(|finding| {
        finding.at.as_ref().is_none_or(|at| !broken.iter().any(|resource| resource.encloses(at)))
    });
    found.append(&mut refused);
    found
}

/// The resources with mistakes: what is refused of them may be a consequence.
fn broken<'d>(world: &World, known: impl Iterator<Item = &'d Diagnostic>) -> Vec<Location> {
    let errors = known.filter(|finding| finding.severity == Severity::Error);
    let errors: Vec<&Location> = errors.filter_map(|finding| finding.at.as_ref()).collect();
    let all = world.metas().filter_map(|meta| Some((meta, world.sources.location(meta.span)?)));
    let broken = all.filter(|(meta, at)| meta.broken() || errors.iter().any(|error| at.encloses(error)));
    broken.map(|(_, at)| at).collect()
}

fn line(finding: &Diagnostic) -> Option<(std::sync::Arc<str>, u32)> {
    finding.at.as_ref().map(|at| (at.file.clone(), at.line))
}

/// One sidecar a namespace, one gateway a selector.
fn proxies(world: &World) -> Vec<Node> {
    let namespaces: BTreeSet<&str> = world.metas().map(|meta| meta.namespace.as_str()).collect();
    let selectors: BTreeMap<_, &str> = world
        .gateways
        .iter()
        .map(|gateway| (&gateway.spec.selector, gateway.meta.namespace.as_str()))
        .collect();
    let gateways = selectors.into_iter().filter_map(|(labels, namespace)| {
        let mut node = node("router", namespace, &world.mesh.domain)?;
        node.labels.clone_from(labels);
        Some(node)
    });
    let sidecars =
        namespaces.into_iter().filter_map(|namespace| node("sidecar", namespace, &world.mesh.domain));
    gateways.chain(sidecars).take(MAX_PROXIES).collect()
}

fn node(kind: &str, namespace: &str, domain: &str) -> Option<Node> {
    // 192.0.2.0/24 is for examples (RFC 5737): no endpoint has such an address.
    Node::parse(&format!("{kind}~192.0.2.1~check.{namespace}~{namespace}.svc.{domain}")).ok()
}
