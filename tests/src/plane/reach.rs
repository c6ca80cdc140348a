//! What a bootstrap says so that a proxy opens its stream to a control plane on this machine.

use serde_json::{Value, json};

/// Name of the static cluster that leads to the control plane.
const CLUSTER: &str = "plane";

/// The static cluster of a control plane on a port of 127.0.0.1.
pub fn reached_at(port: u16) -> Value {
    let address = json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    json!({
        "name": CLUSTER, "type": "STATIC", "connect_timeout": "1s",
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} },
        }},
        "load_assignment": { "cluster_name": CLUSTER, "endpoints": [
            { "lb_endpoints": [{ "endpoint": { "address": address } }] }
        ]},
    })
}

/// The configuration source of what comes over the aggregated stream.
pub fn aggregated() -> Value {
    json!({ "ads": {}, "resource_api_version": "V3" })
}

/// `dynamic_resources`: everything over the aggregated stream, in the dialect that `api` names (`GRPC`, `DELTA_GRPC`).
pub fn dynamic(api: &str) -> Value {
    let back_off = json!({ "base_interval": "0.05s", "max_interval": "0.5s" });
    json!({
        "ads_config": {
            "api_type": api,
            "transport_api_version": "V3",
            "grpc_services": [{ "envoy_grpc": {
                "cluster_name": CLUSTER, "retry_policy": { "retry_back_off": back_off },
            }}],
        },
        "cds_config": aggregated(),
        "lds_config": aggregated(),
    })
}
