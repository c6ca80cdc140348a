//! One HTTP rule of a VirtualService as routes.

use std::collections::BTreeMap;

use weir_proto::envoy::config::route::v3 as route;

use super::super::context::Context;
use super::super::place::Says;
use super::super::virtual_service::{MESH, Rule, VirtualService, gateway_names};
use super::super::wire;
use super::headers::Changes;
use super::place::Place;
use super::{action, filters, matches, redirect};
use crate::diag::Diagnostic;
use crate::kinds::http_route::HttpMatch;

/// The routes of a VirtualService at a place, in order; those after one that takes every request are left out.
pub(super) fn routes(ctx: &Context<'_>, from: &VirtualService<'_>, place: &Place<'_>) -> Vec<route::Route> {
    let mut routes: Vec<route::Route> = Vec::new();
    for rule in &from.http {
        if rule.route.matches.is_empty() {
            routes.extend(translate(ctx, from, rule, None, place));
            break;
        }
        for condition in &rule.route.matches {
            if let Some(one) = translate(ctx, from, rule, Some(condition), place) {
                let last = super::takes_all(&one);
                routes.push(one);
                if last {
                    return routes;
                }
            }
        }
    }
    routes
}

fn translate(
    ctx: &Context<'_>,
    from: &VirtualService<'_>,
    rule: &Rule,
    condition: Option<&HttpMatch>,
    place: &Place<'_>,
) -> Option<route::Route> {
    if condition.is_some_and(|condition| !applies(ctx, condition, from, place)) {
        return None;
    }
    let spec = &rule.route;
    let mut name = spec.name.as_ref().map_or_else(String::new, |name| name.value.clone());
    if let Some(part) = condition.and_then(|condition| condition.name.as_ref()) {
        name = format!("{name}.{part}");
    }
    let path = wire::text(&from.path());
    let mut changes = Changes::of(spec.headers.as_ref());
    let stat_prefix = condition.and_then(|condition| condition.stat_prefix.as_ref());
    let mut built = route::Route {
        name,
        r#match: Some(condition.map_or_else(matches::any, |one| matches::translate(one, rule.by_segments))),
        metadata: Some(wire::istio_metadata(BTreeMap::from([("config", path)]))),
        typed_per_filter_config: filters::per_route(ctx, spec),
        stat_prefix: stat_prefix.map_or_else(String::new, |prefix| prefix.value.clone()),
        ..route::Route::default()
    };
    built.action = Some(if let Some(rule) = &spec.redirect {
        route::route::Action::Redirect(redirect::redirect(ctx, rule, place.port, place.tls)?)
    } else if let Some(rule) = &spec.direct_response {
        route::route::Action::DirectResponse(redirect::direct_response(ctx, rule)?)
    } else {
        route::route::Action::Route(action::forward(ctx, rule, place, &mut changes)?)
    });
    built.request_headers_to_add = changes.request_add;
    built.request_headers_to_remove = changes.request_remove;
    built.response_headers_to_add = changes.response_add;
    built.response_headers_to_remove = changes.response_remove;
    let operation = operation(&built, &from.name, place.port);
    built.decorator = Some(route::Decorator { operation, propagate: None });
    ctx.locate(&mut built.metadata, Says::Rule, spec.span);
    if let Some(condition) = condition {
        ctx.locate(&mut built.metadata, Says::Match, condition.span);
    }
    if let Some(hash) = spec.route.iter().find_map(|to| action::hash(ctx, &to.destination, rule)) {
        ctx.locate(&mut built.metadata, Says::Hash, hash.span);
    }
    Some(built)
}

/// What can be told of a condition without a request.
fn applies(ctx: &Context<'_>, condition: &HttpMatch, from: &VirtualService<'_>, place: &Place<'_>) -> bool {
    if let Some(claim) = condition
        .headers
        .keys()
        .chain(condition.without_headers.keys())
        .find(|name| name.starts_with(matches::CLAIM_PREFIX))
    {
        let message =
            format!("conditions on claims of a token ({claim}) are not obeyed yet: the rule is left out");
        ctx.report(Diagnostic::warning("field-not-obeyed", message), condition.span);
        return false;
    }
    let port = condition.port.as_ref().is_none_or(|port| port.value == place.port);
    port && source_applies(
        ctx,
        &gateway_names(condition.gateways.iter().map(|name| name.as_str()), &from.namespace),
        condition.gateways.is_empty(),
        &condition.source_labels,
        condition.source_namespace.as_ref().map(|name| name.as_str()),
        place.gateway,
    )
}

/// Whether a condition on the caller holds for the node.
pub(crate) fn source_applies(
    ctx: &Context<'_>,
    gateways: &[String],
    any_gateway: bool,
    labels: &BTreeMap<String, String>,
    namespace: Option<&str>,
    gateway: &str,
) -> bool {
    // Labels of a gateway's own pods are no condition for what passes through it.
    let labels = gateway != MESH || ctx.node.selected_by(labels);
    let namespace = namespace.is_none_or(|namespace| namespace.is_empty() || namespace == ctx.node.namespace);
    (any_gateway || gateways.iter().any(|name| name == gateway)) && labels && namespace
}

/// What spans of the route are called: destination and path where there is one destination.
pub(super) fn operation(built: &route::Route, rule: &str, port: u32) -> String {
    use route::route_match::PathSpecifier;
    let path = match built.r#match.as_ref().and_then(|condition| condition.path_specifier.as_ref()) {
        Some(PathSpecifier::Path(path)) => path.clone(),
        Some(PathSpecifier::Prefix(prefix)) => format!("{prefix}*"),
        Some(PathSpecifier::SafeRegex(pattern)) => pattern.regex.clone(),
        _ => "/*".to_owned(),
    };
    let cluster = match &built.action {
        Some(route::route::Action::Route(action)) => match &action.cluster_specifier {
            Some(route::route_action::ClusterSpecifier::Cluster(name)) => Some(name.as_str()),
            _ => None,
        },
        _ => None,
    };
    match cluster.map(|name| name.split('|').collect::<Vec<_>>()).as_deref() {
        Some([_, port, _, host]) => format!("{host}:{port}{path}"),
        _ => format!("{rule}:{port}{path}"),
    }
}
