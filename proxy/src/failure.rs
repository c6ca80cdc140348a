//! Everything that can go wrong with a request: one row a failure, read by local replies, access log, statistics,
//! retries and the gRPC mapping (texts and flags: Envoy's, measured; `spec` tables 1.11 to 1.13).

use std::borrow::Cow;

/// Envoy's response flags; kept in the order they were set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Flag {
    LH,
    UH,
    UT,
    LR,
    UR,
    UF,
    UC,
    UO,
    NR,
    DI,
    FI,
    RL,
    UAEX,
    RLSE,
    DC,
    URX,
    SI,
    IH,
    DPE,
    UMSDR,
    NFCF,
    DT,
    UPE,
    NC,
    OM,
    DF,
    DO,
    DR,
    UDO,
}

/// Short and long names of every flag, in Envoy's order.
pub const FLAGS: &[(Flag, &str, &str)] = &[
    (Flag::LH, "LH", "FailedLocalHealthCheck"),
    (Flag::UH, "UH", "NoHealthyUpstream"),
    (Flag::UT, "UT", "UpstreamRequestTimeout"),
    (Flag::LR, "LR", "LocalReset"),
    (Flag::UR, "UR", "UpstreamRemoteReset"),
    (Flag::UF, "UF", "UpstreamConnectionFailure"),
    (Flag::UC, "UC", "UpstreamConnectionTermination"),
    (Flag::UO, "UO", "UpstreamOverflow"),
    (Flag::NR, "NR", "NoRouteFound"),
    (Flag::DI, "DI", "DelayInjected"),
    (Flag::FI, "FI", "FaultInjected"),
    (Flag::RL, "RL", "RateLimited"),
    (Flag::UAEX, "UAEX", "UnauthorizedExternalService"),
    (Flag::RLSE, "RLSE", "RateLimitServiceError"),
    (Flag::DC, "DC", "DownstreamConnectionTermination"),
    (Flag::URX, "URX", "UpstreamRetryLimitExceeded"),
    (Flag::SI, "SI", "StreamIdleTimeout"),
    (Flag::IH, "IH", "InvalidEnvoyRequestHeaders"),
    (Flag::DPE, "DPE", "DownstreamProtocolError"),
    (Flag::UMSDR, "UMSDR", "UpstreamMaxStreamDurationReached"),
    (Flag::NFCF, "NFCF", "NoFilterConfigFound"),
    (Flag::DT, "DT", "DurationTimeout"),
    (Flag::UPE, "UPE", "UpstreamProtocolError"),
    (Flag::NC, "NC", "NoClusterFound"),
    (Flag::OM, "OM", "OverloadManagerTerminated"),
    (Flag::DF, "DF", "DnsResolutionFailed"),
    (Flag::DO, "DO", "DropOverload"),
    (Flag::DR, "DR", "DownstreamRemoteReset"),
    (Flag::UDO, "UDO", "UnconditionalDropOverload"),
];

impl Flag {
    /// Short name as in `%RESPONSE_FLAGS%`.
    pub fn short(self) -> &'static str {
        FLAGS.get(self as usize).map_or("-", |row| row.1)
    }

    /// Long name as in `%RESPONSE_FLAGS_LONG%`.
    pub fn long(self) -> &'static str {
        FLAGS.get(self as usize).map_or("-", |row| row.2)
    }
}

/// The flags of one request, in the order they were set (at most 8 are kept).
#[derive(Clone, Default, Debug)]
pub struct Flags(smallvec::SmallVec<[Flag; 8]>);

/// Most flags kept for one request.
const MAX_FLAGS: usize = 8;

impl Flags {
    /// Adds a flag once.
    pub fn set(&mut self, flag: Flag) {
        if !self.has(flag) && self.0.len() < MAX_FLAGS {
            self.0.push(flag);
        }
    }

    /// Is the flag set?
    pub fn has(&self, flag: Flag) -> bool {
        self.0.contains(&flag)
    }

    /// In the order set.
    pub fn iter(&self) -> impl Iterator<Item = Flag> + '_ {
        self.0.iter().copied()
    }

    /// Is none set?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is told of a connection that would need TLS, which this release does not make.
pub const TLS_NOT_AVAILABLE: &str = "tls_not_available";

/// Why an upstream stream ended without a complete response (Envoy's stream reset reasons).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reset {
    /// The upstream refused or could not be reached (`remote connection failure`).
    ConnectFailure,
    /// Our own socket could not be made (`local connection failure`).
    LocalConnectFailure,
    /// `connect_timeout` passed.
    ConnectTimeout,
    /// The connection ended before the response did.
    Termination,
    /// We reset the stream.
    Local,
    /// A limit of a circuit breaker.
    Overflow,
    /// RST_STREAM by the peer.
    Remote,
    /// RST_STREAM REFUSED_STREAM, or GOAWAY below our stream: the peer did not process the request.
    RemoteRefused,
    /// The upstream broke its protocol.
    Protocol,
}

