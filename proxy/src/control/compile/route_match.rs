//! `RouteMatch`.

use super::{Cx, matcher, wkt};
use crate::base::ledger::At;
use crate::model::route::{PathMatch, RouteMatch};
use weir_proto::envoy::config::route::v3 as route;
use weir_proto::envoy::config::route::v3::route_match::PathSpecifier;

/// The conditions of a route.
pub fn route_match(cx: &Cx<'_>, at: &At<'_>, message: &route::RouteMatch) -> Option<RouteMatch> {
    crate::ledger!(at, message => route::RouteMatch { case_sensitive, runtime_fraction, headers, query_parameters,
        cookies, grpc, path_specifier } refuse { tls_context, dynamic_metadata, filter_state });
    let path = at.required("path_specifier", path_specifier.as_ref()).and_then(|p| path_match(cx, at, p));
    let fraction = runtime_fraction.as_ref();
    let fraction = fraction.map(|m| wkt::runtime_fraction(cx, &at.field("runtime_fraction"), m));
    let query = query_parameters.iter().enumerate();
    let query = query.filter_map(|(i, m)| matcher::query(cx, &at.item("query_parameters", i), m)).collect();
    let cookies = cookies.iter().enumerate();
    let cookies = cookies.filter_map(|(i, m)| matcher::cookie(cx, &at.item("cookies", i), m)).collect();
    Some(RouteMatch {
        case_sensitive: wkt::flag(case_sensitive, true),
        runtime_fraction: fraction.flatten(),
        grpc: grpc.is_some(),
        headers: matcher::headers(cx, at, "headers", headers),
        query,
        cookies,
        path: path?,
    })
}

fn path_match(cx: &Cx<'_>, at: &At<'_>, specifier: &PathSpecifier) -> Option<PathMatch> {
    Some(match specifier {
        PathSpecifier::Prefix(text) => PathMatch::Prefix(text.as_bytes().into()),
        PathSpecifier::Path(text) => PathMatch::Exact(text.as_bytes().into()),
        PathSpecifier::SafeRegex(message) => {
            PathMatch::Regex(matcher::regex(cx, &at.field("safe_regex"), message)?)
        }
        PathSpecifier::PathSeparatedPrefix(text) => {
            if !text.starts_with('/') || text.ends_with('/') || text.contains(['?', '#']) {
                at.bad(
                    "path_separated_prefix",
                    format!("'{text}' must start with '/', not end with it, and have neither '?' nor '#'"),
                );
                return None;
            }
            PathMatch::PathSeparatedPrefix(text.as_bytes().into())
        }
        PathSpecifier::ConnectMatcher(_) => {
            at.field("connect_matcher").unsupported("matching CONNECT");
            return None;
        }
        PathSpecifier::PathMatchPolicy(_) => {
            at.field("path_match_policy").unsupported("a path match policy");
            return None;
        }
    })
}
