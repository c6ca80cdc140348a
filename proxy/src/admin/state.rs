//! What the admin interface needs to know: the port that boot and control implement, and plain structs.

use super::tags::Tags;
use crate::base::addr::Address;
use serde_json::{Value, json};
use std::time::Duration;

/// State of the process as `/ready`, `/server_info` and `server.state` show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServerState {
    /// Serving.
    Live,
    /// `/healthcheck/fail`, or shutting down.
    Draining,
    /// The bootstrap is being read.
    PreInitializing,
    /// The first configuration is not complete yet.
    Initializing,
}

impl ServerState {
    /// The text of `/ready`.
    pub const fn as_str(self) -> &'static str {
        match self {
            ServerState::Live => "LIVE",
            ServerState::Draining => "DRAINING",
            ServerState::PreInitializing => "PRE_INITIALIZING",
            ServerState::Initializing => "INITIALIZING",
        }
    }

    /// The value of the gauge `server.state`.
    pub const fn number(self) -> u64 {
        self as u64
    }
}

/// What `/server_info` prints.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// `<revision>/<version>/<state>/<build>/<tls library>`
    pub version: String,
    /// Since the process started.
    pub uptime: Duration,
    /// Since the first process of a chain of hot restarts started.
    pub uptime_all: Duration,
    /// `/hot_restart_version`; `disabled` without hot restarts.
    pub hot_restart_version: String,
    /// Number of workers.
    pub concurrency: u64,
    /// The flags in force, by their Envoy names.
    pub command_line_options: Value,
    /// The node as told to control planes.
    pub node: Value,
}

/// Limits of one priority and whether they are reached.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ThresholdStatus {
    /// Connections.
    pub max_connections: u32,
    /// Requests that wait for a connection.
    pub max_pending_requests: u32,
    /// Requests in flight.
    pub max_requests: u32,
    /// Retries in flight.
    pub max_retries: u32,
    /// Is `max_connections` reached?
    pub cx_open: bool,
    /// Is `max_pending_requests` reached?
    pub rq_pending_open: bool,
    /// Is `max_requests` reached?
    pub rq_open: bool,
    /// Is `max_retries` reached?
    pub rq_retry_open: bool,
}

/// Why a host gets no, or less, traffic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HealthFlag {
    /// Active health checks fail.
    FailedActive,
    /// Ejected by outlier detection.
    FailedOutlier,
    /// The control plane says so.
    FailedEds,
    /// The control plane says that it drains.
    EdsDraining,
    /// Active health checks say degraded.
    DegradedActive,
    /// The control plane says degraded.
    DegradedEds,
    /// Gone from discovery, kept while health checks pass.
    PendingRemoval,
    /// The first active health check is not done.
    PendingActive,
    /// `x-envoy-immediate-health-check-fail`.
    ExcludedImmediately,
    /// The active health check timed out.
    ActiveTimeout,
}

/// One host of a cluster.
#[derive(Clone, Debug)]
pub struct HostStatus {
    /// Its address.
    pub address: Address,
    /// Its name, if it has one.
    pub hostname: String,
    /// Open connections.
    pub cx_active: u64,
    /// Failed connects.
    pub cx_connect_fail: u64,
    /// Connections ever.
    pub cx_total: u64,
    /// Requests in flight.
    pub rq_active: u64,
    /// 5xx and resets.
    pub rq_error: u64,
    /// Requests that wait for a connection.
    pub rq_pending_active: u64,
    /// Other responses.
    pub rq_success: u64,
    /// Timeouts.
    pub rq_timeout: u64,
    /// Requests ever.
    pub rq_total: u64,
    /// Empty: healthy.
    pub health: Vec<HealthFlag>,
    /// Weight.
    pub weight: u32,
    /// Region, zone, sub zone.
    pub locality: [String; 3],
    /// Marked as canary.
    pub canary: bool,
    /// Priority.
    pub priority: u32,
    /// Success rate in percent, when outlier detection computes it.
    pub success_rate: Option<f64>,
    /// The same for failures of our own side.
    pub local_origin_success_rate: Option<f64>,
}