/// A reset's row: text in the body, flag, details name.
pub struct ResetRow {
    /// In the local reply's body.
    pub text: &'static str,
    /// In `%RESPONSE_FLAGS%`.
    pub flag: Flag,
    /// HTTP status of the local reply before response headers.
    pub status: u16,
}

impl Reset {
    /// The reset's row.
    pub const fn row(self) -> ResetRow {
        let (text, flag, status) = match self {
            Reset::ConnectFailure => ("remote connection failure", Flag::UF, 503),
            Reset::LocalConnectFailure => ("local connection failure", Flag::UF, 503),
            Reset::ConnectTimeout => ("connection timeout", Flag::UF, 503),
            Reset::Termination => ("connection termination", Flag::UC, 503),
            Reset::Local => ("local reset", Flag::LR, 503),
            Reset::Overflow => ("overflow", Flag::UO, 503),
            Reset::Remote => ("remote reset", Flag::UR, 503),
            Reset::RemoteRefused => ("remote refused stream reset", Flag::UR, 503),
            Reset::Protocol => ("protocol error", Flag::UPE, 502),
        };
        ResetRow { text, flag, status }
    }
}

/// One row: what the client sees and what the log says.
pub struct Row {
    /// HTTP status; 0 where the stream is only reset.
    pub status: u16,
    /// Body of the local reply; empty for none.
    pub body: &'static str,
    /// Response flag.
    pub flag: Option<Flag>,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: &'static str,
}

