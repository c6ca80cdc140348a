//! Messages as JSON, with the field names of the protos, as Envoy's `/config_dump` shows them.
//!
//! A walker of its own: one `Any` of an unknown type costs that node (`{"@type": ..., "value": base64}`), not the dump.
//! Output is the same for the same bytes: fields by number, map entries by key.

use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value,
};
use serde_json::{Map, Value as Json, json};

use crate::any::name_in_url;
use crate::base64;
use crate::google::protobuf::Any;
use crate::pool::{Pool, PoolError};
use crate::text::MAX_DEPTH;

mod well_known;

/// What stands in place of a secret, as in Envoy.
pub const REDACTED: &str = "[redacted]";

/// Whether fields marked `udpa.annotations.sensitive` (private keys, passwords) are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// As they are.
    Show,
    /// Texts as `[redacted]`, bytes as its base64, the rest left out.
    Redact,
}

/// Why bytes cannot be shown as a message.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DumpError {
    /// The type is not known.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The bytes are no message of that type.
    #[error("no valid {type_name}: {source}")]
    Decode {
        /// Full name of the type.
        type_name: String,
        /// What the decoder says.
        source: prost::DecodeError,
    },
}

impl Pool {
    /// The message in `bytes` as JSON.
    ///
    /// # Errors
    /// When the type is unknown or the bytes are not of that type. What is inside an `Any` never fails the whole.
    pub fn to_json(&self, type_name: &str, bytes: &[u8], secrets: Secrets) -> Result<Json, DumpError> {
        let message = DynamicMessage::decode(self.message(type_name)?, bytes)
            .map_err(|source| DumpError::Decode { type_name: type_name.to_owned(), source })?;
        Ok(Dumper { pool: self, redact: secrets == Secrets::Redact }.message(&message, Place::default()))
    }

    /// `any` as JSON with its `@type`; of an unknown type, or undecodable, its bytes as base64.
    pub fn any_to_json(&self, any: &Any, secrets: Secrets) -> Json {
        let dumper = Dumper { pool: self, redact: secrets == Secrets::Redact };
        dumper.any(&any.type_url, &any.value, Place::default())
    }
}

/// Where the walk is.
#[derive(Clone, Copy, Default)]
struct Place {
    depth: usize,
    /// Inside a field that is to be redacted.
    sensitive: bool,
}

impl Place {
    fn deeper(self, sensitive: bool) -> Self {
        Self { depth: self.depth.saturating_add(1), sensitive: self.sensitive || sensitive }
    }
}

struct Dumper<'p> {
    pool: &'p Pool,
    redact: bool,
}

