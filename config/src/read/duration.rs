//! Durations as Istio writes them: Go's `time.ParseDuration`, of which protobuf's `1.5s` is a part.

use std::time::Duration;

/// Nanoseconds of each unit; the two-letter ones come first, for `m` begins `ms`.
const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Most digits after the point that count: nanoseconds of a second.
const FRACTION_DIGITS: usize = 9;

/// Reads `1h30m`, `1.5s`, `500ms`, `0`. Negative durations have no use in any field and are refused.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, nanos) = UNITS.iter().find(|(unit, _)| tail.starts_with(unit))?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total =
            total.checked_add(whole.checked_mul(*nanos)?)?.checked_add(fraction_nanos(fraction, *nanos)?)?;
        rest = tail.strip_prefix(unit)?;
    }
    Some(Duration::from_nanos(total))
}

fn fraction_nanos(digits: &str, unit: u64) -> Option<u64> {
    let digits: String = digits.chars().take(FRACTION_DIGITS).collect();
    if digits.is_empty() {
        return Some(0);
    }
    let scale = 10u128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    let value: u128 = digits.parse().ok()?;
    u64::try_from(value.checked_mul(u128::from(unit))?.checked_div(scale)?).ok()
}

/// A duration for a message: seconds with `s`, or milliseconds.
#[must_use]
pub fn print_duration(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_go_and_protobuf_forms() {
        let cases = [
            ("5s", Some(5_000)),
            ("1.5s", Some(1_500)),
            ("500ms", Some(500)),
            ("1h30m", Some(5_400_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            (".5s", Some(500)),
            ("5", None),
            ("", None),
            ("-1s", None),
            ("1 s", None),
            ("1.2.3s", None),
            (".s", None),
            ("99999999999999h", None),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text}");
        }
    }
}
