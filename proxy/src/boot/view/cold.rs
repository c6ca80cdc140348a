//! Hosts of clusters that nobody uses, for whoever looks: read from what was pushed, and not kept.

use crate::admin::{ClusterStatus, HealthFlag, HostStatus};
use crate::base::Name;
use crate::base::addr::Address;
use crate::control::Control;
use crate::model::cluster::{
    Assignment, Cluster, Discovery, Endpoint, EndpointHealth, EndpointTarget, LocalityEndpoints,
};
use std::collections::HashSet;
use std::sync::Arc;

/// Clusters whose endpoints are copied at a time: between two pieces the control thread does its own work.
const PIECE: usize = 256;

/// Fills in the hosts of cold clusters. Blocks.
pub(super) fn fill(control: &Control, cold: &mut [&mut (Arc<Cluster>, ClusterStatus)]) {
    for piece in cold.chunks_mut(PIECE) {
        let services = piece.iter().filter_map(|one| service(&one.0)).collect();
        let mut pushed = control.assignments_blocking(services).into_iter();
        for (cluster, status) in piece.iter_mut().map(|one| &mut **one) {
            match &cluster.discovery {
                Discovery::Static => status.hosts = hosts(&cluster.assignment),
                Discovery::Eds(_) => status.hosts = hosts(&pushed.next().unwrap_or_default()),
                // Never cold when it has hosts.
                Discovery::Dns(_) | Discovery::OriginalDst { .. } => {}
            }
        }
    }
}

/// The service that brings its endpoints.
fn service(cluster: &Cluster) -> Option<Name> {
    match &cluster.discovery {
        Discovery::Eds(pushed) => Some(pushed.name.clone()),
        Discovery::Static | Discovery::Dns(_) | Discovery::OriginalDst { .. } => None,
    }
}

/// Each address once.
fn hosts(assignment: &Assignment) -> Vec<HostStatus> {
    let mut seen = HashSet::new();
    let all = assignment
        .localities
        .iter()
        .flat_map(|locality| locality.endpoints.iter().map(move |e| (locality, e)));
    let with_address = all.filter_map(|(locality, endpoint)| match &endpoint.target {
        EndpointTarget::Address(address) => Some((locality, endpoint, address)),
        EndpointTarget::Name(..) => None,
    });
    let first = with_address.filter(|(_, _, address)| seen.insert((*address).clone()));
    first.map(|(locality, endpoint, address)| host(locality, endpoint, address)).collect()
}

/// A host that has done nothing yet.
fn host(locality: &LocalityEndpoints, endpoint: &Endpoint, address: &Address) -> HostStatus {
    let [region, zone, sub_zone] = &locality.locality;
    HostStatus {
        address: address.clone(),
        hostname: endpoint.hostname.as_deref().unwrap_or_default().to_owned(),
        cx_active: 0,
        cx_connect_fail: 0,
        cx_total: 0,
        rq_active: 0,
        rq_error: 0,
        rq_pending_active: 0,
        rq_success: 0,
        rq_timeout: 0,
        rq_total: 0,
        health: match endpoint.health {
            EndpointHealth::Healthy => Vec::new(),
            EndpointHealth::Degraded => vec![HealthFlag::DegradedEds],
            EndpointHealth::Unhealthy => vec![HealthFlag::FailedEds],
        },
        weight: endpoint.weight,
        locality: [region.to_string(), zone.to_string(), sub_zone.to_string()],
        canary: endpoint.canary,
        priority: locality.priority,
        success_rate: None,
        local_origin_success_rate: None,
    }
}
