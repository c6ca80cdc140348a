//! Whether one match takes everything that another one does. When in doubt: no.

use std::collections::{BTreeMap, HashMap};

use regex::bytes::Regex;
use weir_proto::re2;

use crate::kinds::http_route::HttpMatch;
use crate::kinds::virtual_service::{L4Match, TlsMatch};
use crate::read::{Matcher, StringMatch};
use crate::yaml::Spanned;

/// Compares HTTP matches; keeps the regular expressions that it compiled.
#[derive(Default)]
pub(super) struct Cover {
    compiled: HashMap<String, Option<Regex>>,
}

impl Cover {
    /// Whether every request that `b` takes is taken by `a`.
    pub(super) fn covers(&mut self, a: &HttpMatch, b: &HttpMatch) -> bool {
        option_covers(a.port.as_ref(), b.port.as_ref())
            && labels_cover(&a.source_labels, &b.source_labels)
            && option_covers(a.source_namespace.as_ref(), b.source_namespace.as_ref())
            && list_covers(&a.gateways, &b.gateways)
            && a.without_headers.iter().all(|(name, value)| b.without_headers.get(name) == Some(value))
            && self.part(a.scheme.as_ref(), b.scheme.as_ref())
            && self.part(a.method.as_ref(), b.method.as_ref())
            && self.part(a.authority.as_ref(), b.authority.as_ref())
            && self.map(&a.headers, &b.headers)
            && self.map(&a.query_params, &b.query_params)
            && self.uri(a, b)
    }

    fn map(&mut self, a: &BTreeMap<String, StringMatch>, b: &BTreeMap<String, StringMatch>) -> bool {
        a.iter().all(|(name, wide)| {
            b.get(name).is_some_and(|narrow| self.string(&present(wide), &present(narrow), false))
        })
    }

    fn part(&mut self, a: Option<&StringMatch>, b: Option<&StringMatch>) -> bool {
        match (a, b) {
            (None, _) => true,
            (Some(a), Some(b)) => self.string(&a.matcher, &b.matcher, false),
            (Some(_), None) => false,
        }
    }

    fn uri(&mut self, a: &HttpMatch, b: &HttpMatch) -> bool {
        let Some(wide) = &a.uri else { return true };
        match &wide.matcher {
            // A path begins with `/`.
            Matcher::Prefix(prefix) if prefix == "/" || prefix.is_empty() => return true,
            Matcher::Regex(regex) if regex == ".*" || regex == "/.*" => return true,
            _ => {}
        }
        let Some(narrow) = &b.uri else { return false };
        let fold = |text: &StringMatch, on: bool| match (&text.matcher, on) {
            (Matcher::Exact(text), true) => Matcher::Exact(text.to_lowercase()),
            (Matcher::Prefix(text), true) => Matcher::Prefix(text.to_lowercase()),
            (matcher, _) => matcher.clone(),
        };
        let on = |part: &HttpMatch| part.ignore_uri_case.as_ref().is_some_and(|on| on.value);
        match (on(a), on(b)) {
            (false, true) => false,
            // A regular expression keeps regard to case whatever is asked.
            (any, _) => self.string(&fold(wide, any), &fold(narrow, any), any),
        }
    }

    fn string(&mut self, a: &Matcher, b: &Matcher, folded: bool) -> bool {
        match (a, b) {
            (Matcher::Present, _) => true,
            (Matcher::Exact(a), Matcher::Exact(b)) => a == b,
            (Matcher::Prefix(a), Matcher::Exact(b) | Matcher::Prefix(b)) => b.starts_with(a.as_str()),
            (Matcher::Regex(a), Matcher::Regex(b)) => a == b,
            (Matcher::Regex(a), Matcher::Exact(b)) => !folded && self.matches(a, b),
            _ => false,
        }
    }

    fn matches(&mut self, regex: &str, text: &str) -> bool {
        let compile = || re2::full(regex).ok();
        self.compiled
            .entry(regex.to_owned())
            .or_insert_with(compile)
            .as_ref()
            .is_some_and(|regex| regex.is_match(text.as_bytes()))
    }
}

/// Whether every connection that `b` takes is taken by `a`.
pub(super) fn l4_covers(a: &L4Match, b: &L4Match) -> bool {
    list_covers(&a.destination_subnets, &b.destination_subnets)
        && option_covers(a.port.as_ref(), b.port.as_ref())
        && option_covers(a.source_subnet.as_ref(), b.source_subnet.as_ref())
        && labels_cover(&a.source_labels, &b.source_labels)
        && option_covers(a.source_namespace.as_ref(), b.source_namespace.as_ref())
        && list_covers(&a.gateways, &b.gateways)
}

/// Whether every connection that `b` takes is taken by `a`. A more specific SNI name goes before a wildcard wherever
/// it stands, so that only equal ones cover each other.
pub(super) fn tls_covers(a: &TlsMatch, b: &TlsMatch) -> bool {
    let named = |host: &Spanned<String>| a.sni_hosts.contains(host);
    !b.sni_hosts.is_empty()
        && b.sni_hosts.iter().all(named)
        && list_covers(&a.destination_subnets, &b.destination_subnets)
        && option_covers(a.port.as_ref(), b.port.as_ref())
        && labels_cover(&a.source_labels, &b.source_labels)
        && option_covers(a.source_namespace.as_ref(), b.source_namespace.as_ref())
        && list_covers(&a.gateways, &b.gateways)
}

fn option_covers<T: PartialEq>(a: Option<&T>, b: Option<&T>) -> bool {
    a.is_none() || a == b
}

/// No list: no condition. Else each of `b` has to be among `a`.
fn list_covers(a: &[Spanned<String>], b: &[Spanned<String>]) -> bool {
    a.is_empty() || (!b.is_empty() && b.iter().all(|name| a.contains(name)))
}

fn labels_cover(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> bool {
    a.iter().all(|(key, value)| b.get(key) == Some(value))
}

/// In headers and query parameters the regular expression `*` means presence.
fn present(text: &StringMatch) -> Matcher {
    match &text.matcher {
        Matcher::Regex(regex) if regex == "*" => Matcher::Present,
        matcher => matcher.clone(),
    }
}
