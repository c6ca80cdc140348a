//! `StringMatcher`, `RegexMatcher`, `HeaderMatcher`, `QueryParameterMatcher`, `CookieMatcher`, regular expressions with
//! substitutions.

use super::{Cx, wkt};
use crate::base::ledger::At;
use crate::model::matcher::{HeaderMatch, HeaderTest, QueryMatch, StringMatch};
use regex::bytes::Regex;
use weir_proto::envoy::config::route::v3 as route;
use weir_proto::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use weir_proto::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use weir_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use weir_proto::envoy::r#type::matcher::v3::{RegexMatchAndSubstitute, RegexMatcher, StringMatcher};
use weir_proto::envoy::r#type::v3::Int64Range;

/// A regular expression that must match as a whole.
pub fn regex(cx: &Cx<'_>, at: &At<'_>, message: &RegexMatcher) -> Option<Regex> {
    crate::ledger!(at, message => RegexMatcher { regex } ignore { engine_type });
    let text = at.non_empty("regex", regex)?;
    cx.full_regex(&at.field("regex"), text)
}

/// An expression with its replacement, in the regex crate's notation.
pub fn substitution(
    cx: &Cx<'_>,
    at: &At<'_>,
    message: &RegexMatchAndSubstitute,
) -> Option<(Regex, Box<[u8]>)> {
    crate::ledger!(at, message => RegexMatchAndSubstitute { pattern, substitution });
    let pattern = at.required("pattern", pattern.as_ref())?;
    let here = at.field("pattern");
    crate::ledger!(here, pattern => RegexMatcher { regex } ignore { engine_type });
    let text = here.non_empty("regex", regex)?;
    let regex = cx.search_regex(&here.field("regex"), text)?;
    let substitution = at.one_line("substitution", substitution);
    let replacement = replacement(&at.field("substitution"), substitution, regex.captures_len())?;
    Some((regex, replacement))
}

/// RE2's `\1` and `\\` to the regex crate's `${1}`; `groups` counts the whole match too.
fn replacement(at: &At<'_>, text: &str, groups: usize) -> Option<Box<[u8]>> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => out.push_str("$$"),
            '\\' => match chars.next() {
                Some('\\') => out.push('\\'),
                Some(digit) if digit.is_ascii_digit() => {
                    let group = digit.to_digit(10).unwrap_or(0) as usize;
                    if group >= groups {
                        at.error(format!(
                            "refers to group {group}, the pattern has {}",
                            groups.saturating_sub(1)
                        ));
                        return None;
                    }
                    out.push_str(&format!("${{{group}}}"));
                }
                _ => {
                    at.error_with(
                        "has a backslash that is followed by neither a digit nor a backslash",
                        r"write \\",
                    );
                    return None;
                }
            },
            c => out.push(c),
        }
    }
    Some(out.into_bytes().into())
}

/// A string matcher.
pub fn string(cx: &Cx<'_>, at: &At<'_>, message: &StringMatcher) -> Option<StringMatch> {
    crate::ledger!(at, message => StringMatcher { ignore_case, match_pattern });
    let ignore_case = *ignore_case;
    Some(match at.required("match_pattern", match_pattern.as_ref())? {
        MatchPattern::Exact(text) => exact(text, ignore_case),
        MatchPattern::Prefix(text) => StringMatch::Prefix(needle(at, "prefix", text)?, ignore_case),
        MatchPattern::Suffix(text) => StringMatch::Suffix(needle(at, "suffix", text)?, ignore_case),
        MatchPattern::Contains(text) => {
            let text = if ignore_case { text.to_ascii_lowercase() } else { text.clone() };
            StringMatch::Contains(needle(at, "contains", &text)?, ignore_case)
        }
        MatchPattern::SafeRegex(message) => {
            if ignore_case {
                at.bad("ignore_case", "has no effect on safe_regex; write (?i) into the expression");
            }
            StringMatch::Regex(regex(cx, &at.field("safe_regex"), message)?)
        }
        MatchPattern::Custom(_) => {
            at.field("custom").unsupported("a custom string matcher");
            return None;
        }
    })
}

