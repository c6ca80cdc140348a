//! From a format's text to its pieces.

use super::operator::{self, Operator};
use super::{Piece, Text};

/// Why a format is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// No such operator (Envoy's text).
    #[error("Not supported field in StreamInfo: {name} (at position {at} of the format)")]
    Unknown {
        /// The operator.
        name: String,
        /// Byte offset of its `%`.
        at: usize,
    },
    /// A `%` that starts no operator.
    #[error(
        "no valid operator at position {at} of format '{format}': write %NAME%, %NAME(arguments)%, or %% for a percent sign"
    )]
    Syntax {
        /// The whole format.
        format: String,
        /// Byte offset of the `%`.
        at: usize,
    },
    /// The operator's arguments.
    #[error("%{name}% at position {at} of the format: {reason}")]
    Arguments {
        /// The operator.
        name: String,
        /// Byte offset of its `%`.
        at: usize,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A JSON format that is no object.
    #[error("a JSON format must be an object")]
    NotAnObject,
    /// JSON nested deeper than the limit.
    #[error("a JSON format may be nested {0} deep at most")]
    TooDeep(usize),
}

/// An operator as written.
struct Written<'a> {
    name: &'a str,
    arguments: Option<&'a str>,
    most: Option<usize>,
    /// Bytes after the opening `%`, up to and with the closing one.
    len: usize,
}

/// Reads the operator behind a `%`. Arguments end at the first `)` that is followed by `%` or `:digits%`, since
/// `START_TIME`'s have percent signs of their own.
fn written(rest: &str) -> Option<Written<'_>> {
    let end = rest
        .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
        .unwrap_or(rest.len());
    let (name, tail) = rest.split_at_checked(end)?;
    if !name.starts_with(|c: char| c.is_ascii_uppercase()) {
        return None;
    }
    let Some(inner) = tail.strip_prefix('(') else {
        let (most, used) = ending(tail)?;
        return Some(Written { name, arguments: None, most, len: end.checked_add(used)? });
    };
    for (at, _) in inner.match_indices(')') {
        let after = inner.get(at.checked_add(1)?..)?;
        if let Some((most, used)) = ending(after) {
            let len = end.checked_add(at)?.checked_add(2)?.checked_add(used)?;
            return Some(Written { name, arguments: inner.get(..at), most, len });
        }
    }
    None
}

/// `%` or `:digits%`: the length limit and the bytes it takes.
fn ending(tail: &str) -> Option<(Option<usize>, usize)> {
    if tail.starts_with('%') {
        return Some((None, 1));
    }
    let digits = tail.strip_prefix(':')?;
    let end = digits.find('%')?;
    let most = digits.get(..end).filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))?;
    Some((Some(most.parse().ok()?), end.checked_add(2)?))
}

/// Compiles a text format.
pub(super) fn text(format: &str) -> Result<Text, FormatError> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut at = 0;
    while let Some(rest) = format.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(behind) = rest.strip_prefix('%') else {
            let end = rest.find('%').unwrap_or(rest.len());
            literal.extend_from_slice(rest.as_bytes().get(..end).unwrap_or_default());
            at = at.saturating_add(end);
            continue;
        };
        if behind.starts_with('%') {
            literal.push(b'%');
            at = at.saturating_add(2);
            continue;
        }
        let Some(found) = written(behind) else {
            return Err(FormatError::Syntax { format: format.to_owned(), at });
        };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
        }
        pieces.push(Piece::Operator(compile(&found, at)?, found.most));
        at = at.saturating_add(found.len).saturating_add(1);
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal.into()));
    }
    Ok(Text(pieces.into()))
}

fn compile(found: &Written<'_>, at: usize) -> Result<Operator, FormatError> {
    let name = found.name.to_owned();
    match operator::find(found.name) {
        None => Err(FormatError::Unknown { name, at }),
        Some(rule) => rule
            .compile(found.arguments, found.most.is_some())
            .map_err(|reason| FormatError::Arguments { name, at, reason }),
    }
}
