//! The HTTP connection manager's configuration (Envoy's `HttpConnectionManager`).

use super::matcher::HeaderMatch;
use super::mutation::HeaderOps;
use super::plugin::PluginConfig;
use super::pushed::Pushed;
use super::route::RouteConfig;
use crate::base::Name;
use crate::observe::format::Format;
use crate::observe::log::AccessLog;
use crate::observe::metrics::Scope;
use std::sync::Arc;
use std::time::Duration;

/// Which protocol the connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodecType {
    /// Told apart by the first bytes (HTTP/2 preface).
    Auto,
    /// HTTP/1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
}

/// What happens to the `server` header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServerHeader {
    /// Always ours.
    Overwrite,
    /// Ours when the upstream sent none.
    AppendIfAbsent,
    /// As the upstream sent it.
    PassThrough,
}

/// What happens to `%2F` and `%5C` in paths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EscapedSlashes {
    /// Nothing.
    Keep,
    /// 400.
    Reject,
    /// 307 to the unescaped path.
    Redirect,
    /// Unescaped and forwarded.
    Forward,
}

/// What happens to header names with underscores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Underscores {
    /// Nothing.
    Allow,
    /// The request is refused.
    Reject,
    /// The header is dropped.
    Drop,
}

/// What happens to `x-forwarded-client-cert`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum ClientCert {
    Sanitize,
    ForwardOnly,
    AppendForward,
    SanitizeSet,
    AlwaysForwardOnly,
}

/// Where the route configuration comes from.
#[derive(Clone, Debug)]
pub enum RouteSource {
    /// Part of the listener.
    Inline(Arc<RouteConfig>),
    /// Found by name in the snapshot (RDS).
    Named(Pushed),
}

/// HTTP/1 options of one side.
#[derive(Default, Clone, Debug)]
pub struct Http1Options {
    /// Serve HTTP/1.0.
    pub accept_http_10: bool,
    /// Host for HTTP/1.0 requests without one.
    pub default_host: Option<Box<str>>,
    /// Forward trailers.
    pub trailers: bool,
    /// Drop Content-Length where Transfer-Encoding is present instead of refusing (never both onward).
    pub allow_chunked_length: bool,
    /// Write names like `X-Custom-Header`; otherwise the received spelling is kept.
    pub proper_case: bool,
    /// Keep the connection after a refused message.
    pub stream_error_on_invalid: bool,
}

/// HTTP/2 options of one side.
#[derive(Clone, Debug)]
pub struct Http2Options {
    /// Most concurrent streams the peer may open (1024).
    pub max_concurrent_streams: u32,
    /// Stream window in bytes (16 MiB).
    pub stream_window: u32,
    /// Connection window in bytes (24 MiB).
    pub connection_window: u32,
    /// HPACK table in bytes (4096).
    pub hpack_table: u32,
    /// Extended CONNECT (RFC 8441).
    pub allow_connect: bool,
    /// PING interval and its timeout.
    pub keepalive: Option<(Duration, Duration)>,
    /// Most queued control frames (1000).
    pub max_outbound_control_frames: u32,
    /// Consecutive empty DATA frames allowed (1).
    pub max_empty_frames: u32,
}

impl Default for Http2Options {
    fn default() -> Self {
        Http2Options {
            max_concurrent_streams: 1024,
            stream_window: 16 << 20,
            connection_window: 24 << 20,
            hpack_table: 4096,
            allow_connect: false,
            keepalive: None,
            max_outbound_control_frames: 1000,
            max_empty_frames: 1,
        }
    }
}

/// Which addresses are internal.
#[derive(Clone, Debug, Default)]
pub struct InternalAddresses {
    /// Unix sockets count as internal.
    pub unix_sockets: bool,
    /// Networks; none by default (Envoy 1.40).
    pub networks: Box<[ipnet::IpNet]>,
}

/// One mapper of `local_reply_config`.
#[derive(Debug)]
pub struct ReplyMapper {
    /// When it applies.
    pub when: ReplyTest,
    /// New status.
    pub status: Option<u16>,
    /// New body text.
    pub body: Option<Arc<str>>,
    /// Format of the body, with its content type.
    pub format: Option<(Arc<Format>, Box<str>)>,
    /// Headers to add.
    pub headers: HeaderOps,
}

/// When a mapper applies: the access-log filters that can be judged on a local reply.
#[derive(Debug)]
pub enum ReplyTest {
    /// Status compared: equal, at least, at most.
    Status(StatusTest, u16),
    /// Any of these response flags (all when empty).
    Flags(Box<[crate::failure::Flag]>),
    /// A request header.
    Header(HeaderMatch),
    /// All of them.
    And(Box<[ReplyTest]>),
    /// Any of them.
    Or(Box<[ReplyTest]>),
}