fn exact(text: &str, ignore_case: bool) -> StringMatch {
    let text = text.as_bytes().into();
    if ignore_case { StringMatch::ExactIgnoreCase(text) } else { StringMatch::Exact(text) }
}

fn needle(at: &At<'_>, field: &str, text: &str) -> Option<Box<[u8]>> {
    at.non_empty(field, text).map(|text| text.as_bytes().into())
}

/// A header matcher; one without a test asks for presence.
pub fn header(cx: &Cx<'_>, at: &At<'_>, message: &route::HeaderMatcher) -> Option<HeaderMatch> {
    crate::ledger!(at, message => route::HeaderMatcher {
        name, invert_match, treat_missing_header_as_empty, header_match_specifier
    });
    let header = wkt::header_name(at, "name", name);
    let test = match header_match_specifier {
        None => Some(HeaderTest::Present(true)),
        Some(specifier) => header_test(cx, at, specifier),
    };
    let name = header?;
    Some(HeaderMatch {
        name,
        test: test?,
        invert: *invert_match,
        treat_missing_as_empty: *treat_missing_header_as_empty,
    })
}

// The deprecated forms are still sent by control planes, and still obeyed by Envoy.
#[expect(deprecated)]
fn header_test(cx: &Cx<'_>, at: &At<'_>, specifier: &HeaderMatchSpecifier) -> Option<HeaderTest> {
    let value = match specifier {
        HeaderMatchSpecifier::PresentMatch(want) => return Some(HeaderTest::Present(*want)),
        HeaderMatchSpecifier::RangeMatch(range) => {
            let Int64Range { start, end } = range;
            return Some(HeaderTest::Range(*start, *end));
        }
        HeaderMatchSpecifier::StringMatch(message) => string(cx, &at.field("string_match"), message)?,
        HeaderMatchSpecifier::ExactMatch(text) => exact(text, false),
        HeaderMatchSpecifier::PrefixMatch(text) => {
            StringMatch::Prefix(needle(at, "prefix_match", text)?, false)
        }
        HeaderMatchSpecifier::SuffixMatch(text) => {
            StringMatch::Suffix(needle(at, "suffix_match", text)?, false)
        }
        HeaderMatchSpecifier::ContainsMatch(text) => {
            StringMatch::Contains(needle(at, "contains_match", text)?, false)
        }
        HeaderMatchSpecifier::SafeRegexMatch(message) => {
            StringMatch::Regex(regex(cx, &at.field("safe_regex_match"), message)?)
        }
    };
    Some(HeaderTest::Value(value))
}

/// Header matchers of a repeated field; all mistakes are reported.
pub fn headers(cx: &Cx<'_>, at: &At<'_>, field: &str, list: &[route::HeaderMatcher]) -> Box<[HeaderMatch]> {
    let all = list.iter().enumerate().filter_map(|(i, message)| header(cx, &at.item(field, i), message));
    all.collect()
}

/// A query parameter matcher.
pub fn query(cx: &Cx<'_>, at: &At<'_>, message: &route::QueryParameterMatcher) -> Option<QueryMatch> {
    crate::ledger!(at, message => route::QueryParameterMatcher { name, query_parameter_match_specifier });
    let name = at.non_empty("name", name)?.as_bytes().into();
    let value = match query_parameter_match_specifier {
        None | Some(QueryParameterMatchSpecifier::PresentMatch(true)) => None,
        Some(QueryParameterMatchSpecifier::PresentMatch(false)) => {
            at.field("present_match").unsupported("false");
            return None;
        }
        Some(QueryParameterMatchSpecifier::StringMatch(message)) => {
            Some(string(cx, &at.field("string_match"), message)?)
        }
    };
    Some(QueryMatch { name, value })
}

/// A cookie matcher: name, test, inverted.
pub fn cookie(
    cx: &Cx<'_>,
    at: &At<'_>,
    message: &route::CookieMatcher,
) -> Option<(Box<[u8]>, StringMatch, bool)> {
    crate::ledger!(at, message => route::CookieMatcher { name, string_match, invert_match });
    let name = at.non_empty("name", name)?.as_bytes().into();
    let test = at.required("string_match", string_match.as_ref())?;
    Some((name, string(cx, &at.field("string_match"), test)?, *invert_match))
}
