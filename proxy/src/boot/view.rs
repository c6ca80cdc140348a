//! The process as the admin interface sees it.

mod cold;

use super::crew::Crew;
use super::flags::Flags;
use super::shutdown::Shutdown;
use super::{logging, options};
use crate::admin::{
    AdminState, ClusterStatus, DrainRequest, HealthFlag, HostStatus, ListenerStatus, OutlierStatus,
    ServerInfo, ServerState, Tags, ThresholdStatus,
};
use crate::control::compile::bootstrap::Settings;
use crate::control::compile::stats::{TagRule, TagValue};
use crate::control::{Control, DumpOptions};
use crate::live::drain::{self, Reach};
use crate::live::host::{Host, Stat, flag};
use crate::live::permit::{Breakers, Kind};
use crate::model::cluster::{Cluster, Discovery};
use crate::model::snapshot::Published;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Implements the admin's port.
pub struct View {
    control: Control,
    published: Arc<Published>,
    shutdown: Arc<Shutdown>,
    crew: Arc<Crew>,
    tags: Tags,
    options: Value,
    workers: usize,
    started: Instant,
    failing: AtomicBool,
    initialized: AtomicBool,
}

impl View {
    /// Of a running process.
    pub fn new(
        control: Control,
        published: Arc<Published>,
        crew: Arc<Crew>,
        shutdown: Arc<Shutdown>,
        flags: &Flags,
        workers: usize,
        started: Instant,
    ) -> View {
        let mut tagging = control.settings().tagging.clone();
        let fixed = |(name, value): &(String, String)| TagRule {
            name: name.clone(),
            value: TagValue::Fixed(value.clone()),
        };
        tagging.rules.extend(flags.stats_tags.iter().map(fixed));
        View {
            control,
            published,
            shutdown,
            crew,
            tags: Tags::new(tagging),
            options: options::shown(flags, workers),
            workers,
            started,
            failing: AtomicBool::new(false),
            initialized: AtomicBool::new(false),
        }
    }

    /// Clusters in force, in the order of their names, with the hosts of those that are in use.
    fn statuses(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<(Arc<Cluster>, ClusterStatus)> {
        let snapshot = self.published.load();
        let own = &self.control.settings().clusters;
        let one = |cluster: &Arc<Cluster>| {
            let added_via_api = !own.contains(&*cluster.name);
            (cluster.clone(), ClusterStatus { added_via_api, ..status(cluster) })
        };
        let mut all: Vec<_> = snapshot.clusters.values().filter(|c| wanted(&c.name)).map(one).collect();
        all.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        all
    }

    /// Has every name of the bootstrap been looked up, if only in vain? Requests wait until then.
    fn is_initialized(&self) -> bool {
        if self.initialized.load(Ordering::Relaxed) {
            return true;
        }
        let waits = |cluster: &Arc<Cluster>| {
            matches!(cluster.discovery, Discovery::Dns(_)) && cluster.live.version() == 0
        };
        let done = !self.published.load().clusters.values().any(waits);
        self.initialized.store(done, Ordering::Relaxed);
        done
    }
}

impl AdminState for View {
    fn state(&self) -> ServerState {
        if self.failing.load(Ordering::Relaxed) || self.shutdown.is_draining() {
            ServerState::Draining
        } else if !self.is_initialized() {
            ServerState::PreInitializing
        } else if self.control.is_initialised() {
            ServerState::Live
        } else {
            ServerState::Initializing
        }
    }

    fn server_info(&self) -> ServerInfo {
        let Settings { node, locality: [region, zone, sub_zone], .. } = self.control.settings();
        let locality = json!({"region": region, "zone": zone, "sub_zone": sub_zone});
        ServerInfo {
            version: format!(
                "weir/{}/Clean/{}/none",
                env!("CARGO_PKG_VERSION"),
                if cfg!(debug_assertions) { "DEBUG" } else { "RELEASE" }
            ),
            uptime: self.started.elapsed(),
            uptime_all: self.started.elapsed(),
            hot_restart_version: "disabled".into(),
            concurrency: self.workers as u64,
            command_line_options: self.options.clone(),
            node: json!({"id": node.id, "cluster": node.cluster, "metadata": node.metadata, "locality": locality}),
        }
    }

    fn clusters(&self) -> Vec<ClusterStatus> {
        self.statuses(&|_| true).into_iter().map(|(_, status)| status).collect()
    }

