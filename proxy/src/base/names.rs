//! Header names: the well-known ones carry a small id, so that a lookup compares an integer.

use std::fmt;
use std::sync::Arc;

macro_rules! ids {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// Id of a well-known header (or pseudo-header) name.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u8)]
        #[allow(missing_docs)]
        pub enum Id { Other, $($variant),+ }

        impl Id {
            /// Every well-known id, in table order.
            pub const ALL: &'static [Id] = &[$(Id::$variant),+];

            /// The lower-case name; empty for `Id::Other`.
            pub const fn as_str(self) -> &'static str {
                match self { Id::Other => "", $(Id::$variant => $name),+ }
            }
        }
    };
}

ids! {
    Method = ":method", Path = ":path", Authority = ":authority", Scheme = ":scheme", Protocol = ":protocol",
    Status = ":status",
    Accept = "accept", AcceptEncoding = "accept-encoding", Authorization = "authorization",
    CacheControl = "cache-control", Connection = "connection", ContentEncoding = "content-encoding",
    ContentLength = "content-length", ContentType = "content-type", Cookie = "cookie", Date = "date",
    Etag = "etag", Expect = "expect", ForwardedClientCert = "x-forwarded-client-cert",
    ForwardedFor = "x-forwarded-for", ForwardedHost = "x-forwarded-host", ForwardedPort = "x-forwarded-port",
    ForwardedProto = "x-forwarded-proto",
    GrpcMessage = "grpc-message", GrpcStatus = "grpc-status", GrpcTimeout = "grpc-timeout",
    Http2Settings = "http2-settings", KeepAlive = "keep-alive", Location = "location", Origin = "origin",
    ProxyConnection = "proxy-connection", Referer = "referer", RequestId = "x-request-id", Server = "server",
    SetCookie = "set-cookie", Te = "te", Trailer = "trailer", TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade", UserAgent = "user-agent", Vary = "vary", Via = "via",
    AccessControlRequestMethod = "access-control-request-method",
    AccessControlRequestHeaders = "access-control-request-headers",
    AccessControlAllowOrigin = "access-control-allow-origin",
    EnvoyAttemptCount = "x-envoy-attempt-count", EnvoyDecorator = "x-envoy-decorator-operation",
    EnvoyDownstreamCluster = "x-envoy-downstream-service-cluster",
    EnvoyDownstreamNode = "x-envoy-downstream-service-node",
    EnvoyExpectedTimeout = "x-envoy-expected-rq-timeout-ms", EnvoyExternalAddress = "x-envoy-external-address",
    EnvoyForceTrace = "x-envoy-force-trace", EnvoyHedge = "x-envoy-hedge-on-per-try-timeout",
    EnvoyInternal = "x-envoy-internal", EnvoyIpTags = "x-envoy-ip-tags", EnvoyMaxRetries = "x-envoy-max-retries",
    EnvoyOriginalHost = "x-envoy-original-host", EnvoyOriginalPath = "x-envoy-original-path",
    EnvoyOriginalUrl = "x-envoy-original-url", EnvoyOverloaded = "x-envoy-overloaded",
    EnvoyRateLimited = "x-envoy-ratelimited", EnvoyRetriableHeaders = "x-envoy-retriable-header-names",
    EnvoyRetriableStatus = "x-envoy-retriable-status-codes", EnvoyRetryGrpcOn = "x-envoy-retry-grpc-on",
    EnvoyRetryOn = "x-envoy-retry-on", EnvoyAltStatName = "x-envoy-upstream-alt-stat-name",
    EnvoyPerTryTimeout = "x-envoy-upstream-rq-per-try-timeout-ms",
    EnvoyTimeoutAltResponse = "x-envoy-upstream-rq-timeout-alt-response",
    EnvoyTimeout = "x-envoy-upstream-rq-timeout-ms", EnvoyServiceTime = "x-envoy-upstream-service-time",
    EnvoyDegraded = "x-envoy-degraded", EnvoyUpstreamCanary = "x-envoy-upstream-canary",
    EnvoyImmediateHealthFail = "x-envoy-immediate-health-check-fail",
    Traceparent = "traceparent", Tracestate = "tracestate",
}

/// Slots of the name table, keyed by length, first and last byte.
const SLOTS: usize = 512;

/// Most names of one slot (checked where the table is made: at compile time).
const SLOT: usize = 4;

