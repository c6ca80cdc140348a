//! `Bootstrap`: everything that is no resource of its own.

use super::context::{Node, Runtime};
use super::stats::{self, Tagging};
use super::{address, discovery, metadata};
use crate::base::addr::Address;
use crate::base::ledger::At;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use weir_proto::any;
use weir_proto::envoy::config::bootstrap::v3 as proto;
use weir_proto::envoy::config::bootstrap::v3::bootstrap::StaticResources;
use weir_proto::envoy::config::bootstrap::v3::runtime_layer::LayerSpecifier;
use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::config::overload::v3 as overload;
use weir_proto::envoy::config::overload::v3::resource_monitor::ConfigType;
use weir_proto::envoy::extensions::resource_monitors::downstream_connections::v3::DownstreamConnectionsConfig;

/// What the bootstrap says of the process.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// This proxy; flags may override it.
    pub node: Node,
    /// Node metadata as JSON.
    pub metadata: Value,
    /// Region, zone, sub zone.
    pub locality: [Box<str>; 3],
    /// Where the admin API listens.
    pub admin: Option<Address>,
    /// Runtime layers, flattened; later layers win.
    pub runtime: Runtime,
    /// DNS resolvers of clusters without their own; the system's when empty.
    pub resolvers: Box<[SocketAddr]>,
    /// Source address of clusters without one of their own.
    pub source: Option<IpAddr>,
    /// Global limit of downstream connections.
    pub max_connections: Option<u64>,
    /// Tags of statistics.
    pub tagging: Tagging,
}

/// Runtime key of the global connection limit.
const MAX_CONNECTIONS_KEY: &str = "overload.global_downstream_max_connections";
/// Most runtime keys.
const MAX_RUNTIME_KEYS: usize = 10_000;

/// The settings. Static resources are compiled apart; here only what surrounds them is judged.
pub fn settings(at: &At<'_>, message: &proto::Bootstrap) -> Settings {
    crate::ledger!(at, message => proto::Bootstrap { node, static_resources, cluster_manager, layered_runtime, admin,
        overload_manager, dns_resolution_config, typed_dns_resolver_config, stats_config }
        refuse { dynamic_resources, hds_config, stats_sinks, tracing, header_prefix, use_tcp_for_dns_lookups,
            bootstrap_extensions, fatal_actions, config_sources, default_config_source, default_socket_interface,
            certificate_provider_instances, xds_delegate_extension, xds_config_tracker_extension,
            listener_manager }
        ignore { node_context_params, flags_path, deferred_stat_options, stats_flush_interval, watchdog,
            watchdogs, enable_dispatcher_stats, stats_server_version_override, inline_headers,
            perf_tracing_file_path, default_regex_engine, application_log_config,
            grpc_async_client_manager_config, memory_allocator_manager, enable_worker_cpu_affinity, stats_flush,
            stats_eviction });
    let mut settings = Settings::default();
    if let Some(message) = static_resources {
        let here = at.field("static_resources");
        let StaticResources { listeners: _, clusters: _, secrets } = message;
        here.refuse("secrets", !secrets.is_empty());
    }
    if let Some(message) = node {
        identity(message, &mut settings);
    }
    if let Some(message) = layered_runtime {
        settings.runtime = runtime(&at.field("layered_runtime"), message);
    }
    if let Some(message) = stats_config {
        settings.tagging = stats::tagging(&at.field("stats_config"), message);
    }
    settings.admin = admin.as_ref().and_then(|message| admin_address(&at.field("admin"), message));
    if let Some(message) = cluster_manager {
        settings.source = cluster_manager_source(&at.field("cluster_manager"), message);
    }
    let by_monitor =
        overload_manager.as_ref().and_then(|m| connection_limit(&at.field("overload_manager"), m));
    let by_runtime = settings.runtime.get(MAX_CONNECTIONS_KEY).and_then(|text| text.parse().ok());
    settings.max_connections = by_monitor.or(by_runtime);
    settings.resolvers = match (typed_dns_resolver_config, dns_resolution_config) {
        (Some(message), _) => discovery::typed_resolver(&at.field("typed_dns_resolver_config"), message),
        (None, Some(message)) => {
            let here = at.field("dns_resolution_config");
            crate::ledger!(here, message => core::DnsResolutionConfig { resolvers } refuse { dns_resolver_options });
            address::resolvers(&here, "resolvers", resolvers)
        }
        (None, None) => Box::default(),
    };
    settings
}

