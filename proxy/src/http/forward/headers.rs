//! What the router does to the request head before it goes upstream (spec 2.4), in Envoy's order.

use crate::base::headers::HeaderBlock;
use crate::base::names::{HeaderName, Id};
use crate::http::exchange::{Chosen, Exchange};
use crate::http::prepare::split_path;
use crate::live::host::Host;
use crate::model::route::PathMatch;
use crate::model::route_action::{Forward, HostRewrite, PathRewrite};

/// Applies mutations of all levels, then host and path rewrites.
pub fn prepare(x: &mut Exchange<'_>, chosen: &Chosen<'_>, forward: &Forward) {
    let headers = &mut x.request.headers;
    chosen.each_level(|m| m.request.apply_request(headers, &x.record));
    rewrite_host(headers, chosen, forward, x.manager.suppress_envoy_headers);
    rewrite_path(headers, chosen, forward, x.manager.suppress_envoy_headers);
}

fn rewrite_host(headers: &mut HeaderBlock, chosen: &Chosen<'_>, forward: &Forward, suppress: bool) {
    let from_entry = chosen.entry.and_then(|e| e.host_rewrite.as_ref()).map(|h| h.to_vec());
    let new = from_entry.or_else(|| match forward.host_rewrite.as_ref()? {
        HostRewrite::Literal(host) => Some(host.to_vec()),
        HostRewrite::Header(name) => headers.find(name).filter(|v| !v.is_empty()).map(<[u8]>::to_vec),
        HostRewrite::PathRegex(regex, with) => {
            let (path, _) = split_path(headers.get(Id::Path).unwrap_or_default());
            Some(regex.replace_all(path, &**with).into_owned())
        }
        HostRewrite::Auto => None,
    });
    if let Some(new) = new {
        // A weighted cluster's own host leaves no trace of the old one (Envoy).
        set_host(headers, &new, forward, suppress || chosen.entry.is_some_and(|e| e.host_rewrite.is_some()));
    }
}

fn set_host(headers: &mut HeaderBlock, new: &[u8], forward: &Forward, suppress: bool) {
    let old = headers.get(Id::Authority).unwrap_or_default().to_vec();
    if old == new {
        return;
    }
    if !suppress {
        headers.set_id(Id::EnvoyOriginalHost, &old);
    }
    if forward.append_x_forwarded_host {
        let mut value = headers.joined(&HeaderName::Known(Id::ForwardedHost), b",").map(|mut v| {
            v.push(b',');
            v
        });
        value.get_or_insert_with(Vec::new).extend_from_slice(&old);
        headers.set_id(Id::ForwardedHost, &value.unwrap_or_default());
    }
    headers.set_id(Id::Authority, new);
}

/// `auto_host_rewrite`, once the host is known.
pub fn auto_host(headers: &mut HeaderBlock, forward: &Forward, host: &Host, suppress: bool) {
    if matches!(forward.host_rewrite, Some(HostRewrite::Auto)) {
        let attributes = host.attributes();
        if !attributes.hostname.is_empty() {
            set_host(headers, attributes.hostname.as_bytes(), forward, suppress);
        }
    }
}

fn rewrite_path(headers: &mut HeaderBlock, chosen: &Chosen<'_>, forward: &Forward, suppress: bool) {
    let Some(rewrite) = &forward.path_rewrite else { return };
    let old = headers.get(Id::Path).unwrap_or_default().to_vec();
    let new = match rewrite {
        PathRewrite::Prefix(with) => {
            replace_prefix(&old, matched_length(&chosen.route.matcher.path, &old), with)
        }
        PathRewrite::Regex(regex, with) => {
            let (path, query) = split_path(&old);
            let mut new = regex.replace_all(path, &**with).into_owned();
            new.extend_from_slice(query);
            new
        }
    };
    if new != old {
        if !suppress {
            headers.set_id(Id::EnvoyOriginalPath, &old);
        }
        headers.set_id(Id::Path, &new);
    }
}

/// How much of the path a prefix rewrite replaces.
pub fn matched_length(path: &PathMatch, target: &[u8]) -> usize {
    match path {
        PathMatch::Prefix(prefix) | PathMatch::PathSeparatedPrefix(prefix) => prefix.len(),
        PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Connect => split_path(target).0.len(),
    }
}

/// The path with its first bytes replaced.
pub fn replace_prefix(target: &[u8], matched: usize, with: &[u8]) -> Vec<u8> {
    let mut new = with.to_vec();
    new.extend_from_slice(target.get(matched..).unwrap_or_default());
    new
}
