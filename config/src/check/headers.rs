//! Names of headers that rules and destinations change.

use super::{Findings, Registry};
use crate::kinds::http_route::{HeaderOperations, Headers};
use crate::world::World;
use crate::yaml::Span;

pub(super) fn check(world: &World, _: &Registry<'_>, findings: &mut Findings<'_>) {
    for rule in world.virtual_services.iter().flat_map(|service| &service.spec.http) {
        let of_destinations = rule.route.iter().filter_map(|share| share.headers.as_ref());
        for headers in rule.headers.iter().chain(of_destinations) {
            self::headers(headers, findings);
        }
    }
}

fn headers(headers: &Headers, findings: &mut Findings<'_>) {
    for operations in headers.request.iter().chain(&headers.response) {
        let HeaderOperations { set, add, remove, span: _ } = operations;
        let named = set.iter().chain(add).map(|(name, value)| (name, value.span));
        for (name, span) in named.chain(remove.iter().map(|name| (&name.value, name.span))) {
            self::name(name, span, findings);
        }
    }
}

/// A token of RFC 9110, or a pseudo-header.
fn name(name: &str, span: Span, findings: &mut Findings<'_>) {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let plain = name.strip_prefix(':').unwrap_or(name);
    if plain.is_empty() || !plain.bytes().all(token) {
        let remedy = "a name has letters, digits and any of !#$%&'*+-.^_`|~";
        findings.error("bad-header", span, format!("`{name}` is no header"), remedy);
    } else if name.starts_with(':') && name != ":authority" {
        let message = format!("`{name}` cannot be changed so: it has no effect");
        findings.warning("no-effect", span, message, "use `rewrite:`, or remove it");
    }
}
