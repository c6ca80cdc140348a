//! The table of operators: name, arguments, and what it compiles to.

use super::absent;
use super::address::{AddressOf, Part};
use super::time::TimeFormat;
use crate::base::names::HeaderName;

/// A point of time of an exchange (`COMMON_DURATION`'s names).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Point {
    /// `DS_RX_BEG`: the start.
    Start,
    /// `DS_RX_END`: the whole request was received.
    RequestReceived,
    /// `US_CX_END`, `US_TX_BEG`: an upstream connection was ready.
    UpstreamConnected,
    /// `US_TX_END`: the whole request was sent.
    UpstreamSent,
    /// `US_RX_BEG`: response headers came.
    ResponseHeaders,
    /// `US_RX_END`: the whole response came.
    ResponseReceived,
    /// `DS_TX_BEG`: response headers went out.
    ResponseHeadersSent,
    /// `DS_TX_END`, the end.
    End,
    /// A point that nothing sets here (TLS handshakes, points of extensions).
    Never,
}

/// Unit of a duration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

/// How a gRPC status is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GrpcStyle {
    Camel,
    Snake,
    Number,
}

/// Which path `%PATH()%` prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PathOf {
    Original,
    Present,
    OriginalOrPresent,
}

/// A number of the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NumberOf {
    ResponseCode,
    BytesReceived,
    BytesSent,
    RequestHeadersBytes,
    ResponseHeadersBytes,
    ResponseTrailersBytes,
    Attempts,
    ConnectionId,
    UpstreamConnectionId,
    DownstreamWireSent,
    DownstreamWireReceived,
    DownstreamHeaderSent,
    DownstreamHeaderReceived,
    UpstreamWireSent,
    UpstreamWireReceived,
    UpstreamHeaderSent,
    UpstreamHeaderReceived,
    /// Counters of the kernel that are not read (UDP retransmissions; Envoy shows 0 for TCP).
    Zero,
}

/// A text of the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TextOf {
    Protocol,
    UpstreamProtocol,
    Details,
    NoRetry,
    Termination,
    Flags,
    FlagsLong,
    Route,
    UpstreamCluster,
    UpstreamClusterRaw,
    UpstreamHostName,
    UpstreamHostNameWithoutPort,
    HostsAttempted,
    HostsAttemptedWithoutPort,
    Query,
    UpstreamCloseType,
    UpstreamTransportFailure,
    ServerName,
    LocalReplyBody,
    FilterChain,
    Listener,
    LogType,
    UniqueId,
    StreamId,
}

/// A compiled operator.
#[derive(Debug)]
pub(super) enum Operator {
    Request(HeaderName, Option<HeaderName>),
    RequestWithoutQuery(HeaderName, Option<HeaderName>),
    Response(HeaderName, Option<HeaderName>),
    Trailer(HeaderName, Option<HeaderName>),
    StartTime(TimeFormat),
    EmitTime(TimeFormat),
    Duration(Point, Point, Unit),
    Number(NumberOf),
    Text(TextOf),
    Address(AddressOf, Part),
    GrpcStatus(GrpcStyle),
    QueryParam(Box<[u8]>),
    Path(PathOf, bool),
    /// Known when the format is compiled (host name, environment).
    Fixed(Box<str>),
    /// A known operator of a feature that does not exist here.
    Absent,
}

/// Arguments of an operator.
enum Takes {
    /// None.
    Nothing(fn() -> Operator),
    /// None; an address.
    Address(AddressOf, Part),
    /// Some text, perhaps empty or absent.
    Optional(fn(&str) -> Result<Operator, String>),
    /// Some text.
    Required(fn(&str) -> Result<Operator, String>),
}

/// How an operator is compiled.
pub(super) struct Rule {
    takes: Takes,
    /// Is `:length` allowed?
    length: bool,
}

