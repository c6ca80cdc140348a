//! A tree of text as a message, after protobuf's JSON mapping, as strict as Envoy: unknown fields and types are refused,
//! numbers are no text, enum names may be in any case. One run finds every mistake.

mod any;
mod scalar;
mod well_known;

use std::collections::{HashMap, HashSet};

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value,
};

use crate::error::{Finding, MAX_PROBLEMS};
use crate::path::FieldPath;
use crate::suggest;
use crate::text::{Content, Key, Node};

/// Reads one tree; collects what is wrong with it.
pub(crate) struct Reader<'p> {
    pool: &'p DescriptorPool,
    allow_unknown_fields: bool,
    path: FieldPath,
    /// What makes the text unusable.
    pub problems: Vec<Finding>,
    /// Unknown fields that were allowed.
    pub ignored: Vec<Finding>,
}

impl<'p> Reader<'p> {
    pub(crate) fn new(pool: &'p DescriptorPool, allow_unknown_fields: bool) -> Self {
        let (problems, ignored) = (Vec::new(), Vec::new());
        Self { pool, allow_unknown_fields, path: FieldPath::default(), problems, ignored }
    }

    /// Notes a mistake at `at`, and answers that there is no value.
    fn refuse<T>(&mut self, at: usize, message: impl Into<String>) -> Option<T> {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Finding { path: self.path.clone(), at, message: message.into() });
        }
        None
    }

    fn needs<T>(&mut self, node: &Node, what: &str) -> Option<T> {
        self.refuse(node.at, format!("needs {what}, found {}", node.content.describe()))
    }

    /// `node` as a message of the given type. On mistakes the result is partial or absent.
    pub(crate) fn message(&mut self, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
        if let Some(read) = well_known::reader(desc.full_name(), &node.content) {
            return read(self, desc, node);
        }
        let Content::Map(entries) = &node.content else {
            return self.needs(node, &format!("a map ({})", desc.full_name()));
        };
        let mut message = DynamicMessage::new(desc.clone());
        self.fill(&mut message, entries, false);
        Some(message)
    }

    /// Sets the fields of `message`; inside an `Any`, `@type` is none of them.
    fn fill(&mut self, message: &mut DynamicMessage, entries: &[(Key, Node)], in_any: bool) {
        let desc = message.descriptor();
        let mut set = HashSet::with_capacity(entries.len());
        for (key, node) in entries {
            if in_any && key.name == "@type" {
                continue;
            }
            let found = desc.get_field_by_name(&key.name).or_else(|| desc.get_field_by_json_name(&key.name));
            let Some(field) = found else {
                self.unknown(&desc, key);
                continue;
            };
            self.path.field(field.name());
            if set.insert(field.number()) {
                self.field(message, &field, key, node);
            } else {
                self.refuse::<()>(key.at, "given twice, under both of its names");
            }
            self.path.up();
        }
    }

    fn unknown(&mut self, desc: &MessageDescriptor, key: &Key) {
        let names: Vec<String> = desc.fields().map(|field| field.name().to_owned()).collect();
        let hint = suggest::nearest(&key.name, names.iter().map(String::as_str));
        let hint = hint.map_or(String::new(), |name| format!("; did you mean {name}?"));
        let message = format!("{} has no field {:?}{hint}", desc.full_name(), crate::text::crop(&key.name));
        if self.allow_unknown_fields {
            if self.ignored.len() < MAX_PROBLEMS {
                self.ignored.push(Finding { path: self.path.clone(), at: key.at, message });
            }
        } else {
            self.refuse::<()>(key.at, message);
        }
    }

    fn field(&mut self, message: &mut DynamicMessage, field: &FieldDescriptor, key: &Key, node: &Node) {
        if node.content == Content::Null && !takes_null(&field.kind()) {
            return;
        }
        if let Some(oneof) = field.containing_oneof()
            && let Some(other) = oneof.fields().find(|other| message.has_field(other))
        {
            let message = format!("excludes {}: only one of {:?} may be set", other.name(), oneof.name());
            self.refuse::<()>(key.at, message);
            return;
        }
        let value = if field.is_map() {
            self.map(field, node)
        } else if field.is_list() {
            self.list(&field.kind(), node)
        } else {
            self.single(&field.kind(), node)
        };
        if let Some(value) = value {
            message.set_field(field, value);
        }
    }

    fn list(&mut self, kind: &Kind, node: &Node) -> Option<Value> {
        let Content::List(items) = &node.content else {
            // A list of one may be written without brackets, as Envoy's parser has it.
            self.path.index(0);
            let value = self.single(kind, node);
            self.path.up();
            return value.map(|value| Value::List(vec![value]));
        };
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            self.path.index(index);
            if item.content == Content::Null && !takes_null(kind) {
                self.refuse::<()>(item.at, "null cannot be an item of this list");
            } else if let Some(value) = self.single(kind, item) {
                values.push(value);
            }
            self.path.up();
        }
        Some(Value::List(values))
    }

    fn map(&mut self, field: &FieldDescriptor, node: &Node) -> Option<Value> {
        let kind = field.kind();
        let (Content::Map(entries), Kind::Message(entry)) = (&node.content, &kind) else {
            return self.needs(node, "a map");
        };
        let (key_kind, value_kind) =
            (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
        let mut values = HashMap::with_capacity(entries.len());
        for (key, node) in entries {
            self.path.key(&key.name);
            match scalar::map_key(&key_kind, &key.name) {
                None => {
                    self.refuse::<()>(
                        key.at,
                        format!("{:?} is no key for this map", crate::text::crop(&key.name)),
                    );
                }
                Some(key) => {
                    if let Some(value) = self.single(&value_kind, node) {
                        values.insert(key, value);
                    }
                }
            }
            self.path.up();
        }
        Some(Value::Map(values))
    }

    fn single(&mut self, kind: &Kind, node: &Node) -> Option<Value> {
        match kind {
            Kind::Message(desc) => self.message(desc, node).map(Value::Message),
            Kind::Enum(desc) => self.enumeration(desc, node),
            _ => match scalar::read(kind, &node.content) {
                Ok(value) => Some(value),
                Err(needed) => self.needs(node, &needed),
            },
        }
    }
}

/// The text key of a map entry, for types whose maps are keyed by text.
fn text_key(name: &str) -> MapKey {
    MapKey::String(name.to_owned())
}

/// Whether null is a value of the kind, not the absence of one.
fn takes_null(kind: &Kind) -> bool {
    match kind {
        Kind::Message(desc) => desc.full_name() == "google.protobuf.Value",
        Kind::Enum(desc) => desc.full_name() == "google.protobuf.NullValue",
        _ => false,
    }
}
