//! The texts that were read, kept so that a message can show the lines it speaks of.

use std::sync::Arc;

use super::Span;
use crate::diag::{Excerpt, Location};

/// Most lines that one excerpt shows.
const EXCERPT_LINES: u32 = 4;
/// Most characters of a line that an excerpt shows.
const EXCERPT_COLUMNS: usize = 200;

/// One file, or one text with a name.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name to print: a path as the user gave it.
    pub name: Arc<str>,
    /// The text.
    pub text: Arc<str>,
}

/// All texts of one reading, by the index that [`Span::file`] holds.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    list: Vec<Source>,
}

impl Sources {
    /// Adds a text and gives its index.
    pub fn add(&mut self, name: &str, text: &str) -> u32 {
        let index = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.list.push(Source { name: name.into(), text: text.into() });
        index
    }

    /// The source that a span points into.
    #[must_use]
    pub fn get(&self, span: Span) -> Option<&Source> {
        self.list.get(usize::try_from(span.file).ok()?)
    }

    /// A span as a place that stands for itself, without the sources.
    #[must_use]
    pub fn location(&self, span: Span) -> Option<Location> {
        let source = self.get(span)?;
        Some(Location {
            file: source.name.clone(),
            line: span.line,
            column: span.column,
            end_line: span.end_line,
            end_column: span.end_column,
        })
    }

    /// The lines of a span, at most four.
    #[must_use]
    pub fn excerpt(&self, span: Span) -> Option<Excerpt> {
        let source = self.get(span)?;
        let last = span.end_line.max(span.line).min(span.line.saturating_add(EXCERPT_LINES - 1));
        let skip = usize::try_from(span.line.checked_sub(1)?).ok()?;
        let count = usize::try_from(last.saturating_sub(span.line)).ok()?.saturating_add(1);
        let lines: Vec<String> = source
            .text
            .lines()
            .skip(skip)
            .take(count)
            .map(|line| line.chars().take(EXCERPT_COLUMNS).collect())
            .collect();
        (!lines.is_empty()).then_some(Excerpt { first_line: span.line, lines })
    }
}
