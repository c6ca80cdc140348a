//! Bootstraps that must compile, and what of them must be found in the model.

use super::*;
use crate::model::cluster::{Discovery, UpstreamProtocol};
use crate::model::http::{CodecType, RouteSource};
use crate::model::route_action::{Action, ClusterChoice};

/// As the bench writes them.
fn bench(kind: &str) -> String {
    let filter = if kind == "tcp" {
        r#"{"name": "envoy.filters.network.tcp_proxy", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "tcp", "cluster": "be"}}"#.to_owned()
    } else {
        let codec = if kind == "h2" { "HTTP2" } else { "HTTP1" };
        format!(
            r#"{{"name": "envoy.filters.network.http_connection_manager", "typed_config": {{
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "in", "codec_type": "{codec}",
            "route_config": {{"virtual_hosts": [{{"name": "v", "domains": ["svc.mesh.local", "svc.mesh.local:*", "127.0.0.1", "localhost:*"], "routes": [{{"match": {{"prefix": "/"}}, "route": {{"cluster": "be"}}}}]}}]}},
            "http_filters": [{{"name": "envoy.filters.http.router", "typed_config": {{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}}}]}}}}"#
        )
    };
    let options = if kind == "h2" { "http2_protocol_options" } else { "http_protocol_options" };
    format!(
        r#"{{"static_resources": {{"listeners": [{{"name": "l", "address": {{"socket_address": {{"address": "127.0.0.1", "port_value": 10001}}}}, "enable_reuse_port": false, "filter_chains": [{{"filters": [{filter}]}}]}}],
        "clusters": [{{"name": "be", "type": "STATIC", "connect_timeout": "1s",
          "circuit_breakers": {{"thresholds": [{{"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}}]}},
          "typed_extension_protocol_options": {{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {{"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {{"{options}": {{}}}}}}}},
          "load_assignment": {{"cluster_name": "be", "endpoints": [{{"lb_endpoints": [{{"endpoint": {{"address": {{"socket_address": {{"address": "127.0.0.1", "port_value": 18001}}}}}}}}]}}]}}}}]}}}}"#
    )
}

fn shown(result: Result<Compiled, Vec<CompileError>>) -> Compiled {
    result.unwrap_or_else(|errors| {
        panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

#[test]
fn the_bench_configurations_compile() {
    for (kind, codec, upstream) in [
        ("h1", Some(CodecType::Http1), UpstreamProtocol::Http1),
        ("h2", Some(CodecType::Http2), UpstreamProtocol::Http2),
        ("tcp", None, UpstreamProtocol::Http1),
    ] {
        let compiled = shown(compile(&bench(kind)));
        let listener = compiled.listeners.first().expect("one listener");
        let cluster = compiled.clusters.first().expect("one cluster");
        assert!(!listener.reuse_port);
        assert_eq!(&*listener.stat_prefix, "127.0.0.1_10001");
        assert_eq!(cluster.discovery, Discovery::Static);
        assert_eq!(cluster.http.protocol, upstream, "{kind}");
        assert_eq!(cluster.breakers[0].max_requests, 100_000);
        assert_eq!(cluster.assignment.localities.first().map(|l| l.endpoints.len()), Some(1));
        match (&listener.chains.first().expect("one chain").terminal, codec) {
            (Terminal::Http(manager), Some(codec)) => {
                assert_eq!(manager.codec, codec);
                assert_eq!(manager.filters.len(), 1);
                let RouteSource::Inline(routes) = &manager.routes else { panic!("inline routes") };
                let host = crate::route::virtual_host(routes, b"svc.mesh.local:80").expect("a virtual host");
                let Action::Forward(forward) = &host.routes.first().expect("a route").action else {
                    panic!("forward")
                };
                assert!(matches!(&forward.cluster, ClusterChoice::Fixed(name) if &**name == "be"));
            }
            (Terminal::Tcp(tcp), None) => assert_eq!(tcp.total_weight, 1),
            other => panic!("{kind}: {other:?}"),
        }
        assert!(compiled.settings.admin.is_none());
    }
}
