//! `SubstitutionFormatString` and plain formats of header values.

use crate::base::ledger::At;
use crate::observe::format::Format;
use std::sync::Arc;

/// A format of a header value.
pub fn text(at: &At<'_>, _text: &str) -> Option<Arc<Format>> {
    at.unsupported("a value with %OPERATOR%s");
    None
}

/// A format string message: the format and its content type.
pub fn string(
    at: &At<'_>,
    _message: &weir_proto::envoy::config::core::v3::SubstitutionFormatString,
) -> Option<(Arc<Format>, Box<str>)> {
    at.unsupported("a substitution format");
    None
}
