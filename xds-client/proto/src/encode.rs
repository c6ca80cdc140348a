//! Messages as bytes, the same bytes each time.
//!
//! `DynamicMessage` keeps maps in hash tables, whose order changes from run to run, and so would the bytes of an `Any`
//! read from a file: an unchanged file would look like a changed resource. Here map entries go in order of their keys.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, Value};

/// Wire types of the protobuf encoding.
const VARINT: u32 = 0;
const I64: u32 = 1;
const LEN: u32 = 2;
const I32: u32 = 5;

/// The encoding of `message`, without unknown fields, of which a message read from text has none.
pub(crate) fn to_bytes(message: &DynamicMessage) -> Vec<u8> {
    let mut out = Vec::new();
    for (field, value) in message.fields() {
        write_field(&field, value, &mut out);
    }
    out
}

fn write_field(field: &FieldDescriptor, value: &Value, out: &mut Vec<u8>) {
    let (number, kind) = (field.number(), field.kind());
    match (value, &kind) {
        (Value::Map(entries), Kind::Message(entry)) => {
            let (key_kind, value_kind) =
                (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
            let mut entries: Vec<(&MapKey, &Value)> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            for (key, value) in entries {
                let mut inner = Vec::new();
                write_single(1, &key_kind, &Value::from(key.clone()), &mut inner);
                write_single(2, &value_kind, value, &mut inner);
                delimited(number, &inner, out);
            }
        }
        (Value::List(items), _) if field.is_packed() => {
            let mut inner = Vec::new();
            for item in items {
                write_scalar(&kind, item, &mut inner);
            }
            if !items.is_empty() {
                delimited(number, &inner, out);
            }
        }
        (Value::List(items), _) => items.iter().for_each(|item| write_single(number, &kind, item, out)),
        _ => write_single(number, &kind, value, out),
    }
}

fn write_single(number: u32, kind: &Kind, value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Message(message) => delimited(number, &to_bytes(message), out),
        Value::String(text) => delimited(number, text.as_bytes(), out),
        Value::Bytes(bytes) => delimited(number, bytes, out),
        _ => {
            let wire = match kind {
                Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => I64,
                Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => I32,
                _ => VARINT,
            };
            varint(u64::from(number) << 3 | u64::from(wire), out);
            write_scalar(kind, value, out);
        }
    }
}

fn delimited(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | u64::from(LEN), out);
    varint(u64::try_from(bytes.len()).unwrap_or(u64::MAX), out);
    out.extend_from_slice(bytes);
}

/// A number without its tag. Negative `int32` and enum values are sign-extended to 64 bits, as the encoding has it.
fn write_scalar(kind: &Kind, value: &Value, out: &mut Vec<u8>) {
    match (kind, value) {
        (Kind::Sfixed32, Value::I32(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (Kind::Sfixed64, Value::I64(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (Kind::Fixed32, Value::U32(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (Kind::Fixed64, Value::U64(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (Kind::Sint32, Value::I32(value)) => varint(zigzag(i64::from(*value)), out),
        (Kind::Sint64, Value::I64(value)) => varint(zigzag(*value), out),
        (_, Value::F32(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (_, Value::F64(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (_, Value::Bool(value)) => varint(u64::from(*value), out),
        (_, Value::I32(value) | Value::EnumNumber(value)) => varint(i64::from(*value).cast_unsigned(), out),
        (_, Value::I64(value)) => varint(value.cast_unsigned(), out),
        (_, Value::U32(value)) => varint(u64::from(*value), out),
        (_, Value::U64(value)) => varint(*value, out),
        // Never packed, and taken care of above.
        (_, Value::String(_) | Value::Bytes(_) | Value::Message(_) | Value::List(_) | Value::Map(_)) => {}
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f | 0x80) as u8);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use prost::Message;

    use super::*;
    use crate::pool::Pool;

    /// Every kind of number, at its extremes, through the library's decoder.
    #[test]
    fn what_is_written_decodes_as_it_was() {
        let pool = Pool::load().expect("descriptors");
        let table = [
            ("google.protobuf.DoubleValue", vec![Value::F64(-1.5), Value::F64(f64::MAX)]),
            ("google.protobuf.FloatValue", vec![Value::F32(0.1)]),
            ("google.protobuf.Int64Value", vec![Value::I64(i64::MIN), Value::I64(i64::MAX), Value::I64(-1)]),
            ("google.protobuf.Int32Value", vec![Value::I32(i32::MIN), Value::I32(-1), Value::I32(300)]),
            ("google.protobuf.UInt64Value", vec![Value::U64(u64::MAX), Value::U64(127), Value::U64(128)]),
            ("google.protobuf.UInt32Value", vec![Value::U32(u32::MAX)]),
            ("google.protobuf.BoolValue", vec![Value::Bool(true)]),
            ("google.protobuf.StringValue", vec![Value::String("\u{e9}".repeat(100))]),
            ("google.protobuf.BytesValue", vec![Value::Bytes(vec![0, 255].into())]),
        ];
        for (name, values) in table {
            for value in values {
                let mut message = DynamicMessage::new(pool.message(name).expect("known"));
                message.set_field_by_number(1, value.clone());
                assert_eq!(to_bytes(&message), message.encode_to_vec(), "{name} {value:?}");
            }
        }
        assert_eq!((zigzag(-1), zigzag(1), zigzag(i64::MIN)), (1, 2, u64::MAX));
    }

    #[test]
    fn maps_and_packed_lists_are_written_in_order() {
        let pool = Pool::load().expect("descriptors");
        let report = || {
            let mut message =
                DynamicMessage::new(pool.message("xds.data.orca.v3.OrcaLoadReport").expect("known"));
            let names =
                (0..50).map(|index| (MapKey::String(format!("n{index}")), Value::F64(f64::from(index))));
            message.set_field_by_name("named_metrics", Value::Map(names.collect::<HashMap<_, _>>()));
            message
        };
        let (first, second) = (report(), report());
        assert_eq!(to_bytes(&first), to_bytes(&second));
        let decoded = DynamicMessage::decode(
            pool.message("xds.data.orca.v3.OrcaLoadReport").expect("known"),
            to_bytes(&first).as_slice(),
        );
        assert_eq!(decoded.as_ref(), Ok(&first));

        let name = "envoy.config.route.v3.RetryPolicy";
        let mut retry = DynamicMessage::new(pool.message(name).expect("known"));
        let codes = vec![Value::U32(503), Value::U32(0), Value::U32(70_000)];
        retry.set_field_by_name("retriable_status_codes", Value::List(codes));
        assert_eq!(to_bytes(&retry), retry.encode_to_vec());
    }
}
