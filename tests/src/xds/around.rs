//! What other resources are made with, pushed on its own: configurations of filters (ECDS), runtime layers (RTDS),
//! secrets (SDS).

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use weir_proto::envoy::config::cluster::v3::Cluster;
use weir_proto::envoy::config::core::v3::TypedExtensionConfig;
use weir_proto::envoy::config::listener::v3::Listener;
use weir_proto::envoy::config::route::v3::RouteConfiguration;
use weir_proto::envoy::extensions::transport_sockets::tls::v3::Secret;
use weir_proto::envoy::service::runtime::v3::Runtime;
use weir_proto::google::protobuf::Any;
use weir_xds::{CLUSTER, EXTENSION, LISTENER, ROUTE, RUNTIME, SECRET};

use super::{Bench, Case, InMode, Mode, WITHIN, api, bootstrap, manager};
use crate::plane::{Held, Plane, any, parsed};
use crate::ports::free;

const FAULT: &str = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
const INSPECTOR: &str = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
const MONGO: &str = "type.googleapis.com/envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy";

/// Where a resource comes from: the aggregated stream, or one of its type's own.
fn source(mode: Mode) -> Value {
    match mode.apart {
        false => json!({"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}),
        true => {
            json!({"api_config_source": api(mode), "resource_api_version": "V3", "initial_fetch_timeout": "0s"})
        }
    }
}

/// The configuration of a filter, as a resource.
fn extension(name: &str, config: &Value) -> anyhow::Result<Held> {
    let message: TypedExtensionConfig = parsed(&json!({"name": name, "typed_config": config}))?;
    Ok((name.to_owned(), any(&message)))
}

/// A fault that answers every request with a status.
fn abort(status: u32) -> Value {
    json!({"@type": FAULT, "abort": {"http_status": status, "percentage": {"numerator": 100}}})
}

/// Routes that answer themselves, the first one for a share of the requests that a runtime key says.
fn answers(name: &str) -> anyhow::Result<Held> {
    let share = json!({"runtime_key": "share.of.it", "default_value": {"numerator": 0}});
    let message: RouteConfiguration = parsed(&json!({
        "name": name,
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/", "runtime_fraction": share}, "direct_response": {"status": 201}},
            {"match": {"prefix": "/"}, "direct_response": {"status": 200}},
        ]}],
    }))?;
    Ok((name.to_owned(), any(&message)))
}

/// A listener with an HTTP filter, a network filter and a listener filter by discovery.
fn listener(mode: Mode, port: u16, default: Option<Value>) -> anyhow::Result<Held> {
    let discovery = |kind: &str| json!({"config_source": source(mode), "type_urls": [kind]});
    let mut fault = discovery(FAULT);
    if let Some(config) = default {
        fault["default_config"] = config;
    }
    let mut http = manager("edge", "routes", &source(mode));
    let filters = http["http_filters"].as_array_mut().context("a list")?;
    filters.insert(0, json!({"name": "fault", "config_discovery": fault}));
    let message: Listener = parsed(&json!({
        "name": "edge",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "listener_filters": [{"name": "inspector", "config_discovery": discovery(INSPECTOR)}],
        "filter_chains": [{"filters": [
            {"name": "mongo", "config_discovery": discovery(MONGO)},
            {"name": "http", "typed_config": http},
        ]}],
    }))?;
    Ok(("edge".to_owned(), any(&message)))
}

