//! `VirtualHost` and `Route`.

use super::{
    Cx, action_parts as parts, header_ops, metadata, overrides, retry, route_action, route_match, wkt,
};
use crate::base::ledger::At;
use crate::model::route::{RequireTls, Route, VirtualHost};
use crate::model::route_action::Action;
use crate::route::index;
use std::sync::Arc;
use weir_proto::envoy::config::route::v3 as route;
use weir_proto::envoy::config::route::v3::virtual_host::TlsRequirementType;
use weir_proto::google::protobuf::{UInt32Value, UInt64Value};

/// A virtual host; `body_limit` bounds its direct responses.
pub fn virtual_host(
    cx: &Cx<'_>,
    at: &At<'_>,
    message: &route::VirtualHost,
    body_limit: usize,
) -> Option<Arc<VirtualHost>> {
    crate::ledger!(at, message => route::VirtualHost { name, domains, routes, require_tls, request_headers_to_add,
        request_headers_to_remove, response_headers_to_add, response_headers_to_remove, cors,
        typed_per_filter_config, include_request_attempt_count, include_attempt_count_in_response, retry_policy,
        per_request_buffer_limit_bytes, request_body_buffer_limit, request_mirror_policies, virtual_clusters,
        hedge_policy }
        refuse { matcher, rate_limits, retry_policy_typed_config, include_is_timeout_retry_header,
            route_specifiers }
        ignore { metadata });
    at.refuse("hedge_policy", hedge_policy.is_some());
    at.refuse("virtual_clusters", !virtual_clusters.is_empty());
    parts::refuse_cors(at, cors.is_some());
    let name = at.non_empty("name", name);
    if domains.is_empty() {
        at.bad("domains", "must have at least one entry");
    }
    for (i, domain) in domains.iter().enumerate() {
        check_domain(&at.item("domains", i), domain);
    }
    let compiled = routes.iter().enumerate();
    let compiled: Box<[Arc<Route>]> =
        compiled.filter_map(|(i, m)| one_route(cx, &at.item("routes", i), m, body_limit)).collect();
    let lists = header_ops::Lists {
        request_add: request_headers_to_add,
        request_remove: request_headers_to_remove,
        response_add: response_headers_to_add,
        response_remove: response_headers_to_remove,
    };
    let require_tls = match wkt::enumeration(at, "require_tls", *require_tls) {
        Some(TlsRequirementType::All) => RequireTls::All,
        Some(TlsRequirementType::ExternalOnly) => RequireTls::ExternalOnly,
        _ => RequireTls::No,
    };
    Some(Arc::new(VirtualHost {
        index: index::paths(&compiled),
        routes: compiled,
        require_tls,
        mutations: header_ops::mutations(at, &lists),
        retry: retry_policy.as_ref().and_then(|m| retry::policy(cx, &at.field("retry_policy"), m)),
        filters: overrides::overrides(cx, at, typed_per_filter_config),
        attempt_count_in_request: *include_request_attempt_count,
        attempt_count_in_response: *include_attempt_count_in_response,
        retry_buffer_limit: buffer_limit(at, per_request_buffer_limit_bytes, request_body_buffer_limit),
        mirrors: parts::mirrors(cx, at, request_mirror_policies),
        name: name?.into(),
    }))
}

/// One `*`, at the beginning or at the end.
fn check_domain(at: &At<'_>, domain: &str) {
    let stars = domain.matches('*').count();
    let placed = domain.starts_with('*') || domain.ends_with('*');
    if domain.is_empty() {
        at.error("must not be empty");
    } else if stars > 1 || (stars == 1 && !placed) {
        at.error(format!("'{domain}' may have one '*', as its first or its last character"));
    } else if domain.bytes().any(|b| b.is_ascii_control()) {
        at.error("has control characters");
    }
}

/// The newer field wins; both hold bytes.
fn buffer_limit(at: &At<'_>, old: &Option<UInt32Value>, new: &Option<UInt64Value>) -> Option<u32> {
    if old.is_some() && new.is_some() {
        at.bad("request_body_buffer_limit", "and per_request_buffer_limit_bytes may not both be set");
    }
    let new = new.as_ref().map(|v| u32::try_from(v.value).unwrap_or(u32::MAX));
    new.or(wkt::u32_opt(old))
}

fn one_route(cx: &Cx<'_>, at: &At<'_>, message: &route::Route, body_limit: usize) -> Option<Arc<Route>> {
    crate::ledger!(at, message => route::Route { name, r#match, metadata, typed_per_filter_config,
        request_headers_to_add, request_headers_to_remove, response_headers_to_add, response_headers_to_remove,
        per_request_buffer_limit_bytes, request_body_buffer_limit, action }
        refuse { route_specifiers }
        ignore { decorator, tracing, stat_prefix });
    let matcher = at.required("match", r#match.as_ref());
    let matcher = matcher.and_then(|m| route_match::route_match(cx, &at.field("match"), m));
    let action = at.required("action", action.as_ref()).and_then(|a| one_action(cx, at, a, body_limit));
    let lists = header_ops::Lists {
        request_add: request_headers_to_add,
        request_remove: request_headers_to_remove,
        response_add: response_headers_to_add,
        response_remove: response_headers_to_remove,
    };
    let mutations = header_ops::mutations(at, &lists);
    let filters = overrides::overrides(cx, at, typed_per_filter_config);
    Some(Arc::new(Route {
        name: name.as_str().into(),
        mutations,
        filters,
        retry_buffer_limit: buffer_limit(at, per_request_buffer_limit_bytes, request_body_buffer_limit),
        metadata: metadata::json(metadata),
        matcher: matcher?,
        action: action?,
    }))
}

fn one_action(cx: &Cx<'_>, at: &At<'_>, action: &route::route::Action, body_limit: usize) -> Option<Action> {
    use route::route::Action as Proto;
    match action {
        Proto::Route(message) => {
            route_action::forward(cx, &at.field("route"), message).map(|f| Action::Forward(Box::new(f)))
        }
        Proto::Redirect(message) => {
            parts::redirect(cx, &at.field("redirect"), message).map(|r| Action::Redirect(Box::new(r)))
        }
        Proto::DirectResponse(message) => {
            parts::direct(&at.field("direct_response"), message, body_limit).map(Action::Direct)
        }
        Proto::NonForwardingAction(_) => Some(Action::NonForwarding),
        Proto::FilterAction(_) => {
            at.field("filter_action").unsupported("a filter action");
            None
        }
    }
}
