//! Endpoints of clusters (EDS), and the same lists inside DNS clusters.

use std::collections::BTreeMap;

use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::config::endpoint::v3 as endpoint;
use weir_proto::google::protobuf as pb;

use super::locality::{self, LocalityPolicy};
use super::node::Node;
use super::registry::{Address, Endpoint, Locality, Service};
use super::wire;

/// Which of a service's endpoints a cluster has, and what is said about them.
pub(crate) struct Selection<'a> {
    pub service: &'a Service,
    /// Number of the service's port.
    pub port: u32,
    /// Labels of the subset; empty for the whole service.
    pub subset: &'a BTreeMap<String, String>,
    /// Whether endpoints that take Istio's mutual TLS are marked.
    pub mark_mutual_tls: bool,
    /// Leave out endpoints that are not marked.
    pub only_mutual_tls: bool,
    /// How localities are weighted or ordered.
    pub locality: LocalityPolicy<'a>,
}

/// The endpoints of a cluster in the order of their localities.
pub(crate) fn assignment(
    cluster: &str,
    selection: &Selection<'_>,
    node: &Node,
) -> endpoint::ClusterLoadAssignment {
    let mut by_locality: BTreeMap<&Locality, Vec<(&Endpoint, endpoint::LbEndpoint)>> = BTreeMap::new();
    for one in &selection.service.endpoints {
        if !one.has_labels(selection.subset) {
            continue;
        }
        let Some(port) = one.ports.get(&selection.port) else {
            continue;
        };
        let group = by_locality.entry(&one.locality).or_default();
        let marked = selection.mark_mutual_tls && one.mutual_tls;
        if marked || !selection.only_mutual_tls {
            group.push((one, lb_endpoint(one, *port, marked, node)));
        }
    }
    endpoint::ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: locality::groups(by_locality, &selection.locality, node),
        ..endpoint::ClusterLoadAssignment::default()
    }
}

fn lb_endpoint(one: &Endpoint, port: u32, marked: bool, node: &Node) -> endpoint::LbEndpoint {
    let address = match &one.address {
        Address::Ip(address) | Address::Name(address) => wire::socket_address(address, port),
        Address::Pipe(path) => wire::pipe(path),
    };
    endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
            address: Some(address),
            ..endpoint::Endpoint::default()
        })),
        metadata: Some(metadata(one, marked, node)),
        load_balancing_weight: Some(wire::u32v(one.weight.max(1))),
        ..endpoint::LbEndpoint::default()
    }
}

/// Who the endpoint is (`workload;namespace;canonical name;canonical revision;cluster`) and whether it takes
/// mutual TLS.
fn metadata(one: &Endpoint, marked: bool, node: &Node) -> core::Metadata {
    let workload = format!(
        "{};{};{};{};{}",
        one.workload,
        one.namespace,
        one.canonical_name(),
        one.canonical_revision(),
        node.cluster_id()
    );
    let mut filter_metadata: Vec<(String, pb::Struct)> =
        vec![("istio".to_owned(), wire::structure([("workload", wire::text(&workload))]))];
    if marked {
        filter_metadata.push((
            "envoy.transport_socket_match".to_owned(),
            wire::structure([("tlsMode", wire::text("istio"))]),
        ));
    }
    core::Metadata { filter_metadata: filter_metadata.into_iter().collect(), ..core::Metadata::default() }
}