impl Dumper<'_> {
    fn message(&self, message: &DynamicMessage, place: Place) -> Json {
        if let Some(json) = well_known::write(self, message, place) {
            return json;
        }
        Json::Object(self.fields(message, place))
    }

    fn fields(&self, message: &DynamicMessage, place: Place) -> Map<String, Json> {
        let mut object = Map::new();
        for (field, value) in message.fields() {
            let sensitive = self.redact && is_sensitive(self.pool, &field);
            let shown = self.value(&field.kind(), value, place.deeper(sensitive));
            if let Some(shown) = shown {
                object.insert(field.name().to_owned(), shown);
            }
        }
        if self.redact && is_typed_struct(message.descriptor().full_name()) {
            self.redact_typed_struct(&mut object);
        }
        object
    }

    fn value(&self, kind: &Kind, value: &Value, place: Place) -> Option<Json> {
        Some(match value {
            Value::Message(message) => self.message(message, place),
            Value::List(items) => {
                Json::Array(items.iter().filter_map(|item| self.value(kind, item, place)).collect())
            }
            Value::Map(entries) => {
                let value_kind = kind.as_message().map(|entry| entry.map_entry_value_field().kind());
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                let shown = entries.into_iter().filter_map(|(key, value)| {
                    Some((key_text(key), self.value(value_kind.as_ref()?, value, place)?))
                });
                Json::Object(shown.collect())
            }
            Value::String(_) if place.sensitive => json!(REDACTED),
            Value::Bytes(_) if place.sensitive => json!(base64::encode(REDACTED.as_bytes())),
            _ if place.sensitive => return None,
            Value::EnumNumber(number) => enumeration(kind, *number),
            scalar => self::scalar(scalar),
        })
    }

    fn any(&self, type_url: &str, bytes: &[u8], place: Place) -> Json {
        if type_url.is_empty() && bytes.is_empty() {
            return json!({});
        }
        let raw = || {
            let bytes = if place.sensitive { REDACTED.as_bytes() } else { bytes };
            json!({"@type": type_url, "value": base64::encode(bytes)})
        };
        // What is sensitive in it cannot be told.
        let undecoded = || if self.redact { json!({"@type": type_url, "value": REDACTED}) } else { raw() };
        if place.depth > MAX_DEPTH {
            return raw();
        }
        let Ok(desc) = self.pool.message(name_in_url(type_url)) else { return raw() };
        let Ok(message) = DynamicMessage::decode(desc, bytes) else { return undecoded() };
        let mut object = Map::new();
        object.insert("@type".to_owned(), json!(type_url));
        match well_known::write(self, &message, place.deeper(false)) {
            Some(value) => {
                object.insert("value".to_owned(), value);
            }
            None => object.extend(self.fields(&message, place.deeper(false))),
        }
        Json::Object(object)
    }

    /// The secrets of a `TypedStruct`, by the descriptor of the type that it stands for.
    fn redact_typed_struct(&self, object: &mut Map<String, Json>) {
        let name = object.get("type_url").and_then(Json::as_str).map(|url| name_in_url(url).to_owned());
        let desc = name.and_then(|name| self.pool.message(&name).ok());
        if let (Some(desc), Some(value)) = (desc, object.get_mut("value")) {
            self.redact_struct(&desc, value, 0);
        }
    }

    fn redact_struct(&self, desc: &MessageDescriptor, value: &mut Json, depth: usize) {
        let Json::Object(entries) = value else { return };
        if depth > MAX_DEPTH {
            return entries.clear();
        }
        let inner = entries.get("@type").and_then(Json::as_str).map(|url| name_in_url(url).to_owned());
        let inner = inner.and_then(|name| self.pool.message(&name).ok());
        let desc = inner.as_ref().unwrap_or(desc);
        for (name, value) in entries.iter_mut() {
            let field = desc.get_field_by_name(name).or_else(|| desc.get_field_by_json_name(name));
            let Some(field) = field else { continue };
            let kind = match field.kind() {
                Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
                kind => kind,
            };
            if is_sensitive(self.pool, &field) {
                redact_leaves(value);
            } else if let Kind::Message(desc) = kind {
                match value {
                    Json::Array(items) => {
                        items.iter_mut().for_each(|item| self.redact_struct(&desc, item, depth + 1));
                    }
                    Json::Object(entries) if field.is_map() => {
                        entries.values_mut().for_each(|item| self.redact_struct(&desc, item, depth + 1));
                    }
                    other => self.redact_struct(&desc, other, depth + 1),
                }
            }
        }
    }
}

fn redact_leaves(value: &mut Json) {
    match value {
        Json::Array(items) => items.iter_mut().for_each(redact_leaves),
        Json::Object(entries) => entries.values_mut().for_each(redact_leaves),
        leaf => *leaf = json!(REDACTED),
    }
}

fn is_typed_struct(name: &str) -> bool {
    matches!(name, "udpa.type.v1.TypedStruct" | "xds.type.v3.TypedStruct")
}

fn is_sensitive(pool: &Pool, field: &FieldDescriptor) -> bool {
    pool.options.sensitive.as_ref().is_some_and(|mark| {
        let options = field.options();
        options.has_extension(mark) && options.get_extension(mark).as_bool() == Some(true)
    })
}

/// The key of a map entry as JSON writes it.
pub(crate) fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

fn enumeration(kind: &Kind, number: i32) -> Json {
    match kind.as_enum().and_then(|desc| desc.get_value(number)) {
        Some(value) => json!(value.name()),
        None => json!(number),
    }
}

/// 64-bit integers are texts, and so are the numbers that JSON has no notation for.
fn scalar(value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::I32(value) => json!(value),
        Value::U32(value) => json!(value),
        Value::I64(value) => json!(value.to_string()),
        Value::U64(value) => json!(value.to_string()),
        // Through its shortest text, so that 0.1 stays 0.1.
        Value::F32(value) => float(value.to_string().parse().unwrap_or(f64::from(*value))),
        Value::F64(value) => float(*value),
        Value::String(value) => json!(value),
        Value::Bytes(value) => json!(base64::encode(value)),
        Value::EnumNumber(value) => json!(value),
        Value::Message(_) | Value::List(_) | Value::Map(_) => Json::Null,
    }
}

fn float(value: f64) -> Json {
    if value.is_nan() {
        json!("NaN")
    } else if value.is_infinite() {
        json!(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        json!(value)
    }
}
