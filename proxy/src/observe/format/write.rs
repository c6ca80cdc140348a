//! What each operator prints.

use super::operator::{GrpcStyle, NumberOf, Operator, PathOf, Point, TextOf, Unit};
use super::{Input, address};
use crate::base::addr::Address;
use crate::base::headers::HeaderBlock;
use crate::base::names::{HeaderName, Id};
use crate::base::{clock, rng};
use crate::failure::{self, Flag};
use crate::observe::record::{Record, WITHHELD};
use std::time::Duration;

/// What an operator appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Nothing: it has no value.
    Absent,
    /// Text.
    Text,
    /// A decimal number.
    Number,
}

/// Appends a decimal number.
pub(super) fn number(value: u64, out: &mut Vec<u8>) -> Kind {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    Kind::Number
}

fn text(value: &[u8], out: &mut Vec<u8>) -> Kind {
    out.extend_from_slice(value);
    Kind::Text
}

/// Absent when there is none or it is empty.
fn present(value: Option<&[u8]>, out: &mut Vec<u8>) -> Kind {
    match value {
        Some(value) if !value.is_empty() => text(value, out),
        _ => Kind::Absent,
    }
}

fn header(block: &HeaderBlock, name: &HeaderName, other: Option<&HeaderName>, out: &mut Vec<u8>) -> Kind {
    match block.find(name).or_else(|| other.and_then(|other| block.find(other))) {
        Some(value) => text(value, out),
        None => Kind::Absent,
    }
}

fn without_query(path: &[u8]) -> &[u8] {
    memchr::memchr2(b'?', b'#', path).and_then(|at| path.get(..at)).unwrap_or(path)
}

impl Operator {
    /// Appends the operator's value.
    pub(super) fn write(&self, input: &Input<'_>, out: &mut Vec<u8>) -> Kind {
        match self {
            Operator::Request(name, other) => header(input.request, name, other.as_ref(), out),
            Operator::Response(name, other) => header(input.response, name, other.as_ref(), out),
            Operator::Trailer(name, other) => header(input.trailers, name, other.as_ref(), out),
            Operator::RequestWithoutQuery(name, other) => {
                let value =
                    input.request.find(name).or_else(|| other.as_ref().and_then(|o| input.request.find(o)));
                value.map_or(Kind::Absent, |value| text(without_query(value), out))
            }
            Operator::StartTime(format) => {
                format.write(input.record.start_wall, out);
                Kind::Text
            }
            Operator::EmitTime(format) => {
                format.write(clock::wall(), out);
                Kind::Text
            }
            Operator::Duration(start, end, unit) => duration(input.record, *start, *end, *unit, out),
            Operator::Number(of) => numbers(*of, input, out),
            Operator::Text(of) => texts(*of, input, out),
            Operator::Address(of, part) => address::write(*of, *part, input, out),
            Operator::GrpcStatus(style) => grpc_status(*style, input, out),
            Operator::QueryParam(name) => query_param(name, input, out),
            Operator::Path(of, with_query) => path(*of, *with_query, input, out),
            Operator::Fixed(value) => text(value.as_bytes(), out),
            Operator::Absent => Kind::Absent,
        }
    }
}

fn point(record: &Record, point: Point) -> Option<Duration> {
    let moments = &record.moments;
    match point {
        Point::Start => Some(Duration::ZERO),
        Point::RequestReceived => moments.request_received,
        Point::UpstreamConnected => moments.upstream_connected,
        Point::UpstreamSent => moments.upstream_request_sent,
        Point::ResponseHeaders => moments.response_headers_received,
        Point::ResponseReceived => moments.response_received,
        Point::ResponseHeadersSent => moments.response_headers_sent,
        Point::End => moments.end,
        Point::Never => None,
    }
}

fn duration(record: &Record, start: Point, end: Point, unit: Unit, out: &mut Vec<u8>) -> Kind {
    let (Some(start), Some(end)) = (point(record, start), point(record, end)) else { return Kind::Absent };
    let Some(taken) = end.checked_sub(start) else { return Kind::Absent };
    let value = match unit {
        Unit::Millis => taken.as_millis(),
        Unit::Micros => taken.as_micros(),
        Unit::Nanos => taken.as_nanos(),
    };
    number(u64::try_from(value).unwrap_or(u64::MAX), out)
}