/// A listener waits for the configurations of its filters, and changes with them; bad ones change nothing.
fn filters(mode: Mode) -> anyhow::Result<()> {
    let bench = Bench::start(mode, Plane::start()?)?;
    let (edge, routes) = (listener(mode, bench.listen, None)?, answers("routes")?);
    bench.plane.hold(&EXTENSION, true);
    bench.plane.change(|batch| {
        batch.put(&LISTENER, vec![edge]);
        batch.put(&ROUTE, vec![routes]);
    });
    bench.shows("listener_manager.total_listeners_warming", |n| n == 1)?;
    bench.plane.wait("the filters' names", |told| {
        told.names.get(EXTENSION.name).is_some_and(|names| names.len() == 3)
    })?;
    ensure!(bench.get("/").is_err(), "the listener serves without its filters");
    let [fault, others] = [
        vec![extension("fault", &abort(418))?],
        vec![
            extension("inspector", &json!({"@type": INSPECTOR}))?,
            extension("mongo", &json!({"@type": MONGO, "stat_prefix": "m"}))?,
        ],
    ];
    bench.plane.change(|batch| {
        batch.put(&EXTENSION, fault);
        batch.put(&EXTENSION, others);
    });
    bench.plane.hold(&EXTENSION, false);
    // Raw bytes and HTTP go the same way: the first filter passes both on.
    bench.answers("/", 418, b"fault filter abort")?;
    bench.shows("listener_manager.total_listeners_warming", |n| n == 0)?;
    let discovery = "extension_config_discovery.http_filter.fault";
    bench.shows(&format!("{discovery}.config_reload"), |n| n == 1)?;
    bench.plane.put(&EXTENSION, vec![extension("fault", &abort(429))?]);
    bench.answers("/", 429, b"fault filter abort")?;
    let shown = bench.asks("/config_dump?resource=ecds_filters")?;
    let shown = shown["configs"].as_array().context("configs")?;
    ensure!(shown.len() == 3 && shown.iter().any(|one| one["ecds_filter"]["name"] == "fault"), "{shown:?}");
    // Refused, and the version before serves on: by the filter, and for being another filter.
    let mut regex = abort(418);
    regex["headers"] = json!([{"name": "a", "string_match": {"safe_regex": {"regex": "("}}}]);
    for (bad, count) in [(regex, 1), (json!({"@type": INSPECTOR}), 2)] {
        bench.plane.put(&EXTENSION, vec![extension("fault", &bad)?]);
        let told = bench.plane.wait("a NACK", |told| told.nacks.len() >= count)?;
        let (kind, text) = told.nacks.last().context("a NACK")?;
        ensure!(kind == EXTENSION.name && text.contains("fault"), "{kind}: {text}");
        bench.shows(&format!("{discovery}.config_fail"), |n| n >= 1)?;
        bench.answers("/", 429, b"fault filter abort")?;
    }
    gone(mode, &bench)?;
    bench.done()
}

/// A configuration that is taken away leaves the default, or nothing.
fn gone(mode: Mode, bench: &Bench) -> anyhow::Result<()> {
    // State of the world has no words for it.
    if mode.api == "GRPC" {
        bench.plane.put(&EXTENSION, vec![extension("fault", &abort(430))?]);
        return bench.answers("/", 430, b"fault filter abort");
    }
    bench.plane.remove(&EXTENSION, &["fault"]);
    bench.answers("/", 500, b"")?;
    bench.plane.put(&LISTENER, vec![listener(mode, bench.listen, Some(abort(431)))?]);
    bench.answers("/", 431, b"fault filter abort")?;
    bench.plane.put(&EXTENSION, vec![extension("fault", &abort(432))?]);
    bench.answers("/", 432, b"fault filter abort")?;
    // Without the configurations of the others a connection is closed.
    bench.plane.remove(&EXTENSION, &["mongo"]);
    let missing = format!("listener.127.0.0.1_{}.network_extension_config_missing", bench.listen);
    closed(bench, &missing)?;
    bench.plane.remove(&EXTENSION, &["inspector"]);
    closed(bench, &format!("listener.127.0.0.1_{}.extension_config_missing", bench.listen))
}

/// Connections are closed, and counted there.
fn closed(bench: &Bench, stat: &str) -> anyhow::Result<()> {
    bench.shows(stat, |n| {
        // Asked again and again: the configuration is taken away meanwhile.
        let answered = bench.get("/").is_ok();
        n > 0 && !answered
    })
}

/// A layer that is pushed changes what is in force.
fn runtime(mode: Mode) -> anyhow::Result<()> {
    let layer = |values: Value| -> anyhow::Result<Vec<(String, Any)>> {
        let message: Runtime = parsed(&json!({"name": "layer", "layer": values}))?;
        Ok(vec![("layer".to_owned(), any(&message))])
    };
    let plane = Plane::start()?;
    plane.hold(&RUNTIME, true);
    plane.tell_empty();
    let admin = free()?;
    let mut settings = bootstrap(mode, plane.port, admin);
    let layers = settings.pointer_mut("/layered_runtime/layers").and_then(Value::as_array_mut);
    let pushed = json!({"name": "pushed", "rtds_layer": {"name": "layer", "rtds_config": source(mode)}});
    layers.context("layers")?.push(pushed);
    let bench = Bench::start_on(settings, plane, admin, &[])?;
    let (edge, routes) = (crate::plane::listener("edge", bench.listen, "routes")?, answers("routes")?);
    bench.plane.change(|batch| {
        batch.put(&LISTENER, vec![edge]);
        batch.put(&ROUTE, vec![routes]);
    });
    bench.plane.wait("the layer's name", |told| told.names.contains_key(RUNTIME.name))?;
    ensure!(bench.ready()?.0 == 503, "ready without a runtime layer");
    bench.plane.put(&RUNTIME, layer(json!({"weir": {"cluster_idle_seconds": 7}, "other": true}))?);
    bench.plane.hold(&RUNTIME, false);
    bench.answers("/", 200, b"")?;
    bench.shows("listener_manager.workers_started", |n| n == 1)?;
    bench.plane.put(&RUNTIME, layer(json!({"share": {"of.it": 100}}))?);
    bench.answers("/", 201, b"")?;
    let shown = bench.asks("/runtime")?;
    ensure!(shown["layers"] == json!(["static", "pushed"]), "{shown}");
    let value = json!({"final_value": "100", "layer_values": ["", "100"]});
    ensure!(shown["entries"]["share.of.it"] == value && shown["entries"]["other"].is_null(), "{shown}");
    bench.shows("runtime.num_layers", |n| n == 2)?;
    bench.shows("runtime.update_success", |n| n >= 2)?;
    bench.plane.put(&RUNTIME, layer(json!({}))?);
    bench.answers("/", 200, b"")?;
    bench.done()
}

