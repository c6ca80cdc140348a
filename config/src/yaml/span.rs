//! Where something was written.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// A piece of a source: the file's index in [`super::Sources`], then lines and columns, all from 1.
/// The end is exclusive.
///
/// Where a thing stands is no part of what it is: all spans compare equal, so that two rules written in
/// different places can be compared with `==`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// Index in [`super::Sources`].
    pub file: u32,
    /// First line.
    pub line: u32,
    /// First column, in characters.
    pub column: u32,
    /// Line of the end.
    pub end_line: u32,
    /// Column just after the end.
    pub end_column: u32,
}

impl Span {
    /// The span that begins where this one does and ends where `other` does.
    #[must_use]
    pub fn to(self, other: Span) -> Span {
        Span { end_line: other.end_line, end_column: other.end_column, ..self }
    }

    /// Does `other` lie within this one?
    #[must_use]
    pub fn encloses(self, other: Span) -> bool {
        self.file == other.file
            && (self.line, self.column) <= (other.line, other.column)
            && (other.end_line, other.end_column) <= (self.end_line, self.end_column)
    }
}

impl PartialEq for Span {
    fn eq(&self, _: &Span) -> bool {
        true
    }
}

impl Eq for Span {}

impl Hash for Span {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A value and the place where it was written. Reads like the value itself (`Deref`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value with its place.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Display> fmt::Display for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T> From<T> for Spanned<T> {
    fn from(value: T) -> Self {
        Self { value, span: Span::default() }
    }
}