fn numbers(of: NumberOf, input: &Input<'_>, out: &mut Vec<u8>) -> Kind {
    let record = input.record;
    let value = match of {
        NumberOf::ResponseCode => u64::from(record.status),
        NumberOf::BytesReceived => record.bytes_received,
        NumberOf::BytesSent => record.bytes_sent,
        NumberOf::RequestHeadersBytes => input.request.byte_size() as u64,
        // With the `:status` that HTTP/2 has.
        NumberOf::ResponseHeadersBytes if record.status > 0 => {
            (input.response.byte_size() as u64).saturating_add(":status200".len() as u64)
        }
        NumberOf::ResponseHeadersBytes => 0,
        NumberOf::ResponseTrailersBytes => input.trailers.byte_size() as u64,
        NumberOf::Attempts => u64::from(record.upstream.attempts),
        NumberOf::ConnectionId => record.conn.id,
        NumberOf::UpstreamConnectionId => record.upstream.connection_id.unwrap_or(0),
        NumberOf::Zero => 0,
        NumberOf::DownstreamWireSent => record.wire.sent,
        NumberOf::DownstreamWireReceived => record.wire.received,
        NumberOf::DownstreamHeaderSent => record.wire.header_sent,
        NumberOf::DownstreamHeaderReceived => record.wire.header_received,
        NumberOf::UpstreamWireSent => record.upstream.wire.sent,
        NumberOf::UpstreamWireReceived => record.upstream.wire.received,
        NumberOf::UpstreamHeaderSent => record.upstream.wire.header_sent,
        NumberOf::UpstreamHeaderReceived => record.upstream.wire.header_received,
    };
    number(value, out)
}

fn texts(of: TextOf, input: &Input<'_>, out: &mut Vec<u8>) -> Kind {
    let record = input.record;
    let name = |name: &Option<crate::base::Name>, out: &mut Vec<u8>| {
        present(name.as_deref().map(str::as_bytes), out)
    };
    match of {
        TextOf::Protocol => present(record.protocol.map(|p| p.as_str().as_bytes()), out),
        TextOf::UpstreamProtocol => present(record.upstream.protocol.map(|p| p.as_str().as_bytes()), out),
        TextOf::Details => {
            let kind = present(Some(record.details.as_bytes()), out);
            if record.no_retry == Some(WITHHELD) {
                out.extend_from_slice(b"{not_retried:may_have_been_seen}");
            }
            kind
        }
        TextOf::NoRetry => present(record.no_retry.map(str::as_bytes), out),
        TextOf::Termination => present(record.termination.as_ref().map(|t| t.as_bytes()), out),
        TextOf::Flags => flags(record, Flag::short, out),
        TextOf::FlagsLong => flags(record, Flag::long, out),
        TextOf::Route => name(&record.route, out),
        TextOf::UpstreamCluster => name(&record.upstream.cluster, out),
        TextOf::UpstreamClusterRaw => name(&record.upstream.cluster_raw, out),
        TextOf::UpstreamHostName => host_name(record, out),
        TextOf::UpstreamHostNameWithoutPort => {
            let start = out.len();
            let kind = host_name(record, out);
            strip_port(start, out);
            kind
        }
        TextOf::HostsAttempted => attempted(record, out, address::whole),
        TextOf::HostsAttemptedWithoutPort => attempted(record, out, |host, out| match host.ip() {
            Some(ip) => address::ip(ip, out),
            None => address::whole(host, out),
        }),
        TextOf::Query => {
            let path = input.request.get(Id::Path).unwrap_or_default();
            let at = memchr::memchr(b'?', path);
            present(at.and_then(|at| path.get(at.saturating_add(1)..)), out)
        }
        TextOf::UpstreamCloseType if record.upstream.host.is_some() => text(b"Normal", out),
        TextOf::UpstreamCloseType => Kind::Absent,
        TextOf::UpstreamTransportFailure => {
            present(record.upstream.transport_failure.as_ref().map(|t| t.as_bytes()), out)
        }
        TextOf::ServerName => name(&record.conn.server_name, out),
        TextOf::LocalReplyBody => text(record.local_body.as_bytes(), out),
        TextOf::FilterChain => present(Some(record.conn.chain.as_bytes()), out),
        TextOf::Listener => present(Some(record.conn.listener.as_bytes()), out),
        TextOf::LogType => {
            text(if record.protocol.is_some() { b"DownstreamEnd" } else { b"TcpConnectionEnd" }, out)
        }
        TextOf::UniqueId => {
            unique_id(out);
            Kind::Text
        }
        TextOf::StreamId => match input.request.get(Id::RequestId) {
            Some(id) => text(id, out),
            None => {
                number(record.stream_id, out);
                Kind::Text
            }
        },
    }
}

