//! A case's fragments made into listeners, clusters and a bootstrap.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::case::{Case, Kind};

/// Type URL prefix of Envoy's extensions.
const EXT: &str = "type.googleapis.com/envoy.extensions";

/// Short names of the filters that cases use: name of the filter, message.
const FILTERS: [(&str, &str, &str); 15] = [
    ("fault", "envoy.filters.http.fault", "filters.http.fault.v3.HTTPFault"),
    ("cors", "envoy.filters.http.cors", "filters.http.cors.v3.Cors"),
    ("buffer", "envoy.filters.http.buffer", "filters.http.buffer.v3.Buffer"),
    ("grpc_stats", "envoy.filters.http.grpc_stats", "filters.http.grpc_stats.v3.FilterConfig"),
    (
        "proxy_protocol",
        "envoy.filters.listener.proxy_protocol",
        "filters.listener.proxy_protocol.v3.ProxyProtocol",
    ),
    (
        "http_inspector",
        "envoy.filters.listener.http_inspector",
        "filters.listener.http_inspector.v3.HttpInspector",
    ),
    (
        "tls_inspector",
        "envoy.filters.listener.tls_inspector",
        "filters.listener.tls_inspector.v3.TlsInspector",
    ),
    ("cors_policy", "envoy.filters.http.cors", "filters.http.cors.v3.CorsPolicy"),
    ("fault_route", "envoy.filters.http.fault", "filters.http.fault.v3.HTTPFault"),
    ("compressor", "envoy.filters.http.compressor", "filters.http.compressor.v3.Compressor"),
    ("compressor_route", "envoy.filters.http.compressor", "filters.http.compressor.v3.CompressorPerRoute"),
    ("compressor_br", "envoy.filters.http.compressor.br", "filters.http.compressor.v3.Compressor"),
    ("compressor_zstd", "envoy.filters.http.compressor.zstd", "filters.http.compressor.v3.Compressor"),
    ("grpc_web", "envoy.filters.http.grpc_web", "filters.http.grpc_web.v3.GrpcWeb"),
    ("buffer_route", "envoy.filters.http.buffer", "filters.http.buffer.v3.BufferPerRoute"),
];

/// Access-log fields of a case that gives no format.
const LOG_FIELDS: [(&str, &str); 22] = [
    ("method", "REQ(:METHOD)"),
    ("path", "REQ(:PATH)"),
    ("original_path", "REQ(X-ENVOY-ORIGINAL-PATH)"),
    ("authority", "REQ(:AUTHORITY)"),
    ("protocol", "PROTOCOL"),
    ("code", "RESPONSE_CODE"),
    ("flags", "RESPONSE_FLAGS"),
    ("details", "RESPONSE_CODE_DETAILS"),
    ("termination", "CONNECTION_TERMINATION_DETAILS"),
    ("rx", "BYTES_RECEIVED"),
    ("tx", "BYTES_SENT"),
    ("route", "ROUTE_NAME"),
    ("cluster", "UPSTREAM_CLUSTER"),
    ("host", "UPSTREAM_HOST"),
    ("attempts", "UPSTREAM_REQUEST_ATTEMPT_COUNT"),
    ("uprotocol", "UPSTREAM_PROTOCOL"),
    ("transport", "UPSTREAM_TRANSPORT_FAILURE_REASON"),
    ("grpc", "GRPC_STATUS(SNAKE_STRING)"),
    ("remote", "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"),
    ("local", "DOWNSTREAM_LOCAL_ADDRESS"),
    ("xff", "REQ(X-FORWARDED-FOR)"),
    ("server", "RESP(SERVER)"),
];

/// Ports of one case.
pub struct Ports {
    /// Its listener.
    pub listener: u16,
    /// Its backends.
    pub backends: BTreeMap<String, u16>,
}

/// Replaces `${...}` and `@name` in every string of a case.
pub fn substitute(value: &mut Value, id: &str, ports: &Ports, names: &[String], admin: u16) {
    match value {
        Value::String(text) => {
            for (name, port) in &ports.backends {
                if *text == format!("${{{name}.port}}") {
                    *value = json!(port);
                    return;
                }
                *text = text.replace(&format!("${{{name}.port}}"), &port.to_string());
                *text = text.replace(&format!("${{{name}}}"), &format!("127.0.0.1:{port}"));
            }
            if text == "${port}" {
                *value = json!(ports.listener);
                return;
            }
            *text = text.replace("${port}", &ports.listener.to_string());
            *text = text.replace("${admin}", &admin.to_string());
            *text = text.replace("${pad3000}", &"x".repeat(3000));
            *text = text.replace("${id}", id);
            for name in names {
                *text = text.replace(&format!("@{name}"), &format!("{id}_{name}"));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|v| substitute(v, id, ports, names, admin)),
        Value::Object(map) => {
            let keys: Vec<String> = map
                .keys()
                .filter(|k| k.contains('@') && !k.starts_with("@type") || k.contains("${"))
                .cloned()
                .collect();
            for key in keys {
                let mut renamed = Value::String(key.clone());
                substitute(&mut renamed, id, ports, names, admin);
                if let (Some(old), Value::String(new)) = (map.remove(&key), renamed) {
                    map.insert(new, old);
                }
            }
            map.values_mut().for_each(|v| substitute(v, id, ports, names, admin));
        }
        _ => {}
    }
}

/// Merges `over` into `base`: mappings by key, anything else replaced, `null` removes.
pub fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    base.remove(key);
                } else {
                    merge(base.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (_, Value::Null) => {}
        (base, over) => *base = over.clone(),
    }
}

