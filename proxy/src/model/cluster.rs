//! Clusters.

use super::http::{Http1Options, Http2Options};
use super::listener::Keepalive;
use super::plugin::PluginConfig;
use super::pushed::Pushed;
use super::transport::UpstreamSockets;
use crate::base::Name;
use crate::base::addr::Address;
use crate::live::cluster::ClusterLive;
use crate::live::permit::Limits;
use crate::observe::mesh::Service;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How hosts are found.
#[derive(Clone, PartialEq, Debug)]
pub enum Discovery {
    /// As configured.
    Static,
    /// Pushed (EDS), by this service name.
    Eds(Pushed),
    /// The addresses of the configured names.
    Dns(Dns),
    /// The address before redirection, or named by a header.
    OriginalDst {
        /// Take the address from this header.
        header: Option<crate::base::names::HeaderName>,
        /// Replace the port.
        port: Option<u16>,
        /// Unused hosts are dropped after this time (5 s).
        cleanup: Duration,
    },
}

/// Address families of DNS answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum DnsFamily {
    Auto,
    V4Only,
    V6Only,
    V4Preferred,
    All,
}

/// DNS settings.
#[derive(Clone, PartialEq, Debug)]
pub struct Dns {
    /// LOGICAL_DNS: one address of the name is the one host, as long as it is among the answers; else every address
    /// is a host.
    pub logical: bool,
    /// Refresh interval (5 s).
    pub refresh: Duration,
    /// Use the records' TTL instead.
    pub respect_ttl: bool,
    /// Random addition to the refresh interval.
    pub jitter: Duration,
    /// After failures: base and largest interval.
    pub failure_refresh: Option<(Duration, Duration)>,
    /// Address families.
    pub family: DnsFamily,
    /// Resolvers; the system's when empty.
    pub resolvers: Box<[std::net::SocketAddr]>,
}

/// Load balancing policy.
#[derive(Clone, PartialEq, Debug)]
pub enum LbPolicy {
    /// Weighted round robin.
    RoundRobin,
    /// Least requests.
    LeastRequest {
        /// Random picks compared (2).
        choices: u32,
        /// Exponent on active requests (1.0) when weights differ.
        bias: f64,
        /// Look at all hosts.
        full_scan: bool,
    },
    /// Random.
    Random,
    /// Ketama-like ring.
    RingHash {
        /// Smallest ring (1024).
        min: u64,
        /// Largest ring (8388608).
        max: u64,
        /// MurmurHash2 instead of xxHash64.
        murmur: bool,
        /// Hash host names instead of addresses.
        use_hostname: bool,
        /// Bounded load in percent of the mean, 0 for off.
        balance_factor: u32,
    },
    /// Maglev.
    Maglev {
        /// Table size, a prime (65537).
        table: u64,
        /// Hash host names instead of addresses.
        use_hostname: bool,
        /// Bounded load in percent of the mean, 0 for off.
        balance_factor: u32,
    },
    /// The cluster's own (original destination).
    ClusterProvided,
}

/// Own addresses that connections leave from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalAddresses {
    /// For hosts of its family, and for all when there is no other.
    pub first: IpAddr,
    /// For hosts of the other family.
    pub other: Option<IpAddr>,
}

impl LocalAddresses {
    /// The one for a host.
    pub fn towards(self, host: &Address) -> IpAddr {
        let wanted = host.ip().map(|ip| ip.is_ipv4());
        self.other.filter(|other| wanted == Some(other.is_ipv4())).unwrap_or(self.first)
    }
}

/// How a new host's weight grows to its own.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SlowStart {
    /// Time until it has its whole weight.
    pub window: Duration,
    /// 1 for growth in a straight line; more for faster growth at the beginning.
    pub aggression: f64,
    /// The share of its weight that it has in any case, 0 to 1.
    pub least: f64,
}

/// Limits of one priority (Envoy's `CircuitBreakers.Thresholds`).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Thresholds {
    /// Connections (1024).
    pub max_connections: u32,
    /// Requests that wait for a connection (1024).
    pub max_pending: u32,
    /// Requests in flight (1024).
    pub max_requests: u32,
    /// Retries in flight (3).
    pub max_retries: u32,
    /// Retry budget: percent of active requests and smallest count; replaces `max_retries`.
    pub retry_budget: Option<(f64, u32)>,
    /// Show `remaining_*`.
    pub track_remaining: bool,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds {
            max_connections: 1024,
            max_pending: 1024,
            max_requests: 1024,
            max_retries: 3,
            retry_budget: None,
            track_remaining: false,
        }
    }
}

impl From<&Thresholds> for Limits {
    fn from(t: &Thresholds) -> Self {
        let most = [t.max_connections, t.max_pending, t.max_requests, t.max_retries];
        Limits { most, retry_budget: t.retry_budget }
    }
}

/// Outlier detection (consecutive failures; spec 3.5).
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)]
pub struct Outlier {
    /// Consecutive 5xx (5; 0: off).
    pub consecutive_5xx: u32,
    /// Consecutive 502, 503, 504 (5).
    pub consecutive_gateway: u32,
    /// Consecutive local-origin failures (5), with `split`.
    pub consecutive_local: u32,
    /// Between sweeps (10 s).
    pub interval: Duration,
    /// Ejection time (30 s), times the number of ejections.
    pub base_ejection: Duration,
    /// Longest ejection.
    pub max_ejection: Duration,
    /// Random addition.
    pub max_ejection_jitter: Duration,
    /// Most ejected hosts in percent (10).
    pub max_ejection_percent: u32,
    /// Eject at least one whatever the percentage.
    pub always_eject_one: bool,
    /// Chance in percent that each kind ejects: 5xx (100), gateway (0), local (100).
    pub enforce_5xx: u32,
    pub enforce_gateway: u32,
    pub enforce_local: u32,
    /// Local-origin failures counted apart.
    pub split: bool,
}

