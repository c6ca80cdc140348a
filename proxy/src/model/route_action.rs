//! What a route does with a request: forward, redirect, or answer itself.

use super::matcher::Fraction;
use super::mutation::Mutations;
use super::plugin::FilterOverrides;
use super::retry::RetryPolicy;
use crate::base::Name;
use crate::base::names::HeaderName;
use crate::observe::format::Format;
use regex::bytes::Regex;
use std::sync::Arc;
use std::time::Duration;

/// A route's action.
#[derive(Debug)]
pub enum Action {
    /// To a cluster.
    Forward(Box<Forward>),
    /// Answer with a redirect.
    Redirect(Box<Redirect>),
    /// Answer with a fixed response.
    Direct(Direct),
    /// Reachable from gRPC xDS only (`non_forwarding_action`): answered 404 as if no route matched.
    NonForwarding,
}

/// Which cluster.
#[derive(Debug)]
pub enum ClusterChoice {
    /// By name.
    Fixed(Name),
    /// Named by a request header.
    Header(HeaderName),
    /// Drawn by weight.
    Weighted(Weighted),
}

/// Weighted clusters.
#[derive(Debug)]
pub struct Weighted {
    /// In configuration order.
    pub entries: Box<[WeightedEntry]>,
    /// Sum of weights, above 0.
    pub total: u64,
    /// Header whose integer value replaces the random number.
    pub header: Option<HeaderName>,
    /// Use the hash of the route's hash policy instead of the random number.
    pub use_hash_policy: bool,
}

/// One weighted cluster.
#[derive(Debug)]
pub struct WeightedEntry {
    /// Fixed name or header.
    pub cluster: WeightedCluster,
    /// Weight.
    pub weight: u32,
    /// Mutations of the most specific level.
    pub mutations: Mutations,
    /// Per-filter configuration of the most specific level.
    pub filters: FilterOverrides,
    /// Replaces Host.
    pub host_rewrite: Option<Arc<[u8]>>,
}

/// Name of a weighted cluster.
#[derive(Debug)]
pub enum WeightedCluster {
    /// By name.
    Fixed(Name),
    /// Named by a request header.
    Header(HeaderName),
}

/// How the path is rewritten.
#[derive(Debug)]
pub enum PathRewrite {
    /// The matched prefix (or the whole path of an exact match) is replaced; the query stays.
    Prefix(Box<[u8]>),
    /// All matches in the path are replaced; `\1` refers to groups (already turned into the regex crate's `${1}`).
    Regex(Regex, Box<[u8]>),
}

/// How Host is rewritten.
#[derive(Debug)]
pub enum HostRewrite {
    /// Fixed value.
    Literal(Arc<[u8]>),
    /// The endpoint's host name (strict and logical DNS).
    Auto,
    /// From a request header.
    Header(HeaderName),
    /// The path (without query) with the expression replaced.
    PathRegex(Regex, Box<[u8]>),
}

/// A copy of the request is sent to another cluster and its response dropped.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// The cluster, or the header that names it.
    pub cluster: MirrorCluster,
    /// Share of the requests.
    pub fraction: Fraction,
    /// Leave Host as it is instead of adding `-shadow`.
    pub keep_host: bool,
}

/// Where a mirror goes.
#[derive(Debug, Clone)]
pub enum MirrorCluster {
    /// By name.
    Fixed(Name),
    /// Named by a request header.
    Header(HeaderName),
}

/// One input of the hash for ring hash and Maglev.
#[derive(Debug)]
pub struct HashPolicy {
    /// The input.
    pub input: HashInput,
    /// Stop here when a hash was made.
    pub terminal: bool,
}

/// Where a hash comes from.
#[derive(Debug)]
pub enum HashInput {
    /// Values of a header (sorted), optionally rewritten.
    Header(HeaderName, Option<(Regex, Box<[u8]>)>),
    /// A cookie.
    Cookie {
        /// Its name.
        name: Box<str>,
        /// With it a cookie is made where there is none; zero makes a session cookie.
        ttl: Option<Duration>,
        /// The `Path` of a cookie that is made; empty for none.
        path: Box<str>,
        /// More attributes of a cookie that is made: name and value.
        attributes: Box<[(Box<str>, Box<str>)]>,
    },
    /// The client's address without port.
    SourceIp,
    /// The first value of a query parameter.
    Query(Box<[u8]>),
}

/// Longest durations of a stream (`RouteAction.MaxStreamDuration`).
#[derive(Debug, Clone, Default)]
pub struct MaxStreamDuration {
    /// Replaces the connection manager's; zero: none.
    pub max: Option<Duration>,
    /// Cap of `grpc-timeout`; zero: uncapped. None: the header is not obeyed.
    pub grpc_timeout_max: Option<Duration>,
    /// Subtracted from `grpc-timeout`.
    pub grpc_timeout_offset: Duration,
}

/// Forward to a cluster (Envoy's `RouteAction`).
#[derive(Debug)]
pub struct Forward {
    /// Which.
    pub cluster: ClusterChoice,
    /// Status when the cluster does not exist (503, 404 or 500).
    pub cluster_not_found_status: u16,
    /// Path rewrite.
    pub path_rewrite: Option<PathRewrite>,
    /// Host rewrite.
    pub host_rewrite: Option<HostRewrite>,
    /// Keep the old Host in `x-forwarded-host`.
    pub append_x_forwarded_host: bool,
    /// From the end of the request to the end of the response; none: unlimited. Default 15 s.
    pub timeout: Option<Duration>,
    /// Replaces the connection manager's stream idle timeout; zero: none.
    pub idle_timeout: Option<Duration>,
    /// New-style duration limits; when present, `timeout` is off for gRPC.
    pub max_stream_duration: Option<MaxStreamDuration>,
    /// Deprecated `max_grpc_timeout` and its offset.
    pub max_grpc_timeout: Option<(Duration, Duration)>,
    /// Retry policy; none: the virtual host's.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Mirrors; none: the virtual host's.
    pub mirrors: Box<[Mirror]>,
    /// Hash inputs in order.
    pub hash: Box<[HashPolicy]>,
    /// HIGH priority thresholds of the circuit breaker.
    pub high_priority: bool,
    /// Upgrades (lower-case type, enabled) that replace the connection manager's.
    pub upgrades: Box<[(Box<str>, bool)]>,
}

/// Redirect (Envoy's `RedirectAction`).
#[derive(Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// New scheme.
    pub scheme: Option<Box<str>>,
    /// New host.
    pub host: Option<Box<str>>,
    /// New port.
    pub port: Option<u16>,
    /// New path.
    pub path: Option<RedirectPath>,
    /// Drop the query.
    pub strip_query: bool,
}

/// A redirect's path.
#[derive(Debug)]
pub enum RedirectPath {
    /// The whole path, with a query of its own perhaps.
    Full(Box<[u8]>),
    /// The matched prefix is replaced.
    Prefix(Box<[u8]>),
    /// All matches are replaced.
    Regex(Regex, Box<[u8]>),
}

/// A fixed response.
#[derive(Debug)]
pub struct Direct {
    /// Status.
    pub status: u16,
    /// Body; a format is rendered per request.
    pub body: DirectBody,
}

/// Body of a direct response.
#[derive(Debug)]
pub enum DirectBody {
    /// Fixed bytes.
    Fixed(Arc<[u8]>),
    /// With `%OPERATOR%`s.
    Format(Arc<Format>),
}
