//! What is left of an observation once clocks, random numbers and ephemeral ports are taken out.
//!
//! An observation is a JSON tree: `client` (one entry per request), `upstream` (by backend: `requests`,
//! `connections`), `log` (one entry per line), `stats`. Paths into it name facts and differences.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::content;
use super::wire::{Message, printable};

/// Longer texts are observed as their length and a checksum.
const TEXT_LIMIT: usize = 1024;

/// Text of a body.
pub fn text(bytes: &[u8]) -> String {
    if bytes.len() <= TEXT_LIMIT {
        return printable(bytes);
    }
    let sum = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    format!("{} bytes, checksum {sum:016x}", bytes.len())
}

/// Text of a body, by its content where it is compressed.
pub fn body(headers: &[(String, String)], bytes: &[u8]) -> String {
    content::decoded(headers, bytes).map_or_else(|| text(bytes), |content| text(&content))
}

/// A reply as the client read it.
pub fn reply(message: &Message, interim: &[Message]) -> Value {
    let mut words = message.start.splitn(3, ' ');
    let version = words.next().unwrap_or_default();
    let mut seen = json!({
        "version": version,
        "status": message.status(),
        "reason": words.nth(1).unwrap_or_default(),
        "headers": headers(&message.headers),
        "order": order(&message.headers),
        "spelling": spelling(&message.headers),
        "body": body(&message.headers, &message.body),
        "trailers": headers(&message.trailers),
        "interim": interim.iter().map(|m| json!({ "status": m.status(), "headers": headers(&m.headers) })).collect::<Vec<_>>(),
    });
    if let (Some(end), Some(map)) = (message.cut, seen.as_object_mut()) {
        map.insert("cut".to_owned(), json!(end.word()));
    }
    seen
}

/// A backend's record of a request, normalised.
pub fn arrival(record: &Value) -> Value {
    let mut record = record.clone();
    let list = |value: Option<&Value>| -> Vec<(String, String)> {
        value.and_then(|v| serde_json::from_value(v.clone()).ok()).unwrap_or_default()
    };
    let (lines, trailers) = (list(record.get("headers")), list(record.get("trailers")));
    let Some(map) = record.as_object_mut() else { return record };
    if map.contains_key("headers") {
        map.insert("headers".to_owned(), headers(&lines));
        map.insert("trailers".to_owned(), headers(&trailers));
        map.insert("order".to_owned(), json!(order(&lines)));
        map.insert("spelling".to_owned(), json!(spelling(&lines)));
    }
    if let Some(Value::String(body)) = map.get("body") {
        let body = text(body.as_bytes());
        map.insert("body".to_owned(), json!(body));
    }
    record
}

fn order(lines: &[(String, String)]) -> Vec<String> {
    lines.iter().map(|(name, _)| name.to_ascii_lowercase()).collect()
}

fn spelling(lines: &[(String, String)]) -> Vec<String> {
    let mut names: Vec<String> = lines.iter().map(|(name, _)| name.clone()).collect();
    names.sort();
    names
}

/// Header lines by lower-case name; values in their order.
pub fn headers(lines: &[(String, String)]) -> Value {
    let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in lines {
        let name = name.to_ascii_lowercase();
        let value = steady(&name, value);
        map.entry(name).or_default().push(value);
    }
    json!(map)
}

/// The value without what differs from run to run.
fn steady(name: &str, value: &str) -> String {
    match name {
        "date" if value.ends_with(" GMT") => "<date>".to_owned(),
        "x-request-id" => request_id(value),
        "x-envoy-upstream-service-time" if value.parse::<u64>().is_ok() => "<ms>".to_owned(),
        "x-envoy-expected-rq-timeout-ms" => rounded(value),
        "set-cookie" => without_hash(value),
        _ => value.to_owned(),
    }
}

/// Random identifiers become their version digit; those that cases send begin with 11111111.
fn request_id(value: &str) -> String {
    let uuid = value.len() == 36 && value.bytes().filter(|b| *b == b'-').count() == 4;
    if uuid && !value.starts_with("11111111") {
        return format!("<uuid {}>", value.get(14..15).unwrap_or_default());
    }
    value.to_owned()
}

/// What is left of a timeout at the moment of a retry, rounded up to half a second.
fn rounded(value: &str) -> String {
    value.parse::<u64>().map_or_else(|_| value.to_owned(), |ms| (ms.div_ceil(500) * 500).to_string())
}

/// A generated cookie's value hashes the client's ephemeral port.
fn without_hash(value: &str) -> String {
    let Some((before, rest)) = value.split_once("=\"") else { return value.to_owned() };
    match rest.split_once('"') {
        Some((hash, after)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            format!("{before}=\"<hash>\"{after}")
        }
        _ => value.to_owned(),
    }
}

/// One line of an access log: the default fields by name, or the line itself.
pub fn log_line(line: &str) -> Value {
    if let Ok(Value::Object(map)) = serde_json::from_str(line) {
        return Value::Object(map);
    }
    let fields: Option<BTreeMap<&str, &str>> = line.split('\t').map(|f| f.split_once('=')).collect();
    match fields {
        Some(fields) if line.contains('\t') => json!(fields),
        _ => json!(line),
    }
}

/// Replaces the client's own ephemeral port.
pub fn without_port(mut seen: Value, port: u16) -> Value {
    replace_text(&mut seen, &format!("127.0.0.1:{port}"), "127.0.0.1:<client>");
    seen
}

/// Replaces a text in every string of a tree.
pub fn replace_text(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::String(text) if text.contains(from) => *text = text.replace(from, to),
        Value::Array(items) => items.iter_mut().for_each(|v| replace_text(v, from, to)),
        Value::Object(map) => map.values_mut().for_each(|v| replace_text(v, from, to)),
        _ => {}
    }
}
