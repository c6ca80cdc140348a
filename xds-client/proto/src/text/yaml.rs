//! YAML, with the scalar rules of Envoy's loader (yaml-cpp): a quoted scalar is text; a plain one is null, a boolean of
//! YAML 1.1 (`yes`, `on`), an integer of 32 bits in decimal, `0x` or `0` octal notation, and otherwise text, which the
//! field's type then reads (so `1.5` fits a double field as well as a string field, as it does there).
//!
//! Beyond Envoy: merge keys (`<<`) are resolved. Kept from Envoy: an entry whose key is tagged `!ignore` is dropped, so
//! that anchors can be declared there.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::{Content, Key, MAX_DEPTH, MAX_NODES, NOWHERE, Node, SyntaxError, refuse_duplicates};

/// Parses the one document of `text`; an empty text is null.
pub(crate) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let mut builder = Builder { events: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    let mut root = None;
    while let Some((event, span)) = builder.next_event()? {
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd => {}
            event if root.is_none() => root = Some(builder.node(event, &span, 0)?),
            _ => {
                let message = "a second document begins here; a file holds one (split it at `---`)";
                return Err(SyntaxError::new(offset(&span), message));
            }
        }
    }
    Ok(root.unwrap_or(Node { at: 0, content: Content::Null }))
}

/// Turns events into nodes. Anchored nodes are kept with their size until the text ends.
struct Builder<I> {
    events: I,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

/// One entry of a mapping as it was written.
struct Entry {
    key: Key,
    value: Node,
    merge: bool,
}

impl<'t, I: Iterator<Item = Result<(Event<'t>, Span), ScanError>>> Builder<I> {
    fn next_event(&mut self) -> Result<Option<(Event<'t>, Span)>, SyntaxError> {
        match self.events.next() {
            None => Ok(None),
            Some(Ok(pair)) => Ok(Some(pair)),
            Some(Err(error)) => {
                Err(SyntaxError::new(error.marker().byte_offset().unwrap_or(NOWHERE), error.info()))
            }
        }
    }

    /// The next event inside a collection that began at `start`.
    fn inside(&mut self, start: usize) -> Result<(Event<'t>, Span), SyntaxError> {
        self.next_event()?.ok_or_else(|| SyntaxError::new(start, "the text ends inside this list or map"))
    }

    fn count(&mut self, nodes: usize, at: usize) -> Result<(), SyntaxError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES { Err(SyntaxError::too_many(at)) } else { Ok(()) }
    }

    fn node(&mut self, event: Event<'t>, span: &Span, depth: usize) -> Result<Node, SyntaxError> {
        let at = offset(span);
        if depth > MAX_DEPTH {
            return Err(SyntaxError::too_deep(at));
        }
        let before = self.nodes;
        self.count(1, at)?;
        let (content, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag.as_deref()), anchor),
            Event::SequenceStart(_, anchor, _) => (Content::List(self.list(at, depth)?), anchor),
            Event::MappingStart(_, anchor, _) => (Content::Map(self.map(at, depth)?), anchor),
            Event::Alias(id) => {
                let unknown = || SyntaxError::new(at, "an alias inside the very node it names");
                let size = self.anchors.get(&id).map(|(_, size)| *size).ok_or_else(unknown)?;
                // Counted before it is copied.
                self.count(size, at)?;
                return self.anchors.get(&id).map(|(node, _)| node.clone()).ok_or_else(unknown);
            }
            _ => return Err(SyntaxError::new(at, "a value is needed here")),
        };
        let node = Node { at, content };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes.saturating_sub(before)));
        }
        Ok(node)
    }

    fn list(&mut self, start: usize, depth: usize) -> Result<Vec<Node>, SyntaxError> {
        let mut items = Vec::new();
        loop {
            match self.inside(start)? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, &span, depth.saturating_add(1))?),
            }
        }
    }

    fn map(&mut self, start: usize, depth: usize) -> Result<Vec<(Key, Node)>, SyntaxError> {
        let mut entries = Vec::new();
        let mut merges = Vec::new();
        loop {
            let (event, span) = self.inside(start)?;
            if event == Event::MappingEnd {
                break;
            }
            let at = offset(&span);
            let (ignored, plain) = match &event {
                Event::Scalar(_, style, _, tag) => {
                    (tag.as_deref().is_some_and(is_ignore), *style == ScalarStyle::Plain)
                }
                _ => (false, false),
            };
            let name = self.key(event, &span, depth)?;
            let (event, span) = self.inside(start)?;
            let value = self.node(event, &span, depth.saturating_add(1))?;
            if ignored {
                continue;
            }
            let entry = Entry { merge: plain && name == "<<", key: Key { at, name }, value };
            if entry.merge { merges.push(entry) } else { entries.push((entry.key, entry.value)) }
        }
        refuse_duplicates(&entries)?;
        if !merges.is_empty() {
            let mut known = entries.iter().map(|(key, _)| key.name.clone()).collect();
            for entry in merges {
                merge(&mut entries, &mut known, entry.value)?;
            }
        }
        Ok(entries)
    }

    fn key(&mut self, event: Event<'t>, span: &Span, depth: usize) -> Result<String, SyntaxError> {
        if let Event::Scalar(text, _, 0, _) = event {
            return Ok(text.into_owned());
        }
        let text = match &event {
            Event::Scalar(text, ..) => Some(text.clone().into_owned()),
            _ => None,
        };
        let node = self.node(event, span, depth.saturating_add(1))?;
        match (text, node.content) {
            (Some(text), _) | (None, Content::Text(text)) => Ok(text),
            (None, other) => Err(SyntaxError::new(
                node.at,
                format!("{} cannot be a key; a key is a text", other.describe()),
            )),
        }
    }
}

