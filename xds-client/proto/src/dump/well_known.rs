//! The messages of google/protobuf/*.proto that have a JSON form of their own.

use prost_reflect::{DynamicMessage, ReflectMessage, Value};
use serde_json::{Value as Json, json};

use super::{Dumper, Place, REDACTED, key_text, scalar};
use crate::text::MAX_DEPTH;

/// The JSON of a message with a form of its own; `None` for an ordinary one.
pub(super) fn write(dumper: &Dumper<'_>, message: &DynamicMessage, place: Place) -> Option<Json> {
    let desc = message.descriptor();
    let short = desc.full_name().strip_prefix("google.protobuf.")?;
    Some(match short {
        "Any" => {
            let (url, bytes) = (field(message, 1), field(message, 2));
            dumper.any(
                url.as_str().unwrap_or_default(),
                bytes.as_bytes().map(|b| b.as_ref()).unwrap_or_default(),
                place,
            )
        }
        "Struct" | "ListValue" | "Value" => plain(message, short, place),
        "Duration" => json!(duration(message)),
        "Timestamp" => json!(timestamp(message)),
        "FieldMask" => json!(field_mask(message)),
        "Empty" => json!({}),
        "StringValue" | "BytesValue" if place.sensitive => json!(REDACTED),
        "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value" | "UInt32Value"
        | "BoolValue" | "StringValue" | "BytesValue" => scalar(&field(message, 1)),
        _ => return None,
    })
}

fn field(message: &DynamicMessage, number: u32) -> Value {
    message.get_field_by_number(number).map_or(Value::Bool(false), |value| value.into_owned())
}

/// Struct, ListValue and Value as the JSON that they stand for.
fn plain(message: &DynamicMessage, short: &str, place: Place) -> Json {
    if place.depth > MAX_DEPTH.saturating_mul(2) {
        return Json::Null;
    }
    match short {
        "Struct" => {
            let fields = field(message, 1);
            let entries = fields.as_map().into_iter().flatten();
            let mut entries: Vec<_> = entries.map(|(key, value)| (key_text(key), value)).collect();
            entries.sort_by(|(left, _), (right, _)| left.cmp(right));
            Json::Object(entries.into_iter().map(|(key, value)| (key, of_value(value, place))).collect())
        }
        "ListValue" => {
            let items = field(message, 1);
            Json::Array(items.as_list().into_iter().flatten().map(|item| of_value(item, place)).collect())
        }
        _ => {
            let set = message.fields().next();
            match set {
                Some((kind, Value::Message(inner))) => {
                    let short = if kind.number() == 5 { "Struct" } else { "ListValue" };
                    plain(inner, short, place.deeper(false))
                }
                Some((kind, _)) if kind.number() == 1 => Json::Null,
                Some(_) if place.sensitive => json!(REDACTED),
                Some((_, value)) => scalar(value),
                None => Json::Null,
            }
        }
    }
}

fn of_value(value: &Value, place: Place) -> Json {
    value.as_message().map_or(Json::Null, |inner| plain(inner, "Value", place.deeper(false)))
}

fn parts(message: &DynamicMessage) -> (i64, i32) {
    let (seconds, nanos) = (field(message, 1), field(message, 2));
    (seconds.as_i64().unwrap_or(0), nanos.as_i32().unwrap_or(0))
}

/// Decimals in groups of three, none when there are none, as protobuf writes them.
fn fraction(nanos: u32) -> String {
    let digits = format!("{nanos:09}");
    let mut digits = digits.as_str();
    while let Some(shorter) = digits.strip_suffix("000") {
        digits = shorter;
    }
    if digits.is_empty() { String::new() } else { format!(".{digits}") }
}

fn duration(message: &DynamicMessage) -> String {
    let (seconds, nanos) = parts(message);
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    format!("{sign}{}{}s", seconds.unsigned_abs(), fraction(nanos.unsigned_abs()))
}

/// RFC 3339 in UTC; days to dates after Howard Hinnant's civil_from_days, in the proleptic Gregorian calendar.
fn timestamp(message: &DynamicMessage) -> String {
    let (seconds, nanos) = parts(message);
    // Range of google/protobuf/timestamp.proto: years 1 to 9999.
    let seconds = seconds.clamp(-62_135_596_800, 253_402_300_799);
    let (days, time) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    let fraction = fraction(nanos.clamp(0, 999_999_999).unsigned_abs());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

fn field_mask(message: &DynamicMessage) -> String {
    let paths = field(message, 1);
    let camel = |path: &str| {
        let mut out = String::with_capacity(path.len());
        let mut raise = false;
        for letter in path.chars() {
            match letter {
                '_' => raise = true,
                letter if raise => {
                    out.push(letter.to_ascii_uppercase());
                    raise = false;
                }
                letter => out.push(letter),
            }
        }
        out
    };
    let paths: Vec<String> =
        paths.as_list().into_iter().flatten().filter_map(Value::as_str).map(camel).collect();
    paths.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;

    fn message(pool: &Pool, name: &str, seconds: i64, nanos: i32) -> DynamicMessage {
        let mut message = DynamicMessage::new(pool.message(name).expect("known"));
        message.set_field_by_number(1, Value::I64(seconds));
        message.set_field_by_number(2, Value::I32(nanos));
        message
    }

    #[test]
    fn times_are_written_as_protobuf_writes_them() {
        let pool = Pool::load().expect("descriptors");
        let durations = [
            (1, 0, "1s"),
            (0, 500_000_000, "0.500s"),
            (-1, -500_000_000, "-1.500s"),
            (0, 1_000, "0.000001s"),
            (0, 1, "0.000000001s"),
        ];
        for (seconds, nanos, text) in durations {
            assert_eq!(duration(&message(&pool, "google.protobuf.Duration", seconds, nanos)), text);
        }
        let times = [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (1_795_273_621, 120_000_000, "2026-11-21T15:07:01.120Z"),
            (-1, 0, "1969-12-31T23:59:59Z"),
            (253_402_300_799, 0, "9999-12-31T23:59:59Z"),
        ];
        for (seconds, nanos, text) in times {
            assert_eq!(timestamp(&message(&pool, "google.protobuf.Timestamp", seconds, nanos)), text);
        }
    }
}
