//! What is wrong, where, and what to do about it.
//!
//! A [`Diagnostic`] stands for itself: it carries its place and the lines around it, so that whoever gets one
//! can print it without the sources. Codes are stable: scripts may rely on them.

mod json;
mod sarif;
mod text;

use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::yaml::{Sources, Span};

pub use json::render_json;
pub use sarif::render_sarif;
pub use text::render_text;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something to know; nothing is wrong.
    Note,
    /// Probably not what was meant, or not obeyed yet; the rest is in force.
    Warning,
    /// Cannot be put in force.
    Error,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// A place in a file. Lines and columns from 1; the end is exclusive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Location {
    /// The file as the user named it.
    #[serde(serialize_with = "as_text")]
    pub file: Arc<str>,
    /// First line.
    pub line: u32,
    /// First column, in characters.
    pub column: u32,
    /// Line of the end.
    pub end_line: u32,
    /// Column just after the end.
    pub end_column: u32,
}

impl Location {
    /// Does `other` lie within this place, or is it the same?
    #[must_use]
    pub fn encloses(&self, other: &Location) -> bool {
        self.file == other.file
            && (self.line, self.column) <= (other.line, other.column)
            && (other.end_line, other.end_column) <= (self.end_line, self.end_column)
    }
}

/// Source lines as they stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Excerpt {
    /// Number of the first of them.
    pub first_line: u32,
    /// The lines, without their ends.
    pub lines: Vec<String>,
}

/// One thing to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable kebab-case name of the kind of mistake, such as `unknown-field`.
    pub code: &'static str,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Location>,
    /// The lines there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<Excerpt>,
}

impl Diagnostic {
    /// One of any severity, without a place.
    pub fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Self { severity, code, message: message.into(), remedy: None, at: None, excerpt: None }
    }

    /// An error.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// A warning.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    /// A note.
    pub fn note(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, message)
    }

    /// The same with its place and the lines there.
    #[must_use]
    pub fn at(mut self, sources: &Sources, span: Span) -> Self {
        self.at = sources.location(span);
        self.excerpt = sources.excerpt(span);
        self
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// Whether there is an error among them.
#[must_use]
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}

/// Puts them in the order of files and lines, and drops exact repetitions.
pub fn sort(diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.sort_by(|a, b| a.at.cmp(&b.at).then(b.severity.cmp(&a.severity)).then(a.code.cmp(b.code)));
    diagnostics.dedup();
}

fn as_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}