/// Averages and thresholds of outlier detection's success rate.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct OutlierStatus {
    /// Average in percent.
    pub average: Option<f64>,
    /// Hosts below are ejected.
    pub threshold: Option<f64>,
    /// The same for failures of our own side.
    pub local_average: Option<f64>,
    /// The same for failures of our own side.
    pub local_threshold: Option<f64>,
}

/// One cluster.
#[derive(Clone, Debug)]
pub struct ClusterStatus {
    /// Was it ever used? Of one that never was there are no statistics.
    pub touched: bool,
    /// Its name.
    pub name: String,
    /// Its name in statistics (`alt_stat_name`, else the name).
    pub observability_name: String,
    /// From a control plane?
    pub added_via_api: bool,
    /// The name asked for at the endpoint discovery service.
    pub eds_service_name: Option<String>,
    /// Default and high priority.
    pub thresholds: [ThresholdStatus; 2],
    /// None when outlier detection is not configured.
    pub outlier: Option<OutlierStatus>,
    /// Its hosts.
    pub hosts: Vec<HostStatus>,
}

/// One listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// The addresses that it is bound to.
    pub addresses: Vec<Address>,
}

/// What `/drain_listeners` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DrainRequest {
    /// Drain connections over the drain time before the listeners stop.
    pub graceful: bool,
    /// Drain connections but keep the listeners.
    pub skip_exit: bool,
    /// Only listeners whose `traffic_direction` is INBOUND.
    pub inbound_only: bool,
}

/// Memory in bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Used by the process's own data.
    pub allocated: u64,
    /// Taken from the system.
    pub heap_size: u64,
    /// Resident.
    pub physical: u64,
}

/// The rest of the process as the admin interface sees it. Calls come from the admin thread and must not block for
/// longer than it takes to copy what is asked for.
pub trait AdminState: Send + Sync {
    /// The process's state.
    fn state(&self) -> ServerState;

    /// Version, flags, node.
    fn server_info(&self) -> ServerInfo;

    /// Every cluster, with the hosts of those that are in use.
    fn clusters(&self) -> Vec<ClusterStatus>;

    /// Those clusters whose names are wanted; the hosts of those that nobody uses, too, with their counters at zero.
    /// Reads what was pushed for them: for a person's question, not for every scrape.
    fn clusters_in_full(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<ClusterStatus> {
        self.clusters().into_iter().filter(|cluster| wanted(&cluster.name)).collect()
    }

    /// Every listener that is bound.
    fn listeners(&self) -> Vec<ListenerStatus>;

    /// `{"configs": [...]}` in Envoy's order, field names as in the protos; with the endpoints' dump on request.
    fn config_dump(&self, include_eds: bool) -> Value;

    /// Drains listeners; returns at once.
    fn drain(&self, request: DrainRequest);

    /// `/healthcheck/fail` (true) and `/healthcheck/ok`.
    fn fail_health_checks(&self, fail: bool);

    /// Ends the process; returns at once. Called after the answer was given.
    fn quit(&self);

    /// Runtime values as `{"layers": [...], "entries": {...}}`.
    fn runtime(&self) -> Value {
        json!({"layers": [], "entries": {}})
    }

    /// Certificates as `{"certificates": [...]}`.
    fn certificates(&self) -> Value {
        json!({"certificates": []})
    }

    /// The state that is kept on disk; null when none is.
    fn last_good(&self) -> Value {
        Value::Null
    }

    /// What initialisation waits for; `{}` when it is complete.
    fn unready(&self) -> Value {
        json!({})
    }

    /// Every logger and its level.
    fn log_levels(&self) -> Vec<(String, String)>;

    /// Sets the level of a logger, or of all.
    ///
    /// # Errors
    /// No such logger.
    fn set_log_level(&self, logger: Option<&str>, level: &str) -> Result<(), String>;

    /// Memory; by default as the kernel tells it.
    fn memory(&self) -> Memory {
        super::memory::of_the_kernel()
    }

    /// Is a statistic shown (`stats_config.stats_matcher`)?
    fn keeps(&self, _name: &str) -> bool {
        true
    }

    /// How names of statistics become names and tags in Prometheus format (`stats_config`).
    fn tags(&self) -> &Tags;
}
