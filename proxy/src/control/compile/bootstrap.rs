//! `Bootstrap`: everything that is no resource of its own.

use super::context::{Node, Runtime};
use super::source::{self, Dynamic};
use super::stats::{self, Keep, Tagging};
use super::{Cx, address, discovery, extensions, metadata, overload, runtime};
use crate::base::Name;
use crate::base::addr::Address;
use crate::base::ledger::At;
use crate::live;
use crate::model::cluster::LocalAddresses;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use weir_proto::envoy::config::bootstrap::v3 as proto;
use weir_proto::envoy::config::bootstrap::v3::bootstrap::StaticResources;
use weir_proto::envoy::config::core::v3 as core;

/// What the bootstrap says of the process.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// This proxy; flags may override it.
    pub node: Node,
    /// Region, zone, sub zone.
    pub locality: [Box<str>; 3],
    /// Where the admin API listens.
    pub admin: Option<Address>,
    /// Runtime layers.
    pub runtime: Arc<Runtime>,
    /// DNS resolvers of clusters without their own; the system's when empty.
    pub resolvers: Box<[SocketAddr]>,
    /// Source address of clusters without one of their own.
    pub source: Option<LocalAddresses>,
    /// Global limit of downstream connections by the overload manager's monitor.
    pub max_connections: Option<u64>,
    /// Tags of statistics.
    pub tagging: Tagging,
    /// Which statistics are shown.
    pub keep: Keep,
    /// Paths of what is accepted and not obeyed yet.
    pub not_obeyed: Vec<String>,
    /// The node as it is told to control planes.
    pub identity: core::Node,
    /// Where resources come from.
    pub dynamic: Dynamic,
    /// Names of the clusters that it has itself; others were pushed.
    pub clusters: HashSet<Box<str>>,
}

/// Runtime key of the global connection limit.
const MAX_CONNECTIONS_KEY: &str = "overload.global_downstream_max_connections";

impl Settings {
    /// Global limit of downstream connections: the monitor's, else the runtime's now; `u64::MAX` for none.
    pub fn connection_limit(&self) -> u64 {
        let by_runtime = || self.runtime.get(MAX_CONNECTIONS_KEY).and_then(|text| text.parse().ok());
        self.max_connections.or_else(by_runtime).unwrap_or(u64::MAX)
    }
}

/// The settings. Static resources are compiled apart; here only what surrounds them is judged.
pub fn settings(at: &At<'_>, message: &proto::Bootstrap) -> Settings {
    crate::ledger!(at, message => proto::Bootstrap { node, static_resources, cluster_manager, layered_runtime, admin,
        dynamic_resources, overload_manager, dns_resolution_config, typed_dns_resolver_config, stats_config }
        elsewhere { bootstrap_extensions, stats_sinks }
        refuse { hds_config, header_prefix, use_tcp_for_dns_lookups, fatal_actions, config_sources, default_config_source, default_socket_interface,
            certificate_provider_instances, xds_delegate_extension, xds_config_tracker_extension,
            listener_manager }
        note { tracing, application_log_config, flags_path }
        ignore { node_context_params, deferred_stat_options, stats_flush_interval, watchdog,
            watchdogs, enable_dispatcher_stats, stats_server_version_override, inline_headers,
            perf_tracing_file_path, default_regex_engine, grpc_async_client_manager_config, memory_allocator_manager, enable_worker_cpu_affinity, stats_flush,
            stats_eviction });
    let mut settings = Settings::default();
    if let Some(message) = static_resources {
        let StaticResources { listeners: _, clusters, secrets: _ } = message;
        settings.clusters = clusters.iter().map(|cluster| cluster.name.as_str().into()).collect();
    }
    if let Some(message) = node {
        settings.identity = message.clone();
        identity(message, &mut settings);
    }
    if let Some(message) = dynamic_resources {
        settings.dynamic = source::dynamic(&at.field("dynamic_resources"), message);
    }
    extensions::extensions(at, &message.bootstrap_extensions);
    extensions::sinks(at, &message.stats_sinks);
    if let Some(message) = layered_runtime {
        settings.runtime =
            Arc::new(runtime::runtime(&at.field("layered_runtime"), message, &settings.node.cluster));
    }
    if let Some(message) = stats_config {
        let live = |name: &Name| live::clusters().get_or_make(name);
        let cx = Cx::new(&settings.node, &settings.runtime, &|_| false, &live);
        let (tagging, keep) = stats::stats(&cx, &at.field("stats_config"), message);
        drop(cx);
        (settings.tagging, settings.keep) = (tagging, keep);
    }
    settings.admin = admin.as_ref().and_then(|message| admin_address(&at.field("admin"), message));
    if let Some(message) = cluster_manager {
        settings.source = cluster_manager_source(&at.field("cluster_manager"), message);
        let local = message.local_cluster_name.as_str();
        let clusters = static_resources.as_ref().map(|r| r.clusters.as_slice()).unwrap_or_default();
        if !local.is_empty() && !clusters.iter().any(|cluster| cluster.name == local) {
            let here = at.field("cluster_manager");
            here.bad("local_cluster_name", format!("local cluster '{local}' must be defined"));
        }
    }
    settings.max_connections =
        overload_manager.as_ref().and_then(|m| overload::overload(&at.field("overload_manager"), m));
    settings.resolvers = match (typed_dns_resolver_config, dns_resolution_config) {
        (Some(message), _) => discovery::typed_resolver(&at.field("typed_dns_resolver_config"), message),
        (None, Some(message)) => {
            let here = at.field("dns_resolution_config");
            crate::ledger!(here, message => core::DnsResolutionConfig { resolvers } refuse { dns_resolver_options });
            address::resolvers(&here, "resolvers", resolvers)
        }
        (None, None) => Box::default(),
    };
    settings.not_obeyed = at.notes();
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
    settings.node = Node {
        id: id.as_str().into(),
        cluster: cluster.as_str().into(),
        metadata: metadata.as_ref().map(metadata::structure).unwrap_or_default(),
    };
    if let Some(core::Locality { region, zone, sub_zone }) = locality {
        settings.locality = [region, zone, sub_zone].map(|part| part.as_str().into());
    }
}

fn admin_address(at: &At<'_>, message: &proto::Admin) -> Option<Address> {
    crate::ledger!(at, message => proto::Admin { address }
        refuse { allow_paths } note { socket_options, access_log, access_log_path }
        ignore { profile_path, ignore_global_conn_limit });
    let message = address.as_ref()?;
    address::address(&at.field("address"), message)
}

fn cluster_manager_source(at: &At<'_>, message: &proto::ClusterManager) -> Option<LocalAddresses> {
    crate::ledger!(at, message => proto::ClusterManager { upstream_bind_config }
        note { outlier_detection, local_cluster_name, load_stats_config }
        ignore { enable_deferred_cluster_creation });
    upstream_bind_config
        .as_ref()
        .and_then(|message| address::bind(&at.field("upstream_bind_config"), message))
}
