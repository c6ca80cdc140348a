//! From text to trees.
//!
//! Anchors, aliases and merge keys (`<<`) are resolved, within bounds: a few bytes of YAML can otherwise stand for
//! gigabytes. A key written twice is an error, for the tools disagree on which one counts. After a syntax error
//! reading goes on at the next `---`.

use std::collections::HashMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, StructureStyle, Tag};

use super::node::{Entry, Kind, Node, Style};
use super::span::Span;
use super::tree::Frame;

/// Largest file.
pub const MAX_FILE_BYTES: usize = 32 << 20;
/// Most nodes of one file.
pub const MAX_NODES: usize = 2_000_000;
/// Most nodes of one file that may come into being through aliases.
pub const MAX_ALIAS_NODES: usize = 100_000;
/// Most nodes of one file that may be kept for aliases.
pub const MAX_ANCHOR_NODES: usize = 500_000;
/// Most levels of lists and mappings within each other. Kubernetes' deepest schemas stay under 30.
pub const MAX_DEPTH: usize = 100;

/// What is wrong with a text as YAML.
#[derive(Debug)]
pub struct LoadError {
    /// Code of the diagnostic.
    pub code: &'static str,
    /// Where.
    pub span: Span,
    /// What.
    pub message: String,
    /// What to do.
    pub remedy: &'static str,
}

/// Reads all documents of a text. `file` is the index that spans bear. Documents that are not YAML are left out and
/// reported.
#[must_use]
pub fn load(file: u32, text: &str) -> (Vec<Node>, Vec<LoadError>) {
    let mut loader = Loader { file, ..Loader::default() };
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_FILE_BYTES {
        let message = format!("{} bytes; the limit is {MAX_FILE_BYTES}", text.len());
        loader.fail("file-too-large", loader.point(1, 0), message, "split the file");
        rest = "";
    }
    // Every round ends in a later document or is the last.
    while let Err(stop) = loader.run(rest) {
        let Some((lines, tail)) = stop.line.and_then(|line| next_document(rest, line)) else { break };
        loader.skipped = loader.skipped.saturating_add(lines);
        rest = tail;
    }
    (loader.documents, loader.errors)
}

/// The text from the first `---` after line `after` (from 1), and the number of lines before it.
fn next_document(text: &str, after: usize) -> Option<(u32, &str)> {
    let mut offset = 0usize;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if index >= after && line.starts_with("---") {
            return Some((u32::try_from(index).ok()?, text.get(offset..)?));
        }
        offset = offset.saturating_add(line.len());
    }
    None
}

/// Reading a document ended; it goes on behind `line`, or not at all.
struct Stop {
    line: Option<usize>,
}

#[derive(Default)]
pub(super) struct Loader {
    file: u32,
    /// Lines of the text before the part that is being read.
    skipped: u32,
    documents: Vec<Node>,
    errors: Vec<LoadError>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    aliased: usize,
    anchored: usize,
}

