//! What is done to a request before it is routed (spec 1.1 to 1.7): target, host, path, who the client is, which
//! headers it may send. One canonical path for everything that follows.

mod client;
mod host;
mod path;
mod request_id;
mod target;

pub use client::{append_own_address, append_via};
pub use host::split_port;
pub use path::split as split_path;

use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::codec::h1::framing::{has_token, is_upgrade};
use crate::codec::message::RequestHead;
use crate::failure::Failure;
use crate::model::http::{ConnectionManager, Underscores};
use crate::model::route::RouteConfig;
use crate::observe::record::{Protocol, Record};

/// What becomes of a request that is not routed.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A local reply.
    Failure(Failure),
    /// 307 to the normalised path.
    RedirectPath(Vec<u8>),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Refusal::Failure(failure)
    }
}

/// Most fields that `Connection` may name (Envoy).
const MAX_NOMINATED: usize = 10;

/// Prepares a request in place.
pub fn request(
    head: &mut RequestHead,
    manager: &ConnectionManager,
    routes: Option<&RouteConfig>,
    record: &mut Record,
) -> Result<(), Refusal> {
    if head.protocol != Protocol::Http2 {
        target::absolute_form(&mut head.headers)?;
    }
    method(head)?;
    underscores(head, manager)?;
    without_h2c(&mut head.headers);
    nominated(&mut head.headers)?;
    if head.headers.get(Id::Authority).is_none_or(|host| host.is_empty() && head.protocol == Protocol::Http2)
    {
        default_host(head, manager)?;
    }
    target::check(head)?;
    let redirect = path::normalise(&mut head.headers, manager)?;
    if let Some(path) = redirect {
        return Err(Refusal::RedirectPath(path));
    }
    host::normalise(&mut head.headers, manager, record);
    hop_by_hop(&mut head.headers);
    client::identify(&mut head.headers, manager, routes, record);
    request_id::set(&mut head.headers, manager, record);
    Ok(())
}

/// Methods that are served: those of Envoy's parser.
const METHODS: &[&[u8]] = &[
    b"GET",
    b"POST",
    b"PUT",
    b"HEAD",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
    b"TRACE",
    b"ACL",
    b"BIND",
    b"CHECKOUT",
    b"COPY",
    b"LINK",
    b"LOCK",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKCOL",
    b"MOVE",
    b"M-SEARCH",
    b"NOTIFY",
    b"PROPFIND",
    b"PROPPATCH",
    b"PURGE",
    b"QUERY",
    b"REBIND",
    b"REPORT",
    b"SEARCH",
    b"SOURCE",
    b"SUBSCRIBE",
    b"UNBIND",
    b"UNLINK",
    b"UNLOCK",
    b"UNSUBSCRIBE",
];

/// HTTP/1 methods come from a list; QUERY says what its body is (RFC of the QUERY method; Envoy 1.40).
fn method(head: &RequestHead) -> Result<(), Failure> {
    let method = head.headers.get(Id::Method).unwrap_or_default();
    if head.protocol != Protocol::Http2 && !METHODS.contains(&method) {
        return Err(Failure::CodecError);
    }
    if method == b"QUERY" && !head.headers.has(Id::ContentType) {
        return Err(Failure::QueryWithoutType);
    }
    Ok(())
}

/// An upgrade to h2c is not taken: the request goes on as it is.
fn without_h2c(headers: &mut HeaderBlock) {
    if headers.get(Id::Upgrade).is_some_and(|kind| kind.eq_ignore_ascii_case(b"h2c")) {
        for id in [Id::Upgrade, Id::Http2Settings, Id::Connection] {
            headers.remove_id(id);
        }
    }
}

fn default_host(head: &mut RequestHead, manager: &ConnectionManager) -> Result<(), Failure> {
    match &manager.http1.default_host {
        Some(host) if head.protocol == Protocol::Http10 => {
            head.headers.append_id(Id::Authority, host.as_bytes());
            Ok(())
        }
        _ => Err(Failure::MissingHost),
    }
}