/// Protocol towards the upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// The client's.
    Downstream,
}

/// HTTP options towards the upstream.
#[derive(Clone, Debug)]
pub struct UpstreamHttp {
    /// Protocol.
    pub protocol: UpstreamProtocol,
    /// Idle connections close after (1 h; none: never).
    pub idle_timeout: Option<Duration>,
    /// Connections close after.
    pub max_connection_duration: Option<Duration>,
    /// Requests on one connection.
    pub max_requests_per_connection: Option<u32>,
    /// Longest stream.
    pub max_stream_duration: Option<Duration>,
    /// Most response fields (100).
    pub max_headers_count: usize,
    /// Largest response head in bytes (60 KiB; 80 KiB on HTTP/1).
    pub max_response_headers: usize,
    /// HTTP/1.
    pub http1: Http1Options,
    /// HTTP/2.
    pub http2: Http2Options,
}

impl UpstreamHttp {
    /// Does a request go out on HTTP/2? `downstream`: it came in on HTTP/2.
    pub fn is_http2(&self, downstream: bool) -> bool {
        match self.protocol {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Downstream => downstream,
        }
    }
}

/// One endpoint as configured; `control` makes live hosts of them.
#[derive(Clone, PartialEq, Debug)]
pub struct Endpoint {
    /// IP or Unix address, or a name to resolve with its port.
    pub target: EndpointTarget,
    /// Weight, at least 1.
    pub weight: u32,
    /// Health given by the control plane: usable, degraded, or not.
    pub health: EndpointHealth,
    /// Host name (auto host rewrite, hashing).
    pub hostname: Option<Name>,
    /// `envoy.lb` metadata as JSON, and all other metadata by namespace.
    pub metadata: Option<Arc<serde_json::Value>>,
    /// `canary` in `envoy.lb`.
    pub canary: bool,
    /// `hash_key` in `envoy.lb`.
    pub hash_key: Option<Name>,
}

/// Where an endpoint is.
#[derive(Clone, PartialEq, Debug)]
pub enum EndpointTarget {
    /// A socket address.
    Address(Address),
    /// A DNS name and a port.
    Name(Name, u16),
}

/// Health given by the control plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum EndpointHealth {
    Healthy,
    Degraded,
    Unhealthy,
}

/// Endpoints of one locality.
#[derive(Clone, PartialEq, Debug)]
pub struct LocalityEndpoints {
    /// Region, zone, sub zone.
    pub locality: [Name; 3],
    /// Locality weight; 0 when unset.
    pub weight: u32,
    /// Priority, from 0 without gaps.
    pub priority: u32,
    /// Its endpoints.
    pub endpoints: Box<[Endpoint]>,
}

/// All endpoints of a cluster (Envoy's `ClusterLoadAssignment`).
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Assignment {
    /// Localities in order.
    pub localities: Box<[LocalityEndpoints]>,
    /// Overprovisioning factor in percent (140); 0 means the default.
    pub overprovisioning: u32,
    /// Shares of requests to drop, in millionths, with their category.
    pub drops: Box<[(Name, u32)]>,
}

/// A compiled cluster. Its live part (hosts, permits, health) is found by name and outlives versions.
#[derive(Debug)]
pub struct Cluster {
    /// Its name.
    pub name: Name,
    /// Name in statistics (`alt_stat_name`).
    pub stat_name: Name,
    /// Discovery.
    pub discovery: Discovery,
    /// Configured endpoints (static, DNS); EDS brings them apart.
    pub assignment: Assignment,
    /// Time to connect (5 s).
    pub connect_timeout: Duration,
    /// Load balancing.
    pub lb: LbPolicy,
    /// New hosts start slowly.
    pub slow_start: Option<SlowStart>,
    /// Below this percentage of healthy hosts all are used (50).
    pub panic_threshold: u32,
    /// Give none instead of all in panic.
    pub fail_traffic_on_panic: bool,
    /// Locality weights count.
    pub locality_weighted: bool,
    /// Circuit breakers: default and high priority.
    pub breakers: [Thresholds; 2],
    /// Outlier detection.
    pub outlier: Option<Outlier>,
    /// HTTP.
    pub http: UpstreamHttp,
    /// Transport sockets.
    pub sockets: UpstreamSockets,
    /// Network filters on its connections.
    pub filters: Box<[PluginConfig]>,
    /// TCP keepalive.
    pub keepalive: Option<Keepalive>,
    /// Local addresses to connect from.
    pub source: Option<LocalAddresses>,
    /// Soft limit of buffered bytes per connection (1 MiB).
    pub buffer_limit: u32,
    /// Metadata as JSON by namespace.
    pub metadata: Option<Arc<serde_json::Value>>,
    /// The service that it stands for in Istio's metrics.
    pub service: Option<Arc<Service>>,
    /// The live part.
    pub live: Arc<ClusterLive>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_from_the_address_of_the_hosts_family() {
        let own = LocalAddresses { first: [127, 0, 0, 6].into(), other: "::6".parse().ok() };
        let host = |text: &str| Address::Ip(text.parse().unwrap());
        assert_eq!(own.towards(&host("10.0.0.1:80")).to_string(), "127.0.0.6");
        assert_eq!(own.towards(&host("[fd00::1]:80")).to_string(), "::6");
        let alone = LocalAddresses { other: None, ..own };
        assert_eq!(alone.towards(&host("[fd00::1]:80")).to_string(), "127.0.0.6");
    }
}
