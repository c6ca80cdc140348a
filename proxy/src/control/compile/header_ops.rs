//! `HeaderValueOption` lists and names to remove.

use super::{format, wkt};
use crate::base::ledger::At;
use crate::base::names::{HeaderName, Id, is_value};
use crate::model::mutation::{AppendAction, HeaderAdd, HeaderOps, HeaderValue, Mutations};
use weir_proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use weir_proto::envoy::config::core::v3::{HeaderValue as ProtoValue, HeaderValueOption};

/// The four lists of one level.
pub struct Lists<'a> {
    /// `request_headers_to_add`
    pub request_add: &'a [HeaderValueOption],
    /// `request_headers_to_remove`
    pub request_remove: &'a [String],
    /// `response_headers_to_add`
    pub response_add: &'a [HeaderValueOption],
    /// `response_headers_to_remove`
    pub response_remove: &'a [String],
}

/// Both directions of one level.
pub fn mutations(at: &At<'_>, lists: &Lists<'_>) -> Mutations {
    Mutations {
        request: HeaderOps {
            remove: removals(at, "request_headers_to_remove", lists.request_remove),
            add: additions(at, "request_headers_to_add", lists.request_add),
        },
        response: HeaderOps {
            remove: removals(at, "response_headers_to_remove", lists.response_remove),
            add: additions(at, "response_headers_to_add", lists.response_add),
        },
    }
}

/// Names to remove: no pseudo-header, and not Host.
fn removals(at: &At<'_>, field: &str, names: &[String]) -> Box<[HeaderName]> {
    let one = |(i, name): (usize, &String)| {
        let here = at.item(field, i);
        match HeaderName::parse(name) {
            Ok(found) if found.id() == Id::Authority || name.starts_with(':') => {
                here.error(format!("'{name}' may not be removed (neither ':'-prefixed names nor host)"));
                None
            }
            Ok(found) => Some(found),
            Err(error) => {
                here.error(error.to_string());
                None
            }
        }
    };
    names.iter().enumerate().filter_map(one).collect()
}

/// Headers to add.
pub fn additions(at: &At<'_>, field: &str, list: &[HeaderValueOption]) -> Box<[HeaderAdd]> {
    list.iter().enumerate().filter_map(|(i, option)| addition(&at.item(field, i), option)).collect()
}

fn addition(at: &At<'_>, message: &HeaderValueOption) -> Option<HeaderAdd> {
    crate::ledger!(at, message => HeaderValueOption { header, append, append_action, keep_empty_value });
    let action = append_rule(at, append.as_ref().map(|v| v.value), *append_action)?;
    let header = at.required("header", header.as_ref())?;
    let here = at.field("header");
    crate::ledger!(here, header => ProtoValue { key, value, raw_value });
    let name = wkt::header_name(&here, "key", key)?;
    let pseudo = name.id() == Id::Authority || key.starts_with(':');
    if pseudo && !matches!(action, AppendAction::OverwriteOrAdd | AppendAction::OverwriteIfExists) {
        here.bad("key", format!("'{key}' may only be overwritten, not appended"));
        return None;
    }
    let value = if raw_value.is_empty() {
        header_value(&here.field("value"), value)?
    } else {
        literal(&here.field("raw_value"), raw_value)?
    };
    Some(HeaderAdd { name, value, action, keep_empty: *keep_empty_value })
}

/// `append_action`, or the deprecated `append`: false overwrites.
fn append_rule(at: &At<'_>, append: Option<bool>, action: i32) -> Option<AppendAction> {
    let action = wkt::enumeration::<HeaderAppendAction>(at, "append_action", action)?;
    if append.is_some() && action != HeaderAppendAction::AppendIfExistsOrAdd {
        at.bad("append", "and append_action may not both be set");
        return None;
    }
    Some(match (append, action) {
        (Some(false), _) => AppendAction::OverwriteOrAdd,
        (_, HeaderAppendAction::AppendIfExistsOrAdd) => AppendAction::AppendOrAdd,
        (_, HeaderAppendAction::AddIfAbsent) => AppendAction::AddIfAbsent,
        (_, HeaderAppendAction::OverwriteIfExistsOrAdd) => AppendAction::OverwriteOrAdd,
        (_, HeaderAppendAction::OverwriteIfExists) => AppendAction::OverwriteIfExists,
    })
}

/// A fixed value, or a format when it has operators.
fn header_value(at: &At<'_>, text: &str) -> Option<HeaderValue> {
    if !text.contains('%') {
        return literal(at, text.as_bytes());
    }
    if !text.bytes().all(is_value) {
        return literal(at, text.as_bytes());
    }
    let format = format::text(at, text)?;
    match format.literal() {
        Some(bytes) => literal(at, &bytes),
        None => Some(HeaderValue::Format(format)),
    }
}

fn literal(at: &At<'_>, bytes: &[u8]) -> Option<HeaderValue> {
    if !bytes.iter().all(|b| is_value(*b)) {
        at.error("has bytes that a header value may not have (control characters)");
        return None;
    }
    Some(HeaderValue::Literal(bytes.into()))
}
