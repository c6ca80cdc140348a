//! `ClusterLoadAssignment`.

use super::address::{self, Target};
use super::{metadata, wkt};
use crate::base::Name;
use crate::base::ledger::{At, Sink};
use crate::model::cluster::{Assignment, Endpoint, EndpointHealth, EndpointTarget, LocalityEndpoints};
use prost::Message;
use std::collections::{BTreeSet, HashMap, HashSet};
use weir_proto::envoy::config::core::v3::{HealthStatus, Locality};
use weir_proto::envoy::config::endpoint::v3 as proto;
use weir_proto::envoy::config::endpoint::v3::cluster_load_assignment::{Policy, policy::DropOverload};
use weir_proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;

/// Largest priority that Envoy takes.
const MAX_PRIORITY: u32 = 128;

/// May an endpoint be a DNS name?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Names {
    /// Addresses only (STATIC, EDS).
    Refuse,
    /// Names are resolved (STRICT_DNS).
    Resolve,
}

/// Endpoints that were accepted when they came, from their bytes.
pub fn judged(body: &[u8]) -> Assignment {
    let sink = Sink::new();
    let at = sink.root("");
    let compile = |message| assignment(&at, &message, Names::Refuse);
    proto::ClusterLoadAssignment::decode(body).map(compile).unwrap_or_default()
}

/// All endpoints of a cluster. Priorities are renumbered without gaps.
pub fn assignment(at: &At<'_>, message: &proto::ClusterLoadAssignment, names: Names) -> Assignment {
    crate::ledger!(at, message => proto::ClusterLoadAssignment { cluster_name, endpoints, policy }
        refuse { named_endpoints });
    at.non_empty("cluster_name", cluster_name);
    let mut seen = HashSet::new();
    let mut localities = Vec::with_capacity(endpoints.len());
    for (i, message) in endpoints.iter().enumerate() {
        let here = at.item("endpoints", i);
        if let Some(found) = locality(&here, message, names) {
            if names == Names::Refuse && !seen.insert((found.locality.clone(), found.priority)) {
                let [region, zone, sub_zone] = &found.locality;
                here.error(format!(
                    "duplicate locality ({region}, {zone}, {sub_zone}) found for priority {}",
                    found.priority
                ));
            }
            localities.push(found);
        }
    }
    let used: BTreeSet<u32> = localities.iter().map(|l: &LocalityEndpoints| l.priority).collect();
    let dense: HashMap<u32, u32> = used.into_iter().zip(0..).collect();
    for found in &mut localities {
        found.priority = dense.get(&found.priority).copied().unwrap_or(found.priority);
    }
    let (overprovisioning, drops) =
        policy.as_ref().map_or((0, Box::default()), |message| policy_of(&at.field("policy"), message));
    Assignment { localities: localities.into(), overprovisioning, drops }
}

fn policy_of(at: &At<'_>, message: &Policy) -> (u32, Box<[(Name, u32)]>) {
    crate::ledger!(at, message => Policy { drop_overloads, overprovisioning_factor }
        refuse { endpoint_stale_after, weighted_priority_health });
    let one = |(i, message): (usize, &DropOverload)| {
        let here = at.item("drop_overloads", i);
        crate::ledger!(here, message => DropOverload { category, drop_percentage });
        let category = here.non_empty("category", category)?;
        let share = drop_percentage.as_ref();
        let share = share.and_then(|m| wkt::fraction(&here.field("drop_percentage"), m)).map_or(0, |f| f.0);
        Some((category.into(), share))
    };
    let drops = drop_overloads.iter().enumerate().filter_map(one).collect();
    (wkt::u32_in(at, "overprovisioning_factor", overprovisioning_factor, 0, 1, u32::MAX), drops)
}

fn locality(at: &At<'_>, message: &proto::LocalityLbEndpoints, names: Names) -> Option<LocalityEndpoints> {
    crate::ledger!(at, message => proto::LocalityLbEndpoints { locality, lb_endpoints, load_balancing_weight, priority }
        refuse { lb_config } ignore { metadata, proximity });
    if *priority > MAX_PRIORITY {
        at.bad("priority", format!("is {priority}, must be at most {MAX_PRIORITY}"));
    }
    let place = locality.clone().unwrap_or_default();
    let Locality { region, zone, sub_zone } = place;
    let endpoints = lb_endpoints.iter().enumerate();
    let endpoints: Box<[Endpoint]> =
        endpoints.filter_map(|(i, m)| lb_endpoint(&at.item("lb_endpoints", i), m, names)).collect();
    let total: u64 = endpoints.iter().map(|e| u64::from(e.weight)).sum();
    if total > u64::from(u32::MAX) {
        at.error(format!("The sum of weights of all endpoints in the same locality exceeds {}", u32::MAX));
    }
    Some(LocalityEndpoints {
        locality: [region.into(), zone.into(), sub_zone.into()],
        weight: wkt::u32_in(at, "load_balancing_weight", load_balancing_weight, 0, 1, u32::MAX),
        priority: *priority,
        endpoints,
    })
}

fn lb_endpoint(at: &At<'_>, message: &proto::LbEndpoint, names: Names) -> Option<Endpoint> {
    crate::ledger!(at, message => proto::LbEndpoint { health_status, metadata, load_balancing_weight,
        host_identifier });
    let weight = wkt::u32_in(at, "load_balancing_weight", load_balancing_weight, 1, 1, u32::MAX);
    let health = match wkt::enumeration(at, "health_status", *health_status)? {
        HealthStatus::Unknown | HealthStatus::Healthy => EndpointHealth::Healthy,
        HealthStatus::Degraded => EndpointHealth::Degraded,
        HealthStatus::Unhealthy | HealthStatus::Draining | HealthStatus::Timeout => EndpointHealth::Unhealthy,
    };
    let endpoint = match at.required("host_identifier", host_identifier.as_ref())? {
        HostIdentifier::Endpoint(endpoint) => endpoint,
        HostIdentifier::EndpointName(_) => {
            at.field("endpoint_name").unsupported("a named endpoint");
            return None;
        }
    };
    let at = &at.field("endpoint");
    crate::ledger!(at, endpoint => proto::Endpoint { address, hostname }
        refuse { additional_addresses } ignore { health_check_config, observability_name });
    let place = at.required("address", address.as_ref())?;
    let target = target(&at.field("address"), place, names)?;
    let hostname = match (&target, hostname.as_str()) {
        (EndpointTarget::Name(name, _), "") => Some(name.clone()),
        (_, "") => None,
        (_, hostname) => Some(hostname.into()),
    };
    let metadata = metadata::json(metadata);
    Some(Endpoint {
        target,
        weight,
        health,
        hostname,
        canary: metadata::flag(&metadata, "envoy.lb", "canary"),
        hash_key: metadata::text(&metadata, "envoy.lb", "hash_key").map(Into::into),
        metadata,
    })
}

fn target(
    at: &At<'_>,
    message: &weir_proto::envoy::config::core::v3::Address,
    names: Names,
) -> Option<EndpointTarget> {
    Some(match names {
        Names::Refuse => EndpointTarget::Address(address::address(at, message)?),
        Names::Resolve => match address::target(at, message)? {
            Target::Address(address) => EndpointTarget::Address(address),
            Target::Name(name, port) => EndpointTarget::Name((&*name).into(), port),
        },
    })
}
