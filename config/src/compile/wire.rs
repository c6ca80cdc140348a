//! Small constructors for the protobuf messages that every part of the compiler writes.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::{Message, Name};
use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::r#type::matcher::v3 as matcher;
use weir_proto::envoy::r#type::v3 as kind;
use weir_proto::google::protobuf as pb;

/// Packs a message under its own type URL.
pub(crate) fn any<M: Message + Name>(message: &M) -> pb::Any {
    weir_proto::any::pack(message)
}

/// A message of a type with nothing set, by its full name.
pub(crate) fn any_empty(full_name: &str) -> pb::Any {
    pb::Any { type_url: format!("type.googleapis.com/{full_name}"), value: Vec::new() }
}

/// A duration as protobuf writes it. Seconds beyond `i64::MAX` are cut off there.
pub(crate) fn duration(value: Duration) -> pb::Duration {
    pb::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(value.subsec_nanos()).unwrap_or(0),
    }
}

pub(crate) fn seconds(value: u32) -> pb::Duration {
    duration(Duration::from_secs(u64::from(value)))
}

pub(crate) fn u32v(value: u32) -> pb::UInt32Value {
    pb::UInt32Value { value }
}

pub(crate) fn u64v(value: u64) -> pb::UInt64Value {
    pb::UInt64Value { value }
}

pub(crate) fn boolv(value: bool) -> pb::BoolValue {
    pb::BoolValue { value }
}

pub(crate) fn percent(value: f64) -> kind::Percent {
    kind::Percent { value }
}

/// Percent of Istio (0 to 100, fractional) as parts of a million, cut off below that.
pub(crate) fn per_million(percent: f64) -> kind::FractionalPercent {
    let parts = (percent * 10_000.0).clamp(0.0, 1_000_000.0);
    kind::FractionalPercent {
        // In range by the clamp above; the fraction is cut off as istiod does.
        numerator: parts as u32,
        denominator: kind::fractional_percent::DenominatorType::Million.into(),
    }
}

/// Whole percents of a hundred.
pub(crate) fn per_hundred(numerator: u32) -> kind::FractionalPercent {
    kind::FractionalPercent {
        numerator,
        denominator: kind::fractional_percent::DenominatorType::Hundred.into(),
    }
}

pub(crate) fn runtime_fraction(value: kind::FractionalPercent) -> core::RuntimeFractionalPercent {
    core::RuntimeFractionalPercent { default_value: Some(value), runtime_key: String::new() }
}

/// A regular expression (RE2, whole value).
pub(crate) fn regex(pattern: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher { regex: pattern.to_owned(), engine_type: None }
}

pub(crate) fn exact(value: &str) -> matcher::StringMatcher {
    matcher::StringMatcher {
        ignore_case: false,
        match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(value.to_owned())),
    }
}

/// TCP socket address. The text is not parsed: DNS clusters put a name there.
pub(crate) fn socket_address(address: &str, port: u32) -> core::Address {
    core::Address { address: Some(core::address::Address::SocketAddress(socket(address, port))) }
}

pub(crate) fn socket(address: &str, port: u32) -> core::SocketAddress {
    core::SocketAddress {
        address: address.to_owned(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
        ..core::SocketAddress::default()
    }
}

pub(crate) fn pipe(path: &str) -> core::Address {
    core::Address {
        address: Some(core::address::Address::Pipe(core::Pipe { path: path.to_owned(), mode: 0 })),
    }
}

/// "Ask the stream this came on, without a time limit": how istiod refers to EDS and RDS.
pub(crate) fn ads() -> core::ConfigSource {
    core::ConfigSource {
        authorities: Vec::new(),
        initial_fetch_timeout: Some(pb::Duration::default()),
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource {},
        )),
    }
}

pub(crate) fn text(value: &str) -> pb::Value {
    pb::Value { kind: Some(pb::value::Kind::StringValue(value.to_owned())) }
}

