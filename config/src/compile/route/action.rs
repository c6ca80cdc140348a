//! Where a rule sends requests, and how.

use weir_proto::envoy::config::route::v3 as route;
use weir_proto::envoy::r#type::matcher::v3 as matcher;
use weir_proto::envoy::r#type::v3::FractionalPercent;
use weir_proto::google::protobuf as pb;

use super::super::cluster::outbound_name;
use super::super::context::Context;
use super::super::virtual_service::{MESH, Rule};
use super::super::wire;
use super::headers::Changes;
use super::place::Place;
use super::{hash, retry};
use crate::diag::Diagnostic;
use crate::kinds::destination::Destination;
use crate::kinds::http_route::{HttpRoute, HttpRouteDestination, Percent};
use crate::kinds::load_balancer::ConsistentHash;
use route::route_action::{ClusterSpecifier, HashPolicy, HostRewriteSpecifier, RequestMirrorPolicy};

/// Forwarding. Header changes of a single destination are added to `changes`.
pub(super) fn forward(
    ctx: &Context<'_>,
    rule: &Rule,
    place: &Place<'_>,
    changes: &mut Changes,
) -> Option<route::RouteAction> {
    let spec = &rule.route;
    let timeout =
        spec.timeout.as_ref().map_or_else(pb::Duration::default, |limit| wire::duration(limit.value));
    let mut action = route::RouteAction {
        timeout: Some(timeout),
        max_grpc_timeout: Some(timeout),
        request_mirror_policies: mirrors(ctx, rule, place),
        ..route::RouteAction::default()
    };
    let mut hashed = false;
    match spec.route.as_slice() {
        [] => {
            let message = "this rule leads nowhere: it is left out";
            let remedy = "add `route:`, `redirect:` or `directResponse:`";
            ctx.report(Diagnostic::warning("rule-without-action", message).remedy(remedy), spec.span);
            return None;
        }
        [one] => {
            action.cluster_specifier =
                Some(ClusterSpecifier::Cluster(cluster(ctx, &one.destination, rule, place)));
            action.hash_policy.extend(hash_policy(ctx, &one.destination, rule));
            hashed = !action.hash_policy.is_empty();
            *changes = std::mem::take(changes).then(Changes::of(one.headers.as_ref()));
        }
        several => {
            for one in several {
                let policy = hash_policy(ctx, &one.destination, rule);
                action.hash_policy.extend(policy.filter(|policy| !action.hash_policy.contains(policy)));
            }
            action.cluster_specifier =
                Some(ClusterSpecifier::WeightedClusters(weighted(ctx, several, rule, place)?));
        }
    }
    action.retry_policy = retry::translate(ctx, spec.retries.as_ref(), hashed);
    rewrite(&mut action, spec, changes);
    Some(action)
}

fn rewrite(action: &mut route::RouteAction, spec: &HttpRoute, changes: &Changes) {
    let mut authority = changes.authority.clone();
    if let Some(rewrite) = &spec.rewrite {
        if let Some(by_regex) = &rewrite.uri_regex_rewrite {
            action.regex_rewrite = Some(matcher::RegexMatchAndSubstitute {
                pattern: Some(wire::regex(&by_regex.pattern)),
                substitution: by_regex.rewrite.value.clone(),
            });
        } else if let Some(uri) = &rewrite.uri {
            action.prefix_rewrite.clone_from(&uri.value);
        }
        let new = rewrite.authority.as_ref().map(|authority| authority.value.clone());
        authority = new.filter(|authority| !authority.is_empty()).or(authority);
    }
    action.host_rewrite_specifier = authority.map(HostRewriteSpecifier::HostRewriteLiteral);
}