fn attempted(record: &Record, out: &mut Vec<u8>, write: impl Fn(&Address, &mut Vec<u8>)) -> Kind {
    for (i, host) in record.upstream.tried.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(host, out);
    }
    if record.upstream.tried.is_empty() { Kind::Absent } else { Kind::Text }
}

/// The host's name, else its address (as Envoy: hosts without a name have none to show but their address).
fn host_name(record: &Record, out: &mut Vec<u8>) -> Kind {
    match (&record.upstream.host_name, &record.upstream.host) {
        (Some(name), _) if !name.is_empty() => text(name.as_bytes(), out),
        (_, Some(host)) => {
            address::whole(host, out);
            Kind::Text
        }
        _ => Kind::Absent,
    }
}

fn strip_port(start: usize, out: &mut Vec<u8>) {
    let Some(written) = out.get(start..) else { return };
    let Some(colon) = memchr::memrchr(b':', written) else { return };
    let digits = written.get(colon.saturating_add(1)..).unwrap_or_default();
    if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
        out.truncate(start.saturating_add(colon));
    }
}

fn flags(record: &Record, name: fn(Flag) -> &'static str, out: &mut Vec<u8>) -> Kind {
    if record.flags.is_empty() {
        return text(b"-", out);
    }
    for (i, flag) in record.flags.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name(flag).as_bytes());
    }
    Kind::Text
}

/// A random UUID (version 4).
fn unique_id(out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let random = rng::with(|r| (u128::from(r.next_u64()) << 64) | u128::from(r.next_u64()));
    let bits = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    for nibble in 0..32u32 {
        if matches!(nibble, 8 | 12 | 16 | 20) {
            out.push(b'-');
        }
        let digit = (bits >> (124 - nibble * 4)) & 0xf;
        out.extend(HEX.get(digit as usize));
    }
}

const CAMEL: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
const SNAKE: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

fn is_grpc(block: &HeaderBlock) -> bool {
    let value = block.get(Id::ContentType).unwrap_or_default();
    value
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The gRPC status: from the trailers, the headers, else from the HTTP status.
pub(crate) fn grpc_status_told(input: &Input<'_>) -> Option<u32> {
    let told = input.trailers.get_str(Id::GrpcStatus).or_else(|| input.response.get_str(Id::GrpcStatus));
    match (told, input.record.status) {
        (Some(told), _) => told.parse().ok(),
        (None, 0) => None,
        (None, status) => Some(failure::grpc_status(status)),
    }
}

fn grpc_status(style: GrpcStyle, input: &Input<'_>, out: &mut Vec<u8>) -> Kind {
    if !is_grpc(input.request) {
        return Kind::Absent;
    }
    let Some(status) = grpc_status_told(input) else { return Kind::Absent };
    let names = match style {
        GrpcStyle::Camel => &CAMEL,
        GrpcStyle::Snake => &SNAKE,
        GrpcStyle::Number => return number(u64::from(status), out),
    };
    match names.get(status as usize) {
        Some(name) => text(name.as_bytes(), out),
        None => {
            number(u64::from(status), out);
            Kind::Text
        }
    }
}

fn query_param(name: &[u8], input: &Input<'_>, out: &mut Vec<u8>) -> Kind {
    let path = input.request.get(Id::Path).unwrap_or_default();
    let Some(at) = memchr::memchr(b'?', path) else { return Kind::Absent };
    let query = path.get(at.saturating_add(1)..).unwrap_or_default();
    for part in query.split(|b| *b == b'&') {
        let (key, value) = match memchr::memchr(b'=', part) {
            Some(at) => {
                (part.get(..at).unwrap_or_default(), part.get(at.saturating_add(1)..).unwrap_or_default())
            }
            None => (part, &[][..]),
        };
        if key == name {
            return text(value, out);
        }
    }
    Kind::Absent
}

fn path(of: PathOf, with_query: bool, input: &Input<'_>, out: &mut Vec<u8>) -> Kind {
    let original = input.request.get(Id::EnvoyOriginalPath);
    let now = input.request.get(Id::Path);
    let path = match of {
        PathOf::Original => original,
        PathOf::Present => now,
        PathOf::OriginalOrPresent => original.or(now),
    };
    match path {
        Some(path) if with_query => text(path, out),
        Some(path) => text(without_query(path), out),
        None => Kind::Absent,
    }
}
