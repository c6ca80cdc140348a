//! Lists and mappings while they are being read.

use std::collections::HashSet;

use super::load::LoadError;
use super::node::{Entry, Kind, Node, Style};
use super::span::Span;

/// A list or mapping whose end has not come.
pub(super) struct Frame {
    span: Span,
    anchor: usize,
    /// In brackets: its end is where the closing one stands. A block ends with its last element.
    flow: bool,
    part: Part,
}

enum Part {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        keys: HashSet<Box<str>>,
        pending: Option<(Box<str>, Span)>,
        merged: Vec<Entry>,
    },
}

impl Frame {
    pub(super) fn list(span: Span, anchor: usize, flow: bool) -> Self {
        Self { span, anchor, flow, part: Part::List(Vec::new()) }
    }

    pub(super) fn map(span: Span, anchor: usize, flow: bool) -> Self {
        let part = Part::Map { entries: Vec::new(), keys: HashSet::new(), pending: None, merged: Vec::new() };
        Self { span, anchor, flow, part }
    }

    /// The next node: an element, a key or a value.
    pub(super) fn take(&mut self, node: Node) -> Result<(), LoadError> {
        let Part::Map { entries, keys, pending, merged } = &mut self.part else {
            if let Part::List(items) = &mut self.part {
                items.push(node);
            }
            return Ok(());
        };
        let Some((key, key_span)) = pending.take() else {
            let span = node.span;
            let Kind::Scalar(key, _) = node.kind else {
                let message = "a key must be one word, this is a list or a mapping".to_owned();
                return Err(LoadError {
                    code: "bad-key",
                    span,
                    message,
                    remedy: "put a template's braces in quotes",
                });
            };
            *pending = Some((key, span));
            return Ok(());
        };
        if &*key == "<<" {
            return merge(node, merged);
        }
        if !keys.insert(key.clone()) {
            let message = format!("the key `{key}` is written twice in this mapping");
            return Err(LoadError {
                code: "duplicate-key",
                span: key_span,
                message,
                remedy: "keep one of them",
            });
        }
        entries.push(Entry { key, key_span, value: node });
        Ok(())
    }

    /// The complete node, and the anchor it bears.
    pub(super) fn close(self, end: Span) -> (Node, usize) {
        let (kind, last) = match self.part {
            Part::List(items) => {
                let last = items.last().map(|node| node.span);
                (Kind::List(items), last)
            }
            Part::Map { mut entries, keys, merged, .. } => {
                let last = entries.last().map(|entry| later(entry.key_span, entry.value.span));
                let mut seen = keys;
                entries.extend(merged.into_iter().filter(|entry| seen.insert(entry.key.clone())));
                (Kind::Map(entries), last)
            }
        };
        let span = if self.flow { self.span.to(end) } else { self.span.to(last.unwrap_or(end)) };
        (Node { kind, span }, self.anchor)
    }
}

/// The span that ends later; an alias stands behind what it stands for.
fn later(a: Span, b: Span) -> Span {
    if (b.end_line, b.end_column) >= (a.end_line, a.end_column) { b } else { a }
}

/// The value of `<<`: a mapping, or a list of them, of which the first counts most.
fn merge(node: Node, merged: &mut Vec<Entry>) -> Result<(), LoadError> {
    let span = node.span;
    match node.kind {
        Kind::Map(entries) => merged.extend(entries),
        Kind::List(items) => {
            for item in items {
                merge_one(item, merged)?;
            }
        }
        Kind::Scalar(text, Style::Plain) if text.is_empty() => {}
        Kind::Scalar(..) => return Err(not_a_map(span)),
    }
    Ok(())
}

fn merge_one(item: Node, merged: &mut Vec<Entry>) -> Result<(), LoadError> {
    match item.kind {
        Kind::Map(entries) => merged.extend(entries),
        _ => return Err(not_a_map(item.span)),
    }
    Ok(())
}

fn not_a_map(span: Span) -> LoadError {
    let message = "`<<` takes a mapping or a list of mappings".to_owned();
    LoadError { code: "bad-merge", span, message, remedy: "refer to a mapping: `<<: *name`" }
}
