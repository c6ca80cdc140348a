//! The messages of google/protobuf/*.proto that have a JSON form of their own.

use std::collections::HashMap;

use prost_reflect::prost_types;
use prost_reflect::{DynamicMessage, MessageDescriptor, Value};

use super::{Reader, any, text_key};
use crate::any::MAX_DURATION_SECONDS;
use crate::text::{Content, Node};

/// How a message type is read.
pub(super) type Read = fn(&mut Reader<'_>, &MessageDescriptor, &Node) -> Option<DynamicMessage>;

/// Whether a type has a JSON form of its own, which inside an `Any` stands under `value`.
pub(super) fn has_own_form(name: &str) -> bool {
    by_name(name).is_some()
}

/// The reader of a type with a JSON form of its own. A duration, time or wrapper may also be written out as the map of
/// its fields (`{seconds: 1}`), as Envoy's parser has it.
pub(super) fn reader(name: &str, content: &Content) -> Option<Read> {
    let (read, also_plain) = by_name(name)?;
    if also_plain && matches!(content, Content::Map(_)) { None } else { Some(read) }
}

fn by_name(name: &str) -> Option<(Read, bool)> {
    let short = name.strip_prefix("google.protobuf.")?;
    Some(match short {
        "Any" => (any::read, false),
        "Struct" => (structure, false),
        "ListValue" => (list_value, false),
        "Value" => (value, false),
        "Empty" => (empty, false),
        "Duration" => (duration, true),
        "Timestamp" => (timestamp, true),
        "FieldMask" => (field_mask, true),
        "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value" | "UInt32Value"
        | "BoolValue" | "StringValue" | "BytesValue" => (wrapper, true),
        _ => return None,
    })
}

fn wrapper(reader: &mut Reader<'_>, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
    let field = desc.get_field(1)?;
    let inner = reader.single(&field.kind(), node)?;
    let mut message = DynamicMessage::new(desc.clone());
    message.set_field(&field, inner);
    Some(message)
}

fn empty(reader: &mut Reader<'_>, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
    match &node.content {
        Content::Map(entries) if entries.is_empty() => Some(DynamicMessage::new(desc.clone())),
        _ => reader.needs(node, "{}"),
    }
}

fn seconds_and_nanos(desc: &MessageDescriptor, seconds: i64, nanos: i32) -> DynamicMessage {
    let mut message = DynamicMessage::new(desc.clone());
    message.set_field_by_number(1, Value::I64(seconds));
    message.set_field_by_number(2, Value::I32(nanos));
    message
}

fn duration(reader: &mut Reader<'_>, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
    let parsed = match &node.content {
        Content::Text(text) => parse_duration(text),
        _ => None,
    };
    match parsed {
        Some((seconds, nanos)) => Some(seconds_and_nanos(desc, seconds, nanos)),
        None => reader.needs(node, "a duration in seconds, such as 1.5s"),
    }
}

/// `-?digits[.digits]s` with at most nine decimals, within protobuf's range.
fn parse_duration(text: &str) -> Option<(i64, i32)> {
    let text = text.strip_suffix('s')?;
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 9 {
        return None;
    }
    let seconds: i64 = whole.parse().ok().filter(|seconds| *seconds <= MAX_DURATION_SECONDS)?;
    let nanos: i32 = format!("{decimals:0<9}").parse().ok()?;
    Some((seconds.checked_mul(sign)?, if sign < 0 { nanos.checked_neg()? } else { nanos }))
}

fn timestamp(reader: &mut Reader<'_>, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
    let parsed = match &node.content {
        Content::Text(text) if text.contains('T') => text.parse::<prost_types::Timestamp>().ok(),
        _ => None,
    };
    match parsed {
        Some(time) => Some(seconds_and_nanos(desc, time.seconds, time.nanos)),
        None => reader.needs(node, "a time of RFC 3339, such as 2030-01-31T12:00:00Z"),
    }
}

fn field_mask(reader: &mut Reader<'_>, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
    let Content::Text(text) = &node.content else {
        return reader.needs(node, "field paths, split by commas");
    };
    let mut paths = Vec::new();
    for path in text.split(',').filter(|path| !path.is_empty()) {
        let mut snake = String::with_capacity(path.len());
        for letter in path.chars() {
            if letter.is_ascii_uppercase() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        paths.push(Value::String(snake));
    }
    let mut message = DynamicMessage::new(desc.clone());
    message.set_field_by_number(1, Value::List(paths));
    Some(message)
}

fn structure(reader: &mut Reader<'_>, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
    let Content::Map(entries) = &node.content else { return reader.needs(node, "a map") };
    let value_desc = reader.pool.get_message_by_name("google.protobuf.Value")?;
    let mut fields = HashMap::with_capacity(entries.len());
    for (key, node) in entries {
        reader.path.key(&key.name);
        if let Some(inner) = value(reader, &value_desc, node) {
            fields.insert(text_key(&key.name), Value::Message(inner));
        }
        reader.path.up();
    }
    let mut message = DynamicMessage::new(desc.clone());
    message.set_field_by_number(1, Value::Map(fields));
    Some(message)
}

fn list_value(reader: &mut Reader<'_>, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
    let Content::List(items) = &node.content else { return reader.needs(node, "a list") };
    let value_desc = reader.pool.get_message_by_name("google.protobuf.Value")?;
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        values.extend(value(reader, &value_desc, item).map(Value::Message));
    }
    let mut message = DynamicMessage::new(desc.clone());
    message.set_field_by_number(1, Value::List(values));
    Some(message)
}

/// google.protobuf.Value: null 1, number 2, string 3, bool 4, struct 5, list 6.
fn value(reader: &mut Reader<'_>, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
    let (number, inner) = match &node.content {
        Content::Null => (1, Value::EnumNumber(0)),
        Content::Int(value) => (2, Value::F64(*value as f64)),
        Content::UInt(value) => (2, Value::F64(*value as f64)),
        Content::Float(value) => (2, Value::F64(*value)),
        Content::Text(text) => (3, Value::String(text.clone())),
        Content::Bool(value) => (4, Value::Bool(*value)),
        Content::Map(_) => {
            let desc = reader.pool.get_message_by_name("google.protobuf.Struct")?;
            (5, Value::Message(structure(reader, &desc, node)?))
        }
        Content::List(_) => {
            let desc = reader.pool.get_message_by_name("google.protobuf.ListValue")?;
            (6, Value::Message(list_value(reader, &desc, node)?))
        }
    };
    let mut message = DynamicMessage::new(desc.clone());
    message.set_field_by_number(number, inner);
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::parse_duration;

    #[test]
    fn durations_are_seconds_with_an_s() {
        let table = [
            ("1s", Some((1, 0))),
            ("0.25s", Some((0, 250_000_000))),
            ("-1.5s", Some((-1, -500_000_000))),
            ("0.000000001s", Some((0, 1))),
            ("315576000000s", Some((315_576_000_000, 0))),
            ("315576000001s", None),
            ("1", None),
            ("1ms", None),
            ("1.s", None),
            (".5s", None),
            ("1.0000000001s", None),
            ("+1s", None),
            ("s", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }
}
