//! Indexes over virtual hosts and routes. They change how fast a match is found, never which one.

use crate::model::route::{HostIndex, PathIndex, PathMatch, Route, VirtualHost};
use std::collections::HashMap;
use std::sync::Arc;

/// A virtual host with more routes than this gets a [`PathIndex`]; walking a short list is cheaper than hashing.
pub const INDEX_ABOVE: usize = 16;

type Map<V> = HashMap<Box<[u8]>, V, foldhash::fast::RandomState>;

/// Why a host index cannot be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateDomain {
    /// The domain that stands twice.
    pub domain: String,
    /// Position of the virtual host that repeats it.
    pub virtual_host: usize,
    /// Its position there.
    pub at: usize,
}

/// Builds the index from the domains of the virtual hosts in order. A repeated domain (after lower-casing) is an
/// error, as in Envoy.
pub fn hosts<'a, D>(virtual_hosts: impl Iterator<Item = D>) -> Result<HostIndex, DuplicateDomain>
where
    D: IntoIterator<Item = &'a str>,
{
    let mut index = HostIndex::default();
    for (position, domains) in virtual_hosts.enumerate() {
        for (at, domain) in domains.into_iter().enumerate() {
            if !add_domain(&mut index, domain, position as u32) {
                return Err(DuplicateDomain { domain: domain.to_owned(), virtual_host: position, at });
            }
        }
    }
    index.suffix.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    index.prefix.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    Ok(index)
}

/// False when the domain is there already.
fn add_domain(index: &mut HostIndex, domain: &str, position: u32) -> bool {
    let domain = domain.to_ascii_lowercase();
    if domain == "*" {
        return index.any.replace(position).is_none();
    }
    let (map, key) = if let Some(suffix) = domain.strip_prefix('*') {
        (of_length(&mut index.suffix, suffix.len()), suffix)
    } else if let Some(prefix) = domain.strip_suffix('*') {
        (of_length(&mut index.prefix, prefix.len()), prefix)
    } else {
        (Some(&mut index.exact), domain.as_str())
    };
    map.is_some_and(|map| map.insert(key.as_bytes().into(), position).is_none())
}

fn of_length<V>(list: &mut Vec<(usize, Map<V>)>, length: usize) -> Option<&mut Map<V>> {
    let at = match list.iter().position(|(have, _)| *have == length) {
        Some(at) => at,
        None => {
            list.push((length, Map::default()));
            list.len().saturating_sub(1)
        }
    };
    list.get_mut(at).map(|(_, map)| map)
}

/// The index of a virtual host's routes; none for a short list.
pub fn paths(routes: &[Arc<Route>]) -> Option<PathIndex> {
    if routes.len() <= INDEX_ABOVE { None } else { Some(build_paths(routes)) }
}

/// The index of any list of routes.
fn build_paths(routes: &[Arc<Route>]) -> PathIndex {
    let mut index = PathIndex::default();
    for (position, route) in routes.iter().enumerate() {
        let position = position as u32;
        let list = match &route.matcher.path {
            PathMatch::Exact(path) if route.matcher.case_sensitive => {
                Some(index.exact.entry(path.clone()).or_default())
            }
            PathMatch::Prefix(prefix) | PathMatch::PathSeparatedPrefix(prefix)
                if route.matcher.case_sensitive =>
            {
                of_length(&mut index.prefix, prefix.len()).map(|map| map.entry(prefix.clone()).or_default())
            }
            _ => None,
        };
        list.unwrap_or(&mut index.rest).push(position);
    }
    index.prefix.sort_by_key(|(length, _)| *length);
    index
}

/// Rebuilds a virtual host with an index whatever its length (tests compare it with the walk).
pub fn indexed(virtual_host: VirtualHost) -> VirtualHost {
    VirtualHost { index: Some(build_paths(&virtual_host.routes)), ..virtual_host }
}
