//! Encoded messages walked through without decoding them: what is not looked at costs nothing, and a resource stays a
//! piece of the message that it came in.

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use std::time::Duration;
use weir_proto::any;
use weir_proto::google::protobuf::Duration as ProtoDuration;

/// Tag of the name in every resource type.
const NAME: u32 = 1;

/// Full name of the message that wraps a resource with its name and TTL.
const WRAPPER: &str = "envoy.service.discovery.v3.Resource";

/// The fields of a message that have a length, in order; others are skipped. After an error there is nothing more.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Fields(message)
    }

    fn step(&mut self) -> Result<Option<(u32, &'a [u8])>, String> {
        while !self.0.is_empty() {
            let (tag, wire) = decode_key(&mut self.0).map_err(|error| error.to_string())?;
            if wire != WireType::LengthDelimited {
                skip_field(wire, tag, &mut self.0, DecodeContext::default())
                    .map_err(|error| error.to_string())?;
                continue;
            }
            let length = decode_varint(&mut self.0).map_err(|error| error.to_string())?;
            let split = usize::try_from(length).ok().and_then(|length| self.0.split_at_checked(length));
            let Some((value, rest)) = split else {
                return Err(format!("field {tag} is longer than the message"));
            };
            self.0 = rest;
            return Ok(Some((tag, value)));
        }
        Ok(None)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, &'a [u8]), String>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.0 = &[];
        }
        step.transpose()
    }
}

/// A text field.
pub(crate) fn text(value: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(value).map_err(|error| format!("a text is no UTF-8: {error}"))
}

/// The name in an encoded resource; none when it has none or cannot be walked through. Nothing else is decoded.
pub(crate) fn name_in(body: &[u8]) -> Option<&str> {
    let mut found = None;
    for field in Fields::of(body) {
        let (tag, value) = field.ok()?;
        if tag == NAME {
            // The last one counts, as in a decoder.
            found = Some(value);
        }
    }
    std::str::from_utf8(found?).ok()
}

/// One resource of a response, taken apart as far as the protocol goes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Piece<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) aliases: Vec<&'a str>,
    pub(crate) ttl: Option<Duration>,
    /// Full name of its type, and the encoded message; none: a heartbeat.
    pub(crate) resource: Option<(&'a str, &'a [u8])>,
}

impl<'a> Piece<'a> {
    /// A resource as the delta dialect sends it.
    pub(crate) fn wrapped(message: &'a [u8]) -> Result<Piece<'a>, String> {
        let mut piece = Piece::default();
        for field in Fields::of(message) {
            match field? {
                (1, value) => piece.version = text(value)?,
                (2, value) => piece.resource = Some(packed(value)?),
                (3, value) => piece.name = text(value)?,
                (4, value) => piece.aliases.push(text(value)?),
                (6, value) => {
                    let ttl = ProtoDuration::decode(value).map_err(|error| format!("ttl: {error}"))?;
                    piece.ttl = any::duration(&ttl).ok();
                }
                _ => {}
            }
        }
        Ok(piece)
    }

    /// A resource as state of the world sends it: bare, or wrapped with name and TTL.
    pub(crate) fn bare(message: &'a [u8]) -> Result<Piece<'a>, String> {
        let (kind, value) = packed(message)?;
        if kind == WRAPPER {
            return Piece::wrapped(value);
        }
        Ok(Piece { resource: Some((kind, value)), ..Piece::default() })
    }
}

/// Type and value of an `Any`.
fn packed(message: &[u8]) -> Result<(&str, &[u8]), String> {
    let (mut kind, mut body): (&str, &[u8]) = ("", &[]);
    for field in Fields::of(message) {
        match field? {
            (1, value) => kind = any::name_in_url(text(value)?),
            (2, value) => body = value,
            _ => {}
        }
    }
    Ok((kind, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_proto::envoy::config::cluster::v3::Cluster;
    use weir_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
    use weir_proto::envoy::service::discovery::v3::Resource;

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

    #[test]
    fn a_resource_is_read_bare_and_wrapped() {
        let cluster = any::pack(&Cluster { name: "c".into(), ..Cluster::default() });
        let body = cluster.value.clone();
        let kind = "envoy.config.cluster.v3.Cluster";
        let bare = cluster.encode_to_vec();
        assert_eq!(
            Piece::bare(&bare),
            Ok(Piece { resource: Some((kind, body.as_slice())), ..Piece::default() })
        );
        let wrapped = Resource {
            name: "c".into(),
            version: "7".into(),
            aliases: vec!["d".into(), "e".into()],
            resource: Some(cluster),
            ttl: Some(ProtoDuration { seconds: 2, nanos: 0 }),
            ..Resource::default()
        };
        let want = || Piece {
            name: "c",
            version: "7",
            aliases: vec!["d", "e"],
            ttl: Some(Duration::from_secs(2)),
            resource: Some((kind, body.as_slice())),
        };
        let bytes = wrapped.encode_to_vec();
        assert_eq!(Piece::wrapped(&bytes), Ok(want()));
        let packed = any::pack(&wrapped).encode_to_vec();
        assert_eq!(Piece::bare(&packed), Ok(want()));
    }

    #[test]
    fn broken_bytes_are_an_error() {
        for (broken, why) in [
            (&[0x12, 0x7f, 0][..], "field 2 is longer than the message"),
            (&[0x1a, 0x01, 0xff], "a text is no UTF-8"),
            (&[0xff; 12], "varint"),
            (&[0x32, 0x01, 0x08], "ttl: "),
        ] {
            let error = Piece::wrapped(broken).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
