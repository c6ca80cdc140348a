//! Scalars, lists and maps.

use std::collections::BTreeMap;
use std::time::Duration;

use super::duration::parse_duration;
use super::{Field, Reader, nearest};
use crate::yaml::{Kind, Node, Spanned, Style};

/// Reports that something else was expected here.
fn expected(what: &str, node: &Node, remedy: impl Into<String>, reader: &mut Reader<'_>) {
    let message = format!("{} must be {what}, this is {}", reader.path(), node.what());
    reader.error("wrong-type", node.span, message, remedy);
}

/// Reads one of a set of words.
pub fn choice<T: Copy>(node: &Node, words: &[(&'static str, T)], reader: &mut Reader<'_>) -> Option<T> {
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let allowed = format!("allowed are: {}", names.join(", "));
    let Some(text) = node.text() else {
        expected("one word", node, allowed, reader);
        return None;
    };
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    if found.is_none() {
        let remedy = match nearest(text, &names) {
            Some(name) => format!("did you mean `{name}`? {allowed}"),
            None => allowed,
        };
        let message = format!("{} cannot be `{text}`", reader.path());
        reader.error("unknown-value", node.span, message, remedy);
    }
    found
}

impl Field for String {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match (&node.kind, node.what()) {
            (Kind::Scalar(text, _), "a string") => Some(text.to_string()),
            (Kind::Scalar(text, _), "nothing" | "a boolean" | "an integer" | "a number") => {
                expected("a string", node, format!("put it in quotes: \"{text}\""), reader);
                None
            }
            _ => {
                expected("a string", node, "write one value here", reader);
                None
            }
        }
    }
}

impl Field for bool {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Kind::Scalar(text, Style::Plain) = &node.kind {
            // YAML 1.1's other spellings, which Kubernetes takes too.
            match &**text {
                "true" | "True" | "TRUE" | "yes" | "on" => return Some(true),
                "false" | "False" | "FALSE" | "no" | "off" => return Some(false),
                _ => {}
            }
        }
        expected("a boolean", node, "write true or false, without quotes", reader);
        None
    }

    fn absent() -> Option<Self> {
        Some(false)
    }
}

/// Reads an integer of a range.
fn integer<T: TryFrom<i64>>(node: &Node, what: &str, reader: &mut Reader<'_>) -> Option<T> {
    let Kind::Scalar(text, style) = &node.kind else {
        expected(what, node, "write a number", reader);
        return None;
    };
    let number = text.parse::<i64>();
    match number {
        Ok(_) if *style == Style::Text => {
            expected(what, node, format!("remove the quotes: {text}"), reader);
            None
        }
        Ok(number) => T::try_from(number).ok().or_else(|| {
            let message = format!("{} must be {what}, this is {number}", reader.path());
            reader.error("out-of-range", node.span, message, "write a number in that range");
            None
        }),
        Err(_) => {
            expected(what, node, "write a whole number without quotes", reader);
            None
        }
    }
}

impl Field for u32 {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        integer(node, "an integer between 0 and 4294967295", reader)
    }
}

impl Field for i32 {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        integer(node, "an integer between -2147483648 and 2147483647", reader)
    }
}

impl Field for i64 {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        integer(node, "an integer", reader)
    }
}

impl Field for f64 {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Kind::Scalar(text, Style::Plain) = &node.kind
            && let Some(number) = text.parse::<f64>().ok().filter(|number| number.is_finite())
        {
            return Some(number);
        }
        expected("a number", node, "write a number without quotes", reader);
        None
    }
}

impl Field for Duration {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let form = "write a number with a unit, such as 500ms, 5s, 1m or 1h";
        let Some(text) = node.text().filter(|_| !node.is_null()) else {
            expected("a duration", node, form, reader);
            return None;
        };
        let duration = parse_duration(text);
        if duration.is_none() {
            let message = format!("{}: `{text}` is not a duration", reader.path());
            reader.error("bad-duration", node.span, message, form);
        }
        duration
    }
}

/// Any value, kept as the tree it is.
impl Field for Node {
    fn read(node: &Node, _: &mut Reader<'_>) -> Option<Self> {
        Some(node.clone())
    }
}

impl<T: Field> Field for Option<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(node, reader).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Field> Field for Box<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(node, reader).map(Box::new)
    }
}

impl<T: Field> Field for Spanned<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(node, reader).map(|value| Spanned::new(value, node.span))
    }
}

impl<T: Field> Field for Vec<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Kind::List(items) = &node.kind else {
            expected("a list", node, "begin each entry with `- `", reader);
            return None;
        };
        let read = |(index, item)| reader.element(index, |reader| T::read(item, reader));
        Some(items.iter().enumerate().filter_map(read).collect())
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }
}

impl<T: Field> Field for BTreeMap<String, T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            expected("a mapping", node, "write `name: value`, one a line", reader);
            return None;
        };
        let mut map = BTreeMap::new();
        for entry in entries {
            if let Some(value) = reader.within(&entry.key, |reader| T::read(&entry.value, reader)) {
                map.insert(entry.key.to_string(), value);
            }
        }
        Some(map)
    }

    fn absent() -> Option<Self> {
        Some(BTreeMap::new())
    }
}
