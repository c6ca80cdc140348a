//! String, header and query matchers (Envoy's `StringMatcher`, `HeaderMatcher`, `QueryParameterMatcher`).

use crate::base::headers::HeaderBlock;
use crate::base::names::HeaderName;
use memchr::memmem;
use regex::bytes::Regex;

/// A test of one string.
#[derive(Clone, Debug)]
pub enum StringMatch {
    /// Equal.
    Exact(Box<[u8]>),
    /// Equal but for ASCII case.
    ExactIgnoreCase(Box<[u8]>),
    /// Starts with; the flag: ignoring ASCII case.
    Prefix(Box<[u8]>, bool),
    /// Ends with; the flag: ignoring ASCII case.
    Suffix(Box<[u8]>, bool),
    /// Has inside; the flag: ignoring ASCII case (the needle is lower-case then).
    Contains(Box<[u8]>, bool),
    /// Matches as a whole; the expression is anchored when it is compiled.
    Regex(Regex),
}

fn same(a: &[u8], b: &[u8], ignore_case: bool) -> bool {
    if ignore_case { a.eq_ignore_ascii_case(b) } else { a == b }
}

impl StringMatch {
    /// Does the value match?
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            StringMatch::Exact(want) => &**want == value,
            StringMatch::ExactIgnoreCase(want) => want.eq_ignore_ascii_case(value),
            StringMatch::Prefix(want, ic) => {
                value.get(..want.len()).is_some_and(|head| same(head, want, *ic))
            }
            StringMatch::Suffix(want, ic) => {
                let at = value.len().checked_sub(want.len());
                at.and_then(|at| value.get(at..)).is_some_and(|tail| same(tail, want, *ic))
            }
            StringMatch::Contains(want, false) => memmem::find(value, want).is_some(),
            StringMatch::Contains(want, true) => memmem::find(&value.to_ascii_lowercase(), want).is_some(),
            StringMatch::Regex(regex) => regex.is_match(value),
        }
    }
}

/// What a header's value must be.
#[derive(Clone, Debug)]
pub enum HeaderTest {
    /// Present (true) or absent (false).
    Present(bool),
    /// One of its values matches.
    Value(StringMatch),
    /// One of its values is a decimal integer in `start..end`.
    Range(i64, i64),
}

/// A header matcher. Each repeated line is matched on its own (Envoy since 1.39).
#[derive(Clone, Debug)]
pub struct HeaderMatch {
    /// The header.
    pub name: HeaderName,
    /// The test.
    pub test: HeaderTest,
    /// Negate the result; a missing header still never matches a value test.
    pub invert: bool,
    /// A missing header counts as one with an empty value.
    pub treat_missing_as_empty: bool,
}

impl HeaderMatch {
    /// Does the block match?
    pub fn matches(&self, headers: &HeaderBlock) -> bool {
        let present = headers.find(&self.name).is_some();
        if let HeaderTest::Present(want) = self.test {
            return (present == want) != self.invert;
        }
        if !present {
            return self.treat_missing_as_empty && self.value_matches(b"") != self.invert;
        }
        headers.all(&self.name).any(|value| self.value_matches(value)) != self.invert
    }

    fn value_matches(&self, value: &[u8]) -> bool {
        match &self.test {
            HeaderTest::Present(_) => true,
            HeaderTest::Value(test) => test.matches(value),
            HeaderTest::Range(start, end) => {
                let number = std::str::from_utf8(value).ok().and_then(|v| v.parse::<i64>().ok());
                number.is_some_and(|n| n >= *start && n < *end)
            }
        }
    }
}

/// A query parameter matcher; only the first value of a key counts.
#[derive(Clone, Debug)]
pub struct QueryMatch {
    /// Key, as it stands in the query (not decoded).
    pub name: Box<[u8]>,
    /// None: the key is present.
    pub value: Option<StringMatch>,
}

impl QueryMatch {
    /// Does the query (the part after `?`) match?
    pub fn matches(&self, query: &[u8]) -> bool {
        let first = query_params(query).find(|(key, _)| *key == &*self.name);
        match (&self.value, first) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(test), Some((_, value))) => test.matches(value),
        }
    }
}

/// Keys and values of a query string, undecoded, in order.
pub fn query_params(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|b| *b == b'&').filter(|part| !part.is_empty()).map(|part| {
        let at = memchr::memchr(b'=', part);
        match at {
            Some(at) => (part.get(..at).unwrap_or_default(), part.get(at + 1..).unwrap_or_default()),
            None => (part, &[][..]),
        }
    })
}

/// A share in millionths (Envoy's `FractionalPercent`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fraction(pub u32);

impl Fraction {
    /// All of it.
    pub const ALL: Fraction = Fraction(1_000_000);

    /// Is a uniformly random number inside the share?
    pub fn hit(self, random: u64) -> bool {
        random % 1_000_000 < u64::from(self.0)
    }
}