impl Rule {
    /// Compiles the operator; the error says what is wrong with its arguments.
    pub(super) fn compile(&self, arguments: Option<&str>, length: bool) -> Result<Operator, String> {
        if length && !self.length {
            return Err("takes no length".into());
        }
        match (&self.takes, arguments) {
            (Takes::Nothing(make), None) => Ok(make()),
            (Takes::Address(of, part), None) => Ok(Operator::Address(*of, *part)),
            (Takes::Nothing(_) | Takes::Address(..), Some(_)) => Err("takes no arguments".into()),
            (Takes::Optional(make), arguments) => make(arguments.unwrap_or_default()),
            (Takes::Required(make), Some(arguments)) if !arguments.is_empty() => make(arguments),
            (Takes::Required(_), _) => Err("needs arguments in parentheses".into()),
        }
    }
}

/// The rule of an operator; none when there is no such operator.
pub(super) fn find(name: &str) -> Option<Rule> {
    if let Some(make) = with_arguments(name) {
        return Some(make);
    }
    if let Some((of, part)) = super::address::named(name) {
        return Some(Rule { takes: Takes::Address(of, part), length: false });
    }
    plain(name).or_else(|| absent::find(name))
}

impl Rule {
    pub(super) const fn absent(takes_arguments: bool) -> Rule {
        match takes_arguments {
            true => Rule { takes: Takes::Optional(|_| Ok(Operator::Absent)), length: true },
            false => Rule { takes: Takes::Nothing(|| Operator::Absent), length: false },
        }
    }
}

fn with_arguments(name: &str) -> Option<Rule> {
    let headers = |make| Some(Rule { takes: Takes::Required(make), length: true });
    let optional = |make| Some(Rule { takes: Takes::Optional(make), length: false });
    match name {
        "REQ" | "REQUEST_HEADER" => headers(|a| pair(a).map(|(x, y)| Operator::Request(x, y))),
        "REQ_WITHOUT_QUERY" => headers(|a| pair(a).map(|(x, y)| Operator::RequestWithoutQuery(x, y))),
        "RESP" | "RESPONSE_HEADER" => headers(|a| pair(a).map(|(x, y)| Operator::Response(x, y))),
        "TRAILER" | "RESPONSE_TRAILER" => headers(|a| pair(a).map(|(x, y)| Operator::Trailer(x, y))),
        "QUERY_PARAM" => headers(|a| Ok(Operator::QueryParam(a.as_bytes().into()))),
        "ENVIRONMENT" => {
            headers(|a| Ok(std::env::var(a).map_or(Operator::Absent, |v| Operator::Fixed(v.into()))))
        }
        "START_TIME" => optional(|a| Ok(Operator::StartTime(TimeFormat::compile(a)))),
        "EMIT_TIME" => optional(|a| Ok(Operator::EmitTime(TimeFormat::compile(a)))),
        "START_TIME_LOCAL" => optional(|a| TimeFormat::compile_local(a).map(Operator::StartTime)),
        "EMIT_TIME_LOCAL" => optional(|a| TimeFormat::compile_local(a).map(Operator::EmitTime)),
        "COMMON_DURATION" => Some(Rule { takes: Takes::Required(common_duration), length: false }),
        "GRPC_STATUS" => optional(grpc_status),
        "PATH" => Some(Rule { takes: Takes::Optional(path), length: true }),
        _ => None,
    }
}

/// `X` or `X?Y`.
fn pair(arguments: &str) -> Result<(HeaderName, Option<HeaderName>), String> {
    let mut names = arguments.split('?');
    let first = names.next().unwrap_or_default();
    let second = names.next();
    if names.next().is_some() {
        return Err(format!("'{arguments}' names more than one alternative header; write X?Y"));
    }
    let parse = |name: &str| HeaderName::parse(name).map_err(|e| e.to_string());
    Ok((parse(first)?, second.filter(|s| !s.is_empty()).map(parse).transpose()?))
}

fn grpc_status(style: &str) -> Result<Operator, String> {
    match style {
        "" | "CAMEL_STRING" => Ok(Operator::GrpcStatus(GrpcStyle::Camel)),
        "SNAKE_STRING" => Ok(Operator::GrpcStatus(GrpcStyle::Snake)),
        "NUMBER" => Ok(Operator::GrpcStatus(GrpcStyle::Number)),
        other => Err(format!("'{other}' is none of CAMEL_STRING, SNAKE_STRING, NUMBER")),
    }
}

