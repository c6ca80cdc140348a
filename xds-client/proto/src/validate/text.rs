//! Rules for texts and bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use prost_reflect::{DynamicMessage, Value};
use regex::Regex;

use super::{Checker, count, flag, listed, plural, rule};
use crate::text::crop;

/// Numbers of validate.KnownRegex.
const HTTP_HEADER_NAME: i32 = 1;
const HTTP_HEADER_VALUE: i32 = 2;

impl Checker<'_> {
    pub(super) fn text_rules(&mut self, rules: &DynamicMessage, value: &Value) {
        let Some(text) = value.as_str() else { return };
        if text.is_empty() && flag(rules, "ignore_empty") {
            return;
        }
        let letters = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.lengths(rules, letters, ["len", "min_len", "max_len"], "character");
        self.lengths(rules, bytes, ["len_bytes", "min_bytes", "max_bytes"], "byte");
        let stated = |name: &str| rule(rules, name).and_then(|value| value.as_str().map(str::to_owned));
        if let Some(wanted) = stated("const").filter(|wanted| wanted != text) {
            self.violation(format!("must be {wanted:?}"));
        }
        if let Some(part) = stated("prefix").filter(|part| !text.starts_with(part.as_str())) {
            self.violation(format!("must begin with {part:?}"));
        }
        if let Some(part) = stated("suffix").filter(|part| !text.ends_with(part.as_str())) {
            self.violation(format!("must end in {part:?}"));
        }
        if let Some(part) = stated("contains").filter(|part| !text.contains(part.as_str())) {
            self.violation(format!("must contain {part:?}"));
        }
        if let Some(part) = stated("not_contains").filter(|part| text.contains(part.as_str())) {
            self.violation(format!("must not contain {part:?}"));
        }
        if let Some(pattern) = stated("pattern") {
            self.pattern(&pattern, text);
        }
        let texts = |name: &str| -> Vec<String> {
            listed(rules, name).iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
        };
        let (within, without) = (texts("in"), texts("not_in"));
        if !within.is_empty() && !within.iter().any(|allowed| allowed == text) {
            self.violation(format!("must be one of {}, is {:?}", within.join(", "), crop(text)));
        }
        if without.iter().any(|refused| refused == text) {
            self.violation(format!("must not be {text:?}"));
        }
        self.well_known(rules, text);
    }

    fn well_known(&mut self, rules: &DynamicMessage, text: &str) {
        if flag(rules, "ip") && text.parse::<IpAddr>().is_err() {
            self.violation("must be an IP address");
        }
        if flag(rules, "ipv4") && text.parse::<Ipv4Addr>().is_err() {
            self.violation("must be an IPv4 address");
        }
        if flag(rules, "ipv6") && text.parse::<Ipv6Addr>().is_err() {
            self.violation("must be an IPv6 address");
        }
        let known = rule(rules, "well_known_regex").and_then(|value| value.as_enum_number());
        let strict = rule(rules, "strict").and_then(|value| value.as_bool()).unwrap_or(true);
        let (what, valid) = match known {
            Some(HTTP_HEADER_NAME) if strict => ("an HTTP header name", is_header_name(text)),
            Some(HTTP_HEADER_VALUE) if strict => ("an HTTP header value", is_header_value(text)),
            Some(HTTP_HEADER_NAME | HTTP_HEADER_VALUE) => {
                ("free of NUL, CR and LF", !text.contains(['\0', '\r', '\n']))
            }
            _ => return,
        };
        if !valid {
            self.violation(format!("must be {what}, is {:?}", crop(text)));
        }
    }

    pub(super) fn bytes_rules(&mut self, rules: &DynamicMessage, value: &Value) {
        let Some(bytes) = value.as_bytes() else { return };
        if bytes.is_empty() && flag(rules, "ignore_empty") {
            return;
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.lengths(rules, length, ["len", "min_len", "max_len"], "byte");
    }

    fn lengths(&mut self, rules: &DynamicMessage, found: u64, [exact, min, max]: [&str; 3], noun: &str) {
        if let Some(wanted) = count(rules, exact).filter(|wanted| *wanted != found) {
            self.violation(format!("must be {} long, is {found}", plural(wanted, noun)));
        }
        if let Some(min) = count(rules, min).filter(|min| found < *min) {
            let message = match found {
                0 => "must not be empty".to_owned(),
                _ => format!("must be at least {} long, is {found}", plural(min, noun)),
            };
            self.violation(message);
        }
        if let Some(max) = count(rules, max).filter(|max| found > *max) {
            self.violation(format!("must be at most {} long, is {found}", plural(max, noun)));
        }
    }

    fn pattern(&mut self, pattern: &str, text: &str) {
        if !self.patterns.contains_key(pattern) {
            // Envoy matches the whole text.
            self.patterns.insert(pattern.to_owned(), Regex::new(&format!(r"\A(?:{pattern})\z")).ok());
        }
        match self.patterns.get(pattern) {
            Some(Some(regex)) if !regex.is_match(text) => {
                self.violation(format!("must match {pattern}, is {:?}", crop(text)));
            }
            Some(None) => self.violation(format!("its rule {pattern} is no regular expression")),
            _ => {}
        }
    }
}

/// A token of RFC 9110 section 5.6.2, after a `:` for pseudo headers; `,` is let through as protoc-gen-validate does.
fn is_header_name(name: &str) -> bool {
    let token = name.strip_prefix(':').unwrap_or(name);
    !token.is_empty()
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+,-.^_|~`".contains(&byte))
}

/// No control characters but the tab.
fn is_header_value(value: &str) -> bool {
    !value.bytes().any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_and_values() {
        for (name, valid) in
            [("x-a", true), (":path", true), ("", false), (":", false), ("a b", false), ("a:b", false)]
        {
            assert_eq!(is_header_name(name), valid, "{name:?}");
        }
        for (value, valid) in
            [("", true), ("a b\tc", true), ("a\nb", false), ("\u{7f}", false), ("\u{e9}", true)]
        {
            assert_eq!(is_header_value(value), valid, "{value:?}");
        }
    }
}