macro_rules! failures {
    ($($(#[$doc:meta])* $variant:ident = $status:literal, $body:literal, $flag:expr, $details:literal;)+) => {
        /// A failure that is answered by a local reply.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Failure { $($(#[$doc])* $variant),+ }

        impl Failure {
            /// The failure's row.
            pub const fn row(self) -> Row {
                match self {
                    $(Failure::$variant => Row { status: $status, body: $body, flag: $flag, details: $details }),+
                }
            }
        }
    };
}

failures! {
    /// No virtual host or no route matches.
    RouteNotFound = 404, "", Some(Flag::NR), "route_not_found";
    /// The route names a cluster that does not exist.
    ClusterNotFound = 503, "", Some(Flag::NC), "cluster_not_found";
    /// No host, or none healthy.
    NoHealthyUpstream = 503, "no healthy upstream", Some(Flag::UH), "no_healthy_upstream";
    /// The route's timeout.
    ResponseTimeout = 504, "upstream request timeout", Some(Flag::UT), "response_timeout";
    /// The last try's own timeout.
    PerTryTimeout = 504, "upstream request timeout", Some(Flag::UT), "upstream_per_try_timeout";
    /// The last try's idle timeout.
    PerTryIdleTimeout = 504, "upstream request timeout", Some(Flag::UT), "upstream_per_try_idle_timeout";
    /// No byte moved for the stream's idle timeout.
    StreamIdleTimeout = 504, "stream timeout", Some(Flag::SI), "stream_idle_timeout";
    /// No byte moved for the stream's idle timeout while the request was coming.
    RequestIdleTimeout = 408, "stream timeout", Some(Flag::SI), "stream_idle_timeout";
    /// `max_stream_duration` while the request was coming.
    RequestMaxDuration = 408, "downstream duration timeout", None, "max_duration_timeout";
    /// `request_timeout`: the request was not complete in time.
    RequestTimeout = 408, "request timeout", None, "request_overall_timeout";
    /// `request_headers_timeout`.
    RequestHeaderTimeout = 408, "request header timeout", None, "request_header_timeout";
    /// `max_stream_duration`.
    MaxDuration = 504, "downstream duration timeout", None, "max_duration_timeout";
    /// A cluster's `max_stream_duration`.
    UpstreamMaxDuration = 504, "upstream max stream duration reached", Some(Flag::UMSDR), "upstream_max_stream_duration_reached";
    /// HTTP/1 without Host, HTTP/2 without `:authority` and host.
    MissingHost = 400, "", None, "missing_host_header";
    /// QUERY without a content type.
    QueryWithoutType = 400, "", None, "query_missing_content_type";
    /// No path.
    MissingPath = 404, "", None, "missing_path_rejected";
    /// A path that does not start with a slash.
    AbsolutePath = 404, "", None, "absolute_path_rejected";
    /// The path cannot be normalised, or has a fragment or a refused escape.
    PathNormalization = 400, "", None, "path_normalization_failed";
    /// The upgrade is not enabled.
    UpgradeFailed = 403, "", None, "upgrade_failed";
    /// HTTP/1.0 without `accept_http_10`.
    LowVersion = 426, "Upgrade Required", Some(Flag::DPE), "low_version";
    /// The configuration of a filter has not come (ECDS).
    FilterConfigNotFound = 500, "", Some(Flag::NFCF), "";
    /// A request body over the buffer limit of a filter that buffers.
    PayloadTooLarge = 413, "Payload Too Large", None, "request_payload_too_large";
    /// The fault filter's abort; its status comes from the filter.
    FaultAbort = 503, "fault filter abort", Some(Flag::FI), "fault_filter_abort";
    /// The cluster is in maintenance (`upstream.maintenance_mode.<cluster>`).
    Maintenance = 503, "maintenance mode", Some(Flag::UO), "maintenance_mode";
    /// A share of the requests is dropped (EDS `drop_overloads`).
    DropOverload = 503, "drop overload", Some(Flag::DO), "drop_overload";
    /// All requests are dropped.
    UnconditionalDrop = 503, "unconditional drop overload", Some(Flag::UDO), "unconditional_drop_overload";
    /// A process-wide limit refuses work.
    Overload = 503, "envoy overloaded", Some(Flag::OM), "overload";
    /// The body was kept for a retry and outgrew its limit while no attempt was in flight.
    RetryBufferOverflow = 507, "exceeded request buffer limit while retrying upstream", None, "request_payload_exceeded_retry_buffer_limit";
    /// Too much in the head of an HTTP/1 request.
    HeadersTooLarge = 431, "Request Header Fields Too Large", Some(Flag::DPE), "http1.headers_too_large";
    /// Too many fields in the head of an HTTP/1 request.
    TooManyHeaders = 431, "Request Header Fields Too Large", Some(Flag::DPE), "http1.too_many_headers";
    /// Bytes that are no HTTP/1 message.
    CodecError = 400, "Bad Request", Some(Flag::DPE), "http1.codec_error";
    /// An absolute target whose scheme is not http or https.
    InvalidScheme = 400, "Bad Request", Some(Flag::DPE), "http1.invalid_scheme";
    /// Both Content-Length and Transfer-Encoding.
    LengthAndChunked = 400, "Bad Request", Some(Flag::DPE), "http1.content_length_and_chunked_not_allowed";
    /// A transfer coding other than chunked.
    TransferEncoding = 501, "Not Implemented", Some(Flag::DPE), "http1.invalid_transfer_encoding";
    /// A field name with an underscore where they are refused.
    Underscore = 400, "Bad Request", Some(Flag::DPE), "http1.unexpected_underscore";
    /// `Connection` names too many fields, or one that must not be removed.
    ConnectionHeader = 400, "Bad Request", Some(Flag::DPE), "http1.connection_header_rejected";
    /// A gRPC-Web request in base64 ends inside a group.
    Base64Size = 400, "Bad gRPC-web request, invalid base64 data.", None, "grpc_base_64_decode_failed_bad_size";
    /// A gRPC-Web request that should be base64 and is not.
    Base64Data = 400, "Bad gRPC-web request, invalid base64 data.", None, "grpc_base_64_decode_failed";
    /// Something of ours broke while this stream was served; the process goes on.
    Internal = 500, "", None, "internal_error";
}

/// HTTP status to gRPC status for local replies (Envoy's table).
pub const fn grpc_status(http: u16) -> u32 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// gRPC status to HTTP status, for outlier detection and statistics.
pub const fn http_status(grpc: u32) -> u16 {
    match grpc {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// Standard reason phrases (RFC 9110 section 15); "Unknown" for others.
pub fn reason(status: u16) -> &'static str {
    if status == 418 {
        // Registered as unused (RFC 9110 section 15.5.19).
        return "Unknown";
    }
    http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Unknown")
}

/// Details text: white space becomes `_` as in Envoy.
pub fn details(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_whitespace()) {
        Cow::Owned(text.chars().map(|c| if c.is_ascii_whitespace() { '_' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_keep_their_order_and_names() {
        for (i, row) in FLAGS.iter().enumerate() {
            assert_eq!(row.0 as usize, i, "{}", row.1);
        }
        let mut flags = Flags::default();
        flags.set(Flag::URX);
        flags.set(Flag::UF);
        flags.set(Flag::URX);
        assert_eq!(flags.iter().map(Flag::short).collect::<Vec<_>>(), ["URX", "UF"]);
    }

    #[test]
    fn details_have_no_white_space() {
        assert_eq!(details("a b\tc"), "a_b_c");
    }
}
