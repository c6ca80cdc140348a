//! HTTP protocol options of either side.

use super::wkt;
use crate::base::ledger::At;
use crate::model::http::{Http1Options, Http2Options, Underscores};
use std::time::Duration;
use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use weir_proto::envoy::config::core::v3::http1_protocol_options::HeaderKeyFormat;
use weir_proto::envoy::config::core::v3::http1_protocol_options::header_key_format::HeaderFormat;
use weir_proto::envoy::extensions::http::header_formatters::preserve_case::v3::PreserveCaseFormatterConfig;

/// Idle connections close after (Envoy's default, both sides).
const IDLE: Duration = Duration::from_secs(3600);
/// Fields of a message (Envoy's default).
const MAX_HEADERS: u32 = 100;
/// Largest `max_response_headers_kb`.
const MAX_RESPONSE_KB: u32 = 8192;
/// Largest window (RFC 9113 section 6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// Smallest initial window that Envoy accepts.
const MIN_WINDOW: u32 = 65_535;
/// Shortest keepalive interval and timeout (Envoy's rule).
const MIN_PING: Duration = Duration::from_millis(1);

/// `HttpProtocolOptions`, compiled; defaults are Envoy's.
#[derive(Debug, Clone)]
pub struct Common {
    /// Idle timeout; none: off.
    pub idle_timeout: Option<Duration>,
    /// Longest connection.
    pub max_connection_duration: Option<Duration>,
    /// Most fields.
    pub max_headers_count: usize,
    /// Largest response head in bytes; none: the default.
    pub max_response_headers: Option<usize>,
    /// Longest stream.
    pub max_stream_duration: Option<Duration>,
    /// Underscores in names.
    pub underscores: Underscores,
    /// Requests on one connection.
    pub max_requests: Option<u32>,
}

/// Common options.
pub fn common(at: &At<'_>, message: &Option<core::HttpProtocolOptions>) -> Common {
    let defaults = core::HttpProtocolOptions::default();
    let message = message.as_ref().unwrap_or(&defaults);
    crate::ledger!(at, message => core::HttpProtocolOptions { idle_timeout, max_connection_duration,
        max_headers_count, max_response_headers_kb, max_stream_duration, headers_with_underscores_action,
        max_requests_per_connection } refuse { max_connection_duration_jitter });
    let action = wkt::enumeration(at, "headers_with_underscores_action", *headers_with_underscores_action);
    let kb = max_response_headers_kb.as_ref();
    let kb = kb
        .map(|_| wkt::u32_in(at, "max_response_headers_kb", max_response_headers_kb, 60, 1, MAX_RESPONSE_KB));
    Common {
        idle_timeout: wkt::timeout(at, "idle_timeout", idle_timeout, Some(IDLE)),
        max_connection_duration: wkt::timeout(at, "max_connection_duration", max_connection_duration, None),
        max_headers_count: wkt::u32_in(at, "max_headers_count", max_headers_count, MAX_HEADERS, 1, u32::MAX)
            as usize,
        max_response_headers: kb.map(|kb| (kb as usize).saturating_mul(1024)),
        max_stream_duration: wkt::timeout(at, "max_stream_duration", max_stream_duration, None),
        underscores: match action {
            Some(HeadersWithUnderscoresAction::RejectRequest) => Underscores::Reject,
            Some(HeadersWithUnderscoresAction::DropHeader) => Underscores::Drop,
            _ => Underscores::Allow,
        },
        max_requests: wkt::u32_opt(max_requests_per_connection).filter(|n| *n > 0),
    }
}

/// HTTP/1 options. `stream_error` is the connection manager's setting where these have none.
pub fn http1(at: &At<'_>, message: &Option<core::Http1ProtocolOptions>, stream_error: bool) -> Http1Options {
    let Some(message) = message else {
        return Http1Options { stream_error_on_invalid: stream_error, ..Http1Options::default() };
    };
    crate::ledger!(at, message => core::Http1ProtocolOptions { allow_absolute_url, accept_http_10,
        default_host_for_http_10, header_key_format, enable_trailers, allow_chunked_length,
        override_stream_error_on_invalid_http_message }
        refuse { send_fully_qualified_url, ignore_http_11_upgrade }
        ignore { use_balsa_parser, allow_custom_methods });
    at.refuse("allow_absolute_url", !wkt::flag(allow_absolute_url, true));
    Http1Options {
        accept_http_10: *accept_http_10,
        default_host: Some(default_host_for_http_10).filter(|h| !h.is_empty()).map(|h| h.as_str().into()),
        trailers: *enable_trailers,
        allow_chunked_length: *allow_chunked_length,
        proper_case: header_key_format
            .as_ref()
            .is_some_and(|m| proper_case(&at.field("header_key_format"), m)),
        stream_error_on_invalid: wkt::flag(override_stream_error_on_invalid_http_message, stream_error),
    }
}

