//! The hash of a request for ring hash and Maglev: the route's hash policies, combined (spec 2.7).

use crate::base::addr::Address;
use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::model::route_action::{HashInput, HashPolicy};
use crate::observe::record::Record;
use smallvec::SmallVec;
use std::borrow::Cow;
use xxhash_rust::xxh64::xxh64;

/// What the policies look at.
pub struct Inputs<'a> {
    /// The request's headers; the query is in `:path`.
    pub headers: &'a HeaderBlock,
    /// The client's address as the request is attributed to it (`x-forwarded-for` counted).
    pub client: &'a Address,
    /// The two ends of the downstream connection: what a generated cookie is made of.
    pub peer: &'a Address,
    /// See `peer`.
    pub local: &'a Address,
}

impl<'a> Inputs<'a> {
    /// Those of a request.
    pub fn of(headers: &'a HeaderBlock, record: &'a Record) -> Self {
        Inputs {
            headers,
            client: record.remote(),
            peer: &record.conn.direct_remote,
            local: &record.conn.local,
        }
    }
}

/// The combined hash; none when no policy found anything. Values of `set-cookie` fields that the response must
/// carry are added to `cookies`.
pub fn combine(policies: &[HashPolicy], inputs: &Inputs<'_>, cookies: &mut Vec<Vec<u8>>) -> Option<u64> {
    let mut combined: Option<u64> = None;
    for policy in policies {
        if let Some(new) = evaluate(&policy.input, inputs, cookies) {
            // Turned before it is mixed, so that two equal policies do not cancel each other.
            combined = Some(combined.unwrap_or(0).rotate_left(1) ^ new);
        }
        if policy.terminal && combined.is_some() {
            break;
        }
    }
    combined
}

fn evaluate(input: &HashInput, inputs: &Inputs<'_>, cookies: &mut Vec<Vec<u8>>) -> Option<u64> {
    match input {
        HashInput::Header(name, rewrite) => {
            let rewritten = |value| match rewrite {
                Some((regex, replacement)) => regex.replace_all(value, &**replacement),
                None => Cow::Borrowed(value),
            };
            let mut values: SmallVec<[Cow<'_, [u8]>; 4]> = inputs.headers.all(name).map(rewritten).collect();
            values.sort_unstable();
            let chain = |seed: Option<u64>, value: &Cow<'_, [u8]>| Some(xxh64(value, seed.unwrap_or(0)));
            values.iter().fold(None, chain)
        }
        HashInput::Cookie { name, ttl, path, attributes } => {
            if let Some(value) = cookie(inputs.headers, name.as_bytes()).filter(|value| !value.is_empty()) {
                return Some(xxh64(value, 0));
            }
            let lifetime = (*ttl)?;
            let value = format!("{:016x}", xxh64(format!("{}{}", inputs.peer, inputs.local).as_bytes(), 0));
            cookies.push(set_cookie(name, &value, lifetime.as_secs(), path, attributes).into_bytes());
            Some(xxh64(value.as_bytes(), 0))
        }
        HashInput::SourceIp => Some(xxh64(inputs.client.ip()?.to_string().as_bytes(), 0)),
        HashInput::Query(name) => query(inputs.headers.get(Id::Path)?, name).map(|value| xxh64(value, 0)),
    }
}

fn set_cookie(
    name: &str,
    value: &str,
    seconds: u64,
    path: &str,
    attributes: &[(Box<str>, Box<str>)],
) -> String {
    let mut out = format!("{name}=\"{value}\"");
    if seconds > 0 {
        out.push_str(&format!("; Max-Age={seconds}"));
    }
    if !path.is_empty() {
        out.push_str("; Path=");
        out.push_str(path);
    }
    for (name, value) in attributes {
        out.push_str("; ");
        out.push_str(name);
        if !value.is_empty() {
            out.push('=');
            out.push_str(value);
        }
    }
    out.push_str("; HttpOnly");
    out
}

/// The first cookie of a name; quotes around its value do not count.
fn cookie<'a>(headers: &'a HeaderBlock, name: &[u8]) -> Option<&'a [u8]> {
    let pairs = headers.all_of(Id::Cookie).flat_map(|line| line.split(|b| *b == b';'));
    let mut values = pairs.filter_map(|pair| {
        let (key, value) = split(pair.trim_ascii_start(), b'=')?;
        (key == name).then_some(value)
    });
    let value = values.next()?;
    Some(value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value))
}

/// The first value of a query parameter, as it stands in the path.
fn query<'a>(path: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (_, query) = split(path, b'?')?;
    let query = split(query, b'#').map_or(query, |(before, _)| before);
    let mut values = query.split(|b| *b == b'&').filter_map(|pair| {
        let (key, value) = split(pair, b'=').unwrap_or((pair, b""));
        (key == name).then_some(value)
    });
    values.next()
}

fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = bytes.iter().position(|b| *b == at)?;
    Some((bytes.get(..index)?, bytes.get(index.saturating_add(1)..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::names::HeaderName;
    use std::time::Duration;

    fn headers(fields: &[(&str, &str)]) -> HeaderBlock {
        let mut block = HeaderBlock::new();
        for (name, value) in fields {
            assert!(block.append_received(name.as_bytes(), value.as_bytes()));
        }
        block
    }

    fn by(input: HashInput) -> HashPolicy {
        HashPolicy { input, terminal: false }
    }

    fn header(name: &str) -> HashInput {
        HashInput::Header(HeaderName::parse(name).unwrap(), None)
    }

    fn cookie_input(ttl: Option<u64>, path: &str) -> HashInput {
        let (name, path) = ("sess".into(), path.into());
        HashInput::Cookie { name, ttl: ttl.map(Duration::from_secs), path, attributes: [].into() }
    }

    fn run(policies: &[HashPolicy], fields: &[(&str, &str)]) -> (Option<u64>, Vec<String>) {
        let peer = Address::Ip("127.0.0.1:4000".parse().unwrap());
        let local = Address::Ip("127.0.0.1:80".parse().unwrap());
        let block = headers(fields);
        let inputs = Inputs { headers: &block, client: &peer, peer: &peer, local: &local };
        let mut cookies = Vec::new();
        let hash = combine(policies, &inputs, &mut cookies);
        (hash, cookies.into_iter().map(|c| String::from_utf8(c).unwrap()).collect())
    }

    fn xx(text: &str) -> u64 {
        xxh64(text.as_bytes(), 0)
    }

    #[test]
    fn headers_in_any_order_hash_alike() {
        let one = [by(header("x-k"))];
        assert_eq!(run(&one, &[("x-k", "a")]).0, Some(xx("a")));
        assert_eq!(run(&one, &[("x-k", "b"), ("x-k", "a")]), run(&one, &[("x-k", "a"), ("x-k", "b")]));
        assert_eq!(run(&one, &[("x-k", "a"), ("x-k", "b")]).0, Some(xxh64(b"b", xx("a"))));
        assert_eq!(run(&one, &[]).0, None);
        let name = HeaderName::parse("x-k").unwrap();
        let rewrite = (regex::bytes::Regex::new("^(.).*$").unwrap(), Box::from(&b"${1}!"[..]));
        assert_eq!(run(&[by(HashInput::Header(name, Some(rewrite)))], &[("x-k", "abc")]).0, Some(xx("a!")));
    }

    #[test]
    fn policies_are_turned_and_mixed_until_a_terminal_one() {
        let mut two = [by(header("x-a")), by(header("x-b"))];
        let fields = [("x-a", "1"), ("x-b", "1")];
        assert_eq!(run(&two, &fields).0, Some(xx("1").rotate_left(1) ^ xx("1")));
        two[0].terminal = true;
        assert_eq!(run(&two, &fields).0, Some(xx("1")));
        assert_eq!(run(&two, &fields[1..]).0, Some(xx("1")));
    }

    #[test]
    fn cookies_are_read_or_made() {
        let fields = [("cookie", "a=1; sess=\"v\"; sess=w"), ("cookie", "sess=x")];
        assert_eq!(run(&[by(cookie_input(None, ""))], &fields), (Some(xx("v")), vec![]));
        assert_eq!(run(&[by(cookie_input(None, ""))], &[("cookie", "other=1; junk")]).0, None);
        let value = format!("{:016x}", xx("127.0.0.1:4000127.0.0.1:80"));
        let (hash, made) = run(&[by(cookie_input(Some(60), "/p"))], &[]);
        assert_eq!(
            (hash, made),
            (Some(xx(&value)), vec![format!("sess=\"{value}\"; Max-Age=60; Path=/p; HttpOnly")])
        );
        let (_, made) = run(&[by(cookie_input(Some(0), ""))], &[]);
        assert_eq!(made, [format!("sess=\"{value}\"; HttpOnly")]);
        let attributes = Box::new([("SameSite".into(), "Lax".into()), ("Secure".into(), "".into())]);
        assert_eq!(
            set_cookie("c", "v", 0, "/", &*attributes),
            "c=\"v\"; Path=/; SameSite=Lax; Secure; HttpOnly"
        );
    }

    #[test]
    fn client_address_and_query() {
        assert_eq!(run(&[by(HashInput::SourceIp)], &[]).0, Some(xx("127.0.0.1")));
        let q = |path: &str| run(&[by(HashInput::Query(Box::from(&b"k"[..])))], &[(":path", path)]).0;
        assert_eq!(q("/a?x=1&k=v&k=w"), Some(xx("v")));
        assert_eq!(
            (q("/a?k"), q("/a?kk=1"), q("/a"), q("/a?k=1#k=2")),
            (Some(xx("")), None, None, Some(xx("1")))
        );
    }
}
