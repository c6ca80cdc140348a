//! Fields on the wire that our protos do not know: what a newer control plane says and we would silently ignore.

use prost_reflect::{DynamicMessage, ReflectMessage, Value};

use crate::any::name_in_url;
use crate::dump::{DumpError, key_text};
use crate::error::MAX_PROBLEMS;
use crate::path::FieldPath;
use crate::pool::Pool;
use crate::text::MAX_DEPTH;

/// A field number that the descriptor of its message does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownField {
    /// The message that holds it.
    pub path: FieldPath,
    /// Full name of that message's type.
    pub type_name: String,
    /// Its number.
    pub number: u32,
}

impl std::fmt::Display for UnknownField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.path.0.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "field {} of {}", self.number, self.type_name)
    }
}

impl Pool {
    /// The fields in `bytes` that the protos do not know, also inside each `Any` of a known type; at most
    /// [`MAX_PROBLEMS`].
    ///
    /// # Errors
    /// When the type is unknown or the bytes are not of that type.
    pub fn unknown_fields(&self, type_name: &str, bytes: &[u8]) -> Result<Vec<UnknownField>, DumpError> {
        let message = DynamicMessage::decode(self.message(type_name)?, bytes)
            .map_err(|source| DumpError::Decode { type_name: type_name.to_owned(), source })?;
        let mut walk = Walk { pool: self, path: FieldPath::default(), found: Vec::new() };
        walk.message(&message, 0);
        Ok(walk.found)
    }
}

struct Walk<'p> {
    pool: &'p Pool,
    path: FieldPath,
    found: Vec<UnknownField>,
}

impl Walk<'_> {
    fn message(&mut self, message: &DynamicMessage, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        let desc = message.descriptor();
        for unknown in message.unknown_fields() {
            if self.found.len() < MAX_PROBLEMS {
                let type_name = desc.full_name().to_owned();
                self.found.push(UnknownField {
                    path: self.path.clone(),
                    type_name,
                    number: unknown.number(),
                });
            }
        }
        if desc.full_name() == "google.protobuf.Any" {
            return self.any(message, depth);
        }
        for (field, value) in message.fields() {
            self.path.field(field.name());
            self.value(value, depth.saturating_add(1));
            self.path.up();
        }
    }

    fn value(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Message(inner) => self.message(inner, depth),
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let Value::Message(inner) = item else { break };
                    self.path.index(index);
                    self.message(inner, depth);
                    self.path.up();
                }
            }
            Value::Map(entries) => {
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                for (key, item) in entries {
                    let Value::Message(inner) = item else { break };
                    self.path.key(&key_text(key));
                    self.message(inner, depth);
                    self.path.up();
                }
            }
            _ => {}
        }
    }

    fn any(&mut self, any: &DynamicMessage, depth: usize) {
        let (url, bytes) = (any.get_field_by_number(1), any.get_field_by_number(2));
        let (Some(url), Some(bytes)) = (url, bytes) else { return };
        let (Some(url), Some(bytes)) = (url.as_str(), bytes.as_bytes()) else { return };
        let Ok(desc) = self.pool.message(name_in_url(url)) else { return };
        if let Ok(message) = DynamicMessage::decode(desc, bytes.clone()) {
            self.message(&message, depth.saturating_add(1));
        }
    }
}
