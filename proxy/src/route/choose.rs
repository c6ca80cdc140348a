//! Which virtual host, and which of its routes. Nothing here allocates for ordinary requests.

use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::model::matcher::StringMatch;
use crate::model::route::{HostIndex, PathIndex, PathMatch, Route, RouteConfig, RouteMatch, VirtualHost};
use smallvec::SmallVec;
use std::sync::Arc;

/// Hosts up to this length are lower-cased on the stack (a DNS name has at most 253 bytes, RFC 1035 section 2.3.4,
/// and a port 6).
const HOST_ON_STACK: usize = 272;

/// The virtual host of an authority: exact, longest suffix, longest prefix, any; case does not count.
pub fn virtual_host<'a>(config: &'a RouteConfig, authority: &[u8]) -> Option<&'a Arc<VirtualHost>> {
    let host = if config.ignore_port_in_host { without_port(authority) } else { authority };
    let position = if host.iter().any(u8::is_ascii_uppercase) {
        let mut lower: SmallVec<[u8; HOST_ON_STACK]> = SmallVec::from_slice(host);
        lower.make_ascii_lowercase();
        position_of(&config.hosts, &lower)
    } else {
        position_of(&config.hosts, host)
    };
    position.and_then(|at| config.virtual_hosts.get(at as usize))
}

fn position_of(hosts: &HostIndex, host: &[u8]) -> Option<u32> {
    if let Some(at) = hosts.exact.get(host) {
        return Some(*at);
    }
    for (length, map) in &hosts.suffix {
        let Some(start) = host.len().checked_sub(*length).filter(|start| *start > 0) else { continue };
        if let Some(at) = host.get(start..).and_then(|tail| map.get(tail)) {
            return Some(*at);
        }
    }
    for (length, map) in &hosts.prefix {
        if host.len() <= *length {
            continue;
        }
        if let Some(at) = host.get(..*length).and_then(|head| map.get(head)) {
            return Some(*at);
        }
    }
    hosts.any
}

/// The authority up to its last colon outside of an IPv6 literal's brackets: what follows need not be a number (Envoy).
fn without_port(authority: &[u8]) -> &[u8] {
    let after_literal = memchr::memrchr(b']', authority).unwrap_or(0);
    match memchr::memrchr(b':', authority) {
        Some(colon) if colon >= after_literal => authority.get(..colon).unwrap_or_default(),
        _ => authority,
    }
}

/// Is it a gRPC request (`content-type: application/grpc`, perhaps with `+suffix`)?
pub fn is_grpc(headers: &HeaderBlock) -> bool {
    let value = headers.get(Id::ContentType).unwrap_or_default();
    let prefix = b"application/grpc";
    value.get(..prefix.len()).is_some_and(|head| head == prefix)
        && matches!(value.get(prefix.len()), None | Some(b'+'))
}

/// What of a request decides its route.
struct Request<'a> {
    headers: &'a HeaderBlock,
    /// Path without query and fragment.
    path: &'a [u8],
    /// After `?`, without fragment.
    query: &'a [u8],
    random: u64,
}

/// The first route of the virtual host whose conditions all hold. `random` is the stream's own number, so that a
/// share (`runtime_fraction`) decides the same way each time the route is chosen anew.
pub fn route<'a>(
    config: &RouteConfig,
    virtual_host: &'a VirtualHost,
    headers: &HeaderBlock,
    random: u64,
) -> Option<&'a Arc<Route>> {
    let full = headers.get(Id::Path).unwrap_or_default();
    let stripped;
    let full = match config.ignore_path_parameters && memchr::memchr(b';', full).is_some() {
        true => {
            stripped = without_parameters(full);
            &stripped
        }
        false => full,
    };
    let request = Request::new(headers, full, random);
    match &virtual_host.index {
        Some(index) => indexed(index, &virtual_host.routes, &request),
        None => virtual_host.routes.iter().find(|route| request.matches(&route.matcher)),
    }
}

