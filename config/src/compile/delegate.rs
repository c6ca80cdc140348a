//! Delegation: the rules of another VirtualService in the place of one rule.

use super::registry::Visibility;
use super::virtual_service::{Rule, gateway_names};
use crate::diag::Diagnostic;
use crate::kinds::Resource;
use crate::kinds::http_route::{HttpMatch, HttpRoute};
use crate::kinds::virtual_service::VirtualService;
use crate::read::{Matcher, Reader, StringMatch};
use crate::world::World;

/// The HTTP rules of a VirtualService, each that delegates replaced by the rules of its delegate. One level:
/// a delegate that delegates further is not followed, as in Istio.
pub(super) fn merged(world: &World, root: &Resource<VirtualService>, reader: &mut Reader<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for route in &root.spec.http {
        let Some(reference) = &route.delegate else {
            rules.push(rule(route.clone(), &root.meta.namespace));
            continue;
        };
        let namespace =
            reference.namespace.as_ref().map_or(root.meta.namespace.as_str(), |name| name.as_str());
        let found = world.virtual_services.iter().find(|one| {
            one.meta.name.value == reference.name.value
                && one.meta.namespace == namespace
                && one.spec.hosts.is_empty()
        });
        let Some(delegate) = found else {
            let message = format!(
                "there is no VirtualService {namespace}/{} without hosts to delegate to",
                reference.name
            );
            let remedy = "the rule is left out; add it, or take `hosts` out of it";
            reader.report(Diagnostic::warning("delegate-not-found", message).remedy(remedy), reference.span);
            continue;
        };
        let visible = Visibility::read(delegate.spec.export_to.iter().map(|word| word.as_str()), namespace);
        if !visible.shows(&root.meta.namespace) {
            let message = format!(
                "VirtualService {namespace}/{} is not exported to {}",
                reference.name, root.meta.namespace
            );
            reader.report(
                Diagnostic::warning("delegate-not-visible", message)
                    .remedy("the rule is left out; see its `exportTo`"),
                reference.span,
            );
            continue;
        }
        for below in &delegate.spec.http {
            if below.delegate.is_some() {
                let message = "a delegate cannot delegate further: this rule is left out";
                reader.report(Diagnostic::warning("delegate-of-delegate", message), below.span);
            } else if let Some(route) = merge(route, below) {
                rules.push(rule(route, namespace));
            } else {
                let message = format!(
                    "the conditions of this rule exclude those of the rule of {} that delegates to it: it never applies",
                    root.meta.title()
                );
                reader.report(Diagnostic::warning("delegate-conflict", message), below.span);
            }
        }
    }
    rules
}

fn rule(route: HttpRoute, namespace: &str) -> Rule {
    Rule { route, namespace: namespace.to_owned(), by_segments: false }
}

/// The delegate's rule under the root's: conditions taken together, the rest from the root where the delegate
/// says nothing. `None` when no request can satisfy both.
fn merge(root: &HttpRoute, below: &HttpRoute) -> Option<HttpRoute> {
    let mut merged = below.clone();
    merged.matches = merge_matches(&root.matches, &below.matches)?;
    merged.name = match (&root.name, &below.name) {
        (Some(root), Some(below)) => Some(format!("{root}-{below}").into()),
        (root, below) => below.clone().or_else(|| root.clone()),
    };
    merged.rewrite = merged.rewrite.or_else(|| root.rewrite.clone());
    merged.timeout = merged.timeout.or_else(|| root.timeout.clone());
    merged.retries = merged.retries.or_else(|| root.retries.clone());
    merged.fault = merged.fault.or_else(|| root.fault.clone());
    if merged.mirror.is_none() {
        merged.mirror.clone_from(&root.mirror);
        merged.mirror_percent.clone_from(&root.mirror_percent);
        merged.mirror_percentage.clone_from(&root.mirror_percentage);
    }
    if merged.mirrors.is_empty() {
        merged.mirrors.clone_from(&root.mirrors);
    }
    merged.cors_policy = merged.cors_policy.or_else(|| root.cors_policy.clone());
    merged.headers = merged.headers.or_else(|| root.headers.clone());
    Some(merged)
}

