//! Small conversions: durations, wrappers, enums, percentages, `Any`.

use super::Cx;
use crate::base::ledger::At;
use crate::base::names::HeaderName;
use crate::model::matcher::Fraction;
use prost::Message;
use std::time::Duration;
use weir_proto::any;
use weir_proto::envoy::config::core::v3::{RuntimeFeatureFlag, RuntimeFractionalPercent};
use weir_proto::envoy::r#type::v3::{FractionalPercent, Percent, fractional_percent::DenominatorType};
use weir_proto::google::protobuf as pb;

/// An optional duration, not negative.
pub fn duration(at: &At<'_>, field: &str, value: &Option<pb::Duration>) -> Option<Duration> {
    match any::optional_duration(value.as_ref()) {
        Ok(found) => found,
        Err(error) => {
            at.bad(field, format!("is {error}"));
            None
        }
    }
}

/// A duration where zero switches off: absent gives the default, zero gives none.
pub fn timeout(
    at: &At<'_>,
    field: &str,
    value: &Option<pb::Duration>,
    default: Option<Duration>,
) -> Option<Duration> {
    if value.is_none() {
        return default;
    }
    duration(at, field, value).filter(|d| !d.is_zero())
}

/// A duration that must be above zero when it is set.
pub fn positive(at: &At<'_>, field: &str, value: &Option<pb::Duration>) -> Option<Duration> {
    let found = duration(at, field, value)?;
    if found.is_zero() {
        at.bad(field, "must be greater than 0s");
        return None;
    }
    Some(found)
}

/// A wrapped number inside `low..=high`; absent gives the default.
pub fn u32_in(
    at: &At<'_>,
    field: &str,
    value: &Option<pb::UInt32Value>,
    default: u32,
    low: u32,
    high: u32,
) -> u32 {
    let Some(value) = value.as_ref().map(|v| v.value) else { return default };
    if !(low..=high).contains(&value) {
        at.bad(field, format!("is {value}, must be between {low} and {high}"));
    }
    value
}

/// As [`u32_in`] for 64 bits.
pub fn u64_in(
    at: &At<'_>,
    field: &str,
    value: &Option<pb::UInt64Value>,
    default: u64,
    low: u64,
    high: u64,
) -> u64 {
    let Some(value) = value.as_ref().map(|v| v.value) else { return default };
    if !(low..=high).contains(&value) {
        at.bad(field, format!("is {value}, must be between {low} and {high}"));
    }
    value
}

/// A wrapped number, none when absent.
pub fn u32_opt(value: &Option<pb::UInt32Value>) -> Option<u32> {
    value.as_ref().map(|v| v.value)
}

/// A wrapped flag.
pub fn flag(value: &Option<pb::BoolValue>, default: bool) -> bool {
    value.as_ref().map_or(default, |v| v.value)
}

/// A port number.
pub fn port(at: &At<'_>, field: &str, value: u32) -> Option<u16> {
    let port = u16::try_from(value).ok();
    if port.is_none() {
        at.bad(field, format!("is {value}, must be at most 65535"));
    }
    port
}

/// An enum value that this release's messages know.
pub fn enumeration<E: TryFrom<i32>>(at: &At<'_>, field: &str, value: i32) -> Option<E> {
    let known = E::try_from(value).ok();
    if known.is_none() {
        at.bad(field, format!("unknown enum value {value}"));
    }
    known
}

/// The message in an `Any` whose type is known to be `M`.
pub fn unpack<M: Message + Default + prost::Name>(at: &At<'_>, message: &pb::Any) -> Option<M> {
    match any::unpack(message) {
        Ok(found) => Some(found),
        Err(error) => {
            at.error(error.to_string());
            None
        }
    }
}

/// Is the `Any` an `M`?
pub fn is<M: prost::Name>(message: &pb::Any) -> bool {
    any::type_name(message) == M::full_name()
}

/// A header name.
pub fn header_name(at: &At<'_>, field: &str, name: &str) -> Option<HeaderName> {
    match HeaderName::parse(name) {
        Ok(found) => Some(found),
        Err(error) => {
            at.bad(field, error.to_string());
            None
        }
    }
}

/// A percentage of 0 to 100.
pub fn percent(at: &At<'_>, field: &str, value: &Option<Percent>) -> Option<f64> {
    let value = value.as_ref()?.value;
    if !(0.0..=100.0).contains(&value) {
        at.bad(field, format!("is {value}, must be between 0 and 100"));
        return None;
    }
    Some(value)
}

/// A share of numerator and denominator; more than the whole is the whole, as in Envoy.
pub fn fraction(at: &At<'_>, value: &FractionalPercent) -> Option<Fraction> {
    crate::ledger!(at, value => FractionalPercent { numerator, denominator });
    let per = match enumeration::<DenominatorType>(at, "denominator", *denominator)? {
        DenominatorType::Hundred => 10_000,
        DenominatorType::TenThousand => 100,
        DenominatorType::Million => 1,
    };
    Some(Fraction(numerator.saturating_mul(per).min(Fraction::ALL.0)))
}

/// A share with a runtime key: what the runtime says, else the default; no default is 0 percent.
pub fn runtime_fraction(cx: &Cx<'_>, at: &At<'_>, value: &RuntimeFractionalPercent) -> Option<Fraction> {
    crate::ledger!(at, value => RuntimeFractionalPercent { default_value, runtime_key });
    if let Some(found) = runtime_share(cx, runtime_key) {
        return Some(found);
    }
    let default = at.required("default_value", default_value.as_ref())?;
    fraction(&at.field("default_value"), default)
}

/// A share from the runtime: a whole percentage, or `numerator` and `denominator` below the key.
fn runtime_share(cx: &Cx<'_>, key: &str) -> Option<Fraction> {
    if key.is_empty() {
        return None;
    }
    let whole = |n: u64, per: u64| Fraction(n.saturating_mul(per).min(1_000_000) as u32);
    if let Some(percent) = cx.runtime_u64(key) {
        return Some(whole(percent, 10_000));
    }
    let numerator = cx.runtime_u64(&format!("{key}.numerator"))?;
    let per = match cx.runtime(&format!("{key}.denominator")) {
        Some("MILLION") => 1,
        Some("TEN_THOUSAND") => 100,
        _ => 10_000,
    };
    Some(whole(numerator, per))
}

/// A switch with a runtime key: what the runtime says, else the default.
pub fn runtime_flag(cx: &Cx<'_>, at: &At<'_>, value: &RuntimeFeatureFlag) -> Option<bool> {
    crate::ledger!(at, value => RuntimeFeatureFlag { default_value, runtime_key });
    let default = at.required("default_value", default_value.as_ref())?.value;
    let key = at.non_empty("runtime_key", runtime_key)?;
    Some(match cx.runtime(key) {
        Some("true") => true,
        Some("false") => false,
        Some(text) => text.parse::<f64>().map_or(default, |number| number != 0.0),
        None => default,
    })
}

/// Full name of a message type.
pub fn type_name<M: prost::Name>() -> String {
    M::full_name()
}