/// Proper case, or the received spelling (which is kept anyway).
fn proper_case(at: &At<'_>, message: &HeaderKeyFormat) -> bool {
    crate::ledger!(at, message => HeaderKeyFormat { header_format });
    match at.required("header_format", header_format.as_ref()) {
        None => false,
        Some(HeaderFormat::ProperCaseWords(_)) => true,
        Some(HeaderFormat::StatefulFormatter(extension)) => {
            let here = at.field("stateful_formatter");
            preserve_case(&here, extension);
            false
        }
    }
}

fn preserve_case(at: &At<'_>, message: &core::TypedExtensionConfig) -> Option<()> {
    crate::ledger!(at, message => core::TypedExtensionConfig { typed_config } ignore { name });
    let any = at.required("typed_config", typed_config.as_ref())?;
    let here = at.field("typed_config");
    let config = wkt::unpack::<PreserveCaseFormatterConfig>(&here, any)?;
    let config = &config;
    crate::ledger!(here, config => PreserveCaseFormatterConfig {}
        refuse { forward_reason_phrase } ignore { formatter_type_on_envoy_headers });
    Some(())
}

/// HTTP/2 options.
pub fn http2(at: &At<'_>, message: &Option<core::Http2ProtocolOptions>) -> Http2Options {
    let Some(message) = message else { return Http2Options::default() };
    crate::ledger!(at, message => core::Http2ProtocolOptions { hpack_table_size, max_concurrent_streams,
        initial_stream_window_size, initial_connection_window_size, allow_connect, max_outbound_control_frames,
        max_consecutive_inbound_frames_with_empty_payload, connection_keepalive }
        refuse { allow_metadata, custom_settings_parameters, max_metadata_size }
        ignore { max_outbound_frames, max_inbound_priority_frames_per_stream,
            max_inbound_window_update_frames_per_data_frame_sent, stream_error_on_invalid_http_messaging,
            override_stream_error_on_invalid_http_message, use_oghttp2_codec, enable_huffman_encoding,
            max_header_field_size_kb, disallow_obs_text, stream_reset_burst, stream_reset_rate });
    let base = Http2Options::default();
    let window = |field, value, default| wkt::u32_in(at, field, value, default, MIN_WINDOW, MAX_WINDOW);
    Http2Options {
        max_concurrent_streams: wkt::u32_in(
            at,
            "max_concurrent_streams",
            max_concurrent_streams,
            base.max_concurrent_streams,
            1,
            MAX_WINDOW,
        ),
        stream_window: window("initial_stream_window_size", initial_stream_window_size, base.stream_window),
        connection_window: window(
            "initial_connection_window_size",
            initial_connection_window_size,
            base.connection_window,
        ),
        hpack_table: wkt::u32_opt(hpack_table_size).unwrap_or(base.hpack_table),
        allow_connect: *allow_connect,
        keepalive: connection_keepalive
            .as_ref()
            .and_then(|message| ping(&at.field("connection_keepalive"), message)),
        max_outbound_control_frames: wkt::u32_in(
            at,
            "max_outbound_control_frames",
            max_outbound_control_frames,
            base.max_outbound_control_frames,
            1,
            u32::MAX,
        ),
        max_empty_frames: wkt::u32_opt(max_consecutive_inbound_frames_with_empty_payload)
            .unwrap_or(base.max_empty_frames),
    }
}

/// PING interval and timeout.
fn ping(at: &At<'_>, message: &core::KeepaliveSettings) -> Option<(Duration, Duration)> {
    crate::ledger!(at, message => core::KeepaliveSettings { interval, timeout }
        refuse { connection_idle_interval } ignore { interval_jitter });
    let interval = wkt::duration(at, "interval", interval);
    let timeout = at.required("timeout", wkt::duration(at, "timeout", timeout))?;
    if timeout < MIN_PING || interval.is_some_and(|i| i < MIN_PING) {
        at.error("interval and timeout must be at least 1ms");
    }
    interval.map(|interval| (interval, timeout))
}

/// HTTP/3 is not in this release.
pub fn no_http3(at: &At<'_>, field: &str, set: bool) {
    if set {
        at.field(field).unsupported("HTTP/3");
    }
}