fn merge_matches(root: &[HttpMatch], below: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    if root.is_empty() {
        return Some(below.to_vec());
    }
    if below.is_empty() {
        return Some(root.to_vec());
    }
    let pairs = root.iter().flat_map(|root| below.iter().map(move |below| (root, below)));
    let merged: Vec<HttpMatch> = pairs
        .filter(|(root, below)| compatible(root, below))
        .map(|(root, below)| merge_match(root, below))
        .collect();
    (!merged.is_empty()).then_some(merged)
}

fn merge_match(root: &HttpMatch, below: &HttpMatch) -> HttpMatch {
    let mut merged = below.clone();
    merged.name = match (&root.name, &below.name) {
        (Some(root), Some(below)) => Some(format!("{root}-{below}").into()),
        (root, below) => below.clone().or_else(|| root.clone()),
    };
    merged.uri = merged.uri.or_else(|| root.uri.clone());
    merged.scheme = merged.scheme.or_else(|| root.scheme.clone());
    merged.method = merged.method.or_else(|| root.method.clone());
    merged.authority = merged.authority.or_else(|| root.authority.clone());
    for (name, value) in &root.headers {
        merged.headers.entry(name.clone()).or_insert_with(|| value.clone());
    }
    for (name, value) in &root.query_params {
        merged.query_params.entry(name.clone()).or_insert_with(|| value.clone());
    }
    for (name, value) in &root.without_headers {
        merged.without_headers.entry(name.clone()).or_insert_with(|| value.clone());
    }
    for (name, value) in &root.source_labels {
        merged.source_labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    merged.port = merged.port.or_else(|| root.port.clone());
    if merged.gateways.is_empty() {
        merged.gateways.clone_from(&root.gateways);
    }
    merged.ignore_uri_case = merged.ignore_uri_case.or_else(|| root.ignore_uri_case.clone());
    merged.source_namespace = merged.source_namespace.or_else(|| root.source_namespace.clone());
    merged.stat_prefix = merged.stat_prefix.or_else(|| root.stat_prefix.clone());
    merged
}

/// Whether a request can satisfy both conditions, as far as Istio looks into them: a value of the delegate must
/// lie within the root's.
fn compatible(root: &HttpMatch, below: &HttpMatch) -> bool {
    let pairs = [
        (&root.uri, &below.uri),
        (&root.scheme, &below.scheme),
        (&root.method, &below.method),
        (&root.authority, &below.authority),
    ];
    let maps = [
        (&root.headers, &below.headers),
        (&root.query_params, &below.query_params),
        (&root.without_headers, &below.without_headers),
    ];
    let same_ports = match (&root.port, &below.port) {
        (Some(root), Some(below)) => root.value == below.value,
        _ => true,
    };
    let same_labels = below
        .source_labels
        .iter()
        .all(|(name, value)| root.source_labels.get(name).is_none_or(|own| own == value));
    let names = |one: &HttpMatch| gateway_names(one.gateways.iter().map(|name| name.as_str()), "");
    let same_gateways =
        root.gateways.is_empty() || names(below).iter().all(|name| names(root).contains(name));
    pairs.iter().all(|(root, below)| within(root.as_ref(), below.as_ref()))
        && maps
            .iter()
            .all(|(root, below)| below.iter().all(|(name, value)| within(root.get(name), Some(value))))
        && same_ports
        && same_labels
        && (same_gateways || below.gateways.is_empty())
}

fn within(root: Option<&StringMatch>, below: Option<&StringMatch>) -> bool {
    let (Some(root), Some(below)) = (root, below) else {
        return true;
    };
    match (&root.matcher, &below.matcher) {
        (Matcher::Present, _) | (_, Matcher::Present) => true,
        // Whether two expressions have a string in common is not decided.
        (Matcher::Regex(_), _) | (_, Matcher::Regex(_)) | (Matcher::Exact(_), Matcher::Prefix(_)) => false,
        (Matcher::Exact(root), Matcher::Exact(below)) => root == below,
        (Matcher::Prefix(root), Matcher::Prefix(below) | Matcher::Exact(below)) => {
            below.starts_with(root.as_str())
        }
    }
}
