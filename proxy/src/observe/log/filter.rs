//! Which records a log writes (Envoy's access log filters).

use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::base::rng;
use crate::failure::Flag;
use crate::observe::format::{Input, grpc_status_told};
use crate::observe::record::Record;
use std::fmt;

/// A comparison with a configured value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compare {
    /// `EQ`
    Equal,
    /// `GE`
    AtLeast,
    /// `LE`
    AtMost,
    /// `NE`
    NotEqual,
}

impl Compare {
    fn holds(self, left: u64, right: u64) -> bool {
        match self {
            Compare::Equal => left == right,
            Compare::AtLeast => left >= right,
            Compare::AtMost => left <= right,
            Compare::NotEqual => left != right,
        }
    }
}

/// A test of request headers; header matchers belong to the model, which hands one in.
pub struct HeaderPredicate(Box<dyn Fn(&HeaderBlock) -> bool + Send + Sync>);

impl HeaderPredicate {
    /// From a matcher.
    pub fn new(test: impl Fn(&HeaderBlock) -> bool + Send + Sync + 'static) -> Self {
        HeaderPredicate(Box::new(test))
    }
}

impl fmt::Debug for HeaderPredicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeaderPredicate")
    }
}

/// Which records are written.
#[derive(Debug)]
pub enum Filter {
    /// The status sent (0 when none was).
    Status(Compare, u16),
    /// The whole duration in milliseconds; false while it is not known.
    Duration(Compare, u64),
    /// All but health checks that were answered here.
    NotHealthCheck,
    /// Any of these response flags; with an empty list: any flag.
    ResponseFlags(Box<[Flag]>),
    /// Request headers.
    Header(HeaderPredicate),
    /// A share, judged by `x-request-id` so that a chain of proxies picks the same requests, or at random.
    Fraction {
        /// How many of `denominator`.
        numerator: u32,
        /// 100, 10,000 or 1,000,000.
        denominator: u32,
        /// At random although there is a request id (`use_independent_randomness`).
        independent: bool,
    },
    /// The gRPC status is (or with `exclude` is not) among these; unknown (2) when the response told none.
    GrpcStatus {
        /// The statuses.
        statuses: Box<[u32]>,
        /// Not among them.
        exclude: bool,
    },
    /// All of them.
    And(Box<[Filter]>),
    /// Any of them.
    Or(Box<[Filter]>),
}

/// gRPC's UNKNOWN.
const GRPC_UNKNOWN: u32 = 2;

impl Filter {
    /// Is the record written?
    pub fn passes(&self, record: &Record) -> bool {
        match self {
            Filter::Status(compare, status) => compare.holds(u64::from(record.status), u64::from(*status)),
            Filter::Duration(compare, millis) => {
                let taken = record.moments.end.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
                taken.is_some_and(|taken| compare.holds(taken, *millis))
            }
            Filter::NotHealthCheck => !record.health_check,
            Filter::ResponseFlags(flags) if flags.is_empty() => !record.flags.is_empty(),
            Filter::ResponseFlags(flags) => flags.iter().any(|flag| record.flags.has(*flag)),
            Filter::Header(predicate) => (predicate.0)(&record.request),
            Filter::Fraction { numerator, denominator, independent } => {
                let random = if *independent { None } else { id_number(record) };
                let random = random.unwrap_or_else(|| rng::with(|r| r.next_u64()));
                random % u64::from((*denominator).max(1)) < u64::from(*numerator)
            }
            Filter::GrpcStatus { statuses, exclude } => {
                let status = grpc_status_told(&Input::of(record)).unwrap_or(GRPC_UNKNOWN);
                statuses.contains(&status) != *exclude
            }
            Filter::And(all) => all.iter().all(|filter| filter.passes(record)),
            Filter::Or(any) => any.iter().any(|filter| filter.passes(record)),
        }
    }
}

/// The random number in a request id: the first eight hexadecimal digits of the UUID (as Envoy reads it).
fn id_number(record: &Record) -> Option<u64> {
    let id = record.request.get_str(Id::RequestId)?;
    u64::from_str_radix(id.get(..8)?, 16).ok()
}
