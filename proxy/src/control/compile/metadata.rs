//! `Metadata` and `Struct` as JSON.

use serde_json::{Map, Number, Value};
use std::sync::Arc;
use weir_proto::envoy::config::core::v3::Metadata;
use weir_proto::google::protobuf as pb;
use weir_proto::google::protobuf::value::Kind;

/// Deepest nesting that is kept; what lies deeper reads as null (protobuf's own decoder stops at 100).
const MAX_DEPTH: usize = 64;

/// Metadata by namespace; none when there is none. Typed metadata is ignored (`docs/fields.md`).
pub fn json(message: &Option<Metadata>) -> Option<Arc<Value>> {
    let Metadata { filter_metadata, typed_filter_metadata: _ } = message.as_ref()?;
    if filter_metadata.is_empty() {
        return None;
    }
    let all = filter_metadata.iter().map(|(name, value)| (name.clone(), structure(value)));
    Some(Arc::new(Value::Object(all.collect::<Map<_, _>>())))
}

/// A `Struct`.
pub fn structure(message: &pb::Struct) -> Value {
    object(message, 0)
}

fn object(message: &pb::Struct, depth: usize) -> Value {
    let all = message.fields.iter().map(|(name, v)| (name.clone(), value(v, depth.saturating_add(1))));
    Value::Object(all.collect())
}

fn value(message: &pb::Value, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    match &message.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(*flag),
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::NumberValue(number)) => numeric(*number),
        Some(Kind::StructValue(inner)) => object(inner, depth),
        Some(Kind::ListValue(list)) => {
            Value::Array(list.values.iter().map(|v| value(v, depth.saturating_add(1))).collect())
        }
    }
}

/// Whole numbers print without a fraction, as in Envoy.
fn numeric(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    if number.fract() == 0.0 && number.abs() < EXACT {
        return Value::Number(Number::from(number as i64));
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// A string inside metadata: namespace and key.
pub fn text<'a>(metadata: &'a Option<Arc<Value>>, namespace: &str, key: &str) -> Option<&'a str> {
    metadata.as_ref()?.get(namespace)?.get(key)?.as_str()
}

/// A flag inside metadata: namespace and key.
pub fn flag(metadata: &Option<Arc<Value>>, namespace: &str, key: &str) -> bool {
    let found = metadata.as_ref().and_then(|m| m.get(namespace)?.get(key)?.as_bool());
    found.unwrap_or(false)
}