fn underscores(head: &mut RequestHead, manager: &ConnectionManager) -> Result<(), Failure> {
    let has = |name: &[u8]| memchr::memchr(b'_', name).is_some();
    match manager.underscores {
        Underscores::Allow => {}
        Underscores::Reject if head.headers.iter().any(|(_, name, _)| has(name)) => {
            return Err(Failure::Underscore);
        }
        Underscores::Reject => {}
        Underscores::Drop => head.headers.retain(|_, name, _| !has(name)),
    }
    Ok(())
}

/// Removes the fields that `Connection` names (RFC 9110 section 7.6.1).
fn nominated(headers: &mut HeaderBlock) -> Result<(), Failure> {
    let Some(value) = headers.get(Id::Connection) else { return Ok(()) };
    let plain = [&b"close"[..], b"keep-alive", b"upgrade"];
    if plain.iter().any(|token| token.eq_ignore_ascii_case(value)) {
        return Ok(());
    }
    let all: Vec<u8> = headers.all_of(Id::Connection).collect::<Vec<_>>().join(&b","[..]);
    let tokens: Vec<&[u8]> =
        all.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|t| !t.is_empty()).collect();
    if tokens.len() >= MAX_NOMINATED {
        return Err(Failure::ConnectionHeader);
    }
    for token in tokens {
        let kept = [&b"close"[..], b"keep-alive", b"upgrade", b"te"];
        if kept.iter().any(|k| k.eq_ignore_ascii_case(token)) {
            continue;
        }
        let id = Id::of(token);
        if token.first() == Some(&b':')
            || matches!(id, Id::Authority | Id::ForwardedFor | Id::ForwardedHost | Id::ForwardedProto)
        {
            return Err(Failure::ConnectionHeader);
        }
        headers.retain(|_, name, _| !name.eq_ignore_ascii_case(token));
    }
    Ok(())
}

/// Drops what belongs to the client's connection alone (spec 1.2).
fn hop_by_hop(headers: &mut HeaderBlock) {
    let upgrade = is_upgrade(headers);
    if headers.has(Id::Te) {
        let only_trailers = headers.all_of(Id::Te).eq([&b"trailers"[..]]);
        match has_token(headers, Id::Te, b"trailers") {
            true if only_trailers => {}
            true => headers.set_id(Id::Te, b"trailers"),
            false => _ = headers.remove_id(Id::Te),
        }
    }
    if !upgrade {
        headers.remove_ids(&[Id::Connection, Id::Upgrade]);
    }
    headers.remove_ids(&[
        Id::EnvoyInternal,
        Id::KeepAlive,
        Id::ProxyConnection,
        Id::TransferEncoding,
        Id::Http2Settings,
    ]);
    headers.join_lines(Id::Referer);
    if headers.get(Id::Referer).is_some_and(|value| !referer_is_valid(value)) {
        headers.remove_id(Id::Referer);
    }
}

/// A URI reference without fragment and user information (RFC 9110 section 10.1.3).
fn referer_is_valid(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    if text.contains('#') || text.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return false;
    }
    match text.split_once("://") {
        Some((_, rest)) => !rest.split(['/', '?']).next().unwrap_or_default().contains('@'),
        None => !text.split(['/', '?']).next().unwrap_or_default().contains(':'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(fields: &[(&str, &str)]) -> HeaderBlock {
        let mut block = HeaderBlock::new();
        for (name, value) in fields {
            assert!(block.append_received(name.as_bytes(), value.as_bytes()));
        }
        block
    }

    #[test]
    fn connection_fields_go() {
        let mut h = block(&[
            ("connection", "close, x-a"),
            ("x-a", "1"),
            ("x-b", "2"),
            ("keep-alive", "1"),
            ("te", "gzip"),
        ]);
        nominated(&mut h).unwrap();
        hop_by_hop(&mut h);
        assert_eq!(h.iter().map(|(_, n, _)| n).collect::<Vec<_>>(), [b"x-b"]);
        let many = block(&[("connection", "a,b,c,d,e,f,g,h,i,j")]);
        assert_eq!(nominated(&mut many.clone()), Err(Failure::ConnectionHeader));
    }

    #[test]
    fn referers() {
        for (value, ok) in [
            ("notaurl", true),
            ("http://a/b", true),
            ("http://a/#b", false),
            ("http://u@a/", false),
            ("a:b", false),
        ] {
            assert_eq!(referer_is_valid(value.as_bytes()), ok, "{value}");
        }
    }
}
