//! Istio's StringMatch: one of exact, prefix, regex; with none of them, presence.

use weir_proto::re2;

use super::{Field, Object, Reader};
use crate::yaml::{Node, Span, Spanned};

/// How a string is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matcher {
    /// Nothing was asked for (`{}`): it has to be there.
    Present,
    /// The same bytes.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// Matches as a whole. In a header or query match, `*` alone means presence, as Istio has it.
    Regex(String),
}

/// A comparison and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StringMatch {
    /// Where the mapping stands.
    pub span: Span,
    /// The comparison.
    pub matcher: Matcher,
}

impl Field for StringMatch {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let object = Object::open(node, &["exact", "prefix", "regex"], &[], reader)?;
        let exact: Option<Spanned<String>> = object.field("exact", reader)?;
        let prefix: Option<Spanned<String>> = object.field("prefix", reader)?;
        let regex: Option<Spanned<String>> = object.field("regex", reader)?;
        object.close(reader);
        let matcher = match (exact, prefix, regex) {
            (None, None, None) => Matcher::Present,
            (Some(text), None, None) => Matcher::Exact(text.value),
            (None, Some(text), None) => Matcher::Prefix(text.value),
            (None, None, Some(text)) => {
                if text.value != "*" {
                    check_regex(&text, reader);
                }
                Matcher::Regex(text.value)
            }
            _ => {
                let message = format!("{} has more than one of exact, prefix, regex", reader.path());
                reader.error("one-of", node.span, message, "keep one of them");
                return None;
            }
        };
        Some(Self { span: node.span, matcher })
    }
}

/// Reports a regular expression that does not compile (the syntax is RE2's; look-around and back-references
/// do not exist in it).
pub fn check_regex(text: &Spanned<String>, reader: &mut Reader<'_>) {
    if let Err(error) = re2::full(&text.value) {
        let message = format!("{}: `{}` is not a regular expression: {error}", reader.path(), text.value);
        reader.error(
            "bad-regex",
            text.span,
            message,
            "the syntax is RE2's: no look-around, no back-references",
        );
    }
}
