//! Conditions of HTTP rules.

use std::collections::BTreeMap;

use weir_proto::envoy::config::route::v3 as route;
use weir_proto::envoy::r#type::matcher::v3 as matcher;

use super::super::wire;
use crate::kinds::http_route::HttpMatch;
use crate::read::{Matcher, StringMatch};
use route::header_matcher::HeaderMatchSpecifier;
use route::query_parameter_matcher::QueryParameterMatchSpecifier;
use route::route_match::PathSpecifier;

/// What names of headers begin with that stand for claims of a token, not for headers.
pub(super) const CLAIM_PREFIX: &str = "@request.auth.claims";

/// Every request.
pub(super) fn any() -> route::RouteMatch {
    route::RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
        ..route::RouteMatch::default()
    }
}

/// The condition in Envoy's terms. What can be told without a request (port, labels, gateways) is no part of it.
pub(super) fn translate(condition: &HttpMatch, by_segments: bool) -> route::RouteMatch {
    let mut headers = Vec::new();
    for (name, value) in &condition.headers {
        headers.push(header(name, value));
    }
    for (name, value) in &condition.without_headers {
        let mut without = header(name, value);
        without.invert_match = true;
        // A header that is not there does not match, so that its absence satisfies the condition.
        let present = matches!(without.header_match_specifier, Some(HeaderMatchSpecifier::PresentMatch(_)));
        without.treat_missing_header_as_empty = !present;
        headers.push(without);
    }
    let pseudo = [
        (":method", &condition.method),
        (":authority", &condition.authority),
        (":scheme", &condition.scheme),
    ];
    for (name, value) in pseudo {
        if let Some(value) = value {
            headers.push(header(name, value));
        }
    }
    let case_sensitive = !condition.ignore_uri_case.as_ref().is_some_and(|ignore| ignore.value);
    route::RouteMatch {
        path_specifier: Some(path(condition.uri.as_ref(), by_segments)),
        case_sensitive: Some(wire::boolv(case_sensitive)),
        headers,
        query_parameters: query_parameters(&condition.query_params),
        ..route::RouteMatch::default()
    }
}

fn path(uri: Option<&StringMatch>, by_segments: bool) -> PathSpecifier {
    match uri.map(|uri| &uri.matcher) {
        Some(Matcher::Exact(path)) => PathSpecifier::Path(path.clone()),
        Some(Matcher::Prefix(prefix)) if by_segments && prefix.as_str() != "/" => {
            PathSpecifier::PathSeparatedPrefix(prefix.trim_end_matches('/').to_owned())
        }
        Some(Matcher::Prefix(prefix)) => PathSpecifier::Prefix(prefix.clone()),
        Some(Matcher::Regex(pattern)) => PathSpecifier::SafeRegex(wire::regex(pattern)),
        Some(Matcher::Present) | None => PathSpecifier::Prefix("/".to_owned()),
    }
}

fn header(name: &str, value: &StringMatch) -> route::HeaderMatcher {
    let specifier = match string(value) {
        Some(matcher) => HeaderMatchSpecifier::StringMatch(matcher),
        None => HeaderMatchSpecifier::PresentMatch(true),
    };
    route::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..route::HeaderMatcher::default()
    }
}

fn query_parameters(parameters: &BTreeMap<String, StringMatch>) -> Vec<route::QueryParameterMatcher> {
    let one = |(name, value): (&String, &StringMatch)| route::QueryParameterMatcher {
        name: name.clone(),
        query_parameter_match_specifier: Some(match string(value) {
            Some(matcher) => QueryParameterMatchSpecifier::StringMatch(matcher),
            None => QueryParameterMatchSpecifier::PresentMatch(true),
        }),
    };
    parameters.iter().map(one).collect()
}

/// How a value is compared; `None` where it only has to be there.
pub(super) fn string(value: &StringMatch) -> Option<matcher::StringMatcher> {
    use matcher::string_matcher::MatchPattern;
    let pattern = match &value.matcher {
        Matcher::Present => return None,
        Matcher::Regex(pattern) if pattern == "*" => return None,
        Matcher::Exact(value) => MatchPattern::Exact(value.clone()),
        Matcher::Prefix(value) => MatchPattern::Prefix(value.clone()),
        Matcher::Regex(pattern) => MatchPattern::SafeRegex(wire::regex(pattern)),
    };
    Some(matcher::StringMatcher { ignore_case: false, match_pattern: Some(pattern) })
}
