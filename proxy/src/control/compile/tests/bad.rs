//! Bootstraps that must be refused, each with the field path and a piece of the text of its mistake.

#![allow(clippy::too_many_lines)] // Tables of cases.

use super::*;

pub(super) fn errors(text: &str) -> Vec<CompileError> {
    match compile(text) {
        Ok(_) => Vec::new(),
        Err(errors) => errors,
    }
}

#[track_caller]
pub(super) fn refused(text: &str, path: &str, piece: &str) {
    let errors = errors(text);
    let found = errors.iter().any(|e| e.path == path && e.to_string().contains(piece));
    let all: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert!(found, "wanted {path}: ..{piece}..\nfound:\n{}\nin:\n{text}", all.join("\n"));
    assert_eq!(errors.len(), 1, "more than one mistake:\n{}\nin:\n{text}", all.join("\n"));
}

const PLACE: &str = "static_resources.listeners[0]";
const ADDRESS: &str = "address: {socket_address: {address: 127.0.0.1, port_value: 1}}";

fn listener_with(rest: &str) -> String {
    format!("{{static_resources: {{listeners: [{{name: l, {rest}}}], clusters: [{{name: c}}]}}}}")
}

fn filter(kind: &str, fields: &str) -> String {
    format!("{{name: f, typed_config: {{'@type': type.googleapis.com/{kind}, {fields}}}}}")
}

fn chain(filter: &str) -> String {
    format!("filter_chains: [{{filters: [{filter}]}}]")
}

fn tcp(fields: &str) -> String {
    filter("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", fields)
}

const ROUTER: &str =
    "{name: r, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}";

fn manager(fields: &str) -> String {
    let hcm = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    listener_with(&format!("{ADDRESS}, {}", chain(&filter(hcm, &format!("stat_prefix: h, {fields}")))))
}

pub(super) fn with_routes(route_config: &str) -> String {
    manager(&format!("http_filters: [{ROUTER}], route_config: {{{route_config}}}"))
}

pub(super) fn with_host(fields: &str) -> String {
    with_routes(&format!("virtual_hosts: [{{name: v, domains: ['*'], {fields}}}]"))
}

pub(super) fn with_route(fields: &str) -> String {
    with_host(&format!("routes: [{{{fields}}}]"))
}

pub(super) fn with_action(fields: &str) -> String {
    with_route(&format!("match: {{prefix: /}}, route: {{{fields}}}"))
}

pub(super) fn with_match(fields: &str) -> String {
    with_route(&format!("match: {{{fields}}}, route: {{cluster: c}}"))
}

pub(super) fn cluster_with(fields: &str) -> String {
    format!("{{static_resources: {{clusters: [{{name: c, {fields}}}]}}}}")
}

const HCM: &str = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config";

pub(super) fn in_hcm(path: &str) -> String {
    format!("{HCM}.{path}")
}

pub(super) fn in_route(path: &str) -> String {
    in_hcm(&format!("route_config.virtual_hosts[0].routes[0].{path}"))
}

