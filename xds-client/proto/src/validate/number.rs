//! Ranges and sets of numbers, durations and times.

use std::cmp::Ordering;
use std::fmt;

use prost_reflect::{DynamicMessage, Value};

use super::{flag, listed, rule};

/// A number of any kind; durations and times in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    Whole(i128),
    Float(f64),
    Nanos(i128),
}

impl Number {
    fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::I32(value) => Self::Whole(i128::from(*value)),
            Value::I64(value) => Self::Whole(i128::from(*value)),
            Value::U32(value) => Self::Whole(i128::from(*value)),
            Value::U64(value) => Self::Whole(i128::from(*value)),
            Value::F32(value) => Self::Float(f64::from(*value)),
            Value::F64(value) => Self::Float(*value),
            Value::Message(message) => {
                let part = |number| message.get_field_by_number(number);
                let seconds = part(1).and_then(|value| value.as_i64())?;
                let nanos = part(2).and_then(|value| value.as_i32())?;
                Self::Nanos(
                    i128::from(seconds).saturating_mul(1_000_000_000).saturating_add(i128::from(nanos)),
                )
            }
            _ => return None,
        })
    }

    fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(left), Self::Whole(right)) | (Self::Nanos(left), Self::Nanos(right)) => {
                Some(left.cmp(&right))
            }
            (Self::Float(left), Self::Float(right)) => left.partial_cmp(&right),
            _ => None,
        }
    }

    fn is_zero(self) -> bool {
        self == Self::Whole(0) || self == Self::Float(0.0)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Nanos(value) => {
                let sign = if *value < 0 { "-" } else { "" };
                let value = value.unsigned_abs();
                let (seconds, nanos) = (value / 1_000_000_000, value % 1_000_000_000);
                let decimals = format!("{nanos:09}");
                let decimals = decimals.trim_end_matches('0');
                if decimals.is_empty() {
                    write!(f, "{sign}{seconds}s")
                } else {
                    write!(f, "{sign}{seconds}.{decimals}s")
                }
            }
        }
    }
}

/// The rules among `const`, `lt`, `lte`, `gt`, `gte`, `in` and `not_in` that `value` breaks.
pub(super) fn broken(rules: &DynamicMessage, value: &Value) -> Vec<String> {
    let Some(number) = Number::of(value) else { return Vec::new() };
    if number.is_zero() && flag(rules, "ignore_empty") {
        return Vec::new();
    }
    let bound = |name: &str| rule(rules, name).and_then(|value| Number::of(&value));
    let mut found = Vec::new();
    if let Some(wanted) = bound("const").filter(|wanted| *wanted != number) {
        found.push(format!("must be {wanted}, is {number}"));
    }
    range(number, [bound("gt"), bound("gte")], [bound("lt"), bound("lte")], &mut found);
    let numbers = |name: &str| -> Vec<Number> { listed(rules, name).iter().filter_map(Number::of).collect() };
    let (within, without) = (numbers("in"), numbers("not_in"));
    if !within.is_empty() && !within.contains(&number) {
        let allowed: Vec<String> = within.iter().map(Number::to_string).collect();
        found.push(format!("must be one of {}, is {number}", allowed.join(", ")));
    }
    if without.contains(&number) {
        found.push(format!("must not be {number}"));
    }
    found
}

/// A lower bound above the upper one means: outside of what lies between.
fn range(number: Number, lower: [Option<Number>; 2], upper: [Option<Number>; 2], found: &mut Vec<String>) {
    use Ordering::{Equal, Greater, Less};
    let [gt, gte] = lower;
    let [lt, lte] = upper;
    let is = |bound: Number, allowed: &[Ordering]| {
        number.order(bound).is_some_and(|order| allowed.contains(&order))
    };
    let above =
        gt.is_none_or(|bound| is(bound, &[Greater])) && gte.is_none_or(|bound| is(bound, &[Greater, Equal]));
    let below =
        lt.is_none_or(|bound| is(bound, &[Less])) && lte.is_none_or(|bound| is(bound, &[Less, Equal]));
    let outside = match (gt.or(gte), lt.or(lte)) {
        (Some(low), Some(high)) => low.order(high) == Some(Greater),
        _ => false,
    };
    if if outside { above || below } else { above && below } {
        return;
    }
    let words = [("greater than", gt), ("at least", gte), ("less than", lt), ("at most", lte)];
    let words: Vec<String> =
        words.into_iter().filter_map(|(word, bound)| Some(format!("{word} {}", bound?))).collect();
    found.push(format!("must be {}, is {number}", words.join(if outside { " or " } else { " and " })));
}
