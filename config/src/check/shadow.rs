//! Rules that no request can reach, because earlier ones take everything they would.

use super::shadow_cover::{Cover, l4_covers, tls_covers};
use super::{Findings, Registry};
use crate::kinds::Resource;
use crate::kinds::http_route::{HttpMatch, HttpRoute};
use crate::kinds::virtual_service::VirtualService;
use crate::world::World;
use crate::yaml::Span;

/// Most pairs of matches that are compared in one VirtualService; beyond that the rest is left unchecked, with a note.
pub const MAX_COMPARISONS: usize = 4_000_000;

pub(super) fn check(world: &World, _: &Registry<'_>, findings: &mut Findings<'_>) {
    for service in &world.virtual_services {
        http(service, findings);
        opaque(service, findings);
    }
}

fn http(service: &Resource<VirtualService>, findings: &mut Findings<'_>) {
    let misread =
        |rule: &HttpRoute, field: &str| service.meta.misread("spec.http", &[field], Some(rule.span));
    let spoilt = |part: &HttpMatch| service.meta.mistakes.iter().any(|m| part.span.encloses(m.span));
    // For rules without a match.
    let any = HttpMatch::any(Span::default());
    let mut cover = Cover::default();
    let mut earlier: Vec<(&HttpMatch, Span)> = Vec::new();
    let mut budget = MAX_COMPARISONS;
    for rule in &service.spec.http {
        // What was misread takes nothing, as far as one can know, and nothing is said of it.
        let whole = !misread(rule, "match");
        let parts: Vec<(&HttpMatch, Span)> = match rule.matches.as_slice() {
            _ if misread(rule, "delegate") => continue,
            [] if !whole => continue,
            [] => vec![(&any, rule.span)],
            parts => parts.iter().filter(|part| !spoilt(part)).map(|part| (part, part.span)).collect(),
        };
        let mut dead = Vec::new();
        for (index, (part, span)) in parts.iter().enumerate() {
            budget = budget.saturating_sub(earlier.len().saturating_add(index));
            if budget == 0 {
                unchecked(rule.span, findings);
                return;
            }
            let mut before = earlier.iter().chain(parts.iter().take(index));
            if let Some((_, by)) = before.find(|(first, _)| cover.covers(first, part)) {
                dead.push((*span, *by));
            }
        }
        report(rule, &dead, whole && dead.len() == parts.len(), findings);
        // What a delegate does not take goes on to the rules below.
        if rule.delegate.is_none() {
            earlier.extend(parts);
        }
    }
}

fn report(rule: &HttpRoute, dead: &[(Span, Span)], all: bool, findings: &mut Findings<'_>) {
    if let (Some((_, by)), true) = (dead.first(), all) {
        let message = format!(
            "no request reaches this rule: the one at {} takes all that it would",
            findings.place(*by)
        );
        findings.warning(
            "unreachable-rule",
            rule.span,
            message,
            "move it up, narrow the earlier rule, or remove one of them",
        );
        return;
    }
    for (span, by) in dead {
        let message = format!(
            "no request reaches this match: the one at {} takes all that it would",
            findings.place(*by)
        );
        findings.warning("unreachable-match", *span, message, "remove it, or narrow the earlier one");
    }
}

fn opaque(service: &Resource<VirtualService>, findings: &mut Findings<'_>) {
    let read = |list, span| !service.meta.misread(list, &["match"], Some(span));
    let tcp = service.spec.tcp.iter().filter(|rule| read("spec.tcp", rule.span));
    let tcp = tcp.map(|rule| (rule.span, rule.matches.as_slice()));
    connections(tcp, l4_covers, |part| part.span, findings);
    let tls = service.spec.tls.iter().filter(|rule| read("spec.tls", rule.span));
    let tls = tls.map(|rule| (rule.span, rule.matches.as_slice()));
    connections(tls, tls_covers, |part| part.span, findings);
}

/// Rules whose every match is covered by an earlier rule's. A rule without a match takes all.
fn connections<'w, M: 'w>(
    rules: impl Iterator<Item = (Span, &'w [M])>,
    covers: fn(&M, &M) -> bool,
    span: fn(&M) -> Span,
    findings: &mut Findings<'_>,
) {
    let mut seen: Vec<&M> = Vec::new();
    let mut open: Option<Span> = None;
    let mut budget = MAX_COMPARISONS;
    for (place, parts) in rules {
        budget = budget.saturating_sub(seen.len().saturating_mul(parts.len()));
        if budget == 0 {
            unchecked(place, findings);
            return;
        }
        let covered = |part: &M| seen.iter().find(|first| covers(first, part)).map(|first| span(first));
        let all: Option<Vec<Span>> = parts.iter().map(covered).collect();
        if let Some(by) = open.or_else(|| all.and_then(|spans| spans.first().copied())) {
            let message = format!(
                "no connection reaches this rule: the one at {} takes all that it would",
                findings.place(by)
            );
            findings.warning(
                "unreachable-rule",
                place,
                message,
                "move it up, narrow the earlier rule, or remove one of them",
            );
        }
        if parts.is_empty() {
            open = open.or(Some(place));
        }
        seen.extend(parts);
    }
}

fn unchecked(span: Span, findings: &mut Findings<'_>) {
    let message = format!(
        "more than {MAX_COMPARISONS} pairs of matches: the rules from here on were not checked for reachability"
    );
    findings.note("shadow-unchecked", span, message, "split the VirtualService by delegates");
}
