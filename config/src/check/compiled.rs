//! What the compiler has to say: fields that this release does not obey, and what only shows when resources are put
//! together for a proxy. It is asked for a sidecar of each namespace and a gateway of each selector.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::compile::{Node, Target, compile};
use crate::diag::Diagnostic;
use crate::world::World;

/// Most proxies that are compiled for.
pub const MAX_PROXIES: usize = 16;

/// What the checks say too, in their own way.
const CHECKED: [&str; 7] = [
    "undeclared-protocol",
    "delegate-not-found",
    "delegate-of-delegate",
    "port-not-found",
    "no-weight",
    "rule-without-action",
    "unknown-value",
];

/// The compiler's findings, without those on a line that `known` speaks of.
pub(super) fn findings(world: &World, known: &[Diagnostic]) -> Vec<Diagnostic> {
    let lines: HashSet<_> = known.iter().filter_map(line).collect();
    let mut found = Vec::new();
    for node in proxies(world) {
        found.extend(compile(world, &node, Target::Weir).diagnostics);
    }
    found.retain(|finding| {
        !CHECKED.contains(&finding.code) && line(finding).is_none_or(|line| !lines.contains(&line))
    });
    found
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
