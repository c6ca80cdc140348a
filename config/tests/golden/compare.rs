//! Where two JSON values differ.

use serde_json::Value;

/// One difference.
pub struct Difference {
    /// Path of the field, such as `circuit_breakers.thresholds[0].max_retries`.
    pub path: String,
    pub theirs: String,
    pub ours: String,
}

/// All differences of two resources, one per innermost field. A resource that only one side has is one.
pub fn compare(theirs: Option<&Value>, ours: Option<&Value>) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(String::new(), theirs, ours, &mut found);
    found
}

fn walk(path: String, theirs: Option<&Value>, ours: Option<&Value>, found: &mut Vec<Difference>) {
    match (theirs, ours) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(below, a.get(key), b.get(key), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for index in 0..a.len().max(b.len()) {
                walk(format!("{path}[{index}]"), a.get(index), b.get(index), found);
            }
        }
        (theirs, ours) if theirs == ours => {}
        (theirs, ours) => {
            let show = |value: Option<&Value>| value.map_or_else(|| "(absent)".to_owned(), cut);
            found.push(Difference { path, theirs: show(theirs), ours: show(ours) });
        }
    }
}

fn cut(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
