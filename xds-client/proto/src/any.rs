//! `google.protobuf.Any`, durations and wrappers: the conversions that every reader of a config needs.

use std::time::Duration;

use prost::{Message, Name};

use crate::google::protobuf::{self as pb, Any};

/// What is prefixed to a type's full name in a type URL.
pub const TYPE_URL_PREFIX: &str = "type.googleapis.com/";

/// Longest duration that protobuf defines (google/protobuf/duration.proto): 315,576,000,000 s, about 10,000 years.
pub const MAX_DURATION_SECONDS: i64 = 315_576_000_000;

/// Why an [`Any`] could not be read as the message that was asked for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AnyError {
    /// The type URL names another message.
    #[error("it holds a {found}, where a {expected} is needed")]
    Type {
        /// Full name in the type URL.
        found: String,
        /// Full name asked for.
        expected: String,
    },
    /// The bytes are not that message.
    #[error("it is no valid {expected}: {source}")]
    Decode {
        /// Full name asked for.
        expected: String,
        /// What the decoder says.
        source: prost::DecodeError,
    },
}

/// Why a duration cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Less than zero.
    #[error("a negative duration")]
    Negative,
    /// Nanoseconds beyond 999,999,999, or of another sign than the seconds.
    #[error("a duration whose nanoseconds are not within one second of the same sign")]
    Nanos,
    /// Longer than [`MAX_DURATION_SECONDS`].
    #[error("a duration of more than {MAX_DURATION_SECONDS} seconds")]
    TooLong,
}

/// The full name of the message in a type URL: what follows its last `/`.
pub fn name_in_url(type_url: &str) -> &str {
    type_url.rsplit_once('/').map_or(type_url, |(_, name)| name)
}

/// The full name of the message that `any` holds.
pub fn type_name(any: &Any) -> &str {
    name_in_url(&any.type_url)
}

/// The type URL of a message by its full name.
pub fn type_url(name: &str) -> String {
    format!("{TYPE_URL_PREFIX}{name}")
}

/// Reads `any` as an `M`.
///
/// # Errors
/// When the type URL names another message, or the bytes are not an `M`.
pub fn unpack<M: Message + Default + Name>(any: &Any) -> Result<M, AnyError> {
    let (found, expected) = (type_name(any), M::full_name());
    if found != expected {
        return Err(AnyError::Type { found: found.to_owned(), expected });
    }
    M::decode(any.value.as_slice()).map_err(|source| AnyError::Decode { expected, source })
}

/// Puts `message` into an `Any` under its own type URL.
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: type_url(&M::full_name()), value: message.encode_to_vec() }
}

/// A proto duration as a time span.
///
/// # Errors
/// When it is negative, too long, or malformed.
pub fn duration(proto: &pb::Duration) -> Result<Duration, DurationError> {
    let (seconds, nanos) = (proto.seconds, proto.nanos);
    if seconds < 0 || (seconds == 0 && nanos < 0) {
        return Err(DurationError::Negative);
    }
    if seconds > MAX_DURATION_SECONDS {
        return Err(DurationError::TooLong);
    }
    let whole = u64::try_from(seconds).map_err(|_| DurationError::Negative)?;
    let nanos = u32::try_from(nanos).map_err(|_| DurationError::Nanos)?;
    if nanos > 999_999_999 {
        return Err(DurationError::Nanos);
    }
    Ok(Duration::new(whole, nanos))
}

/// [`duration`] of a field that may be absent.
///
/// # Errors
/// As [`duration`].
pub fn optional_duration(proto: Option<&pb::Duration>) -> Result<Option<Duration>, DurationError> {
    proto.map(duration).transpose()
}

/// A time span as a proto duration; one beyond [`MAX_DURATION_SECONDS`] becomes that.
pub fn proto_duration(span: Duration) -> pb::Duration {
    match i64::try_from(span.as_secs()) {
        Ok(seconds) if seconds <= MAX_DURATION_SECONDS => {
            pb::Duration { seconds, nanos: i32::try_from(span.subsec_nanos()).unwrap_or(0) }
        }
        _ => pb::Duration { seconds: MAX_DURATION_SECONDS, nanos: 0 },
    }
}

/// The value inside one of protobuf's wrapper messages (`UInt32Value` and its like).
pub trait Wrapper {
    /// The type that is wrapped.
    type Inner;
    /// A copy of the wrapped value.
    fn inner(&self) -> Self::Inner;
}

macro_rules! wrappers {
    ($($name:ident: $inner:ty),*) => {$(
        impl Wrapper for pb::$name {
            type Inner = $inner;
            fn inner(&self) -> $inner { self.value.clone() }
        }
    )*};
}

wrappers!(BoolValue: bool, UInt32Value: u32, UInt64Value: u64, Int32Value: i32, Int64Value: i64, FloatValue: f32,
    DoubleValue: f64, StringValue: String, BytesValue: Vec<u8>);

/// The value of a wrapper field, `None` when the field is absent.
pub fn wrapped<W: Wrapper>(field: &Option<W>) -> Option<W::Inner> {
    field.as_ref().map(Wrapper::inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_message_unpacks_as_itself_and_as_nothing_else() {
        let any = pack(&pb::UInt32Value { value: 7 });
        assert_eq!(any.type_url, "type.googleapis.com/google.protobuf.UInt32Value");
        assert_eq!(unpack::<pb::UInt32Value>(&any), Ok(pb::UInt32Value { value: 7 }));
        let error = unpack::<pb::StringValue>(&any).expect_err("another type");
        assert_eq!(
            error.to_string(),
            "it holds a google.protobuf.UInt32Value, where a google.protobuf.StringValue is needed"
        );
        let broken = Any { type_url: any.type_url, value: vec![0xff] };
        assert!(matches!(unpack::<pb::UInt32Value>(&broken), Err(AnyError::Decode { .. })));
    }

    #[test]
    fn the_name_follows_the_last_slash() {
        let table = [("type.googleapis.com/a.B", "a.B"), ("x/y/a.B", "a.B"), ("a.B", "a.B"), ("", "")];
        for (url, name) in table {
            assert_eq!(name_in_url(url), name, "{url}");
        }
    }

    #[test]
    fn durations_keep_their_range() {
        let of = |seconds, nanos| duration(&pb::Duration { seconds, nanos });
        assert_eq!(of(1, 500_000_000), Ok(Duration::from_millis(1500)));
        assert_eq!(of(0, 0), Ok(Duration::ZERO));
        assert_eq!(of(-1, 0), Err(DurationError::Negative));
        assert_eq!(of(0, -1), Err(DurationError::Negative));
        assert_eq!(of(1, -1), Err(DurationError::Nanos));
        assert_eq!(of(0, 1_000_000_000), Err(DurationError::Nanos));
        assert_eq!(of(MAX_DURATION_SECONDS + 1, 0), Err(DurationError::TooLong));
        assert_eq!(
            proto_duration(Duration::from_millis(1500)),
            pb::Duration { seconds: 1, nanos: 500_000_000 }
        );
        assert_eq!(proto_duration(Duration::MAX).seconds, MAX_DURATION_SECONDS);
    }

    #[test]
    fn wrappers_open() {
        assert_eq!(wrapped(&Some(pb::BoolValue { value: true })), Some(true));
        assert_eq!(wrapped::<pb::StringValue>(&None), None);
    }
}