pub(crate) fn flag(value: bool) -> pb::Value {
    pb::Value { kind: Some(pb::value::Kind::BoolValue(value)) }
}

pub(crate) fn list(values: Vec<pb::Value>) -> pb::Value {
    pb::Value { kind: Some(pb::value::Kind::ListValue(pb::ListValue { values })) }
}

pub(crate) fn object<const N: usize>(fields: [(&str, pb::Value); N]) -> pb::Value {
    pb::Value { kind: Some(pb::value::Kind::StructValue(structure(fields))) }
}

pub(crate) fn structure<const N: usize>(fields: [(&str, pb::Value); N]) -> pb::Struct {
    pb::Struct { fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
}

/// Metadata under Istio's own key.
pub(crate) fn istio_metadata(fields: BTreeMap<&str, pb::Value>) -> core::Metadata {
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    core::Metadata {
        filter_metadata: [("istio".to_owned(), pb::Struct { fields })].into(),
        ..core::Metadata::default()
    }
}

/// Where a resource came from, as istiod writes it into `filter_metadata.istio.config`.
pub(crate) fn config_path(group: &str, version: &str, kind: &str, namespace: &str, name: &str) -> String {
    format!("/apis/{group}/{version}/namespaces/{namespace}/{kind}/{name}")
}

/// A message of a type that Envoy's tree does not have, as `udpa.type.v1.TypedStruct`. The bytes of equal values
/// are equal: the fields of a `Struct` are a hash map, which would otherwise be written in any order.
pub(crate) fn typed_struct(full_name: &str, value: &pb::Struct) -> pb::Any {
    let mut bytes = Vec::new();
    prost::encoding::string::encode(1, &format!("type.googleapis.com/{full_name}"), &mut bytes);
    put(2, &struct_bytes(value), &mut bytes);
    let type_url = any_empty(&weir_proto::udpa::r#type::v1::TypedStruct::full_name()).type_url;
    pb::Any { type_url, value: bytes }
}

/// A `Struct` with its fields in the order of their names.
fn struct_bytes(value: &pb::Struct) -> Vec<u8> {
    let sorted: BTreeMap<&String, &pb::Value> = value.fields.iter().collect();
    let mut bytes = Vec::new();
    for (name, value) in sorted {
        let mut entry = Vec::new();
        prost::encoding::string::encode(1, name, &mut entry);
        put(2, &value_bytes(value), &mut entry);
        put(1, &entry, &mut bytes);
    }
    bytes
}

fn value_bytes(value: &pb::Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    match &value.kind {
        Some(pb::value::Kind::StructValue(inner)) => put(5, &struct_bytes(inner), &mut bytes),
        Some(pb::value::Kind::ListValue(list)) => {
            let mut items = Vec::new();
            for item in &list.values {
                put(1, &value_bytes(item), &mut items);
            }
            put(6, &items, &mut bytes);
        }
        _ => bytes = value.encode_to_vec(),
    }
    bytes
}

/// Writes a field that holds a message (protobuf encoding, wire type 2).
fn put(tag: u32, message: &[u8], bytes: &mut Vec<u8>) {
    prost::encoding::encode_key(tag, prost::encoding::WireType::LengthDelimited, bytes);
    prost::encoding::encode_varint(message.len() as u64, bytes);
    bytes.extend_from_slice(message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_struct_is_written_in_one_order() {
        let value = || {
            structure([
                ("b", list(vec![object([("y", flag(true)), ("x", text("1"))])])),
                ("a", object([("d", text("2")), ("c", list(Vec::new()))])),
                ("e", text("")),
            ])
        };
        let first = typed_struct("some.Type", &value());
        for _ in 0..20 {
            assert_eq!(typed_struct("some.Type", &value()), first);
        }
        let read = weir_proto::udpa::r#type::v1::TypedStruct::decode(first.value.as_slice()).unwrap();
        assert_eq!(read.value, Some(value()));
        assert_eq!(read.type_url, "type.googleapis.com/some.Type");
    }
}
