//! Resources: one listener, its routes, clusters with endpoints of their own.

use std::time::Duration;

use serde_json::{Value, json};
use weir_proto::any::proto_duration;
use weir_proto::envoy::config::cluster::v3::Cluster;
use weir_proto::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use weir_proto::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use weir_proto::envoy::config::core::v3::socket_address::PortSpecifier;
use weir_proto::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ConfigSource, SocketAddress, address,
};
use weir_proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use weir_proto::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use weir_proto::envoy::config::listener::v3::Listener;
use weir_proto::envoy::config::route::v3::RouteConfiguration;
use weir_proto::google::protobuf::Any;

use super::{any, parsed};

const TYPE: &str = "type.googleapis.com/envoy.";

/// A cluster whose endpoints come over the aggregated stream.
pub fn cluster(name: &str) -> Cluster {
    let eds_config = ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        resource_api_version: 2,
        ..ConfigSource::default()
    };
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(eds_config),
            service_name: String::new(),
        }),
        connect_timeout: Some(proto_duration(Duration::from_secs(3))),
        ..Cluster::default()
    }
}

/// Endpoints on ports of 127.0.0.1.
pub fn assignment(name: &str, ports: &[u16]) -> (String, Any) {
    let host = |port: &u16| {
        let socket = SocketAddress {
            address: "127.0.0.1".to_owned(),
            port_specifier: Some(PortSpecifier::PortValue(u32::from(*port))),
            ..SocketAddress::default()
        };
        let address = Address { address: Some(address::Address::SocketAddress(socket)) };
        let endpoint = Endpoint { address: Some(address), ..Endpoint::default() };
        LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..LbEndpoint::default() }
    };
    let locality = LocalityLbEndpoints {
        lb_endpoints: ports.iter().map(host).collect(),
        ..LocalityLbEndpoints::default()
    };
    let message = ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![locality],
        ..ClusterLoadAssignment::default()
    };
    (name.to_owned(), any(&message))
}

/// A listener on a port of 127.0.0.1 whose routes come over the aggregated stream.
pub fn listener(name: &str, port: u16, routes: &str) -> anyhow::Result<(String, Any)> {
    let router = json!({"@type": format!("{TYPE}extensions.filters.http.router.v3.Router")});
    let manager = json!({
        "@type": format!("{TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": name,
        "rds": {"route_config_name": routes, "config_source": {"ads": {}, "resource_api_version": "V3"}},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    });
    let message: Listener = parsed(&json!({
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }))?;
    Ok((name.to_owned(), any(&message)))
}

/// Routes: path prefixes and the clusters they lead to, in order.
pub fn route(name: &str, routes: &[(&str, &str)]) -> anyhow::Result<(String, Any)> {
    let list: Vec<Value> = routes
        .iter()
        .map(|(prefix, cluster)| json!({"match": {"prefix": prefix}, "route": {"cluster": cluster, "timeout": "0s"}}))
        .collect();
    let message: RouteConfiguration = parsed(&json!({
        "name": name,
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": list}],
    }))?;
    Ok((name.to_owned(), any(&message)))
}
