//! `SubstitutionFormatString` and plain formats of header values.

use super::{action_parts, metadata};
use crate::base::ledger::At;
use crate::observe::format::{Format, FormatError};
use std::sync::Arc;
use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::config::core::v3::substitution_format_string::Format as Kind;
use weir_proto::envoy::extensions::formatter::req_without_query::v3::ReqWithoutQuery;

/// Largest format text that is read from a data source.
const MAX_FORMAT: usize = 64 * 1024;

/// A format of a header value.
pub fn text(at: &At<'_>, text: &str) -> Option<Arc<Format>> {
    reported(at, Format::parse(text)).map(Arc::new)
}

fn reported(at: &At<'_>, result: Result<Format, FormatError>) -> Option<Format> {
    result.map_err(|error| at.error(error.to_string())).ok()
}

/// A format message: the format and its content type.
pub fn string(at: &At<'_>, message: &core::SubstitutionFormatString) -> Option<(Arc<Format>, Box<str>)> {
    compile(at, message).map(|(format, content_type)| (Arc::new(format), content_type))
}

/// A format message of a log line.
pub fn line(at: &At<'_>, message: &core::SubstitutionFormatString) -> Option<Format> {
    compile(at, message).map(|(format, _)| format)
}

// `text_format` is deprecated, obeyed by Envoy, and what istiod sends.
#[expect(deprecated)]
fn compile(at: &At<'_>, message: &core::SubstitutionFormatString) -> Option<(Format, Box<str>)> {
    crate::ledger!(at, message => core::SubstitutionFormatString { omit_empty_values, content_type, formatters, format }
        ignore { json_format_options });
    for (i, formatter) in formatters.iter().enumerate() {
        formatter_extension(&at.item("formatters", i), formatter);
    }
    let (parsed, default_type) = match at.required("format", format.as_ref())? {
        Kind::TextFormat(text) => (reported(&at.field("text_format"), Format::parse(text))?, "text/plain"),
        Kind::TextFormatSource(source) => {
            let here = at.field("text_format_source");
            let bytes = action_parts::data(&here, source, MAX_FORMAT)?;
            let Ok(text) = String::from_utf8(bytes) else {
                here.error("is not UTF-8");
                return None;
            };
            (reported(&here, Format::parse(&text))?, "text/plain")
        }
        Kind::JsonFormat(message) => {
            let value = metadata::structure(message);
            (reported(&at.field("json_format"), Format::parse_json(&value))?, "application/json")
        }
    };
    let content_type = at.one_line("content_type", content_type);
    let content_type = if content_type.is_empty() { default_type } else { content_type };
    Some((parsed.omitting_empty(*omit_empty_values), content_type.into()))
}

/// Extensions that add operators: the one whose operator is always there.
fn formatter_extension(at: &At<'_>, message: &core::TypedExtensionConfig) {
    let core::TypedExtensionConfig { name: _, typed_config } = message;
    let Some(config) = at.required("typed_config", typed_config.as_ref()) else { return };
    if !super::wkt::is::<ReqWithoutQuery>(config) {
        at.field("typed_config")
            .unsupported(&format!("the formatter '{}'", weir_proto::any::type_name(config)));
    }
}