/// Walks the candidates of every list in ascending order of position.
fn indexed<'a>(index: &PathIndex, routes: &'a [Arc<Route>], request: &Request<'_>) -> Option<&'a Arc<Route>> {
    let mut lists: SmallVec<[&[u32]; 16]> = SmallVec::new();
    lists.extend(index.exact.get(request.path).map(Vec::as_slice));
    for (length, map) in &index.prefix {
        let Some(head) = request.path.get(..*length) else { break };
        lists.extend(map.get(head).map(Vec::as_slice));
    }
    lists.push(&index.rest);
    loop {
        let next =
            lists.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| list.first().copied())?;
        let (position, rest) = next.split_first()?;
        *next = rest;
        let route = routes.get(*position as usize)?;
        if request.matches(&route.matcher) {
            return Some(route);
        }
    }
}

impl<'a> Request<'a> {
    fn new(headers: &'a HeaderBlock, full: &'a [u8], random: u64) -> Self {
        let plain_end = memchr::memchr2(b'?', b'#', full).unwrap_or(full.len());
        let (path, tail) = full.split_at_checked(plain_end).unwrap_or((full, &[]));
        let query = match tail.strip_prefix(b"?") {
            Some(query) => {
                query.get(..memchr::memchr(b'#', query).unwrap_or(query.len())).unwrap_or_default()
            }
            None => &[],
        };
        Request { headers, path, query, random }
    }

    fn matches(&self, matcher: &RouteMatch) -> bool {
        self.path_matches(matcher)
            && matcher.runtime_fraction.is_none_or(|share| share.hit(self.random))
            && (!matcher.grpc || is_grpc(self.headers))
            && matcher.headers.iter().all(|test| test.matches(self.headers))
            && matcher.query.iter().all(|test| test.matches(self.query))
            && matcher
                .cookies
                .iter()
                .all(|(name, test, invert)| cookie_matches(self.headers, name, test) != *invert)
    }

    fn path_matches(&self, matcher: &RouteMatch) -> bool {
        let ignore_case = !matcher.case_sensitive;
        match &matcher.path {
            PathMatch::Prefix(want) => starts_with(self.path, want, ignore_case),
            PathMatch::Exact(want) => same(self.path, want, ignore_case),
            PathMatch::PathSeparatedPrefix(want) => {
                starts_with(self.path, want, ignore_case)
                    && matches!(self.path.get(want.len()), None | Some(b'/'))
            }
            PathMatch::Regex(regex) => regex.is_match(self.path),
            PathMatch::Connect => false,
        }
    }
}

/// The target with `;parameters` taken out of every segment of its path; the query stays.
fn without_parameters(target: &[u8]) -> Vec<u8> {
    let end = memchr::memchr2(b'?', b'#', target).unwrap_or(target.len());
    let (path, tail) = target.split_at_checked(end).unwrap_or((target, &[]));
    let segments = path.split(|b| *b == b'/').map(|s| s.split(|b| *b == b';').next().unwrap_or_default());
    let mut out = segments.collect::<Vec<_>>().join(&b'/');
    out.extend_from_slice(tail);
    out
}

fn same(a: &[u8], b: &[u8], ignore_case: bool) -> bool {
    if ignore_case { a.eq_ignore_ascii_case(b) } else { a == b }
}

fn starts_with(text: &[u8], want: &[u8], ignore_case: bool) -> bool {
    text.get(..want.len()).is_some_and(|head| same(head, want, ignore_case))
}

/// The first cookie of that name decides; without one nothing matches.
fn cookie_matches(headers: &HeaderBlock, name: &[u8], test: &StringMatch) -> bool {
    let cookies = headers.all_of(Id::Cookie).flat_map(|line| line.split(|b| *b == b';'));
    let mut pairs = cookies.filter_map(|pair| {
        let pair = pair.trim_ascii();
        let at = memchr::memchr(b'=', pair)?;
        Some((pair.get(..at)?, pair.get(at + 1..)?))
    });
    pairs.find(|(key, _)| *key == name).is_some_and(|(_, value)| test.matches(unquoted(value)))
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests;
