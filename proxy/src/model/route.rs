//! Route configuration: virtual hosts and what their routes match.

use super::matcher::{Fraction, HeaderMatch, QueryMatch, StringMatch};
use super::mutation::Mutations;
use super::plugin::FilterOverrides;
use super::retry::RetryPolicy;
use super::route_action::{Action, Mirror};
use crate::base::Name;
use regex::bytes::Regex;
use std::sync::Arc;

/// A route configuration (Envoy's `RouteConfiguration`). The indexes that find virtual hosts and routes are built
/// with it, by `route::index`.
#[derive(Debug)]
pub struct RouteConfig {
    /// Its name (RDS resource name; empty when inline).
    pub name: Name,
    /// Virtual hosts in their order.
    pub virtual_hosts: Box<[Arc<VirtualHost>]>,
    /// Domain -> virtual host.
    pub hosts: HostIndex,
    /// Match the host without its port.
    pub ignore_port_in_host: bool,
    /// Ignore `;params` in paths when matching.
    pub ignore_path_parameters: bool,
    /// Mutations of the least specific level.
    pub mutations: Mutations,
    /// Apply route configuration, virtual host, route in this order instead of the reverse.
    pub most_specific_wins: bool,
    /// Request headers that only internal clients may send.
    pub internal_only_headers: Box<[crate::base::names::HeaderName]>,
    /// Per-filter configuration of this level.
    pub filters: FilterOverrides,
    /// Largest body of a direct response (4096).
    pub max_direct_response_body: usize,
    /// Mirrors for routes that have none.
    pub mirrors: Box<[Mirror]>,
}

/// Found by bytes.
pub type ByBytes<T> = std::collections::HashMap<Box<[u8]>, T, foldhash::fast::RandomState>;

/// Domains of a route configuration; positions are indexes into `virtual_hosts`.
#[derive(Debug, Default)]
pub struct HostIndex {
    /// Lower-case exact domains.
    pub exact: ByBytes<u32>,
    /// `*.suffix`: by length of the suffix, longest first, then by suffix.
    pub suffix: Vec<(usize, ByBytes<u32>)>,
    /// `prefix.*`: by length of the prefix, longest first, then by prefix.
    pub prefix: Vec<(usize, ByBytes<u32>)>,
    /// `*`
    pub any: Option<u32>,
}

/// When plain HTTP is redirected to https.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequireTls {
    /// Never.
    No,
    /// Requests from outside.
    ExternalOnly,
    /// All.
    All,
}

/// A virtual host.
#[derive(Debug)]
pub struct VirtualHost {
    /// Its name.
    pub name: Name,
    /// Its routes in order.
    pub routes: Box<[Arc<Route>]>,
    /// Finds the first matching route of a large virtual host without walking all; none for small ones.
    pub index: Option<PathIndex>,
    /// Redirect to https.
    pub require_tls: RequireTls,
    /// Mutations of this level.
    pub mutations: Mutations,
    /// Retry policy of routes without one.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Per-filter configuration of this level.
    pub filters: FilterOverrides,
    /// Send `x-envoy-attempt-count` upstream.
    pub attempt_count_in_request: bool,
    /// Send `x-envoy-attempt-count` downstream.
    pub attempt_count_in_response: bool,
    /// Most body bytes kept for retries and mirrors, if less than the connection's limit.
    pub retry_buffer_limit: Option<u32>,
    /// Mirrors for routes that have none.
    pub mirrors: Box<[Mirror]>,
}

/// Positions of routes by exact path and by prefix; the rest is walked. First match in list order wins.
#[derive(Debug, Default)]
pub struct PathIndex {
    /// Case-sensitive exact paths -> positions, ascending.
    pub exact: ByBytes<Vec<u32>>,
    /// Case-sensitive prefixes (plain and path-separated), by length, shortest first -> positions, ascending.
    pub prefix: Vec<(usize, ByBytes<Vec<u32>>)>,
    /// All other routes, ascending.
    pub rest: Vec<u32>,
}

/// What the path must be.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// Raw prefix of path and query.
    Prefix(Box<[u8]>),
    /// Path without query, equal.
    Exact(Box<[u8]>),
    /// Path without query, whole.
    Regex(Regex),
    /// Equal, or followed by `/` (or the query).
    PathSeparatedPrefix(Box<[u8]>),
    /// CONNECT (kept for later; today no route with it compiles).
    Connect,
}

/// All conditions of a route; every one must hold.
#[derive(Clone, Debug)]
pub struct RouteMatch {
    /// The path.
    pub path: PathMatch,
    /// Compare paths with case (default).
    pub case_sensitive: bool,
    /// A share of the requests only.
    pub runtime_fraction: Option<Fraction>,
    /// Only gRPC requests.
    pub grpc: bool,
    /// Header tests.
    pub headers: Box<[HeaderMatch]>,
    /// Query tests.
    pub query: Box<[QueryMatch]>,
    /// Cookie tests.
    pub cookies: Box<[CookieMatch]>,
}

/// A test of a cookie: its name, the test of its value, and whether the outcome is inverted.
pub type CookieMatch = (Box<[u8]>, StringMatch, bool);

/// A route.
#[derive(Debug)]
pub struct Route {
    /// Its name; empty when it has none.
    pub name: Name,
    /// When it is taken.
    pub matcher: RouteMatch,
    /// What it does.
    pub action: Action,
    /// Mutations of this level.
    pub mutations: Mutations,
    /// Per-filter configuration of this level.
    pub filters: FilterOverrides,
    /// Most body bytes kept for retries and mirrors.
    pub retry_buffer_limit: Option<u32>,
    /// Route metadata as JSON by filter namespace (for `%METADATA(ROUTE:..)%`), if any.
    pub metadata: Option<Arc<serde_json::Value>>,
}
