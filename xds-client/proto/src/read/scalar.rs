//! Scalars: protobuf's JSON mapping for numbers, texts, bytes, enums and map keys.

use prost_reflect::{EnumDescriptor, Kind, MapKey, Value};

use super::Reader;
use crate::text::{Content, Node, crop};
use crate::{base64, suggest};

/// `content` as a scalar of `kind`, or what is needed instead.
pub(super) fn read(kind: &Kind, content: &Content) -> Result<Value, String> {
    let value = match kind {
        Kind::Double => float(content).map(Value::F64),
        Kind::Float => float(content).and_then(narrow).map(Value::F32),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            integer(content).and_then(|v| v.try_into().ok()).map(Value::I32)
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            integer(content).and_then(|v| v.try_into().ok()).map(Value::I64)
        }
        Kind::Uint32 | Kind::Fixed32 => integer(content).and_then(|v| v.try_into().ok()).map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => integer(content).and_then(|v| v.try_into().ok()).map(Value::U64),
        Kind::Bool => match content {
            Content::Bool(value) => Some(Value::Bool(*value)),
            // In quotes too, as Envoy's parser has it.
            Content::Text(text) => text.parse().ok().map(Value::Bool),
            _ => None,
        },
        Kind::String => match content {
            Content::Text(text) => Some(Value::String(text.clone())),
            _ => None,
        },
        Kind::Bytes => match content {
            Content::Text(text) => base64::decode(text).ok().map(|bytes| Value::Bytes(bytes.into())),
            _ => None,
        },
        Kind::Message(_) | Kind::Enum(_) => None,
    };
    value.ok_or_else(|| needed(kind).to_owned())
}

fn needed(kind: &Kind) -> &'static str {
    match kind {
        Kind::Double | Kind::Float => "a number",
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "an integer of 32 bits",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "an integer of 64 bits",
        Kind::Uint32 | Kind::Fixed32 => "an integer from 0 to 4294967295",
        Kind::Uint64 | Kind::Fixed64 => "an integer from 0 to 18446744073709551615",
        Kind::Bool => "true or false",
        Kind::String => "a text (in quotes, where it looks like a number or a boolean)",
        Kind::Bytes => "bytes as base64",
        Kind::Message(_) | Kind::Enum(_) => "another value",
    }
}

/// Whole numbers, written as number or as decimal text; `1.0` and `1e3` are whole.
fn integer(content: &Content) -> Option<i128> {
    match content {
        Content::Int(value) => Some(i128::from(*value)),
        Content::UInt(value) => Some(i128::from(*value)),
        Content::Float(value) => whole(*value),
        Content::Text(text) => match text.parse::<i128>() {
            Ok(value) if !text.starts_with('+') => Some(value),
            _ => number(text).and_then(whole),
        },
        _ => None,
    }
}

fn whole(value: f64) -> Option<i128> {
    // Beyond 2^64 nothing fits a field, so the cast never saturates silently.
    (value.fract() == 0.0 && value.abs() < 2e19).then_some(value as i128)
}

fn float(content: &Content) -> Option<f64> {
    match content {
        Content::Int(value) => Some(*value as f64),
        Content::UInt(value) => Some(*value as f64),
        Content::Float(value) => Some(*value),
        Content::Text(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => number(text),
        },
        _ => None,
    }
}

/// A finite number; Rust's own parser would also take `inf`, `nan` and a leading `+`.
fn number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

fn narrow(value: f64) -> Option<f32> {
    let fits = !value.is_finite() || value.abs() <= f64::from(f32::MAX);
    fits.then_some(value as f32)
}

/// The key of a map, whose keys are texts in JSON whatever their kind.
pub(super) fn map_key(kind: &Kind, name: &str) -> Option<MapKey> {
    match kind {
        Kind::String => Some(super::text_key(name)),
        Kind::Bool => name.parse().ok().map(MapKey::Bool),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => name.parse().ok().map(MapKey::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => name.parse().ok().map(MapKey::I64),
        Kind::Uint32 | Kind::Fixed32 => name.parse().ok().map(MapKey::U32),
        Kind::Uint64 | Kind::Fixed64 => name.parse().ok().map(MapKey::U64),
        _ => None,
    }
}

impl Reader<'_> {
    /// An enum value by name, in any case as in Envoy, or by number.
    pub(super) fn enumeration(&mut self, desc: &EnumDescriptor, node: &Node) -> Option<Value> {
        if desc.full_name() == "google.protobuf.NullValue" {
            return match &node.content {
                Content::Null => Some(Value::EnumNumber(0)),
                Content::Text(text) if text == "NULL_VALUE" => Some(Value::EnumNumber(0)),
                _ => self.needs(node, "null"),
            };
        }
        let Content::Text(text) = &node.content else {
            return match integer(&node.content).and_then(|number| i32::try_from(number).ok()) {
                Some(number) => Some(Value::EnumNumber(number)),
                None => self.needs(node, &format!("a value of {}", desc.full_name())),
            };
        };
        let exact = desc.get_value_by_name(text);
        let found = exact.or_else(|| desc.values().find(|value| value.name().eq_ignore_ascii_case(text)));
        if let Some(value) = found {
            return Some(Value::EnumNumber(value.number()));
        }
        let names: Vec<String> = desc.values().map(|value| value.name().to_owned()).collect();
        let hint = match suggest::nearest(&text.to_ascii_uppercase(), names.iter().map(String::as_str)) {
            Some(name) => format!("did you mean {name}?"),
            None => format!("one of {}", names.join(", ")),
        };
        self.refuse(node.at, format!("{} has no value {:?}; {hint}", desc.full_name(), crop(text)))
    }
}
