//! Which rules a field's value is held to, by the kind of rules that stand there (validate.FieldRules).

use prost_reflect::{DynamicMessage, ReflectMessage, Value};

use super::{Checker, count, flag, listed, number, plural, rule};
use crate::any::name_in_url;
use crate::pool::Pool;

impl Checker<'_> {
    /// Holds `value` (`None`: a field with presence that is not set) to `rules`.
    pub(super) fn rules(&mut self, rules: &DynamicMessage, value: Option<&Value>) {
        if let Some(message) = rule(rules, "message") {
            let required = message.as_message().is_some_and(|message| flag(message, "required"));
            if required && value.is_none() {
                return self.violation("is required");
            }
        }
        let kind = rules.descriptor().oneofs().find(|oneof| oneof.name() == "type");
        let kind = kind.and_then(|kind| kind.fields().find(|field| rules.has_field(field)));
        let Some(kind) = kind else { return };
        let stated = rules.get_field(&kind);
        let Some(stated) = stated.as_message() else { return };
        let Some(value) = value else {
            if matches!(kind.name(), "any" | "duration" | "timestamp") && flag(stated, "required") {
                self.violation("is required");
            }
            return;
        };
        // The rules of a scalar hold for the inside of its wrapper.
        let inner = match value {
            Value::Message(message) if is_wrapper(message) => message.get_field_by_number(1),
            _ => None,
        };
        let value = inner.as_deref().unwrap_or(value);
        match kind.name() {
            "string" => self.text_rules(stated, value),
            "bytes" => self.bytes_rules(stated, value),
            "bool" => {
                let wanted = rule(stated, "const").and_then(|value| value.as_bool());
                if let Some(wanted) = wanted.filter(|wanted| value.as_bool() != Some(*wanted)) {
                    self.violation(format!("must be {wanted}"));
                }
            }
            "enum" => self.enum_rules(stated, value),
            "repeated" => self.repeated_rules(stated, value),
            "map" => self.map_rules(stated, value),
            "any" => self.any_rules(stated, value),
            _ => {
                for message in number::broken(stated, value) {
                    self.violation(message);
                }
            }
        }
    }

    fn enum_rules(&mut self, rules: &DynamicMessage, value: &Value) {
        let Some(number) = value.as_enum_number() else { return };
        let known = self.kind.as_ref().is_some_and(|desc| desc.get_value(number).is_some());
        if flag(rules, "defined_only") && !known {
            self.violation(format!("{number} is no value of this enum"));
        }
        let numbers =
            |name: &str| -> Vec<i32> { listed(rules, name).iter().filter_map(Value::as_i32).collect() };
        let (within, without) = (numbers("in"), numbers("not_in"));
        if !within.is_empty() && !within.contains(&number) {
            self.violation(format!("{number} is none of the allowed values {within:?}"));
        }
        if without.contains(&number) {
            self.violation(format!("the value {number} is not allowed"));
        }
        let wanted = rule(rules, "const").and_then(|value| value.as_i32());
        if let Some(wanted) = wanted.filter(|wanted| *wanted != number) {
            self.violation(format!("must be the value {wanted}"));
        }
    }

    fn repeated_rules(&mut self, rules: &DynamicMessage, value: &Value) {
        let Some(items) = value.as_list() else { return };
        if items.is_empty() && flag(rules, "ignore_empty") {
            return;
        }
        self.size(rules, items.len(), ("min_items", "max_items"), "item");
        if flag(rules, "unique") {
            let repeated = items
                .iter()
                .enumerate()
                .find(|(index, item)| items.iter().take(*index).any(|earlier| earlier == *item));
            if let Some((index, _)) = repeated {
                self.violation(format!("item {index} stands there twice"));
            }
        }
        let Some(inner) = rule(rules, "items") else { return };
        let Some(inner) = inner.as_message() else { return };
        for (index, item) in items.iter().enumerate() {
            self.path.index(index);
            self.rules(inner, Some(item));
            self.path.up();
        }
    }

    fn map_rules(&mut self, rules: &DynamicMessage, value: &Value) {
        let Some(entries) = value.as_map() else { return };
        if entries.is_empty() && flag(rules, "ignore_empty") {
            return;
        }
        self.size(rules, entries.len(), ("min_pairs", "max_pairs"), "entry");
        let (keys, values) = (rule(rules, "keys"), rule(rules, "values"));
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_by_key(|(key, _)| *key);
        for (key, value) in entries {
            self.path.key(&crate::dump::key_text(key));
            if let Some(rules) = keys.as_ref().and_then(|rules| rules.as_message()) {
                self.rules(rules, Some(&Value::from(key.clone())));
            }
            if let Some(rules) = values.as_ref().and_then(|rules| rules.as_message()) {
                self.rules(rules, Some(value));
            }
            self.path.up();
        }
    }

    fn size(&mut self, rules: &DynamicMessage, found: usize, (min, max): (&str, &str), noun: &str) {
        let found = u64::try_from(found).unwrap_or(u64::MAX);
        if let Some(min) = count(rules, min).filter(|min| found < *min) {
            self.violation(format!("needs at least {}, has {found}", plural(min, noun)));
        }
        if let Some(max) = count(rules, max).filter(|max| found > *max) {
            self.violation(format!("takes at most {}, has {found}", plural(max, noun)));
        }
    }

    fn any_rules(&mut self, rules: &DynamicMessage, value: &Value) {
        let Some(any) = value.as_message() else { return };
        let url = any.get_field_by_number(1);
        let url = url.as_ref().and_then(|url| url.as_str()).unwrap_or_default();
        let (within, without) = (listed(rules, "in"), listed(rules, "not_in"));
        let holds = |list: &[Value]| list.iter().any(|item| item.as_str() == Some(url));
        if (!within.is_empty() && !holds(&within)) || holds(&without) {
            self.violation(format!("{} is not allowed here", name_in_url(url)));
        }
    }
}

