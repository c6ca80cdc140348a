//! What the compiler has to say: fields that this release does not obey, and what only shows when resources are put
//! together for a proxy. It is asked for every kind of proxy that the resources tell apart: a gateway of each selector, a
//! sidecar of each namespace, and one of each set of labels that a resource selects by. What it makes goes on to a judge,
//! who says what a proxy would refuse.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use crate::compile::{Compiled, Node, Target, compile_located};
use crate::diag::{Diagnostic, Location, Severity};
use crate::world::World;

/// Most proxies that are compiled for.
pub const MAX_PROXIES: usize = 64;

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
    let kinds = kinds(world);
    let looked_at = kinds.iter().take(MAX_PROXIES).filter_map(|kind| kind.node(&world.mesh.domain));
    for node in looked_at {
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
    found.extend(left_out(&kinds));
    found
}

/// Says what was not looked at.
fn left_out(kinds: &[Kind<'_>]) -> Option<Diagnostic> {
    let first = kinds.get(MAX_PROXIES)?;
    let message = format!(
        "{} of {} kinds of proxies were not looked at, {first} among them: what only they get is not checked",
        kinds.len().saturating_sub(MAX_PROXIES),
        kinds.len()
    );
    let remedy = format!("at most {MAX_PROXIES} are looked at; check the namespaces in several runs");
    Some(Diagnostic::note("not-looked-at", message).remedy(remedy))
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

/// Proxies that the resources do not tell apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind<'w> {
    /// As in a node's id.
    word: &'static str,
    namespace: &'w str,
    labels: Labels<'w>,
}

impl Kind<'_> {
    fn node(&self, domain: &str) -> Option<Node> {
        let Self { word, namespace, .. } = self;
        // 192.0.2.0/24 is for examples (RFC 5737): no endpoint has such an address.
        let id = format!("{word}~192.0.2.1~check.{namespace}~{namespace}.svc.{domain}");
        let mut node = Node::parse(&id).ok()?;
        node.labels =
            self.labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Some(node)
    }
}

impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.word == GATEWAY { "gateways" } else { "sidecars" };
        write!(f, "{word} of namespace {}", self.namespace)?;
        let labels: Vec<String> = self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if labels.is_empty() { Ok(()) } else { write!(f, " with {}", labels.join(",")) }
    }
}

const GATEWAY: &str = "router";
const SIDECAR: &str = "sidecar";

/// One gateway a selector, one sidecar a namespace, one a set of labels in it, in this order.
fn kinds(world: &World) -> Vec<Kind<'_>> {
    let mut selectors: BTreeMap<_, &str> = BTreeMap::new();
    for gateway in &world.gateways {
        selectors.insert(borrowed(&gateway.spec.selector), &gateway.meta.namespace);
    }
    if let (true, Some(first)) = (selectors.is_empty(), world.ingresses.first()) {
        selectors.insert(BTreeMap::new(), &first.meta.namespace);
    }
    let gateways = selectors.into_iter().map(|(labels, namespace)| Kind { word: GATEWAY, namespace, labels });
    let sidecar = |(namespace, labels)| Kind { word: SIDECAR, namespace, labels };
    let (labelled, plain): (BTreeSet<_>, BTreeSet<_>) =
        selections(world).into_iter().partition(|(_, labels): &(&str, BTreeMap<_, _>)| !labels.is_empty());
    let of_namespaces = world.metas().map(|meta| (meta.namespace.as_str(), BTreeMap::new()));
    let plain: BTreeSet<_> = plain.into_iter().chain(of_namespaces).collect();
    gateways.chain(plain.into_iter().map(sidecar)).chain(labelled.into_iter().map(sidecar)).collect()
}

type Labels<'w> = BTreeMap<&'w str, &'w str>;

/// The pods that resources select: a namespace and labels.
fn selections(world: &World) -> BTreeSet<(&str, Labels<'_>)> {
    let mut all = BTreeSet::new();
    for one in &world.sidecars {
        if let Some(selector) = &one.spec.workload_selector {
            all.insert((one.meta.namespace.as_str(), borrowed(&selector.labels)));
        }
    }
    for one in &world.destination_rules {
        if let Some(selector) = &one.spec.workload_selector {
            all.insert((one.meta.namespace.as_str(), borrowed(&selector.match_labels)));
        }
    }
    for one in &world.virtual_services {
        let http = one.spec.http.iter().flat_map(|rule| &rule.matches);
        let tcp = one.spec.tcp.iter().flat_map(|rule| &rule.matches);
        let tls = one.spec.tls.iter().flat_map(|rule| &rule.matches);
        let sources = http
            .map(|one| (&one.source_namespace, &one.source_labels))
            .chain(tcp.map(|one| (&one.source_namespace, &one.source_labels)))
            .chain(tls.map(|one| (&one.source_namespace, &one.source_labels)));
        all.extend(sources.map(|(namespace, labels)| {
            let named = namespace.as_ref().map(|name| name.as_str()).filter(|name| !name.is_empty());
            (named.unwrap_or(&one.meta.namespace), borrowed(labels))
        }));
    }
    all
}

fn borrowed(labels: &BTreeMap<String, String>) -> Labels<'_> {
    labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}