/// Several destinations by weight; those without weight get nothing.
fn weighted(
    ctx: &Context<'_>,
    several: &[HttpRouteDestination],
    rule: &Rule,
    place: &Place<'_>,
) -> Option<route::WeightedCluster> {
    let mut clusters = Vec::new();
    for one in several {
        let weight = one.weight.as_ref().map_or(0, |weight| weight.value);
        let Some(weight) = u32::try_from(weight).ok().filter(|weight| *weight > 0) else {
            continue;
        };
        let changes = Changes::of(one.headers.as_ref());
        clusters.push(route::weighted_cluster::ClusterWeight {
            name: cluster(ctx, &one.destination, rule, place),
            weight: Some(wire::u32v(weight)),
            request_headers_to_add: changes.request_add,
            request_headers_to_remove: changes.request_remove,
            response_headers_to_add: changes.response_add,
            response_headers_to_remove: changes.response_remove,
            host_rewrite_specifier: changes
                .authority
                .map(route::weighted_cluster::cluster_weight::HostRewriteSpecifier::HostRewriteLiteral),
            ..route::weighted_cluster::ClusterWeight::default()
        });
    }
    if clusters.is_empty() {
        let message = "no destination of this rule has a weight: the rule is left out";
        let span = rule.route.span;
        ctx.report(Diagnostic::warning("no-weight", message).remedy("give one a `weight:` above 0"), span);
        return None;
    }
    Some(route::WeightedCluster { clusters, ..route::WeightedCluster::default() })
}

/// Name of the cluster of a destination. Without a port of its own: a sidecar takes the listener's; a gateway
/// takes the service's only one, else its own.
pub(super) fn cluster(ctx: &Context<'_>, to: &Destination, rule: &Rule, place: &Place<'_>) -> String {
    let host = ctx.host(&to.host, &rule.namespace);
    let named = to.port.as_ref().and_then(|selector| selector.number());
    let only = || match place.services.get(host.as_str()).map(|service| service.ports.as_slice()) {
        Some([port]) if place.gateway != MESH => Some(port.number),
        _ => None,
    };
    let port = named.or_else(only).unwrap_or(place.port);
    let subset = to.subset.as_ref().map_or("", |subset| subset.as_str());
    outbound_name(port, subset, &host)
}

fn hash_policy(ctx: &Context<'_>, to: &Destination, rule: &Rule) -> Option<HashPolicy> {
    hash(ctx, to, rule).and_then(hash::of_policy)
}

/// What requests to a destination are hashed by.
pub(super) fn hash<'w>(ctx: &Context<'w>, to: &Destination, rule: &Rule) -> Option<&'w ConsistentHash> {
    let service = ctx.service(&ctx.host(&to.host, &rule.namespace))?;
    let policies = ctx.rules.of_service(service, ctx.node);
    let subset = to.subset.as_ref().map(|subset| subset.as_str());
    let port = to.port.as_ref().and_then(|selector| selector.number());
    hash::of_destination(&policies, subset, port)
}

fn mirrors(ctx: &Context<'_>, rule: &Rule, place: &Place<'_>) -> Vec<RequestMirrorPolicy> {
    let spec = &rule.route;
    let mut mirrors = Vec::new();
    let mut add = |to: &Destination, share: Option<FractionalPercent>| {
        if let Some(share) = share {
            mirrors.push(RequestMirrorPolicy {
                cluster: cluster(ctx, to, rule, place),
                runtime_fraction: Some(wire::runtime_fraction(share)),
                trace_sampled: Some(wire::boolv(false)),
                disable_shadow_host_suffix_append: true,
                ..RequestMirrorPolicy::default()
            });
        }
    };
    if let Some(to) = &spec.mirror {
        let old = spec.mirror_percent.as_ref().map(|percent| percent.value);
        let share = match (&spec.mirror_percentage, old) {
            (None, Some(percent)) => (percent > 0).then(|| wire::per_hundred(percent.min(100))),
            (percentage, _) => share(percentage.as_ref()),
        };
        add(to, share);
    }
    for mirror in &spec.mirrors {
        add(&mirror.destination, share(mirror.percentage.as_ref()));
    }
    mirrors
}

/// All if nothing is said; `None` for nothing.
fn share(percent: Option<&Percent>) -> Option<FractionalPercent> {
    let Some(percent) = percent else {
        return Some(wire::per_hundred(100));
    };
    let value = percent.value.as_ref().map_or(0.0, |value| value.value);
    (value > 0.0).then(|| wire::per_million(value))
}
