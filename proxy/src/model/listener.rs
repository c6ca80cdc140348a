//! Listeners and their filter chains.

use super::http::ConnectionManager;
use super::plugin::PluginConfig;
use super::pushed::Discovered;
use super::transport::Tls;
use crate::base::Name;
use crate::base::addr::Address;
use crate::observe::log::AccessLog;
use crate::observe::metrics::Scope;
use ipnet::IpNet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A compiled listener.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub name: Name,
    /// Addresses it listens on (the first is the main one).
    pub addresses: Box<[Address]>,
    /// Permissions of the socket file, for each address; none: those that the umask leaves.
    pub modes: Box<[Option<u32>]>,
    /// False: reached only through another listener's original destination.
    pub bind_to_port: bool,
    /// `listener.<prefix>.` in statistics: the address with `:` as `_` unless configured.
    pub stat_prefix: Name,
    /// Keeps them.
    pub scope: Scope,
    /// Listener filters in order.
    pub listener_filters: Box<[FilterSlot]>,
    /// A redirected connection is handed to the listener whose address it was meant for, if there is one.
    pub use_original_dst: bool,
    /// Time for all listener filters (15 s; none: unlimited).
    pub listener_filters_timeout: Option<Duration>,
    /// Go on when that time is over instead of closing.
    pub continue_on_timeout: bool,
    /// Filter chains in order.
    pub chains: Box<[Arc<FilterChain>]>,
    /// When no chain matches.
    pub default_chain: Option<Arc<FilterChain>>,
    /// Soft limit of buffered bytes per connection (1 MiB).
    pub buffer_limit: u32,
    /// One socket per worker.
    pub reuse_port: bool,
    /// Accept queue; none: the system's limit.
    pub backlog: Option<u32>,
    /// Bind although the address is not local.
    pub freebind: bool,
    /// Accept addresses of others (`IP_TRANSPARENT`).
    pub transparent: bool,
    /// IPv6 wildcard addresses take IPv4 too (`ipv4_compat` of the address).
    pub dual_stack: bool,
    /// Keepalive of accepted sockets.
    pub keepalive: Option<Keepalive>,
    /// Does not count against the global connection limit.
    pub ignore_global_limit: bool,
    /// INBOUND for `/drain_listeners?inboundonly`.
    pub inbound: bool,
    /// Logs of connections that no chain takes.
    pub logs: Box<[Arc<AccessLog>]>,
    /// Filters anywhere in it whose configurations a source brings.
    pub discovered: Box<[Discovered]>,
}

/// TCP keepalive; none: the system's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Keepalive {
    /// Unanswered probes before the connection is dead.
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
}

/// A listener filter of this release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerFilter {
    /// PROXY protocol, versions 1 and 2.
    ProxyProtocol {
        /// Its statistics' prefix; may be empty.
        stat_prefix: Name,
        /// Connections without the header are served too.
        allow_without: bool,
        /// Refuse version 1.
        refuse_v1: bool,
        /// Refuse version 2.
        refuse_v2: bool,
    },
    /// Address before redirection (`SO_ORIGINAL_DST`).
    OriginalDst,
    /// Upstream connections come from the client's address.
    OriginalSrc {
        /// Mark of their packets (`SO_MARK`); 0 for none.
        mark: u32,
    },
    /// Server name and protocols of a TLS ClientHello.
    TlsInspector {
        /// Largest ClientHello in bytes.
        max_hello: u32,
        /// Close a connection whose ClientHello is malformed, instead of taking it for plain text.
        close_on_error: bool,
    },
    /// HTTP version of a first line.
    HttpInspector,
    /// Its configuration has not come: connections that reach it are closed.
    Missing,
}

/// A listener filter, and which connections it leaves alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterSlot {
    /// The filter.
    pub filter: ListenerFilter,
    /// Connections that it does not look at.
    pub disabled: Option<Predicate>,
}

/// A test of a connection by its destination (Envoy's `ListenerFilterChainMatchPredicate`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predicate {
    /// All.
    Any,
    /// Any of them.
    Or(Box<[Predicate]>),
    /// All of them.
    And(Box<[Predicate]>),
    /// Not this one.
    Not(Box<Predicate>),
    /// The destination's port, after original destination; false without one.
    DestinationPort(Range<i32>),
}

impl Predicate {
    /// Does it hold for a connection to this port?
    pub fn holds(&self, port: Option<u16>) -> bool {
        match self {
            Predicate::Any => true,
            Predicate::Or(any) => any.iter().any(|p| p.holds(port)),
            Predicate::And(all) => all.iter().all(|p| p.holds(port)),
            Predicate::Not(other) => !other.holds(port),
            Predicate::DestinationPort(range) => port.is_some_and(|port| range.contains(&i32::from(port))),
        }
    }
}

/// Which source addresses a chain takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum SourceType {
    /// All.
    #[default]
    Any,
    /// The same address or loopback.
    SameIpOrLoopback,
    /// Others.
    External,
}

/// What a connection must be for a chain (Envoy's `FilterChainMatch`); empty lists match all.
#[derive(Clone, Debug, Default)]
pub struct ChainMatch {
    /// Destination port.
    pub destination_port: Option<u16>,
    /// Destination networks.
    pub prefixes: Box<[IpNet]>,
    /// Names from SNI, lower-case; `.suffix` for wildcards.
    pub server_names: Box<[Box<str>]>,
    /// `raw_buffer` or `tls`.
    pub transport_protocol: Option<Box<str>>,
    /// ALPN or sniffed protocol.
    pub application_protocols: Box<[Box<str>]>,
    /// Direct source networks.
    pub direct_source: Box<[IpNet]>,
    /// Source type.
    pub source_type: SourceType,
    /// Source networks.
    pub source: Box<[IpNet]>,
    /// Source ports.
    pub source_ports: Box<[u16]>,
}

/// A filter chain.
#[derive(Debug)]
pub struct FilterChain {
    /// Its name; empty when it has none.
    pub name: Name,
    /// When it is chosen.
    pub matcher: ChainMatch,
    /// TLS with the client; none: plain text.
    pub tls: Option<Arc<Tls>>,
    /// Network filters before the terminal one.
    pub filters: Box<[PluginConfig]>,
    /// The configuration of one of them has not come: connections are closed.
    pub incomplete: bool,
    /// What it does with the connection.
    pub terminal: Terminal,
}

/// The terminal network filter.
#[derive(Debug)]
pub enum Terminal {
    /// HTTP.
    Http(Arc<ConnectionManager>),
    /// Raw TCP.
    Tcp(Arc<TcpProxy>),
}

/// `tcp_proxy`.
#[derive(Debug)]
pub struct TcpProxy {
    /// `tcp.<prefix>.` in statistics.
    pub stat_prefix: Name,
    /// Keeps them.
    pub scope: Scope,
    /// Clusters with weights (one with weight 1 for a single cluster).
    pub clusters: Box<[(Name, u32)]>,
    /// Sum of weights, above 0.
    pub total_weight: u64,
    /// Idle timeout (1 h; none: off).
    pub idle_timeout: Option<Duration>,
    /// Longest connection.
    pub max_duration: Option<Duration>,
    /// Attempts to connect (1).
    pub max_connect_attempts: u32,
    /// Hash of the source address for the balancer.
    pub hash_source_ip: bool,
    /// Access logs.
    pub logs: Box<[Arc<AccessLog>]>,
}
