//! How the values of flags are read.

use super::logging;
use std::time::Duration;

/// A number that its type can hold.
pub fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("'{value}' is not a number in range"))
}

/// A duration: seconds, or with a unit (`25s`, `500ms`, `2m`).
pub fn duration(value: &str) -> Result<Duration, String> {
    let split = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (digits, unit) = value.split_at_checked(split).unwrap_or((value, ""));
    match (digits.parse::<u64>(), unit) {
        (Ok(n), "" | "s") => Ok(Duration::from_secs(n)),
        (Ok(n), "ms") => Ok(Duration::from_millis(n)),
        (Ok(n), "m") => Ok(Duration::from_secs(n.saturating_mul(60))),
        _ => Err(format!("'{value}' is not a duration (25s, 500ms, 2m)")),
    }
}

/// One of Envoy's log levels.
pub fn level(value: &str) -> Result<&str, String> {
    logging::level(value).map(|_| value).ok_or_else(|| format!("'{value}' is not {}", logging::LEVELS))
}

/// `k=v,...`
pub fn pairs(value: &str) -> Result<Vec<(String, String)>, String> {
    let all = value.split(',').filter(|p| !p.is_empty());
    all.map(|p| {
        p.split_once('=')
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .ok_or_else(|| format!("'{p}' is not key=value"))
    })
    .collect()
}