/// A secret's text, whose key must never be seen again.
const KEY: &str = "bm90IGEga2V5IG9mIGFueWJvZHkgYXQgYWxs";

fn pem(label: &str, body: &str) -> Value {
    json!({"inline_string": format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")})
}

/// Secrets are asked for by those who name them, judged, shown without their keys, and let go.
fn secrets(mode: Mode) -> anyhow::Result<()> {
    let secret = |json: &Value| -> anyhow::Result<Held> {
        Ok((json["name"].as_str().context("a name")?.to_owned(), any(&parsed::<Secret>(json)?)))
    };
    let own = |chain: &str| {
        let certificate =
            json!({"certificate_chain": pem(chain, "Q0hBSU4="), "private_key": pem("PRIVATE KEY", KEY)});
        json!({"name": "default", "tls_certificate": certificate})
    };
    let context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": source(mode)}],
            "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": source(mode)},
        },
    });
    let cluster: Cluster = parsed(&json!({
        "name": "secure", "load_assignment": {"cluster_name": "secure"},
        "transport_socket": {"name": "tls", "typed_config": context},
    }))?;
    let bench = Bench::start(mode, Plane::start()?)?;
    bench.plane.put(&CLUSTER, vec![("secure".to_owned(), any(&cluster))]);
    bench.plane.wait("the secrets' names", |told| {
        told.names.get(SECRET.name).is_some_and(|names| names.iter().eq(["ROOTCA", "default"]))
    })?;
    let named = |part: &str| -> anyhow::Result<usize> {
        let shown = bench.asks(&format!("/config_dump?resource={part}"))?;
        Ok(shown["configs"].as_array().context("configs")?.len())
    };
    ensure!(named("dynamic_warming_secrets")? == 2 && named("dynamic_active_secrets")? == 0, "waited for");
    let authorities =
        json!({"name": "ROOTCA", "validation_context": {"trusted_ca": pem("CERTIFICATE", "Uk9PVA==")}});
    bench.plane.put(&SECRET, vec![secret(&own("CERTIFICATE"))?, secret(&authorities)?]);
    for name in ["default", "ROOTCA"] {
        bench.shows(&format!("sds.{name}.update_success"), |n| n >= 1)?;
    }
    ensure!(named("dynamic_warming_secrets")? == 0 && named("dynamic_active_secrets")? == 2, "in force");
    ensure!(bench.dump()?.to_string().contains("[redacted]"), "the key is not shown as such");
    bench.plane.put(&SECRET, vec![secret(&own("NOTHING"))?]);
    let told = bench.plane.wait("a NACK", |told| !told.nacks.is_empty())?;
    let (kind, text) = told.nacks.first().context("a NACK")?;
    let place = "default: tls_certificate.certificate_chain: Failed to load certificates";
    ensure!(kind == SECRET.name && text.contains(place), "{kind}: {text}");
    bench.shows("sds.default.update_rejected", |n| n >= 1)?;
    let all = format!("{text}{}{}", bench.dump()?, bench.proxy.logged());
    ensure!(!all.contains(KEY), "the key is shown");
    bench.plane.put(&SECRET, vec![secret(&own("CERTIFICATE"))?]);
    bench.plane.remove(&CLUSTER, &["secure"]);
    let end = Instant::now() + WITHIN;
    while named("dynamic_active_secrets")? > 0 {
        ensure!(Instant::now() < end, "kept without need");
        std::thread::sleep(Duration::from_millis(20));
    }
    bench.done()
}

/// The cases.
pub const CASES: [Case<InMode>; 3] = [("filters", filters), ("runtime", runtime), ("secrets", secrets)];
