//! From a compiled cluster and its endpoints to the live host set.

use super::lb;
use crate::base::Name;
use crate::base::addr::Address;
use crate::live::cluster::{Wanted, WantedLocality};
use crate::live::host::{Attributes, flag};
use crate::live::hostset::{Members, Settings};
use crate::live::permit::Limits;
use crate::model::cluster::{Assignment, Cluster, Discovery, Endpoint, EndpointHealth, EndpointTarget};
use std::net::IpAddr;

/// Addresses of a name, as last resolved. None: not resolved yet.
pub type Resolved<'a> = &'a dyn Fn(&Name) -> Option<Vec<IpAddr>>;

/// Nothing is resolved: for clusters without names.
pub fn unresolved(_: &Name) -> Option<Vec<IpAddr>> {
    None
}

/// Sets the cluster's limits. [`publish`] does it too; to be called when a version comes into force whose hosts are
/// not published anew.
pub fn limit(cluster: &Cluster) {
    for (breakers, thresholds) in cluster.live.breakers.iter().zip(&cluster.breakers) {
        breakers.set(&Limits::from(thresholds));
    }
}

/// Builds the host set and its balancer's tables and publishes them to all workers. Not for workers: a Maglev table
/// of a large cluster takes milliseconds.
pub fn publish(cluster: &Cluster, assignment: &Assignment, resolved: Resolved<'_>) {
    limit(cluster);
    let localities = assignment.localities.iter().map(|locality| WantedLocality {
        name: locality.locality.clone(),
        weight: locality.weight,
        priority: locality.priority,
        hosts: locality
            .endpoints
            .iter()
            .flat_map(|e| hosts(e, &locality.locality, locality.priority, resolved))
            .collect(),
    });
    let rest = Members {
        localities: Vec::new(),
        overprovisioning: assignment.overprovisioning,
        drops: assignment.drops.clone(),
    };
    let settings = Settings {
        policy: lb::policy(&cluster.lb, cluster.slow_start),
        panic_threshold: cluster.panic_threshold,
        fail_traffic_on_panic: cluster.fail_traffic_on_panic,
        locality_weighted: cluster.locality_weighted,
    };
    let dedupe = !matches!(cluster.discovery, Discovery::Static);
    cluster.live.publish(localities.collect(), rest, settings, dedupe);
}

fn hosts(endpoint: &Endpoint, locality: &[Name; 3], priority: u32, resolved: Resolved<'_>) -> Vec<Wanted> {
    let (addresses, name) = match &endpoint.target {
        EndpointTarget::Address(address) => (vec![address.clone()], None),
        EndpointTarget::Name(name, port) => {
            let ips = resolved(name).unwrap_or_default();
            (ips.into_iter().map(|ip| Address::Ip((ip, *port).into())).collect(), Some(name.clone()))
        }
    };
    let attributes = Attributes {
        hostname: endpoint.hostname.clone().or(name).unwrap_or_else(|| "".into()),
        locality: locality.clone(),
        priority,
        canary: endpoint.canary,
        metadata: endpoint.metadata.clone(),
        hash_key: endpoint.hash_key.clone(),
    };
    let flags = match endpoint.health {
        EndpointHealth::Healthy => 0,
        EndpointHealth::Degraded => flag::DEGRADED_EDS,
        EndpointHealth::Unhealthy => flag::FAILED_EDS,
    };
    let one = |address| Wanted { address, weight: endpoint.weight, flags, attributes: attributes.clone() };
    addresses.into_iter().map(one).collect()
}
