//! What a route answers itself: redirects and direct responses (spec 2.4).

use super::exchange::{Chosen, Exchange};
use super::forward::{matched_length, replace_prefix};
use super::prepare::{split_path, split_port};
use super::reply::Reply;
use crate::base::names::Id;
use crate::model::route_action::{Direct, DirectBody, Redirect, RedirectPath};
use crate::observe::format::Input;
use std::borrow::Cow;

/// `require_tls`: the same address by https.
pub fn to_https(x: &Exchange<'_>) -> Reply {
    let host = x.request.headers.get(Id::Authority).unwrap_or_default();
    let path = x.request.headers.get(Id::Path).unwrap_or_default();
    let location = [b"https://", host, path].concat();
    found(301, &location)
}

fn found(status: u16, location: &[u8]) -> Reply {
    let mut reply = Reply { from_route: true, ..Reply::new(status, "direct_response") };
    reply.headers.append_id(Id::Location, location);
    reply
}

/// A redirect: scheme, host, port and path are replaced where the route says so.
pub fn redirect(x: &mut Exchange<'_>, chosen: &Chosen<'_>, redirect: &Redirect) -> Reply {
    rewrite(x, chosen, redirect);
    let headers = &x.request.headers;
    let old_scheme = headers.get(Id::ForwardedProto).unwrap_or(b"http");
    let scheme = redirect.scheme.as_deref().map_or(old_scheme, str::as_bytes);
    let authority = headers.get(Id::Authority).unwrap_or_default();
    let (name, port) = split_port(authority);
    let mut host = match &redirect.host {
        Some(host) => host.as_bytes().to_vec(),
        None => {
            let standard = (old_scheme == b"http" && port == Some(b"80"))
                || (old_scheme == b"https" && port == Some(b"443"));
            let drop = redirect.port.is_some() || (scheme != old_scheme && standard);
            if drop { name.to_vec() } else { authority.to_vec() }
        }
    };
    if let Some(port) = redirect.port {
        let (bare, _) = split_port(&host);
        host = bare.to_vec();
        host.extend_from_slice(format!(":{port}").as_bytes());
    }
    let location = [scheme, b"://", &host, &path(x, redirect)].concat();
    found(redirect.status, &location)
}

/// A rewritten path takes the place of the request's own, as where it is forwarded: the log shows both.
fn rewrite(x: &mut Exchange<'_>, chosen: &Chosen<'_>, redirect: &Redirect) {
    let headers = &mut x.request.headers;
    let old = headers.get(Id::Path).unwrap_or_default().to_vec();
    let (plain, query) = split_path(&old);
    let mut new = match &redirect.path {
        Some(RedirectPath::Prefix(with)) => {
            replace_prefix(plain, matched_length(&chosen.route.matcher.path, &old).min(plain.len()), with)
        }
        Some(RedirectPath::Regex(regex, with)) => regex.replace_all(plain, &**with).into_owned(),
        Some(RedirectPath::Full(_)) | None => return,
    };
    new.extend_from_slice(query);
    if !x.manager.suppress_envoy_headers {
        headers.set_id(Id::EnvoyOriginalPath, &old);
    }
    headers.set_id(Id::Path, &new);
}

fn path(x: &Exchange<'_>, redirect: &Redirect) -> Vec<u8> {
    let (plain, query) = split_path(x.request.headers.get(Id::Path).unwrap_or_default());
    let (new, own_query) = match &redirect.path {
        Some(RedirectPath::Full(path)) => (&**path, path.contains(&b'?')),
        Some(RedirectPath::Prefix(_) | RedirectPath::Regex(..)) | None => (plain, false),
    };
    let query = if own_query || redirect.strip_query { &[] } else { query };
    [new, query].concat()
}

/// A direct response.
pub fn direct(x: &Exchange<'_>, direct: &Direct) -> Reply {
    let mut reply = Reply { from_route: true, ..Reply::new(direct.status, "direct_response") };
    reply.body = match &direct.body {
        DirectBody::Fixed(bytes) => Cow::Owned(bytes.to_vec()),
        DirectBody::Format(format) => {
            let mut out = Vec::new();
            format.render(&Input::running(&x.record, &x.request.headers, None), &mut out);
            Cow::Owned(out)
        }
    };
    if direct.status == 201 || (300..400).contains(&direct.status) {
        let headers = &x.request.headers;
        let host = headers.get(Id::Authority).unwrap_or_default();
        let scheme = headers.get(Id::ForwardedProto).unwrap_or(b"http");
        let location = [scheme, b"://", host, headers.get(Id::Path).unwrap_or_default()].concat();
        reply.headers.append_id(Id::Location, &location);
    }
    reply
}