fn path(arguments: &str) -> Result<Operator, String> {
    let (query, of) = arguments.split_once(':').unwrap_or((arguments, ""));
    let with_query = match query {
        "" | "WQ" => true,
        "NQ" => false,
        other => return Err(format!("'{other}' is none of WQ (with query), NQ (without)")),
    };
    let of = match of {
        "" | "ORIG_OR_PATH" => PathOf::OriginalOrPresent,
        "ORIG" => PathOf::Original,
        "PATH" => PathOf::Present,
        other => return Err(format!("'{other}' is none of ORIG, PATH, ORIG_OR_PATH")),
    };
    Ok(Operator::Path(of, with_query))
}

fn common_duration(arguments: &str) -> Result<Operator, String> {
    let parts: Vec<&str> = arguments.split(':').collect();
    let (start, end, unit) = match parts.as_slice() {
        [start, end] => (*start, *end, "ms"),
        [start, end, unit] => (*start, *end, *unit),
        _ => return Err("wants START:END or START:END:PRECISION".into()),
    };
    let unit = match unit {
        "ms" => Unit::Millis,
        "us" => Unit::Micros,
        "ns" => Unit::Nanos,
        other => return Err(format!("precision '{other}' is none of ms, us, ns")),
    };
    Ok(Operator::Duration(point(start), point(end), unit))
}

/// Names that are none of Envoy's are points that extensions may set: they never come here.
fn point(name: &str) -> Point {
    match name {
        "DS_RX_BEG" => Point::Start,
        "DS_RX_END" => Point::RequestReceived,
        "US_CX_END" | "US_TX_BEG" => Point::UpstreamConnected,
        "US_TX_END" => Point::UpstreamSent,
        "US_RX_BEG" => Point::ResponseHeaders,
        "US_RX_END" => Point::ResponseReceived,
        "DS_TX_BEG" => Point::ResponseHeadersSent,
        "DS_TX_END" => Point::End,
        _ => Point::Never,
    }
}