#[test]
fn bootstrap_fields() {
    for (text, path, piece) in [
        ("header_prefix: x", "header_prefix", "not supported by this release"),
        (
            "admin: {address: {socket_address: {address: x, port_value: 1}}}",
            "admin.address.socket_address.address",
            "malformed IP address: x",
        ),
        (
            "layered_runtime: {layers: [{name: a, admin_layer: {}}, {name: b, admin_layer: {}}]}",
            "layered_runtime.layers[1]",
            "at most one",
        ),
        (
            "layered_runtime: {layers: [{name: a, disk_layer: {symlink_root: /no/such/folder/link}}]}",
            "layered_runtime.layers[0].disk_layer.symlink_root",
            "No such file or directory",
        ),
        (
            "layered_runtime: {layers: [{name: a, admin_layer: {}}, {name: a, static_layer: {}}]}",
            "layered_runtime.layers[1].name",
            "Duplicate layer name",
        ),
        ("cluster_manager: {local_cluster_name: x}", "cluster_manager.local_cluster_name", "must be defined"),
        (
            "cluster_manager: {upstream_bind_config: {source_address: {address: 127.0.0.1, port_value: 5}}}",
            "cluster_manager.upstream_bind_config.source_address.port_value",
            "source port",
        ),
        (
            "cluster_manager: {upstream_bind_config: {extra_source_addresses: [{address: {address: '::1', port_value: 0}}]}}",
            "cluster_manager.upstream_bind_config.extra_source_addresses",
            "needs a source_address",
        ),
        (
            "cluster_manager: {upstream_bind_config: {source_address: {address: 127.0.0.1, port_value: 0}, \
             extra_source_addresses: [{address: {address: 127.0.0.2, port_value: 0}}]}}",
            "cluster_manager.upstream_bind_config.extra_source_addresses",
            "of the IP version of source_address",
        ),
        (
            "overload_manager: {actions: [{name: x, triggers: [{name: heap}]}]}",
            "overload_manager.actions[0].triggers[0].name",
            "Unknown trigger resource heap",
        ),
        (
            "stats_sinks: [{name: s, typed_config: {'@type': type.googleapis.com/envoy.config.metrics.v3.StatsdSink}}]",
            "stats_sinks[0].typed_config",
            "of type 'envoy.config.metrics.v3.StatsdSink'",
        ),
        (
            "bootstrap_extensions: [{name: s, typed_config: {'@type': type.googleapis.com/envoy.extensions.wasm.v3.WasmService}}]",
            "bootstrap_extensions[0].typed_config",
            "of type 'envoy.extensions.wasm.v3.WasmService'",
        ),
    ] {
        refused(&format!("{{{text}}}"), path, piece);
    }
}

#[test]
fn control_planes() {
    let grpc = |fields: &str| format!("dynamic_resources: {{ads_config: {{api_type: GRPC, {fields}}}}}");
    let service = |fields: &str| grpc(&format!("grpc_services: [{{{fields}}}]"));
    let place = |path: &str| format!("dynamic_resources.ads_config.{path}");
    for (text, path, piece) in [
        (
            "dynamic_resources: {cds_config: {ads: {}}}".to_owned(),
            "dynamic_resources.cds_config".to_owned(),
            "set ads_config",
        ),
        (
            "dynamic_resources: {lds_config: {path_config_source: {path: /x}}}".to_owned(),
            "dynamic_resources.lds_config.path_config_source.path".to_owned(),
            "'/x' does not exist",
        ),
        (
            "dynamic_resources: {lds_resources_locator: x}".to_owned(),
            "dynamic_resources.lds_resources_locator".to_owned(),
            "not supported",
        ),
        (grpc(""), place("grpc_services"), "must have one element, has 0"),
        (
            "dynamic_resources: {ads_config: {api_type: REST}}".to_owned(),
            place("api_type"),
            "use GRPC or DELTA_GRPC",
        ),
        (service(""), place("grpc_services[0].target_specifier"), "must be set"),
        (service("google_grpc: {}"), place("grpc_services[0].google_grpc"), "use envoy_grpc"),
        (
            service(
                "envoy_grpc: {retry_policy: {retry_back_off: {base_interval: 2s, max_interval: 1s}}, cluster_name: p}",
            ),
            place("grpc_services[0].envoy_grpc.retry_policy.retry_back_off.max_interval"),
            "greater than or equal",
        ),
    ] {
        refused(&format!("{{{text}}}"), &path, piece);
    }
}

