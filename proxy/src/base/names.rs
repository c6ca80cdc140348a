//! Header names: the well-known ones carry a small id, so that a lookup compares an integer.

use std::fmt;
use std::sync::Arc;
use std::sync::LazyLock;

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
    Expect = "expect", ForwardedClientCert = "x-forwarded-client-cert",
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

/// 512 slots of at most 4 ids each, keyed by length, first and last byte.
static TABLE: LazyLock<Vec<Vec<Id>>> = LazyLock::new(|| {
    let mut table = vec![Vec::new(); 512];
    for id in Id::ALL {
        if let Some(slot) = slot(id.as_str().as_bytes()).and_then(|at| table.get_mut(at)) {
            slot.push(*id);
        }
    }
    table
});

fn slot(name: &[u8]) -> Option<usize> {
    let (first, last) = (name.first()?, name.last()?);
    let mix = (usize::from(first | 0x20) * 7) ^ (usize::from(last | 0x20) * 31) ^ (name.len() * 5);
    Some(mix & 511)
}

impl Id {
    /// The id of a name in any case; `host` and `:authority` are the same header. `Id::Other` when unknown.
    pub fn of(name: &[u8]) -> Id {
        if name.len() == 4 && name.eq_ignore_ascii_case(b"host") {
            return Id::Authority;
        }
        let found = slot(name).and_then(|at| TABLE.get(at));
        let known =
            found.and_then(|ids| ids.iter().find(|id| id.as_str().as_bytes().eq_ignore_ascii_case(name)));
        known.copied().unwrap_or(Id::Other)
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
        assert_eq!(Id::of(b""), Id::Other);
    }

    #[test]
    fn names_from_configuration_are_checked() {
        assert!(HeaderName::parse("x y").is_err());
        assert!(HeaderName::parse("").is_err());
        assert_eq!(HeaderName::parse("X-Foo").unwrap().as_str(), "x-foo");
        assert_eq!(HeaderName::parse(":path").unwrap().id(), Id::Path);
    }
}
