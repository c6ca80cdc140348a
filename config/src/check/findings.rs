//! What the checks found.

use crate::diag::{Diagnostic, Severity};
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