/// Comparison of a status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum StatusTest {
    Equal,
    AtLeast,
    AtMost,
    NotEqual,
}

/// Mappers and default format of local replies.
#[derive(Debug, Default)]
pub struct LocalReplies {
    /// First match wins.
    pub mappers: Box<[ReplyMapper]>,
    /// Format and content type for the rest.
    pub format: Option<(Arc<Format>, Box<str>)>,
}

/// Tracing as far as headers go: what is done to `x-request-id`.
#[derive(Clone, Copy, Debug)]
pub struct RequestIds {
    /// Make one when absent (and always at an edge).
    pub generate: bool,
    /// Keep a client's at an edge.
    pub preserve_external: bool,
    /// Answer with it.
    pub in_response: bool,
}

/// A compiled connection manager.
#[derive(Debug)]
pub struct ConnectionManager {
    /// Prefix of its listener's statistics.
    pub listener: Name,
    /// `http.<prefix>.` in statistics.
    pub stat_prefix: Name,
    /// Keeps them.
    pub scope: Scope,
    /// Protocol.
    pub codec: CodecType,
    /// Routes.
    pub routes: RouteSource,
    /// HTTP filters in order; the terminal router is the last.
    pub filters: Box<[PluginConfig]>,
    /// Access logs.
    pub logs: Box<[Arc<AccessLog>]>,
    /// Trust the peer's address (edge).
    pub use_remote_address: bool,
    /// Trusted proxies in front.
    pub xff_num_trusted_hops: u32,
    /// Do not append to x-forwarded-for.
    pub skip_xff_append: bool,
    /// Internal networks.
    pub internal: InternalAddresses,
    /// Appended to `via`.
    pub via: Option<Box<str>>,
    /// `x-request-id`.
    pub request_ids: RequestIds,
    /// `server` value.
    pub server_name: Box<str>,
    /// `server` treatment.
    pub server_header: ServerHeader,
    /// `x-envoy-downstream-service-cluster` and user agent are added with this node id and cluster.
    pub add_user_agent: Option<(Box<str>, Box<str>)>,
    /// Client certificate header.
    pub client_cert: ClientCert,
    /// Add `x-forwarded-port`.
    pub append_x_forwarded_port: bool,
    /// Overrides `:scheme` and `x-forwarded-proto`.
    pub scheme_override: Option<Box<str>>,
    /// Dot segments and percent-encoding of unreserved characters.
    pub normalize_path: bool,
    /// Collapse runs of slashes.
    pub merge_slashes: bool,
    /// Escaped slashes.
    pub escaped_slashes: EscapedSlashes,
    /// Refuse `#` in paths (guard `http_reject_path_with_fragment`).
    pub reject_fragment: bool,
    /// Strip any port from Host.
    pub strip_any_host_port: bool,
    /// Strip the listener's own port from Host.
    pub strip_matching_host_port: bool,
    /// Strip a trailing dot from Host.
    pub strip_trailing_host_dot: bool,
    /// Header names with underscores.
    pub underscores: Underscores,
    /// Forward `expect: 100-continue` instead of answering it.
    pub proxy_100_continue: bool,
    /// Largest request head in bytes (60 KiB).
    pub max_request_headers: usize,
    /// Most request fields (100).
    pub max_headers_count: usize,
    /// Connection idle timeout (1 h; none: off).
    pub idle_timeout: Option<Duration>,
    /// Stream idle timeout (5 min; none: off).
    pub stream_idle_timeout: Option<Duration>,
    /// Whole request timeout.
    pub request_timeout: Option<Duration>,
    /// Request head timeout.
    pub request_headers_timeout: Option<Duration>,
    /// Longest stream.
    pub max_stream_duration: Option<Duration>,
    /// Longest connection.
    pub max_connection_duration: Option<Duration>,
    /// Between the two GOAWAYs, and before a drained connection closes (5 s).
    pub drain_timeout: Duration,
    /// Wait for the peer's FIN after our close (1 s; none: do not wait).
    pub delayed_close_timeout: Option<Duration>,
    /// Requests on one connection.
    pub max_requests_per_connection: Option<u32>,
    /// HTTP/1 options.
    pub http1: Http1Options,
    /// HTTP/2 options.
    pub http2: Http2Options,
    /// Upgrade types, lower-case, with their state.
    pub upgrades: Box<[(Box<str>, bool)]>,
    /// Local replies.
    pub local_replies: LocalReplies,
    /// No `x-envoy-*` of the router's own (`suppress_envoy_headers` of the router filter).
    pub suppress_envoy_headers: bool,
    /// `x-envoy-expected-rq-timeout-ms` of the request is the timeout (`respect_expected_rq_timeout` of the router).
    pub respect_expected_timeout: bool,
}
