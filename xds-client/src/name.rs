//! A resource's name, read off its bytes: in every type that is delivered it is field 1, a string.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// Tag of the name in every resource type.
const NAME: u32 = 1;

/// The name in an encoded resource; none when it has none or cannot be walked through. Nothing else is decoded.
pub(crate) fn name_in(mut body: &[u8]) -> Option<&str> {
    let mut found = None;
    while !body.is_empty() {
        let (tag, wire) = decode_key(&mut body).ok()?;
        if tag == NAME && wire == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut body).ok()?).ok()?;
            let (text, rest) = body.split_at_checked(length)?;
            // The last one counts, as in a decoder.
            found = Some(text);
            body = rest;
        } else {
            skip_field(wire, tag, &mut body, DecodeContext::default()).ok()?;
        }
    }
    std::str::from_utf8(found?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use weir_proto::envoy::config::cluster::v3::Cluster;
    use weir_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;

    #[test]
    fn the_name_is_found_without_decoding() {
        let cluster = Cluster { name: "c".into(), alt_stat_name: "x".into(), ..Cluster::default() };
        assert_eq!(name_in(&cluster.encode_to_vec()), Some("c"));
        let assignment =
            ClusterLoadAssignment { cluster_name: "s".into(), ..ClusterLoadAssignment::default() };
        assert_eq!(name_in(&assignment.encode_to_vec()), Some("s"));
        for broken in [&b""[..], &[0x0a, 0x05, b'a'], &[0xff; 12], &[0x0a, 0x01, 0xff]] {
            assert_eq!(name_in(broken), None, "{broken:?}");
        }
    }
}
