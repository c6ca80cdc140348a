//! `google.protobuf.Any`: a map whose `@type` says which message its other entries are.

use prost_reflect::{DynamicMessage, MessageDescriptor, Value};

use super::{Reader, well_known};
use crate::any::name_in_url;
use crate::encode;
use crate::text::{Content, Key, Node, crop};

/// Number of `type_url` and of `value` in google.protobuf.Any.
const TYPE_URL: u32 = 1;
const VALUE: u32 = 2;

pub(super) fn read(reader: &mut Reader<'_>, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
    let Content::Map(entries) = &node.content else {
        return reader.needs(node, "a map with \"@type\"");
    };
    let mut any = DynamicMessage::new(desc.clone());
    if entries.is_empty() {
        return Some(any);
    }
    let Some((_, url_node)) = entries.iter().find(|(key, _)| key.name == "@type") else {
        return reader.refuse(node.at, "needs \"@type\", which says what message this is");
    };
    let Content::Text(url) = &url_node.content else {
        return reader.needs(url_node, "a type URL");
    };
    let name = name_in_url(url);
    if !url.contains('/') {
        let message = format!("{:?} is no type URL; write type.googleapis.com/{}", crop(url), crop(name));
        return reader.refuse(url_node.at, message);
    }
    let Some(inner) = reader.pool.get_message_by_name(name) else {
        return reader.refuse(url_node.at, format!("unknown type {:?}", crop(name)));
    };
    let message = if well_known::has_own_form(name) {
        value_of(reader, &inner, node, entries)?
    } else {
        let mut message = DynamicMessage::new(inner);
        reader.fill(&mut message, entries, true);
        message
    };
    any.set_field_by_number(TYPE_URL, Value::String(url.clone()));
    any.set_field_by_number(VALUE, Value::Bytes(encode::to_bytes(&message).into()));
    Some(any)
}

/// A well-known type inside an `Any` stands under the one key `value`.
fn value_of(
    reader: &mut Reader<'_>,
    desc: &MessageDescriptor,
    node: &Node,
    entries: &[(Key, Node)],
) -> Option<DynamicMessage> {
    let rest: Vec<&(Key, Node)> = entries.iter().filter(|(key, _)| key.name != "@type").collect();
    match rest.as_slice() {
        [(key, value)] if key.name == "value" => reader.message(desc, value),
        [] if desc.full_name() == "google.protobuf.Empty" => Some(DynamicMessage::new(desc.clone())),
        [] => reader.refuse(node.at, format!("needs \"value\", the {} itself", desc.full_name())),
        [(key, _), ..] => {
            let message =
                format!("a {} here has \"@type\" and \"value\" alone, not {:?}", desc.full_name(), key.name);
            reader.refuse(key.at, message)
        }
    }
}