type Known = (&'static [u8], Id);

/// The well-known names by slot, `host` too; empty names fill up.
static TABLE: [[Known; SLOT]; SLOTS] = {
    let mut table = [[(&[] as &[u8], Id::Other); SLOT]; SLOTS];
    add(&mut table, b"host", Id::Authority);
    let mut i = 0;
    while i < Id::ALL.len() {
        add(&mut table, Id::ALL[i].as_str().as_bytes(), Id::ALL[i]);
        i += 1;
    }
    table
};

const fn add(table: &mut [[Known; SLOT]; SLOTS], name: &'static [u8], id: Id) {
    let slot = &mut table[slot(name[0], name[name.len() - 1], name.len())];
    let mut free = 0;
    while !slot[free].0.is_empty() {
        free += 1;
    }
    slot[free] = (name, id);
}

const fn slot(first: u8, last: u8, len: usize) -> usize {
    let mix = ((first | 0x20) as usize * 7) ^ ((last | 0x20) as usize * 31) ^ (len.wrapping_mul(5));
    mix % SLOTS
}

/// Are the bytes a known (lower-case) name in any case? Eight at a time: with bit 5 set they must be the name's, and
/// no control character may have become so (names hold no byte that another visible one is folded to).
fn folds_to(name: &[u8], known: &[u8]) -> bool {
    const BIT: u64 = 0x2020_2020_2020_2020;
    const VISIBLE: u64 = 0x0101_0101_0101_0101;
    let (chunks, rest) = name.as_chunks::<8>();
    let (known_chunks, known_rest) = known.as_chunks::<8>();
    let same = |(a, b): (&[u8; 8], &[u8; 8])| {
        let (a, b) = (u64::from_ne_bytes(*a), u64::from_ne_bytes(*b));
        a | BIT == b && ((a >> 5) | (a >> 6)) & VISIBLE == VISIBLE
    };
    name.len() == known.len()
        && chunks.iter().zip(known_chunks).all(same)
        && rest.iter().zip(known_rest).all(|(a, b)| a | 0x20 == *b && a & 0x60 != 0)
}

impl Id {
    /// The id of a name in any case; `host` and `:authority` are the same header. `Id::Other` when unknown.
    pub fn of(name: &[u8]) -> Id {
        let (Some(first), Some(last)) = (name.first(), name.last()) else { return Id::Other };
        let mut slot = TABLE.get(slot(*first, *last, name.len())).into_iter().flatten();
        slot.find(|(known, _)| folds_to(name, known)).map_or(Id::Other, |(_, id)| *id)
    }

    /// Bit of the id in a set of ids.
    pub(super) const fn bit(self) -> u128 {
        1 << (self as u8)
    }

    /// Is it a pseudo-header (`:path`, ...)? `:authority` counts although HTTP/1 writes it as `Host`.
    pub const fn is_pseudo(self) -> bool {
        (self as u8) >= (Id::Method as u8) && (self as u8) <= (Id::Status as u8)
    }
}

/// A header name from configuration or code: lower-case, with its id.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum HeaderName {
    /// A well-known name.
    Known(Id),
    /// Any other name, lower-case.
    Other(Arc<str>),
}

/// Why bytes are no header name.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a valid HTTP header name")]
pub struct BadName(pub String);

impl HeaderName {
    /// Parses a name from configuration; a leading ':' is allowed (pseudo-headers).
    pub fn parse(name: &str) -> Result<HeaderName, BadName> {
        let token = name.strip_prefix(':').unwrap_or(name);
        if token.is_empty() || !token.bytes().all(is_token) {
            return Err(BadName(name.to_owned()));
        }
        Ok(match Id::of(name.as_bytes()) {
            Id::Other => HeaderName::Other(name.to_ascii_lowercase().into()),
            id => HeaderName::Known(id),
        })
    }

    /// The lower-case name.
    pub fn as_str(&self) -> &str {
        match self {
            HeaderName::Known(id) => id.as_str(),
            HeaderName::Other(name) => name,
        }
    }

    /// The id, `Id::Other` for an unknown name.
    pub fn id(&self) -> Id {
        match self {
            HeaderName::Known(id) => *id,
            HeaderName::Other(_) => Id::Other,
        }
    }
}

impl From<Id> for HeaderName {
    fn from(id: Id) -> Self {
        HeaderName::Known(id)
    }
}

impl fmt::Debug for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Is the byte a token character (RFC 9110 section 5.6.2)?
pub const fn is_token(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    ) || byte.is_ascii_alphanumeric()
}

/// Is the byte allowed inside a field value (RFC 9110 section 5.5: visible, space, tab, obs-text)?
pub const fn is_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for id in Id::ALL {
            assert_eq!(Id::of(id.as_str().as_bytes()), *id);
            assert_eq!(Id::of(id.as_str().to_ascii_uppercase().as_bytes()), *id);
        }
        assert_eq!(Id::of(b"Host"), Id::Authority);
        assert_eq!(Id::of(b"x-custom"), Id::Other);
        for other in [&b""[..], b"hosu", b"\x48OST\0", b"content\x0dtype", b"content_type", b"content-typ"] {
            assert_eq!(Id::of(other), Id::Other, "{other:?}");
        }
    }

    #[test]
    fn names_from_configuration_are_checked() {
        assert!(HeaderName::parse("x y").is_err());
        assert!(HeaderName::parse("").is_err());
        assert_eq!(HeaderName::parse("X-Foo").unwrap().as_str(), "x-foo");
        assert_eq!(HeaderName::parse(":path").unwrap().id(), Id::Path);
    }
}