/// Adds what `value`, the value of a `<<` key, holds and `entries` lacks.
fn merge(
    entries: &mut Vec<(Key, Node)>,
    known: &mut HashSet<String>,
    value: Node,
) -> Result<(), SyntaxError> {
    match value.content {
        Content::Map(merged) => {
            for (key, value) in merged {
                if known.insert(key.name.clone()) {
                    entries.push((key, value));
                }
            }
            Ok(())
        }
        Content::List(items) if items.iter().all(|item| matches!(item.content, Content::Map(_))) => {
            items.into_iter().try_for_each(|item| merge(entries, known, item))
        }
        other => {
            let message = format!("`<<` needs a map or a list of maps, found {}", other.describe());
            Err(SyntaxError::new(value.at, message))
        }
    }
}

fn offset(span: &Span) -> usize {
    span.start.byte_offset().unwrap_or(NOWHERE)
}

fn is_ignore(tag: &Tag) -> bool {
    tag.handle() == "!" && tag.suffix() == "ignore"
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Content {
    let as_text = || Content::Text(text.to_owned());
    let forced = tag.is_some_and(|tag| {
        tag.core_suffix() == Some("str") || (tag.handle() == "!" && tag.suffix().is_empty())
    });
    if style != ScalarStyle::Plain || forced {
        return as_text();
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
            return Content::Bool(true);
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            return Content::Bool(false);
        }
        _ => {}
    }
    match integer(text) {
        Some(value) if i32::try_from(value).is_ok() => Content::Int(value),
        Some(value) => Content::Text(value.to_string()),
        None => as_text(),
    }
}

/// An integer as C++ streams read it with no base set: decimal, `0x` hexadecimal, or octal after a leading `0`.
fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (16, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let value = i64::from_str_radix(digits, base).ok()?;
    if negative { value.checked_neg() } else { Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Content {
        Content::Text(value.to_owned())
    }

    fn entry(text: &str, key: &str) -> Option<Content> {
        match parse(text).expect("valid").content {
            Content::Map(entries) => {
                entries.into_iter().find(|(found, _)| found.name == key).map(|(_, node)| node.content)
            }
            _ => None,
        }
    }

    #[test]
    fn plain_scalars_are_typed_as_envoy_types_them() {
        let table = [
            ("12", Content::Int(12)),
            ("-7", Content::Int(-7)),
            ("0x10", Content::Int(16)),
            ("010", Content::Int(8)),
            ("08", text("08")),
            ("4294967296", text("4294967296")),
            ("1.5", text("1.5")),
            ("1s", text("1s")),
            ("10.0.0.1", text("10.0.0.1")),
            ("on", Content::Bool(true)),
            ("No", Content::Bool(false)),
            ("~", Content::Null),
            ("'12'", text("12")),
            ("\"true\"", text("true")),
            ("!!str 12", text("12")),
            ("be", text("be")),
            ("+5", Content::Int(5)),
            ("-x", text("-x")),
        ];
        for (source, expected) in table {
            assert_eq!(entry(&format!("key: {source}"), "key"), Some(expected), "{source}");
        }
    }

    #[test]
    fn merge_keys_add_what_is_missing() {
        let source = "base: &b {a: 1, c: 3}\nuser:\n  <<: *b\n  a: 2\n";
        let Some(Content::Map(entries)) = entry(source, "user") else { panic!("a map") };
        let pairs: Vec<_> = entries.into_iter().map(|(key, node)| (key.name, node.content)).collect();
        assert_eq!(pairs, [("a".to_owned(), Content::Int(2)), ("c".to_owned(), Content::Int(3))]);
    }

    #[test]
    fn an_ignored_entry_only_declares_anchors() {
        let source = "!ignore shared: &a [1]\nused: *a\n";
        assert_eq!(entry(source, "shared"), None);
        assert!(matches!(entry(source, "used"), Some(Content::List(items)) if items.len() == 1));
    }

    #[test]
    fn refusals_say_where() {
        let deep = "[".repeat(MAX_DEPTH + 2);
        let bomb = {
            let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
            for level in 1..9 {
                let alias = format!("*a{}", level - 1);
                text.push_str(&format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(",")));
            }
            text
        };
        let table = [
            ("a: 1\na: 2\n", 5, "stands twice"),
            ("a: 1\n---\nb: 2\n", 9, "second document"),
            ("? [1]\n: 2\n", 2, "cannot be a key"),
            ("a: {<<: 3}\n", 8, "needs a map"),
            (deep.as_str(), usize::MAX, ""),
            (bomb.as_str(), usize::MAX, "MAX_NODES"),
        ];
        for (source, at, message) in table {
            let error = parse(source).expect_err(message);
            assert!(error.message.contains(message), "{}", error.message);
            if at != usize::MAX {
                assert_eq!(error.at, at, "{}", error.message);
            }
        }
    }
}
