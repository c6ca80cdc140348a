//! The hash of a request for ring hash and Maglev (spec 2.7).

use crate::base::names::Id;
use crate::http::exchange::{Chosen, Exchange};
use crate::http::prepare::split_path;
use crate::model::matcher::query_params;
use crate::model::route_action::{HashInput, HashPolicy};
use xxhash_rust::xxh64::xxh64;

/// Combines the policies in order: rotate left by one, exclusive or; stops at the first terminal one that gives a
/// value.
pub fn of(x: &mut Exchange<'_>, _chosen: &Chosen<'_>, policies: &[HashPolicy]) -> Option<u64> {
    let mut hash = None;
    for policy in policies {
        if let Some(new) = one(x, &policy.input) {
            hash = Some(hash.unwrap_or(0u64).rotate_left(1) ^ new);
            if policy.terminal {
                break;
            }
        }
    }
    hash
}

fn one(x: &mut Exchange<'_>, input: &HashInput) -> Option<u64> {
    let headers = &x.request.headers;
    match input {
        HashInput::Header(name, rewrite) => {
            let mut values: Vec<Vec<u8>> = headers.all(name).map(<[u8]>::to_vec).collect();
            if values.is_empty() {
                return None;
            }
            if let Some((regex, with)) = rewrite {
                values = values.iter().map(|v| regex.replace_all(v, &**with).into_owned()).collect();
            }
            values.sort();
            Some(values.iter().fold(0, |seed, value| xxh64(value, seed)))
        }
        HashInput::SourceIp => x.record.remote().ip().map(|ip| xxh64(ip.to_string().as_bytes(), 0)),
        HashInput::Query(key) => {
            let (_, query) = split_path(headers.get(Id::Path)?);
            let query = query.strip_prefix(b"?")?;
            query_params(query).find(|(k, _)| *k == &**key).map(|(_, value)| xxh64(value, 0))
        }
        HashInput::Cookie { name, ttl, path, attributes } => {
            let value = cookie(x, name);
            if let Some(value) = value {
                return Some(xxh64(value.as_bytes(), 0));
            }
            let ttl = (*ttl)?;
            let conn = &x.record.conn;
            let made = format!("{:x}", xxh64(format!("{}{}", conn.direct_remote, conn.local).as_bytes(), 0));
            let mut set = format!("{name}=\"{made}\"");
            if !ttl.is_zero() {
                set.push_str(&format!("; Max-Age={}", ttl.as_secs()));
            }
            if !path.is_empty() {
                set.push_str(&format!("; Path={path}"));
            }
            for (key, value) in attributes {
                set.push_str(&if value.is_empty() { format!("; {key}") } else { format!("; {key}={value}") });
            }
            set.push_str("; HttpOnly");
            x.set_cookies.push(set);
            Some(xxh64(made.as_bytes(), 0))
        }
    }
}

/// The value of a cookie, without quotes.
fn cookie(x: &Exchange<'_>, name: &str) -> Option<String> {
    let lines = x.request.headers.all_of(Id::Cookie).filter_map(|line| std::str::from_utf8(line).ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let value = pairs.find(|(key, _)| *key == name)?.1;
    let bare = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
    (!bare.is_empty()).then(|| bare.to_owned())
}
