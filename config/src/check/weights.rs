//! Weights of a rule's destinations.

use super::{Findings, Registry};
use crate::world::World;
use crate::yaml::{Span, Spanned};

pub(super) fn check(world: &World, _: &Registry<'_>, findings: &mut Findings<'_>) {
    for service in &world.virtual_services {
        for rule in &service.spec.http {
            rule_weights(
                rule.span,
                rule.route.iter().map(|part| (part.span, part.weight.as_ref())),
                findings,
            );
        }
        for rule in &service.spec.tcp {
            rule_weights(
                rule.span,
                rule.route.iter().map(|part| (part.span, part.weight.as_ref())),
                findings,
            );
        }
        for rule in &service.spec.tls {
            rule_weights(
                rule.span,
                rule.route.iter().map(|part| (part.span, part.weight.as_ref())),
                findings,
            );
        }
    }
}

fn rule_weights<'w>(
    rule: Span,
    parts: impl Iterator<Item = (Span, Option<&'w Spanned<i32>>)>,
    findings: &mut Findings<'_>,
) {
    let parts: Vec<_> = parts.collect();
    for weight in parts.iter().filter_map(|(_, weight)| *weight).filter(|weight| weight.value < 0) {
        findings.error(
            "weight-negative",
            weight.span,
            format!("the weight {weight} is negative"),
            "write 0 or more",
        );
    }
    if parts.len() < 2 {
        return;
    }
    let sum: i64 = parts.iter().filter_map(|(_, weight)| *weight).map(|weight| i64::from(weight.value)).sum();
    if sum == 0 {
        let span = parts.iter().find_map(|(_, weight)| weight.map(|weight| weight.span)).unwrap_or(rule);
        let message = "the weights of this rule's destinations sum up to 0: no destination would get traffic";
        findings.error("weights-zero", span, message, "give at least one of them a weight");
        return;
    }
    if sum > i64::from(u32::MAX) {
        let message =
            format!("the weights of this rule's destinations sum up to {sum}; the limit is {}", u32::MAX);
        findings.error("weights-too-large", rule, message, "use smaller numbers of the same proportion");
    }
    for (span, _) in parts.iter().filter(|(_, weight)| weight.is_none()) {
        let message = "this destination has no weight while others have: it gets no traffic";
        findings.warning("weight-missing", *span, message, "give it a weight, or remove it");
    }
    if sum != 100 && sum > 0 {
        let span = parts.iter().find_map(|(_, weight)| weight.map(|weight| weight.span)).unwrap_or(rule);
        let message = format!(
            "the weights of this rule's destinations sum up to {sum}, not to 100: they are taken as proportions"
        );
        findings.note("weights-sum", span, message, "nothing to do if proportions were meant");
    }
}