impl Loader {
    fn run(&mut self, text: &str) -> Result<(), Stop> {
        let mut options = Options::default();
        options.emit_comments = false;
        options.block_nesting_limit = MAX_DEPTH;
        options.flow_nesting_limit = MAX_DEPTH;
        let mut stack: Vec<Frame> = Vec::new();
        self.anchors.clear();
        for next in Parser::new_from_str_with_options(text, options) {
            let (event, place) = next.map_err(|error| self.syntax(&error))?;
            let span = self.span(place);
            let line = place.start.line();
            match event {
                Event::Scalar(value, style, anchor, tag) => {
                    let style = self.style(style, tag.as_deref(), span);
                    let node = Node { kind: Kind::Scalar(value.as_ref().into(), style), span };
                    self.finish(node, anchor, &mut stack, line)?;
                }
                Event::SequenceStart(style, anchor, tag) => {
                    self.refuse_tag(tag.as_deref(), span);
                    stack.push(Frame::list(span, anchor, style == StructureStyle::Flow));
                }
                Event::MappingStart(style, anchor, tag) => {
                    self.refuse_tag(tag.as_deref(), span);
                    stack.push(Frame::map(span, anchor, style == StructureStyle::Flow));
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    if let Some(frame) = stack.pop() {
                        let (node, anchor) = frame.close(span);
                        self.finish(node, anchor, &mut stack, line)?;
                    }
                }
                Event::Alias(id) => {
                    let node = self.alias(id, span, line)?;
                    self.finish(node, 0, &mut stack, line)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Puts a complete node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize, stack: &mut [Frame], line: usize) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > MAX_NODES {
            self.fail(
                "file-too-large",
                node.span,
                format!("more than {MAX_NODES} values in one file"),
                "split the file",
            );
            return Err(Stop { line: None });
        }
        if anchor != 0 {
            // An anchor within an anchor is kept twice.
            self.anchored = self.anchored.saturating_add(size(&node));
            if self.anchored > MAX_ANCHOR_NODES {
                let message = format!("anchors stand for more than {MAX_ANCHOR_NODES} values in this file");
                self.fail(
                    "alias-limit",
                    node.span,
                    message,
                    "use fewer anchors, or put them on smaller values",
                );
                return Err(Stop { line: None });
            }
            self.anchors.insert(anchor, node.clone());
        }
        match stack.last_mut() {
            None => self.documents.push(node),
            Some(frame) => {
                if let Err(error) = frame.take(node) {
                    self.errors.push(error);
                    let fatal = self.errors.last().is_some_and(|error| error.code == "bad-key");
                    if fatal {
                        return Err(Stop { line: Some(line) });
                    }
                }
            }
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, span: Span, line: usize) -> Result<Node, Stop> {
        let Some(node) = self.anchors.get(&id) else {
            self.fail(
                "bad-alias",
                span,
                "this alias stands inside of what it stands for".to_owned(),
                "write the value out",
            );
            return Err(Stop { line: Some(line) });
        };
        self.aliased = self.aliased.saturating_add(size(node));
        if self.aliased > MAX_ALIAS_NODES {
            let message = format!("aliases stand for more than {MAX_ALIAS_NODES} values in this file");
            self.fail("alias-limit", span, message, "write the values out, or use fewer aliases");
            return Err(Stop { line: None });
        }
        Ok(node.clone())
    }

    fn style(&mut self, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Style {
        let suffix = tag.and_then(|tag| tag.core_suffix());
        if suffix.is_none() {
            self.refuse_tag(tag, span);
        }
        match (style, suffix) {
            (_, Some("str")) => Style::Text,
            (_, Some(_)) | (ScalarStyle::Plain, None) => Style::Plain,
            _ => Style::Text,
        }
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, span: Span) {
        if let Some(tag) = tag.filter(|tag| tag.core_suffix().is_none() && tag.original() != "!") {
            let message = format!("the tag `{}` has no meaning here", tag.original());
            self.fail("unknown-tag", span, message, "remove it");
        }
    }

    fn syntax(&mut self, error: &ScanError) -> Stop {
        let mark = error.marker();
        let span = self.point(mark.line(), mark.col());
        let message = format!("not YAML: {}", error.kind());
        self.fail(
            "syntax",
            span,
            message,
            "check indentation, quotes and colons on this line and the one before",
        );
        Stop { line: Some(mark.line()) }
    }

    fn fail(&mut self, code: &'static str, span: Span, message: String, remedy: &'static str) {
        self.errors.push(LoadError { code, span, message, remedy });
    }

    fn point(&self, line: usize, column: usize) -> Span {
        let line = number(line).saturating_add(self.skipped);
        let column = number(column).saturating_add(1);
        Span { file: self.file, line, column, end_line: line, end_column: column.saturating_add(1) }
    }

    fn span(&self, place: granit_parser::Span) -> Span {
        let end = self.point(place.end.line(), place.end.col());
        Span {
            end_line: end.line,
            end_column: end.column,
            ..self.point(place.start.line(), place.start.col())
        }
    }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Number of nodes of a tree; its depth is bounded by the parser.
fn size(node: &Node) -> usize {
    match &node.kind {
        Kind::Scalar(..) => 1,
        Kind::List(items) => items.iter().map(size).fold(1, usize::saturating_add),
        Kind::Map(entries) => {
            entries.iter().map(|Entry { value, .. }| size(value)).fold(1, usize::saturating_add)
        }
    }
}
