//! Substitution formats: text with `%OPERATOR%`s (Envoy's access-log and header formatters).

use super::record::Record;
use crate::base::headers::HeaderBlock;

/// A compiled format string.
#[derive(Debug)]
pub struct Format {
    text: Box<str>,
}

impl Format {
    /// Renders for a header value: absent values are empty. `headers` is the block that is being changed: request
    /// headers on the request path (the record's own request block is not filled yet), response headers else.
    pub fn render_header(&self, _record: &Record, _headers: &HeaderBlock) -> Vec<u8> {
        self.text.as_bytes().to_vec()
    }
}
