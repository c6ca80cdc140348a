//! Two observations against each other, and one against the facts that a case states.

use std::collections::BTreeMap;

use serde_json::Value;

/// One place where two observations differ.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Path into the observation.
    pub at: String,
    /// What Envoy showed.
    pub envoy: String,
    /// What weir showed.
    pub weir: String,
}

/// Every difference outside the ignored paths.
pub fn differences(envoy: &Value, weir: &Value, ignore: &[String]) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(envoy, weir, &mut String::new(), &mut found);
    found.retain(|d: &Difference| !ignore.iter().any(|pattern| matches(pattern, &d.at)));
    found
}

fn walk(a: &Value, b: &Value, at: &mut String, found: &mut Vec<Difference>) {
    match (a, b) {
        _ if a == b => {}
        (Value::Object(x), Value::Object(y)) => {
            let names: std::collections::BTreeSet<&String> = x.keys().chain(y.keys()).collect();
            for name in names {
                let (x, y) = (x.get(name).unwrap_or(&Value::Null), y.get(name).unwrap_or(&Value::Null));
                step(at, name, |at| walk(x, y, at, found));
            }
        }
        (Value::Array(x), Value::Array(y)) if !is_list_of_values(at) => {
            for index in 0..x.len().max(y.len()) {
                let (x, y) = (x.get(index).unwrap_or(&Value::Null), y.get(index).unwrap_or(&Value::Null));
                step(at, &index.to_string(), |at| walk(x, y, at, found));
            }
        }
        _ => found.push(Difference { at: at.clone(), envoy: short(a), weir: short(b) }),
    }
}

/// Values of one header, and names in order, are one place each.
fn is_list_of_values(at: &str) -> bool {
    let mut steps = at.rsplit('/');
    let (last, before) = (steps.next(), steps.next());
    matches!(last, Some("order" | "spelling")) || matches!(before, Some("headers" | "trailers"))
}

fn step(at: &mut String, name: &str, then: impl FnOnce(&mut String)) {
    let before = at.len();
    if before > 0 {
        at.push('/');
    }
    at.push_str(name);
    then(at);
    at.truncate(before);
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 300 { text } else { text.chars().take(300).chain("...".chars()).collect() }
}

/// Whether a path matches a pattern: `*` stands for one step, a final `**` for all that follow.
pub fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) | (Some("**"), Some(_)) => return true,
            (Some("*"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// Facts that do not hold.
pub fn broken_facts(facts: &BTreeMap<String, Value>, seen: &Value, below: &str) -> Vec<String> {
    facts.iter().filter_map(|(path, wanted)| broken_fact(path, wanted, seen, below)).collect()
}

fn broken_fact(path: &str, wanted: &Value, seen: &Value, below: &str) -> Option<String> {
    let (path, counts) = path.strip_prefix('#').map_or((path, false), |p| (p, true));
    let found = lookup(seen, path);
    let found = if counts {
        let length = match found {
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(map)) => map.len(),
            _ => 0,
        };
        Some(Value::from(length))
    } else {
        found.cloned()
    };
    let holds = holds(wanted, found.as_ref());
    (!holds).then(|| {
        let said = found.as_ref().map_or_else(|| "absent".to_owned(), short);
        format!("{below}{path}: the case states {}, seen {said}", short(wanted))
    })
}

/// `null` absent; `~text` contains; `[low, high]` of numbers a range; a text also matches a list of one.
fn holds(wanted: &Value, found: Option<&Value>) -> bool {
    match (wanted, found) {
        (Value::Null, found) => found.is_none_or(Value::is_null),
        (_, None) => false,
        (Value::String(text), Some(found)) => {
            let flat = match found {
                Value::String(found) => found.clone(),
                Value::Array(items) if items.len() == 1 => match items.first() {
                    Some(Value::String(found)) => found.clone(),
                    _ => found.to_string(),
                },
                other => other.to_string(),
            };
            match text.strip_prefix('~') {
                Some(part) => flat.contains(part),
                None => flat == *text,
            }
        }
        (Value::Array(range), Some(Value::Number(n))) => match range.as_slice() {
            [Value::Number(low), Value::Number(high)] => {
                low.as_f64() <= n.as_f64() && n.as_f64() <= high.as_f64()
            }
            _ => false,
        },
        (Value::Number(n), Some(Value::String(text))) => n.to_string() == *text,
        (Value::Number(n), Some(Value::Array(items))) => {
            matches!(items.as_slice(), [Value::String(text)] if *text == n.to_string())
        }
        (wanted, Some(found)) => wanted == found,
    }
}

fn lookup<'a>(seen: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('/').try_fold(seen, |value, name| match value {
        Value::Object(map) => map.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}
