//! A YAML or JSON text as a tree whose nodes know where they stand.
//!
//! The tree is what [`crate::read`] turns into messages. A reader of its own, rather than serde, for three things that a
//! serde data format cannot give: the scalar rules of Envoy's YAML loader, the position of an unknown *key*, and one run
//! that lists every mistake.

mod json;
mod yaml;

use crate::path::Step;

pub(crate) use json::parse as parse_json;
pub(crate) use yaml::parse as parse_yaml;

/// Deepest nesting of lists and maps; serde_json's limit, and above what a decoder accepts (100 messages).
pub const MAX_DEPTH: usize = 128;
/// Most nodes of one text, aliases counted as often as they are used: 20,000 clusters are half a million.
pub const MAX_NODES: usize = 5_000_000;
/// Longest text.
pub const MAX_TEXT_BYTES: usize = 256 << 20;
/// The position of a node that comes from no text.
pub(crate) const NOWHERE: usize = usize::MAX;

/// A value and the byte offset at which it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub at: usize,
    pub content: Content,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a map and the byte offset at which it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub at: usize,
    pub name: String,
}

/// Why a text is no tree, and where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SyntaxError {
    pub at: usize,
    pub message: String,
}

impl SyntaxError {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }

    fn too_deep(at: usize) -> Self {
        Self::new(at, format!("nested deeper than {MAX_DEPTH} levels (MAX_DEPTH)"))
    }

    fn too_many(at: usize) -> Self {
        Self::new(at, format!("more than {MAX_NODES} values (MAX_NODES), aliases counted at each use"))
    }
}

impl Node {
    /// Where the field at `path` stands; of one that is not written, where the nearest message around it does.
    pub(crate) fn find(&self, path: &[Step]) -> usize {
        self.reach(path).0
    }

    /// [`Node::find`], and how many steps of the path are written.
    pub(crate) fn reach(&self, path: &[Step]) -> (usize, usize) {
        let Some((step, rest)) = path.split_first() else { return (self.at, 0) };
        let deeper = |node: &Node| {
            let (at, steps) = node.reach(rest);
            (at, steps.saturating_add(1))
        };
        match (step, &self.content) {
            (Step::Field(name) | Step::Key(name), Content::Map(entries)) => {
                let camel = camel_case(name);
                match entries.iter().find(|(key, _)| key.name == *name || key.name == camel) {
                    Some((key, _)) if rest.is_empty() => (key.at, 1),
                    Some((_, node)) => deeper(node),
                    None => (self.at, 0),
                }
            }
            (Step::Index(index), Content::List(items)) => items.get(*index).map_or((self.at, 0), deeper),
            // One item stands for a list of one.
            (Step::Index(0), _) => deeper(self),
            _ => (self.at, 0),
        }
    }
}

/// The JSON name of a proto field.
fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

impl Content {
    /// What it is, for a message: `the number 12`.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => format!("the boolean {value}"),
            Self::Int(value) => format!("the number {value}"),
            Self::UInt(value) => format!("the number {value}"),
            Self::Float(value) => format!("the number {value}"),
            Self::Text(text) => format!("the text {:?}", crop(text)),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a map".to_owned(),
        }
    }
}

/// At most 60 characters of `text`.
pub(crate) fn crop(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}...", text.get(..cut).unwrap_or("")),
        None => text.to_owned(),
    }
}

/// Refuses the second of two equal keys.
fn refuse_duplicates(entries: &[(Key, Node)]) -> Result<(), SyntaxError> {
    let mut seen = std::collections::HashSet::with_capacity(entries.len());
    for (key, _) in entries {
        if !seen.insert(key.name.as_str()) {
            return Err(SyntaxError::new(
                key.at,
                format!("the key {:?} stands twice in this map", crop(&key.name)),
            ));
        }
    }
    Ok(())
}

/// A JSON value already parsed, as a tree without positions.
pub(crate) fn from_value(value: serde_json::Value) -> Result<Node, SyntaxError> {
    convert(value, 0)
}

fn convert(value: serde_json::Value, depth: usize) -> Result<Node, SyntaxError> {
    use serde_json::Value;
    if depth > MAX_DEPTH {
        return Err(SyntaxError::too_deep(NOWHERE));
    }
    let content = match value {
        Value::Null => Content::Null,
        Value::Bool(value) => Content::Bool(value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Content::Int(value),
            (None, Some(value)) => Content::UInt(value),
            (None, None) => Content::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Content::Text(text),
        Value::Array(items) => {
            Content::List(items.into_iter().map(|item| convert(item, depth + 1)).collect::<Result<_, _>>()?)
        }
        Value::Object(map) => {
            let mut entries = Vec::with_capacity(map.len());
            for (name, value) in map {
                entries.push((Key { at: NOWHERE, name }, convert(value, depth + 1)?));
            }
            Content::Map(entries)
        }
    };
    Ok(Node { at: NOWHERE, content })
}