fn identity(message: &core::Node, settings: &mut Settings) {
    #[allow(deprecated)]
    let core::Node {
        id,
        cluster,
        metadata,
        locality,
        dynamic_parameters: _,
        user_agent_name: _,
        extensions: _,
        client_features: _,
        listening_addresses: _,
        user_agent_version_type: _,
    } = message;
    settings.node = Node { id: id.as_str().into(), cluster: cluster.as_str().into() };
    settings.metadata = metadata.as_ref().map(metadata::structure).unwrap_or_default();
    if let Some(core::Locality { region, zone, sub_zone }) = locality {
        settings.locality = [region, zone, sub_zone].map(|part| part.as_str().into());
    }
}

fn admin_address(at: &At<'_>, message: &proto::Admin) -> Option<Address> {
    crate::ledger!(at, message => proto::Admin { address }
        refuse { socket_options, allow_paths }
        ignore { access_log, access_log_path, profile_path, ignore_global_conn_limit });
    let message = address.as_ref()?;
    address::address(&at.field("address"), message)
}

fn cluster_manager_source(at: &At<'_>, message: &proto::ClusterManager) -> Option<IpAddr> {
    crate::ledger!(at, message => proto::ClusterManager { upstream_bind_config, outlier_detection }
        refuse { local_cluster_name, load_stats_config } ignore { enable_deferred_cluster_creation });
    if outlier_detection.is_some() {
        at.field("outlier_detection").unsupported("an outlier event log");
    }
    upstream_bind_config
        .as_ref()
        .and_then(|message| address::bind(&at.field("upstream_bind_config"), message))
}

/// Static layers are obeyed, an admin layer is empty, others are refused.
fn runtime(at: &At<'_>, message: &proto::LayeredRuntime) -> Runtime {
    crate::ledger!(at, message => proto::LayeredRuntime { layers });
    let mut all = Runtime::default();
    for (i, layer) in layers.iter().enumerate() {
        let here = at.item("layers", i);
        crate::ledger!(here, layer => proto::RuntimeLayer { name, layer_specifier });
        here.non_empty("name", name);
        if layers.iter().take(i).any(|other| other.name == *name) {
            here.bad("name", format!("Duplicate layer name: {name}"));
        }
        match layer_specifier {
            Some(LayerSpecifier::StaticLayer(message)) => {
                flatten("", &metadata::structure(message), &mut all);
            }
            Some(LayerSpecifier::AdminLayer(_)) => {}
            Some(LayerSpecifier::DiskLayer(_)) => here.field("disk_layer").unsupported("a disk layer"),
            Some(LayerSpecifier::RtdsLayer(_)) => here.field("rtds_layer").unsupported("RTDS"),
            None => here.bad("layer_specifier", "must be set"),
        }
    }
    if all.len() > MAX_RUNTIME_KEYS {
        at.error(format!("has {} keys, the limit is {MAX_RUNTIME_KEYS}", all.len()));
    }
    all
}

/// Nested keys are joined by dots.
fn flatten(prefix: &str, value: &Value, all: &mut Runtime) {
    let text = match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&key, value, all);
            }
            return;
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    all.insert(prefix.into(), text.into());
}

/// Of the overload manager only the limit of downstream connections is in this release.
fn connection_limit(at: &At<'_>, message: &overload::OverloadManager) -> Option<u64> {
    crate::ledger!(at, message => overload::OverloadManager { resource_monitors }
        refuse { actions, loadshed_points, buffer_factory_config } ignore { refresh_interval });
    let mut limit = None;
    for (i, monitor) in resource_monitors.iter().enumerate() {
        let here = at.item("resource_monitors", i);
        crate::ledger!(here, monitor => overload::ResourceMonitor { name, config_type });
        here.non_empty("name", name);
        let Some(ConfigType::TypedConfig(config)) = here.required("typed_config", config_type.as_ref())
        else {
            continue;
        };
        let here = here.field("typed_config");
        if !super::wkt::is::<DownstreamConnectionsConfig>(config) {
            here.unsupported(&format!("the resource monitor '{}'", any::type_name(config)));
            continue;
        }
        let Some(message) = super::wkt::unpack::<DownstreamConnectionsConfig>(&here, config) else {
            continue;
        };
        let DownstreamConnectionsConfig { max_active_downstream_connections: most } = message;
        match u64::try_from(most) {
            Ok(most) if most > 0 => limit = Some(most),
            _ => here.bad("max_active_downstream_connections", "must be greater than 0"),
        }
    }
    limit
}