#[test]
fn listeners() {
    let good = chain(&tcp("stat_prefix: t, cluster: c"));
    let place = |path: &str| format!("{PLACE}.{path}");
    for (rest, path, piece) in [
        (good.clone(), place("address"), "must be set"),
        (
            format!("address: {{socket_address: {{address: localhost, port_value: 1}}}}, {good}"),
            place("address.socket_address.address"),
            "malformed",
        ),
        (
            format!("address: {{socket_address: {{address: '::1', port_value: 70000}}}}, {good}"),
            place("address.socket_address.port_value"),
            "65535",
        ),
        (
            format!("address: {{socket_address: {{protocol: UDP, address: '::1', port_value: 7}}}}, {good}"),
            place("address.socket_address.protocol"),
            "UDP",
        ),
        (format!("address: {{pipe: {{path: ''}}}}, {good}"), place("address.pipe.path"), "must not be empty"),
        (ADDRESS.to_owned(), place("filter_chains"), "no filter chains specified"),
        (
            format!("{ADDRESS}, udp_listener_config: {{}}, {good}"),
            place("udp_listener_config"),
            "not supported",
        ),
        (format!("{ADDRESS}, filter_chains: [{{}}]"), place("filter_chains[0]"), "without filters"),
        (
            format!(
                "{ADDRESS}, filter_chains: [{{transport_socket: {{name: envoy.transport_sockets.tls, typed_config: {{'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext}}}}, filters: [{}]}}]",
                tcp("stat_prefix: t, cluster: c")
            ),
            place("filter_chains[0].transport_socket.typed_config.common_tls_context"),
            "must be set",
        ),
        (
            format!(
                "{ADDRESS}, filter_chains: [{{filters: [{0}]}}, {{filters: [{0}]}}]",
                tcp("stat_prefix: t, cluster: c")
            ),
            place("filter_chains[1].filter_chain_match"),
            "overlapping matching rules",
        ),
        (
            format!(
                "{ADDRESS}, filter_chains: [{{filter_chain_match: {{server_names: ['a.*']}}, filters: [{}]}}]",
                tcp("stat_prefix: t, cluster: c")
            ),
            place("filter_chains[0].filter_chain_match.server_names[0]"),
            "partial wildcards",
        ),
        (
            format!("{ADDRESS}, filter_chains: [{{filters: [{0}, {0}]}}]", tcp("stat_prefix: t, cluster: c")),
            place("filter_chains[0].filters[0]"),
            "must be the last filter",
        ),
        (
            format!(
                "{ADDRESS}, filter_chains: [{{filters: [{}]}}]",
                filter("envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy", "stat_prefix: m")
            ),
            place("filter_chains[0].filters[0]"),
            "is the last filter",
        ),
        (
            format!(
                "{ADDRESS}, filter_chains: [{{transport_socket: {{name: x, typed_config: {{'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {{tls_certificate_sds_secret_configs: [{{name: default, sds_config: {{ads: {{}}}}}}], tls_params: {{cipher_suites: [AES128-SHA]}}}}}}}}, filters: [{}]}}]",
                tcp("stat_prefix: t, cluster: c")
            ),
            place(
                "filter_chains[0].transport_socket.typed_config.common_tls_context.tls_params.cipher_suites",
            ),
            "none of them is supported",
        ),
        (
            format!(
                "{ADDRESS}, listener_filters: [{{name: x, filter_disabled: {{or_match: {{rules: [{{any_match: true}}]}}}}, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector}}}}], {good}"
            ),
            place("listener_filters[0].filter_disabled.or_match.rules"),
            "at least two",
        ),
        (
            format!(
                "{ADDRESS}, filter_chains: [{{filters: [{}]}}]",
                filter("envoy.extensions.filters.network.echo.v3.Echo", "")
            ),
            place("filter_chains[0].filters[0].typed_config"),
            "envoy.extensions.filters.network.echo.v3.Echo",
        ),
        (
            format!(
                "{ADDRESS}, listener_filters: [{}], {good}",
                filter("envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit", "")
            ),
            place("listener_filters[0].typed_config"),
            "local_ratelimit",
        ),
    ] {
        refused(&listener_with(&rest), &path, piece);
    }
}

#[test]
fn tcp_proxies() {
    let place = |path: &str| format!("{HCM}.{path}");
    for (fields, path, piece) in [
        ("cluster: c", place("stat_prefix"), "must not be empty"),
        ("stat_prefix: t", place("cluster_specifier"), "must be set"),
        (
            "stat_prefix: t, weighted_clusters: {clusters: [{name: c}]}",
            place("weighted_clusters.clusters[0].weight"),
            "at least 1",
        ),
        (
            "stat_prefix: t, cluster: c, tunneling_config: {hostname: x}",
            place("tunneling_config"),
            "not supported",
        ),
        ("stat_prefix: t, cluster: c, max_connect_attempts: 0", place("max_connect_attempts"), "between 1"),
        (
            "stat_prefix: t, cluster: c, max_downstream_connection_duration: 0s",
            place("max_downstream_connection_duration"),
            "greater than 0s",
        ),
    ] {
        refused(&listener_with(&format!("{ADDRESS}, {}", chain(&tcp(fields)))), &path, piece);
    }
}

