//! What the checks found.

use crate::diag::{Diagnostic, Location, Severity};
use crate::read::Mistake;
use crate::yaml::{Sources, Span};

/// Collects diagnostics.
#[derive(Debug)]
pub struct Findings<'w> {
    sources: &'w Sources,
    list: Vec<Diagnostic>,
}

impl<'w> Findings<'w> {
    /// None yet.
    #[must_use]
    pub fn new(sources: &'w Sources) -> Self {
        Self { sources, list: Vec::new() }
    }

    /// All of them.
    #[must_use]
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.list
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Drops those behind the first `before` that could be a consequence of a mistake that was told: it lies within
    /// what they speak of.
    pub fn drop_consequences(&mut self, before: usize, mistakes: &[Mistake]) {
        if mistakes.is_empty() {
            return;
        }
        let told: Vec<Location> = mistakes.iter().filter_map(|m| self.sources.location(m.span)).collect();
        let own = |found: &Diagnostic| {
            found.at.as_ref().is_some_and(|at| !told.iter().any(|mistake| at.encloses(mistake)))
        };
        let later = self.list.split_off(before.min(self.list.len()));
        self.list.extend(later.into_iter().filter(own));
    }

    /// An error.
    pub fn error(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Error, code, span, message, remedy);
    }

    /// A warning.
    pub fn warning(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Warning, code, span, message, remedy);
    }

    /// A note.
    pub fn note(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Note, code, span, message, remedy);
    }

    /// Of any severity.
    pub fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.list.push(Diagnostic::new(severity, code, message).remedy(remedy).at(self.sources, span));
    }

    /// `file:line` of a span, to point from one place to another.
    #[must_use]
    pub fn place(&self, span: Span) -> String {
        self.sources.location(span).map_or_else(String::new, |at| format!("{}:{}", at.file, at.line))
    }
}
