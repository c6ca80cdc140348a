//! A snapshot of the statistics, with what only the state of the process tells.

use super::call::Call;
use super::state::{AdminState, ClusterStatus, HealthFlag, ServerState};
use crate::observe::metrics::{GaugeValue, Snapshot, sanitized};

/// Everything counted, and the gauges of the server and of the clusters' members and limits; of that what
/// `stats_matcher` keeps.
pub(super) fn snapshot(call: &Call<'_>) -> Snapshot {
    let mut snapshot = call.registry.snapshot();
    server(call.state.as_ref(), &mut snapshot);
    for cluster in call.state.clusters().into_iter().filter(|cluster| cluster.touched) {
        cluster_gauges(&cluster, &mut snapshot);
    }
    let keeps = |name: &String| call.state.keeps(name);
    snapshot.counters.retain(|name, _| keeps(name));
    snapshot.gauges.retain(|name, _| keeps(name));
    snapshot.histograms.retain(|name, _| keeps(name));
    snapshot.texts.retain(|name, _| keeps(name));
    snapshot
}

fn set(snapshot: &mut Snapshot, name: String, value: u64) {
    snapshot.gauges.insert(name, GaugeValue { value, used: true });
}

fn server(state: &dyn AdminState, snapshot: &mut Snapshot) {
    let (server, memory, now) = (state.server_info(), state.memory(), state.state());
    for (name, value) in [
        ("uptime", server.uptime.as_secs()),
        ("total_connections", crate::live::limit::open()),
        ("concurrency", server.concurrency),
        ("state", now.number()),
        ("live", u64::from(now == ServerState::Live)),
        ("memory_allocated", memory.allocated),
        ("memory_heap_size", memory.heap_size),
        ("memory_physical_size", memory.physical),
    ] {
        set(snapshot, format!("server.{name}"), value);
    }
}

fn cluster_gauges(cluster: &ClusterStatus, snapshot: &mut Snapshot) {
    let prefix = format!("cluster.{}.", sanitized(&cluster.observability_name));
    let with = |flags: &[HealthFlag]| {
        let has = |host: &&super::state::HostStatus| host.health.iter().any(|flag| flags.contains(flag));
        cluster.hosts.iter().filter(has).count() as u64
    };
    let total = cluster.hosts.len() as u64;
    let failed = with(&[
        HealthFlag::FailedActive,
        HealthFlag::FailedOutlier,
        HealthFlag::FailedEds,
        HealthFlag::EdsDraining,
    ]);
    let degraded = with(&[HealthFlag::DegradedActive, HealthFlag::DegradedEds]);
    let excluded = with(&[HealthFlag::PendingActive, HealthFlag::ExcludedImmediately]);
    for (name, value) in [
        ("membership_total", total),
        ("membership_healthy", total.saturating_sub(failed).saturating_sub(degraded)),
        ("membership_degraded", degraded),
        ("membership_excluded", excluded),
        ("max_host_weight", cluster.hosts.iter().map(|host| u64::from(host.weight)).max().unwrap_or(0)),
    ] {
        set(snapshot, format!("{prefix}{name}"), value);
    }
    for (priority, limits) in ["default", "high"].iter().zip(&cluster.thresholds) {
        for (name, open) in [
            ("cx_open", limits.cx_open),
            ("rq_pending_open", limits.rq_pending_open),
            ("rq_open", limits.rq_open),
            ("rq_retry_open", limits.rq_retry_open),
        ] {
            set(snapshot, format!("{prefix}circuit_breakers.{priority}.{name}"), u64::from(open));
        }
    }
}