#[test]
fn connection_managers() {
    let hosts = "route_config: {virtual_hosts: [{name: v, domains: ['*']}]}";
    let router = format!("http_filters: [{ROUTER}]");
    let fault = filter("envoy.extensions.filters.http.fault.v3.HTTPFault", "abort: {http_status: 999}");
    let buffer = filter("envoy.extensions.filters.http.buffer.v3.Buffer", "");
    let cors = filter("envoy.extensions.filters.http.cors.v3.Cors", "");
    for (fields, path, piece) in [
        (router.to_owned(), "route_specifier", "must be set"),
        (format!("{router}, scoped_routes: {{}}"), "scoped_routes", "scoped routes"),
        (
            format!("{router}, rds: {{config_source: {{ads: {{}}}}}}"),
            "rds.route_config_name",
            "must not be empty",
        ),
        (
            format!(
                "{router}, rds: {{route_config_name: x, config_source: {{path_config_source: {{path: /x}}}}}}"
            ),
            "rds.config_source.path_config_source.path",
            "must refer to an existing path",
        ),
        (format!("{hosts}, {router}, codec_type: HTTP3"), "codec_type", "HTTP3"),
        (format!("{hosts}, http_filters: [{cors}]"), "http_filters[0]", "is the last filter"),
        (
            format!("{hosts}, http_filters: [{ROUTER}, {cors}, {ROUTER}]"),
            "http_filters[0]",
            "must be the last filter",
        ),
        (
            format!("{hosts}, http_filters: [{buffer}, {ROUTER}]"),
            "http_filters[0].typed_config",
            "envoy.extensions.filters.http.buffer.v3.Buffer",
        ),
        (
            format!("{hosts}, http_filters: [{fault}, {ROUTER}]"),
            "http_filters[0].typed_config.abort.http_status",
            "between 200 and 599",
        ),
        (format!("{hosts}, {router}, max_request_headers_kb: 9000"), "max_request_headers_kb", "8192"),
        (
            format!("{hosts}, {router}, scheme_header_transformation: {{scheme_to_overwrite: ftp}}"),
            "scheme_header_transformation.scheme_to_overwrite",
            "'http' or 'https'",
        ),
        (
            format!(
                "{hosts}, {router}, upgrade_configs: [{{upgrade_type: websocket}}, {{upgrade_type: WebSocket}}]"
            ),
            "upgrade_configs[1]",
            "Duplicate upgrade",
        ),
        (
            format!("{hosts}, {router}, upgrade_configs: [{{upgrade_type: CONNECT}}]"),
            "upgrade_configs[0].upgrade_type",
            "CONNECT",
        ),
        (
            format!("{hosts}, {router}, http2_protocol_options: {{initial_stream_window_size: 100}}"),
            "http2_protocol_options.initial_stream_window_size",
            "65535",
        ),
        (format!("{hosts}, {router}, request_timeout: -1s"), "request_timeout", "negative"),
        (
            format!(
                "{hosts}, {router}, internal_address_config: {{cidr_ranges: [{{address_prefix: 10.0.0.0, prefix_len: 33}}]}}"
            ),
            "internal_address_config.cidr_ranges[0].prefix_len",
            "between 0 and 32",
        ),
        (
            format!(
                "{hosts}, {router}, access_log: [{{name: a, typed_config: {{'@type': type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig}}}}]"
            ),
            "access_log[0].typed_config",
            "HttpGrpcAccessLogConfig",
        ),
        (
            format!(
                "{hosts}, {router}, access_log: [{{name: a, typed_config: {{'@type': type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog, log_format: {{text_format_source: {{inline_string: '%NOPE%'}}}}}}}}]"
            ),
            "access_log[0].typed_config.log_format.text_format_source",
            "Not supported field in StreamInfo: NOPE",
        ),
        (
            format!("{hosts}, {router}, local_reply_config: {{mappers: [{{status_code: 400}}]}}"),
            "local_reply_config.mappers[0].filter",
            "must be set",
        ),
        (
            format!("{hosts}, {router}, tracing: {{provider: {{name: x}}}}"),
            "tracing.provider",
            "tracing provider",
        ),
    ] {
        let path = in_hcm(path);
        // Two routers in one chain share a name, which is a second mistake of its own.
        let fields = fields.replacen(
            &format!("{cors}, {ROUTER}"),
            &format!("{cors}, {}", ROUTER.replace("name: r,", "name: r2,")),
            1,
        );
        refused(&manager(&fields), &path, piece);
    }
}