/// A bootstrap with the listeners and clusters of `cases`.
pub fn bootstrap(
    extra: &Value,
    cases: &[(&str, &Case, &Ports)],
    admin: u16,
    folder: &Path,
) -> anyhow::Result<Value> {
    let (mut listeners, mut clusters) = (Vec::new(), Vec::new());
    let mut top = json!({});
    for (id, case, ports) in cases {
        listeners.push(listener(id, case, ports, folder)?);
        for further in &case.config.listeners {
            let mut further = further.clone();
            further["name"] = json!(format!("{id}-{}", further["name"].as_str().unwrap_or_default()));
            listeners.push(further);
        }
        clusters.extend(clusters_of(id, case, ports));
        merge(&mut top, &case.config.bootstrap);
    }
    let mut all = json!({
        "admin": { "address": address(admin) },
        "static_resources": { "listeners": listeners, "clusters": clusters },
    });
    merge(&mut all, extra);
    merge(&mut all, &top);
    Ok(all)
}

/// The file that the access log of a case goes to.
pub fn log_path(id: &str, folder: &Path) -> std::path::PathBuf {
    folder.join(format!("{id}.log"))
}

fn address(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}

fn listener(id: &str, case: &Case, ports: &Ports, folder: &Path) -> anyhow::Result<Value> {
    let log = access_log(id, case, folder);
    let filter = match &case.config.tcp {
        Some(tcp) => {
            let mut config = json!({
                "@type": format!("{EXT}.filters.network.tcp_proxy.v3.TcpProxy"),
                "stat_prefix": id,
                "access_log": [log],
            });
            merge(&mut config, tcp);
            json!({ "name": "envoy.filters.network.tcp_proxy", "typed_config": config })
        }
        None => {
            json!({ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager(id, case, log)? })
        }
    };
    let mut listener = json!({
        "name": id,
        "address": address(ports.listener),
        "filter_chains": [{ "filters": [filter] }],
    });
    let mut over = case.config.listener.clone();
    if let Some(Value::Array(filters)) = over.get_mut("listener_filters") {
        for filter in filters.iter_mut().filter(|filter| filter.get("typed_config").is_none()) {
            *filter = typed(filter)?;
        }
    }
    merge(&mut listener, &over);
    Ok(listener)
}

