//! A proxy's bootstrap: who it is, and where its control plane is. Everything else is pushed.

use serde_json::{Map, Value, json};

/// Who a proxy is.
pub struct Node {
    id: String,
    labels: Map<String, Value>,
    /// Ports as configured, and where they are bound on this machine.
    ports: String,
}

impl Node {
    /// A node with this id, which binds ports as mapped.
    pub fn new(id: &str, ports: &[(u16, u16)]) -> Self {
        let ports: Vec<String> = ports.iter().map(|(from, to)| format!("{from}={to}")).collect();
        Self { id: id.to_owned(), labels: Map::new(), ports: ports.join(",") }
    }

    /// With a label of its workload.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.into());
        self
    }

    /// Its bootstrap: an admin listener, and a stream to the control plane on a port of this machine.
    pub fn bootstrap(&self, admin: u16, xds: u16) -> Value {
        let socket = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
        let stream = json!({"ads": {}, "resource_api_version": "V3"});
        let http2 = json!({
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        });
        json!({
            "node": {
                "id": self.id,
                "cluster": "demo",
                "metadata": {
                    "INTERCEPTION_MODE": "NONE", "LABELS": self.labels, "WEIR_LISTEN_PORT_MAP": self.ports,
                },
            },
            "admin": {"address": socket(admin)},
            "dynamic_resources": {
                "ads_config": {
                    "api_type": "DELTA_GRPC",
                    "transport_api_version": "V3",
                    "grpc_services": [{"envoy_grpc": {"cluster_name": "control-plane"}}],
                },
                "cds_config": stream,
                "lds_config": stream,
            },
            "static_resources": {"clusters": [{
                "name": "control-plane", "type": "STATIC", "connect_timeout": "1s",
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2,
                },
                "load_assignment": {"cluster_name": "control-plane", "endpoints": [
                    {"lb_endpoints": [{"endpoint": {"address": socket(xds)}}]},
                ]},
            }]},
        })
    }
}
