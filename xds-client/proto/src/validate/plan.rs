//! What is to be checked of a message type, read off the options of its proto once.

use prost_reflect::{
    DynamicMessage, EnumDescriptor, EnumValueDescriptor, ExtensionDescriptor, FieldDescriptor, Kind,
    MessageDescriptor,
};

use super::{flag, rule};
use crate::pool::Options;

/// The checks of a message type.
pub(super) struct Plan {
    /// Fields that need a check, or may hold messages that do.
    pub fields: Vec<FieldPlan>,
    /// The members of each oneof of which one must be set.
    pub required_oneofs: Vec<Vec<FieldDescriptor>>,
}

/// The checks of a field.
pub(super) struct FieldPlan {
    pub desc: FieldDescriptor,
    /// Its validate.FieldRules.
    pub rules: Option<DynamicMessage>,
    /// The enum of its value, or of its values.
    pub values: Option<EnumDescriptor>,
    pub holds_messages: bool,
    /// Not to be looked into (`message.skip`).
    pub skip: bool,
    /// Refused when set.
    pub disallowed: bool,
    /// Values that are refused.
    pub disallowed_values: Vec<EnumValueDescriptor>,
}

impl Plan {
    pub(super) fn of(options: &Options, desc: &MessageDescriptor) -> Self {
        let fields =
            desc.fields().map(|field| FieldPlan::of(options, field)).filter(FieldPlan::does_something);
        let required = desc.oneofs().filter(|oneof| {
            !oneof.is_synthetic() && marked(&oneof.options(), options.oneof_required.as_ref())
        });
        Self {
            fields: fields.collect(),
            required_oneofs: required.map(|oneof| oneof.fields().collect()).collect(),
        }
    }
}

impl FieldPlan {
    fn of(options: &Options, desc: FieldDescriptor) -> Self {
        let stated = desc.options();
        let rules = options.rules.as_ref().filter(|mark| stated.has_extension(mark));
        let rules = rules.and_then(|mark| stated.get_extension(mark).as_message().cloned());
        let skip = rules.as_ref().and_then(|rules| rule(rules, "message"));
        let skip =
            skip.is_some_and(|message| message.as_message().is_some_and(|message| flag(message, "skip")));
        let value_kind = match desc.kind() {
            Kind::Message(entry) if desc.is_map() => entry.map_entry_value_field().kind(),
            kind => kind,
        };
        let values = value_kind.as_enum().cloned();
        let single = values.as_ref().filter(|_| !desc.is_list() && !desc.is_map());
        let disallowed_values = single.into_iter().flat_map(|values| {
            let refused =
                values.values().filter(|value| marked(&value.options(), options.disallowed_enum.as_ref()));
            refused.collect::<Vec<_>>()
        });
        Self {
            disallowed_values: disallowed_values.collect(),
            disallowed: marked(&stated, options.disallowed.as_ref()),
            holds_messages: value_kind.as_message().is_some(),
            skip,
            values,
            rules,
            desc,
        }
    }

    fn does_something(&self) -> bool {
        self.rules.is_some() || self.holds_messages || self.disallowed || !self.disallowed_values.is_empty()
    }
}

/// Whether options carry a boolean extension that is true.
fn marked(options: &DynamicMessage, mark: Option<&ExtensionDescriptor>) -> bool {
    mark.is_some_and(|mark| options.get_extension(mark).as_bool() == Some(true))
}
