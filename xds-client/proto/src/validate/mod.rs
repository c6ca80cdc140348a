//! The rules that the protos themselves state (protoc-gen-validate), checked as Envoy checks them: over every message,
//! also inside each `Any` of a known type. All violations are found, each with its path.
//!
//! A rule counts only where its field does: a member of a `oneof` when that member is set, a wrapper when it is there.
//! What Envoy has switched off by default (`disallowed_by_default`) is a violation too.

mod number;
mod plan;
mod rules;
mod text;

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, MessageDescriptor, ReflectMessage, Value,
};
use regex::Regex;

use crate::any::name_in_url;
use crate::dump::DumpError;
use crate::error::MAX_PROBLEMS;
use crate::path::FieldPath;
use crate::pool::Pool;
use crate::text::MAX_DEPTH;
use plan::{FieldPlan, Plan};

/// A field that breaks a rule of its proto.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field.
    pub path: FieldPath,
    /// The rule, in words.
    pub message: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.0.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

impl Pool {
    /// The rules that the message in `bytes` breaks; at most [`MAX_PROBLEMS`]. Empty when it is valid.
    ///
    /// # Errors
    /// When the type is unknown or the bytes are not of that type.
    pub fn violations(&self, type_name: &str, bytes: &[u8]) -> Result<Vec<Violation>, DumpError> {
        let message = DynamicMessage::decode(self.message(type_name)?, bytes)
            .map_err(|source| DumpError::Decode { type_name: type_name.to_owned(), source })?;
        Ok(check(self, &message))
    }
}

pub(crate) fn check(pool: &Pool, message: &DynamicMessage) -> Vec<Violation> {
    let (plans, patterns) = (HashMap::new(), HashMap::new());
    let (path, found) = (FieldPath::default(), Vec::new());
    let mut checker = Checker { pool, path, found, plans, patterns, kind: None };
    checker.message(message, 0);
    checker.found
}

struct Checker<'p> {
    pool: &'p Pool,
    path: FieldPath,
    found: Vec<Violation>,
    /// What is to be checked of each message type met so far, by full name: reading it off the options costs more than
    /// checking it.
    plans: HashMap<String, Rc<Plan>>,
    /// Compiled patterns; `None` for one that does not compile.
    patterns: HashMap<String, Option<Regex>>,
    /// Enum of the field whose rules are being checked.
    kind: Option<EnumDescriptor>,
}

impl Checker<'_> {
    fn violation(&mut self, message: impl Into<String>) {
        if self.found.len() < MAX_PROBLEMS {
            self.found.push(Violation { path: self.path.clone(), message: message.into() });
        }
    }

    fn plan(&mut self, desc: &MessageDescriptor) -> Rc<Plan> {
        if let Some(plan) = self.plans.get(desc.full_name()) {
            return Rc::clone(plan);
        }
        let plan = Rc::new(Plan::of(&self.pool.options, desc));
        self.plans.insert(desc.full_name().to_owned(), Rc::clone(&plan));
        plan
    }

    fn message(&mut self, message: &DynamicMessage, depth: usize) {
        if depth > MAX_DEPTH {
            return self.violation(format!("nested deeper than {MAX_DEPTH} messages (MAX_DEPTH)"));
        }
        let desc = message.descriptor();
        if desc.full_name() == "google.protobuf.Any" {
            return self.any(message, depth);
        }
        if desc.full_name().starts_with("google.protobuf.") {
            return;
        }
        let plan = self.plan(&desc);
        for field in &plan.fields {
            self.path.field(field.desc.name());
            self.field(message, field, depth);
            self.path.up();
        }
        for members in &plan.required_oneofs {
            if !members.iter().any(|field| message.has_field(field)) {
                let names: Vec<&str> = members.iter().map(FieldDescriptor::name).collect();
                self.violation(format!("needs one of {}", names.join(", ")));
            }
        }
    }

    fn any(&mut self, any: &DynamicMessage, depth: usize) {
        let (url, bytes) = (any.get_field_by_number(1), any.get_field_by_number(2));
        let (Some(url), Some(bytes)) = (url, bytes) else { return };
        let (Some(url), Some(bytes)) = (url.as_str(), bytes.as_bytes()) else { return };
        let Ok(desc) = self.pool.message(name_in_url(url)) else { return };
        match DynamicMessage::decode(desc, bytes.clone()) {
            Ok(message) => self.message(&message, depth.saturating_add(1)),
            Err(error) => self.violation(format!("holds no valid {}: {error}", name_in_url(url))),
        }
    }

    fn field(&mut self, message: &DynamicMessage, field: &FieldPlan, depth: usize) {
        let set = message.has_field(&field.desc);
        if let Some(rules) = field.rules.as_ref().filter(|_| set || field.desc.containing_oneof().is_none()) {
            let absent = !set && field.desc.supports_presence();
            let value = if absent { None } else { Some(message.get_field(&field.desc)) };
            self.kind.clone_from(&field.values);
            self.rules(rules, value.as_deref());
        }
        self.retired(message, field, set);
        if !set || !field.holds_messages || field.skip {
            return;
        }
        let depth = depth.saturating_add(1);
        match message.get_field(&field.desc).as_ref() {
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
                    self.path.key(&crate::dump::key_text(key));
                    self.message(inner, depth);
                    self.path.up();
                }
            }
            _ => {}
        }
    }

    /// Fields and enum values that Envoy refuses unless a runtime key allows them; an enum value also by default.
    fn retired(&mut self, message: &DynamicMessage, field: &FieldPlan, set: bool) {
        if set && field.disallowed {
            self.violation("deprecated, and disallowed by default");
        }
        if field.disallowed_values.is_empty() {
            return;
        }
        let number = message.get_field(&field.desc).as_enum_number();
        let value = field.disallowed_values.iter().find(|value| number == Some(value.number()));
        if let Some(value) = value {
            self.violation(format!("{} is deprecated, and disallowed by default", value.name()));
        }
    }
}

/// A rule by name, when it is stated.
fn rule<'r>(rules: &'r DynamicMessage, name: &str) -> Option<Cow<'r, Value>> {
    let field = rules.descriptor().get_field_by_name(name)?;
    rules.has_field(&field).then(|| rules.get_field(&field))
}

fn flag(rules: &DynamicMessage, name: &str) -> bool {
    rule(rules, name).and_then(|value| value.as_bool()).unwrap_or(false)
}

fn count(rules: &DynamicMessage, name: &str) -> Option<u64> {
    rule(rules, name).and_then(|value| value.as_u64())
}

fn listed(rules: &DynamicMessage, name: &str) -> Vec<Value> {
    rule(rules, name).and_then(|value| value.as_list().map(<[Value]>::to_vec)).unwrap_or_default()
}

fn plural(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