fn is_wrapper(message: &DynamicMessage) -> bool {
    let desc = message.descriptor();
    let name = desc.full_name();
    name.starts_with("google.protobuf.")
        && name.ends_with("Value")
        && name.len() > "google.protobuf.Value".len()
        && !name.ends_with(".ListValue")
}

/// The rules that [`Checker`] knows, by kind; `number` stands for all kinds of numbers, durations and times.
const CHECKED: [(&str, &[&str]); 9] = [
    ("message", &["required", "skip"]),
    (
        "string",
        &[
            "const",
            "len",
            "min_len",
            "max_len",
            "len_bytes",
            "min_bytes",
            "max_bytes",
            "pattern",
            "prefix",
            "suffix",
            "contains",
            "not_contains",
            "in",
            "not_in",
            "ip",
            "ipv4",
            "ipv6",
            "well_known_regex",
            "strict",
            "ignore_empty",
        ],
    ),
    ("bytes", &["len", "min_len", "max_len", "ignore_empty"]),
    ("bool", &["const"]),
    ("enum", &["const", "defined_only", "in", "not_in"]),
    ("repeated", &["min_items", "max_items", "unique", "items", "ignore_empty"]),
    ("map", &["min_pairs", "max_pairs", "keys", "values", "ignore_empty"]),
    ("any", &["required", "in", "not_in"]),
    ("number", &["const", "lt", "lte", "gt", "gte", "in", "not_in", "required", "ignore_empty"]),
];

impl Pool {
    /// Rules that some proto states and [`Pool::violations`] does not check; meant to be empty.
    pub fn unchecked_rules(&self) -> Vec<String> {
        let mut found = Vec::new();
        let Some(mark) = &self.options.rules else { return vec!["validate.rules itself".to_owned()] };
        for message in self.descriptors.all_messages() {
            for field in message.fields() {
                let options = field.options();
                if let Some(rules) = options.get_extension(mark).as_message() {
                    unchecked(field.full_name(), rules, &mut found);
                }
            }
        }
        found
    }
}

fn unchecked(field: &str, rules: &DynamicMessage, found: &mut Vec<String>) {
    for (kind, stated) in rules.fields() {
        let Some(stated) = stated.as_message() else { continue };
        let named = CHECKED.iter().find(|(name, _)| *name == kind.name());
        let checked = named.or(CHECKED.last()).map_or(&[][..], |(_, rules)| *rules);
        for (rule, value) in stated.fields() {
            if !checked.contains(&rule.name()) {
                found.push(format!("{field}: {}.{}", kind.name(), rule.name()));
            }
            if let Some(inner) =
                value.as_message().filter(|_| matches!(rule.name(), "items" | "keys" | "values"))
            {
                unchecked(field, inner, found);
            }
        }
    }
}
