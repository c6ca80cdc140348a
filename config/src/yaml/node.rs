//! The tree.

use super::Span;

/// One node of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Where it stands. For a node that came through an alias: where it was first written.
    pub span: Span,
}

/// The three kinds of node.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A scalar as text, with the style that decides whether it may be anything but a string.
    Scalar(Box<str>, Style),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order written; keys are unique.
    Map(Vec<Entry>),
}

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes: null, boolean and numbers are possible.
    Plain,
    /// In quotes, as a block, or tagged `!!str`: always a string.
    Text,
}

/// One key of a mapping with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Box<str>,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The value of a key, if this is a mapping that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| &*entry.key == key).map(|entry| &entry.value)
    }

    /// The entries of a mapping; nothing for other nodes.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The text of a scalar.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    /// Whether this is YAML's null: nothing, `~` or `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(text, Style::Plain) if matches!(&**text, "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What this node is, in the words of a message.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match &self.kind {
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
            Kind::Scalar(_, Style::Text) => "a string",
            Kind::Scalar(..) if self.is_null() => "nothing",
            Kind::Scalar(text, _) if matches!(&**text, "true" | "false") => "a boolean",
            Kind::Scalar(text, _) if text.parse::<i64>().is_ok() => "an integer",
            Kind::Scalar(text, _) if looks_like_float(text) => "a number",
            Kind::Scalar(..) => "a string",
        }
    }
}

/// Whether YAML's core schema takes this plain scalar for a floating-point number (section 10.3.2).
fn looks_like_float(text: &str) -> bool {
    let digit = text.bytes().any(|byte| byte.is_ascii_digit());
    digit
        && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'+' | b'-' | b'e' | b'E'))
        && text.parse::<f64>().is_ok()
}