    fn clusters_in_full(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<ClusterStatus> {
        let mut all = self.statuses(wanted);
        let mut cold: Vec<_> = all.iter_mut().filter(|(cluster, _)| cluster.live.version() == 0).collect();
        outside(|| cold::fill(&self.control, &mut cold));
        all.into_iter().map(|(_, status)| status).collect()
    }

    fn listeners(&self) -> Vec<ListenerStatus> {
        let mut all: Vec<ListenerStatus> = Vec::new();
        for bound in outside(|| self.control.bound_blocking()).unwrap_or_default() {
            match all.iter_mut().find(|l| *l.name == *bound.listener) {
                Some(known) => known.addresses.push(bound.address),
                None => all.push(ListenerStatus {
                    name: bound.listener.to_string(),
                    addresses: vec![bound.address],
                }),
            }
        }
        all
    }

    fn config_dump(&self, include_eds: bool) -> Value {
        let options = DumpOptions { include_endpoints: include_eds, ..DumpOptions::default() };
        outside(|| self.control.dump_blocking(options)).unwrap_or_default()
    }

    fn drain(&self, request: DrainRequest) {
        self.shutdown.drain_listeners(request.graceful, request.inbound_only, request.skip_exit);
    }

    fn fail_health_checks(&self, fail: bool) {
        self.failing.store(fail, Ordering::Relaxed);
        if fail {
            drain::begin(Reach::All, None);
            self.crew.drain();
        } else {
            drain::end();
        }
    }

    fn quit(&self) {
        self.shutdown.quit();
    }

    fn runtime(&self) -> Value {
        let snapshot = self.published.load();
        let layers = snapshot.runtime.layers();
        let entries = snapshot.runtime.iter().map(|(key, value)| {
            let each =
                layers.iter().map(|layer| layer.values.get(key).map(|value| &**value).unwrap_or_default());
            let each: Vec<&str> = each.collect();
            (key.to_owned(), json!({"final_value": value, "layer_values": each}))
        });
        let names: Vec<&str> = layers.iter().map(|layer| &*layer.name).collect();
        json!({"layers": names, "entries": Value::Object(entries.collect())})
    }

    fn last_good(&self) -> Value {
        self.control.last_good()
    }

    fn log_levels(&self) -> Vec<(String, String)> {
        logging::levels()
    }

    fn set_log_level(&self, logger: Option<&str>, level: &str) -> Result<(), String> {
        logging::set(logger, level)
    }

    fn keeps(&self, name: &str) -> bool {
        self.control.settings().keep.has(name)
    }

    fn tags(&self) -> &Tags {
        &self.tags
    }
}

/// Asks `control` from a thread of its own: the admin's thread runs tasks and must not block in their midst.
fn outside<R: Send>(ask: impl FnOnce() -> R + Send) -> Option<R> {
    std::thread::scope(|scope| scope.spawn(ask).join().ok())
}

fn status(cluster: &Cluster) -> ClusterStatus {
    let [default, high] = &cluster.live.breakers;
    let mut hosts = Vec::new();
    if let Some(set) = cluster.live.hosts() {
        for locality in &set.members.localities {
            for (host, weight) in &locality.hosts {
                hosts.push(host_status(host, *weight, locality));
            }
        }
    }
    ClusterStatus {
        touched: cluster.live.is_touched(),
        name: cluster.name.to_string(),
        observability_name: cluster.stat_name.to_string(),
        added_via_api: false,
        eds_service_name: match &cluster.discovery {
            Discovery::Eds(pushed) if *pushed.name != *cluster.name => Some(pushed.name.to_string()),
            _ => None,
        },
        thresholds: [thresholds(default), thresholds(high)],
        outlier: cluster.outlier.as_ref().map(|_| OutlierStatus::default()),
        hosts,
    }
}

fn thresholds(breakers: &Arc<Breakers>) -> ThresholdStatus {
    ThresholdStatus {
        max_connections: breakers.limit(Kind::Connections),
        max_pending_requests: breakers.limit(Kind::Pending),
        max_requests: breakers.limit(Kind::Requests),
        max_retries: breakers.limit(Kind::Retries),
        cx_open: breakers.is_open(Kind::Connections),
        rq_pending_open: breakers.is_open(Kind::Pending),
        rq_open: breakers.is_open(Kind::Requests),
        rq_retry_open: breakers.is_open(Kind::Retries),
    }
}

/// Flags of a host in the admin's words.
const HEALTH: &[(u32, HealthFlag)] = &[
    (flag::FAILED_ACTIVE_HC, HealthFlag::FailedActive),
    (flag::FAILED_OUTLIER, HealthFlag::FailedOutlier),
    (flag::FAILED_EDS, HealthFlag::FailedEds),
    (flag::DEGRADED_ACTIVE_HC, HealthFlag::DegradedActive),
    (flag::DEGRADED_EDS, HealthFlag::DegradedEds),
    (flag::PENDING_REMOVAL, HealthFlag::PendingRemoval),
    (flag::PENDING_ACTIVE_HC, HealthFlag::PendingActive),
    (flag::EXCLUDED, HealthFlag::ExcludedImmediately),
];

fn host_status(host: &Host, weight: u32, locality: &crate::live::hostset::LocalityMembers) -> HostStatus {
    let attributes = host.attributes();
    let flags = host.flags();
    let [region, zone, sub_zone] = &locality.name;
    HostStatus {
        address: host.address.clone(),
        hostname: attributes.hostname.to_string(),
        cx_active: host.stat(Stat::CxActive),
        cx_connect_fail: host.stat(Stat::CxConnectFail),
        cx_total: host.stat(Stat::CxTotal),
        rq_active: host.stat(Stat::RqActive),
        rq_error: host.stat(Stat::RqError),
        rq_pending_active: 0,
        rq_success: host.stat(Stat::RqSuccess),
        rq_timeout: host.stat(Stat::RqTimeout),
        rq_total: host.stat(Stat::RqTotal),
        health: HEALTH.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, word)| *word).collect(),
        weight,
        locality: [region.to_string(), zone.to_string(), sub_zone.to_string()],
        canary: host.is_canary(),
        priority: locality.priority,
        success_rate: None,
        local_origin_success_rate: None,
    }
}