/// Operators without arguments.
fn plain(name: &str) -> Option<Rule> {
    macro_rules! is {
        ($make:expr) => {
            Some(Rule { takes: Takes::Nothing(|| $make), length: false })
        };
    }
    use Operator::{Duration, GrpcStatus, Number, Text};
    use Unit::Millis;
    match name {
        "DURATION" => is!(Duration(Point::Start, Point::End, Millis)),
        "REQUEST_DURATION" => is!(Duration(Point::Start, Point::RequestReceived, Millis)),
        "REQUEST_TX_DURATION" => is!(Duration(Point::Start, Point::UpstreamSent, Millis)),
        "RESPONSE_DURATION" => is!(Duration(Point::Start, Point::ResponseHeaders, Millis)),
        "RESPONSE_TX_DURATION" => is!(Duration(Point::ResponseHeaders, Point::End, Millis)),
        "UPSTREAM_CONNECTION_POOL_READY_DURATION" => {
            is!(Duration(Point::Start, Point::UpstreamConnected, Millis))
        }
        "RESPONSE_CODE" => is!(Number(NumberOf::ResponseCode)),
        "BYTES_RECEIVED" => is!(Number(NumberOf::BytesReceived)),
        "BYTES_SENT" => is!(Number(NumberOf::BytesSent)),
        "REQUEST_HEADERS_BYTES" => is!(Number(NumberOf::RequestHeadersBytes)),
        "RESPONSE_HEADERS_BYTES" => is!(Number(NumberOf::ResponseHeadersBytes)),
        "RESPONSE_TRAILERS_BYTES" => is!(Number(NumberOf::ResponseTrailersBytes)),
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => is!(Number(NumberOf::Attempts)),
        "CONNECTION_ID" => is!(Number(NumberOf::ConnectionId)),
        "UPSTREAM_CONNECTION_ID" => is!(Number(NumberOf::UpstreamConnectionId)),
        "DOWNSTREAM_WIRE_BYTES_SENT" => is!(Number(NumberOf::DownstreamWireSent)),
        "DOWNSTREAM_WIRE_BYTES_RECEIVED" => is!(Number(NumberOf::DownstreamWireReceived)),
        "DOWNSTREAM_HEADER_BYTES_SENT" | "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT" => {
            is!(Number(NumberOf::DownstreamHeaderSent))
        }
        "DOWNSTREAM_HEADER_BYTES_RECEIVED" | "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED" => {
            is!(Number(NumberOf::DownstreamHeaderReceived))
        }
        "UPSTREAM_WIRE_BYTES_SENT" => is!(Number(NumberOf::UpstreamWireSent)),
        "UPSTREAM_WIRE_BYTES_RECEIVED" => is!(Number(NumberOf::UpstreamWireReceived)),
        "UPSTREAM_HEADER_BYTES_SENT" | "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT" => {
            is!(Number(NumberOf::UpstreamHeaderSent))
        }
        "UPSTREAM_HEADER_BYTES_RECEIVED" | "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED" => {
            is!(Number(NumberOf::UpstreamHeaderReceived))
        }
        "GRPC_STATUS_NUMBER" => is!(GrpcStatus(GrpcStyle::Number)),
        "PROTOCOL" => is!(Text(TextOf::Protocol)),
        "UPSTREAM_PROTOCOL" => is!(Text(TextOf::UpstreamProtocol)),
        "RESPONSE_CODE_DETAILS" => is!(Text(TextOf::Details)),
        "WEIR_NO_RETRY" => is!(Text(TextOf::NoRetry)),
        "CONNECTION_TERMINATION_DETAILS" => is!(Text(TextOf::Termination)),
        "RESPONSE_FLAGS" => is!(Text(TextOf::Flags)),
        "RESPONSE_FLAGS_LONG" => is!(Text(TextOf::FlagsLong)),
        "ROUTE_NAME" => is!(Text(TextOf::Route)),
        "UPSTREAM_CLUSTER" => is!(Text(TextOf::UpstreamCluster)),
        "UPSTREAM_CLUSTER_RAW" => is!(Text(TextOf::UpstreamClusterRaw)),
        "UPSTREAM_HOST_NAME" => is!(Text(TextOf::UpstreamHostName)),
        "UPSTREAM_HOST_NAME_WITHOUT_PORT" => is!(Text(TextOf::UpstreamHostNameWithoutPort)),
        "UPSTREAM_HOSTS_ATTEMPTED" => is!(Text(TextOf::HostsAttempted)),
        "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT" => is!(Text(TextOf::HostsAttemptedWithoutPort)),
        "QUERY_PARAMS" => is!(Text(TextOf::Query)),
        "UPSTREAM_DETECTED_CLOSE_TYPE" => is!(Text(TextOf::UpstreamCloseType)),
        "DOWNSTREAM_DETECTED_CLOSE_TYPE" => is!(Operator::Fixed("Normal".into())),
        "CUSTOM_FLAGS" | "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID" => is!(Operator::Fixed("".into())),
        "BYTES_RETRANSMITTED" | "PACKETS_RETRANSMITTED" | "DOWNSTREAM_CX_RTT" => is!(Number(NumberOf::Zero)),
        "UPSTREAM_TRANSPORT_FAILURE_REASON" => is!(Text(TextOf::UpstreamTransportFailure)),
        "REQUESTED_SERVER_NAME" => is!(Text(TextOf::ServerName)),
        "LOCAL_REPLY_BODY" => is!(Text(TextOf::LocalReplyBody)),
        "FILTER_CHAIN_NAME" => is!(Text(TextOf::FilterChain)),
        "LISTENER_NAME" => is!(Text(TextOf::Listener)),
        "ACCESS_LOG_TYPE" => is!(Text(TextOf::LogType)),
        "UNIQUE_ID" => is!(Text(TextOf::UniqueId)),
        "STREAM_ID" => is!(Text(TextOf::StreamId)),
        "HOSTNAME" => is!(Operator::Fixed(host_name())),
        _ => None,
    }
}

/// The machine's name as the kernel knows it; `-` when it does not say.
fn host_name() -> Box<str> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "-".into(),
        name => name.into(),
    }
}
