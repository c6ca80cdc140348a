//! Bootstraps for the live suites: one listener that takes HTTP/1 and HTTP/2, one cluster.

use serde_json::{Value, json};

const TYPE: &str = "type.googleapis.com/envoy.";

/// What a suite wants of its proxy.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Port of the listener on 127.0.0.1.
    pub listen: u16,
    /// Ports of the cluster's hosts on 127.0.0.1.
    pub upstreams: Vec<u16>,
    /// The upstream speaks HTTP/2 by prior knowledge (else HTTP/1.1).
    pub upstream_h2: bool,
    /// `stream_idle_timeout` in seconds; `None` leaves the default of 5 minutes.
    pub stream_idle_s: Option<u32>,
    /// The upstream of paths that begin with `/apart`, in a cluster of its own.
    pub apart: Option<u16>,
    /// More fields of the connection manager.
    pub manager: Value,
    /// The cluster's `http2_protocol_options` (or `http_protocol_options`).
    pub options: Value,
}

impl Plan {
    /// One HTTP/1.1 upstream.
    pub fn new(listen: u16, upstream: u16) -> Self {
        Self {
            listen,
            upstreams: vec![upstream],
            upstream_h2: false,
            stream_idle_s: None,
            apart: None,
            manager: json!({}),
            options: json!({}),
        }
    }

    /// The Envoy v3 bootstrap.
    pub fn bootstrap(&self) -> Value {
        let router = json!({"@type": format!("{TYPE}extensions.filters.http.router.v3.Router")});
        let route = |prefix: &str, cluster: &str| json!({"match": {"prefix": prefix}, "route": {"cluster": cluster, "timeout": "0s"}});
        let mut routes = vec![route("/", "upstream")];
        let mut clusters = vec![self.cluster("upstream", &self.upstreams)];
        if let Some(port) = self.apart {
            routes.insert(0, route("/apart", "apart"));
            clusters.push(self.cluster("apart", &[port]));
        }
        let mut manager = json!({
            "@type": format!("{TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "live",
            "codec_type": "AUTO",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        });
        if let Some(seconds) = self.stream_idle_s {
            manager["stream_idle_timeout"] = json!(format!("{seconds}s"));
        }
        for (name, value) in self.manager.as_object().into_iter().flatten() {
            manager[name] = value.clone();
        }
        let filter =
            json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": manager});
        json!({"static_resources": {
            "listeners": [{"name": "live", "address": address(self.listen), "filter_chains": [{"filters": [filter]}]}],
            "clusters": clusters,
        }})
    }

    fn cluster(&self, name: &str, ports: &[u16]) -> Value {
        let protocol = if self.upstream_h2 { "http2_protocol_options" } else { "http_protocol_options" };
        let options = json!({
            "@type": format!("{TYPE}extensions.upstreams.http.v3.HttpProtocolOptions"),
            "explicit_http_config": {protocol: &self.options},
        });
        let hosts: Vec<Value> =
            ports.iter().map(|port| json!({"endpoint": {"address": address(*port)}})).collect();
        json!({
            "name": name, "type": "STATIC", "connect_timeout": "3s",
            "circuit_breakers": {"thresholds": [
                {"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}
            ]},
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]},
        })
    }
}

fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}