fn manager(id: &str, case: &Case, log: Value) -> anyhow::Result<Value> {
    let config = &case.config;
    let mut filters = config.filters.iter().map(typed).collect::<anyhow::Result<Vec<Value>>>()?;
    let mut router = json!({ "@type": format!("{EXT}.filters.http.router.v3.Router") });
    merge(&mut router, &config.router);
    filters.push(json!({ "name": "envoy.filters.http.router", "typed_config": router }));
    let mut manager = json!({
        "@type": format!("{EXT}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": id,
        "route_config": route_config(id, case),
        "http_filters": filters,
        "access_log": [log],
    });
    merge(&mut manager, &config.hcm);
    expand(&mut manager)?;
    Ok(manager)
}

fn route_config(id: &str, case: &Case) -> Value {
    let config = &case.config;
    let hosts = config.vhosts.clone().unwrap_or_else(|| {
        let first = case.backends.keys().next().map_or_else(|| "none".to_owned(), |n| format!("{id}_{n}"));
        let routes = config
            .routes
            .clone()
            .unwrap_or_else(|| json!([{ "match": { "prefix": "/" }, "route": { "cluster": first } }]));
        let mut host = json!({ "name": "all", "domains": ["*"], "routes": routes });
        merge(&mut host, &config.vhost);
        json!([host])
    });
    let mut routes = json!({ "name": id, "virtual_hosts": hosts });
    merge(&mut routes, &config.route_config);
    routes
}

fn access_log(id: &str, case: &Case, folder: &Path) -> Value {
    let text = || {
        let fields: Vec<String> =
            LOG_FIELDS.iter().map(|(name, operator)| format!("{name}=%{operator}%")).collect();
        fields.join("\t") + "\n"
    };
    let format = match (&case.config.log_json, &case.config.log_format) {
        (Some(json), _) => json!({ "json_format": json }),
        (None, Some(format)) if format.is_empty() => Value::Null,
        (None, format) => {
            json!({ "text_format_source": { "inline_string": format.clone().unwrap_or_else(text) } })
        }
    };
    let mut config = json!({
        "@type": format!("{EXT}.access_loggers.file.v3.FileAccessLog"),
        "path": log_path(id, folder),
    });
    if !format.is_null() {
        merge(&mut config, &json!({ "log_format": format }));
    }
    let mut log = json!({ "name": "envoy.access_loggers.file", "typed_config": config });
    merge(&mut log, &case.config.log);
    log
}

/// `{short name: config}` as a typed extension.
fn typed(short: &Value) -> anyhow::Result<Value> {
    let entry = short.as_object().and_then(|map| map.iter().next());
    let Some((name, config)) = entry else { anyhow::bail!("a filter is {{name: config}}, not {short}") };
    if name == "name" || short.get("typed_config").is_some() {
        return Ok(short.clone());
    }
    let (full, config) = typed_config(name, config)?;
    Ok(json!({ "name": full, "typed_config": config }))
}

fn typed_config(name: &str, config: &Value) -> anyhow::Result<(&'static str, Value)> {
    let Some((_, full, message)) = FILTERS.iter().find(|(short, ..)| *short == name) else {
        anyhow::bail!("no filter has the short name {name}")
    };
    let mut all = json!({ "@type": format!("{EXT}.{message}") });
    merge(&mut all, config);
    Ok((full, all))
}

/// Short names below `per_filter` become `typed_per_filter_config`.
fn expand(value: &mut Value) -> anyhow::Result<()> {
    match value {
        Value::Object(map) => {
            if let Some(Value::Object(short)) = map.remove("per_filter") {
                let mut long = Map::new();
                for (name, config) in &short {
                    let (full, config) = typed_config(name, config)?;
                    long.insert(full.to_owned(), config);
                }
                map.insert("typed_per_filter_config".to_owned(), Value::Object(long));
            }
            map.values_mut().try_for_each(expand)
        }
        Value::Array(items) => items.iter_mut().try_for_each(expand),
        _ => Ok(()),
    }
}

fn clusters_of(id: &str, case: &Case, ports: &Ports) -> Vec<Value> {
    let own = case.config.clusters.iter().map(|(name, fragment)| (name.clone(), fragment.clone()));
    let implied = case
        .backends
        .keys()
        .filter(|n| !case.config.clusters.contains_key(*n))
        .map(|n| (n.clone(), json!({})));
    own.chain(implied).map(|(name, fragment)| cluster(id, &name, fragment, case, ports)).collect()
}

fn cluster(id: &str, name: &str, mut fragment: Value, case: &Case, ports: &Ports) -> Value {
    let full = format!("{id}_{name}");
    let listed = fragment.as_object_mut().and_then(|map| map.remove("endpoints"));
    let http2 = fragment.as_object_mut().and_then(|map| map.remove("http2")).is_some();
    let listed = match listed {
        Some(Value::Array(items)) => items,
        _ if ports.backends.contains_key(name) => vec![json!(name)],
        _ => Vec::new(),
    };
    let mut cluster = json!({
        "name": full,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": { "cluster_name": full, "endpoints": localities(&listed, ports) },
    });
    let h2 = case.backends.get(name).is_some_and(|b| b.kind == Kind::H2);
    if h2 || http2 {
        merge(
            &mut cluster,
            &protocol_options(&json!({ "explicit_http_config": { "http2_protocol_options": {} } })),
        );
    }
    if let Some(options) = fragment.as_object_mut().and_then(|map| map.remove("http_options")) {
        let mut base = json!({ "explicit_http_config": { "http_protocol_options": {} } });
        if h2 || http2 {
            base = json!({ "explicit_http_config": { "http2_protocol_options": {} } });
        }
        merge(&mut base, &options);
        merge(&mut cluster, &protocol_options(&base));
    }
    merge(&mut cluster, &fragment);
    cluster
}

fn protocol_options(options: &Value) -> Value {
    let mut all = json!({ "@type": format!("{EXT}.upstreams.http.v3.HttpProtocolOptions") });
    merge(&mut all, options);
    json!({ "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": all } })
}

/// Endpoints by priority: a backend's name, or `{b: name, priority, ...}` with fields of LbEndpoint.
fn localities(listed: &[Value], ports: &Ports) -> Value {
    let mut groups: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for item in listed {
        let name = item.as_str().or_else(|| item.get("b").and_then(Value::as_str)).unwrap_or_default();
        let port = ports.backends.get(name).copied().unwrap_or(1);
        let mut endpoint = json!({ "endpoint": { "address": address(port) } });
        let mut priority = 0;
        if let Value::Object(map) = item {
            priority = map.get("priority").and_then(Value::as_u64).unwrap_or(0);
            let rest: Map<String, Value> = map
                .iter()
                .filter(|(k, _)| *k != "b" && *k != "priority")
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            merge(&mut endpoint, &Value::Object(rest));
        }
        groups.entry(priority).or_default().push(endpoint);
    }
    groups
        .into_iter()
        .map(|(priority, endpoints)| json!({ "priority": priority, "lb_endpoints": endpoints }))
        .collect()
}
