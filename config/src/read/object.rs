//! A mapping with a known set of fields.

use super::reader::Reader;
use super::{Field, nearest};
use crate::yaml::{Entry, Node, Span};

/// As the list of ignored fields: any name is allowed.
pub const ANY: &[&str] = &["*"];

/// A mapping that is being read, remembered while its fields are, so that a field that was indented too far
/// can be told from one that does not exist.
#[derive(Debug)]
pub(super) struct Owner {
    names: &'static [&'static str],
    /// Those of them that the mapping has.
    present: Vec<&'static str>,
    span: Span,
    path: String,
}

/// A mapping whose field names were checked.
#[derive(Debug)]
pub struct Object<'n> {
    node: &'n Node,
    /// With a name that is not known, a field reported as missing would most often be the same mistake twice.
    misnamed: bool,
}

impl<'n> Object<'n> {
    /// Checks that `node` is a mapping and that its fields are known. Has to be closed.
    pub fn open(
        node: &'n Node,
        names: &'static [&'static str],
        ignored: &'static [&'static str],
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        if !matches!(node.kind, crate::yaml::Kind::Map(_)) {
            let message = format!("{} must be a mapping, this is {}", reader.path(), node.what());
            reader.error("wrong-type", node.span, message, format!("its fields are: {}", names.join(", ")));
            return None;
        }
        let mut misnamed = false;
        if ignored != ANY {
            for entry in node.entries() {
                if !names.contains(&&*entry.key) && !ignored.contains(&&*entry.key) {
                    misnamed = true;
                    unknown(entry, names, reader);
                }
            }
        }
        let path = reader.path();
        let present = names.iter().copied().filter(|name| node.get(name).is_some()).collect();
        reader.owners.push(Owner { names, present, span: node.span, path });
        Some(Self { node, misnamed })
    }

    /// Reads one field.
    pub fn field<T: Field>(&self, name: &'static str, reader: &mut Reader<'_>) -> Option<T> {
        match self.node.get(name).filter(|value| !value.is_null()) {
            Some(value) => reader.within(name, |reader| T::read(value, reader)).or_else(T::broken),
            None => T::absent().or_else(|| {
                if !self.misnamed {
                    let message = format!("{} has no `{name}`", reader.path());
                    reader.error("missing-field", self.node.span, message, format!("add `{name}:`"));
                }
                None
            }),
        }
    }

    /// Ends the reading of this mapping.
    pub fn close(self, reader: &mut Reader<'_>) {
        reader.owners.pop();
    }
}

fn unknown(entry: &Entry, names: &'static [&'static str], reader: &mut Reader<'_>) {
    let message = format!("{} has no field `{}`", reader.path(), entry.key);
    let remedy = match (nearest(&entry.key, names), owner(&entry.key, reader)) {
        (Some(name), None) => format!("did you mean `{name}`? Allowed are: {}", names.join(", ")),
        (_, Some(owner)) => owner,
        (None, None) => format!("allowed are: {}", names.join(", ")),
    };
    reader.error("unknown-field", entry.key_span, message, remedy);
}

/// If an enclosing mapping has a field of this name, the entry was probably indented too far.
fn owner(key: &str, reader: &Reader<'_>) -> Option<String> {
    let owner = reader.owners.iter().rev().find(|owner| owner.names.contains(&key))?;
    let Span { line, column, .. } = owner.span;
    let name = &owner.path;
    // The fields of a list's element stand two columns right of its `-`.
    let next = name.strip_suffix(']').and_then(|head| head.rsplit_once('[')).map(|(list, _)| {
        let dash = column.saturating_sub(2).max(1);
        format!("dedent its `-` to column {dash}, to make it the next entry of `{list}` (after the one of line {line})")
    });
    let here = format!("dedent it to column {column}, to make it part of `{name}` (line {line})");
    Some(match next {
        Some(next) if owner.present.contains(&key) => {
            format!("`{key}` is a field of `{name}`, which has one: {next}")
        }
        Some(next) => format!("`{key}` is a field of `{name}`: {here}; or {next}"),
        None => format!("`{key}` is a field of `{name}`: {here}"),
    })
}
