//! The state of reading one document.

use std::fmt::Write;

use super::object::Owner;
use crate::diag::{Diagnostic, Severity};
use crate::yaml::{Sources, Span};

/// One step of a field path.
#[derive(Debug)]
pub(super) enum Step {
    Field(Box<str>),
    Index(usize),
}

/// Where an error was reported while a resource was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    /// Its place.
    pub span: Span,
    /// The field that was being read, such as `spec.http[0].timeout`.
    pub path: String,
}

/// Where reading is, and what it found.
#[derive(Debug)]
pub struct Reader<'a> {
    sources: &'a Sources,
    diagnostics: &'a mut Vec<Diagnostic>,
    path: Vec<Step>,
    pub(super) owners: Vec<Owner>,
    errors: Vec<Mistake>,
}

impl<'a> Reader<'a> {
    /// A reader that reports into `diagnostics`.
    pub fn new(sources: &'a Sources, diagnostics: &'a mut Vec<Diagnostic>) -> Self {
        Self { sources, diagnostics, path: Vec::new(), owners: Vec::new(), errors: Vec::new() }
    }

    /// How many errors were reported.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.errors.len()
    }

    /// Where errors were reported after the first `before`.
    #[must_use]
    pub fn mistakes(&self, before: usize) -> Vec<Mistake> {
        self.errors.get(before..).unwrap_or_default().to_vec()
    }

    /// The place in the document, such as `spec.http[0].route`.
    #[must_use]
    pub fn path(&self) -> String {
        let mut out = String::new();
        for step in &self.path {
            // Writing to a string cannot fail.
            let _ = match step {
                Step::Field(name) if out.is_empty() => write!(out, "{name}"),
                Step::Field(name) => write!(out, ".{name}"),
                Step::Index(index) => write!(out, "[{index}]"),
            };
        }
        if out.is_empty() { "the document".to_owned() } else { out }
    }

    /// Reads something one field further down.
    pub fn within<T>(&mut self, field: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(Step::Field(field.into()));
        let value = read(self);
        self.path.pop();
        value
    }

    /// Reads an element of a list.
    pub fn element<T>(&mut self, index: usize, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(Step::Index(index));
        let value = read(self);
        self.path.pop();
        value
    }

    /// Reads something without reporting.
    pub fn aside<T>(&self, read: impl FnOnce(&mut Reader<'_>) -> T) -> T {
        let mut unheard = Vec::new();
        read(&mut Reader::new(self.sources, &mut unheard))
    }

    /// Reports an error at a place.
    pub fn error(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.report(Diagnostic::error(code, message).remedy(remedy), span);
    }

    /// Reports a warning at a place.
    pub fn warning(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.report(Diagnostic::warning(code, message).remedy(remedy), span);
    }

    /// Reports anything at a place.
    pub fn report(&mut self, diagnostic: Diagnostic, span: Span) {
        if diagnostic.severity == Severity::Error {
            self.errors.push(Mistake { span, path: self.path() });
        }
        self.diagnostics.push(diagnostic.at(self.sources, span));
    }
}
