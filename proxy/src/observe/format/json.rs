//! JSON formats.

use super::parse::{self, FormatError};
use super::write::Kind;
use super::{Input, Text, truncate};
use serde_json::Value;

/// Deepest nesting of a JSON format.
const MAX_DEPTH: usize = 32;

/// A compiled JSON value.
#[derive(Debug)]
pub(super) enum Node {
    /// Keys, already quoted and with their colon, in order.
    Object(Box<[(Box<[u8]>, Node)]>),
    Array(Box<[Node]>),
    Text(Text),
    /// A number, boolean or null as written.
    Raw(Box<str>),
}

/// Compiles an object.
pub(super) fn compile(value: &Value) -> Result<Node, FormatError> {
    if !value.is_object() {
        return Err(FormatError::NotAnObject);
    }
    node(value, MAX_DEPTH)
}

fn node(value: &Value, depth: usize) -> Result<Node, FormatError> {
    let Some(below) = depth.checked_sub(1) else { return Err(FormatError::TooDeep(MAX_DEPTH)) };
    Ok(match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| name.as_bytes());
            let compiled = fields.into_iter().map(|(name, value)| {
                let mut key = vec![b'"'];
                escaped(name.as_bytes(), &mut key);
                key.extend_from_slice(b"\":");
                Ok((key.into_boxed_slice(), node(value, below)?))
            });
            Node::Object(compiled.collect::<Result<_, FormatError>>()?)
        }
        Value::Array(items) => Node::Array(items.iter().map(|v| node(v, below)).collect::<Result<_, _>>()?),
        Value::String(text) => Node::Text(parse::text(text)?),
        Value::Null | Value::Bool(_) | Value::Number(_) => Node::Raw(value.to_string().into()),
    })
}

impl Node {
    /// Appends the value; false when it is absent and was left out.
    pub(super) fn render(&self, input: &Input<'_>, omit_empty: bool, out: &mut Vec<u8>) -> bool {
        match self {
            Node::Raw(raw) => out.extend_from_slice(raw.as_bytes()),
            Node::Text(text) => return render_text(text, input, omit_empty, out),
            Node::Array(items) => {
                out.push(b'[');
                let mut first = true;
                for item in items {
                    let before = out.len();
                    if !first {
                        out.push(b',');
                    }
                    if item.render(input, omit_empty, out) {
                        first = false;
                    } else {
                        out.truncate(before);
                    }
                }
                out.push(b']');
            }
            Node::Object(fields) => {
                out.push(b'{');
                let mut first = true;
                for (key, value) in fields {
                    let before = out.len();
                    if !first {
                        out.push(b',');
                    }
                    out.extend_from_slice(key);
                    if value.render(input, omit_empty, out) {
                        first = false;
                    } else {
                        out.truncate(before);
                    }
                }
                out.push(b'}');
            }
        }
        true
    }
}

fn render_text(text: &Text, input: &Input<'_>, omit_empty: bool, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.push(b'"');
    let value = out.len();
    if let Some((operator, most)) = text.single() {
        match operator.write(input, out) {
            Kind::Absent => {
                out.truncate(start);
                if !omit_empty {
                    out.extend_from_slice(b"null");
                }
                return !omit_empty;
            }
            Kind::Number => {
                out.remove(start);
                return true;
            }
            Kind::Text => truncate(out, value, most),
        }
    } else {
        text.render(input, if omit_empty { b"" } else { b"-" }, out);
    }
    quote(value, out);
    true
}

/// Escapes what stands from `start` on, in place, and closes the string.
fn quote(start: usize, out: &mut Vec<u8>) {
    let written = out.get(start..).unwrap_or_default();
    if written.iter().any(|b| *b < 0x20 || matches!(b, b'"' | b'\\' | 0x7f..)) {
        let raw = out.split_off(start);
        escaped(&raw, out);
    }
    out.push(b'"');
}

/// Appends text as the inside of a JSON string; bytes that are no UTF-8 become U+FFFD.
fn escaped(raw: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for chunk in raw.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            match byte {
                b'"' => out.extend_from_slice(b"\\\""),
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                0..0x20 | 0x7f => {
                    out.extend_from_slice(b"\\u00");
                    out.extend(HEX.get(usize::from(byte >> 4)));
                    out.extend(HEX.get(usize::from(byte & 0xf)));
                }
                _ => out.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}
