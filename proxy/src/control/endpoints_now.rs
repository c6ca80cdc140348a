//! Endpoints in the dump as they are, not only as they came: with the health of the hosts in use, and with what Envoy
//! takes where nothing is said.

use super::state::State;
use crate::base::Name;
use crate::live::host::flag;
use crate::model::cluster::Discovery;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// Envoy's default, in percent.
const OVERPROVISIONING: u32 = 140;

/// Flags of the hosts of clusters in use, by service and address.
#[derive(Debug, Default)]
pub(super) struct Now(HashMap<Name, HashMap<String, u32>>);

impl Now {
    /// Looks at every cluster that is in use.
    pub(super) fn of(state: &State) -> Now {
        let mut all: HashMap<Name, HashMap<String, u32>> = HashMap::new();
        for cluster in state.force.clusters.values() {
            let Discovery::Eds(pushed) = &cluster.discovery else { continue };
            let Some(set) = cluster.live.hosts() else { continue };
            let hosts = set.members.hosts().map(|host| (host.address.to_string(), host.flags()));
            all.entry(pushed.name.clone()).or_default().extend(hosts);
        }
        Now(all)
    }

    /// Fills in an assignment of a service.
    pub(super) fn fill(&self, assignment: &mut Value) {
        let service = assignment.get("cluster_name").and_then(Value::as_str).unwrap_or_default();
        let hosts = self.0.get(service);
        let Some(fields) = assignment.as_object_mut() else { return };
        for locality in list(fields, "endpoints") {
            locality.entry("locality").or_insert_with(|| json!({}));
            locality.entry("load_balancing_weight").or_insert_with(|| json!(0));
            for endpoint in list(locality, "lb_endpoints") {
                let flags = hosts.and_then(|hosts| hosts.get(&address(endpoint)?)).copied();
                let pushed = endpoint.get("health_status").and_then(Value::as_str);
                let health = health(pushed, flags).to_owned();
                endpoint.insert("health_status".into(), health.into());
                endpoint.entry("load_balancing_weight").or_insert_with(|| json!(1));
            }
        }
        let policy = fields.entry("policy").or_insert_with(|| json!({}));
        if let Some(policy) = policy.as_object_mut() {
            policy.entry("overprovisioning_factor").or_insert_with(|| json!(OVERPROVISIONING));
        }
    }
}

/// The objects of a list.
fn list<'a>(of: &'a mut Map<String, Value>, field: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let all = of.get_mut(field).and_then(Value::as_array_mut);
    all.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// An endpoint's address as hosts write theirs.
fn address(endpoint: &Map<String, Value>) -> Option<String> {
    let address = endpoint.get("endpoint")?.get("address")?;
    if let Some(path) = address.pointer("/pipe/path") {
        return path.as_str().map(ToOwned::to_owned);
    }
    let socket = address.get("socket_address")?;
    let ip: IpAddr = socket.get("address")?.as_str()?.parse().ok()?;
    let port = u16::try_from(socket.get("port_value")?.as_u64()?).ok()?;
    Some(SocketAddr::new(ip, port).to_string())
}

/// Health in Envoy's words: what was pushed, unless the host itself is worse.
fn health(pushed: Option<&str>, flags: Option<u32>) -> &str {
    const FAILED: u32 = flag::FAILED_ACTIVE_HC | flag::FAILED_OUTLIER | flag::FAILED_EDS;
    const DEGRADED: u32 = flag::DEGRADED_ACTIVE_HC | flag::DEGRADED_EDS;
    match (pushed, flags.unwrap_or_default()) {
        (Some(out @ ("DRAINING" | "TIMEOUT")), _) => out,
        (_, flags) if flags & FAILED != 0 => "UNHEALTHY",
        (_, flags) if flags & DEGRADED != 0 => "DEGRADED",
        (Some(pushed), _) if pushed != "UNKNOWN" => pushed,
        _ => "HEALTHY",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_told_with_their_health_and_defaults() {
        let at =
            |port: u16| json!({"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}});
        let mut shown = json!({"cluster_name": "s", "endpoints": [{"locality": {"region": "r"}, "lb_endpoints": [
            {"endpoint": at(1)},
            {"endpoint": at(2), "load_balancing_weight": 3},
            {"endpoint": at(3), "health_status": "UNHEALTHY"},
            {"endpoint": at(4), "health_status": "DRAINING"},
        ]}]});
        let hosts = [("127.0.0.1:2".to_owned(), flag::FAILED_OUTLIER)].into_iter().collect();
        Now([(Name::from("s"), hosts)].into_iter().collect()).fill(&mut shown);
        assert_eq!(
            shown,
            json!({"cluster_name": "s", "policy": {"overprovisioning_factor": 140}, "endpoints": [
            {"locality": {"region": "r"}, "load_balancing_weight": 0, "lb_endpoints": [
                {"endpoint": at(1), "health_status": "HEALTHY", "load_balancing_weight": 1},
                {"endpoint": at(2), "health_status": "UNHEALTHY", "load_balancing_weight": 3},
                {"endpoint": at(3), "health_status": "UNHEALTHY", "load_balancing_weight": 1},
                {"endpoint": at(4), "health_status": "DRAINING", "load_balancing_weight": 1},
            ]}]})
        );
    }
}
