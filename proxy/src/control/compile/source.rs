//! Where resources come from: `DynamicResources`, `ConfigSource`, `ApiConfigSource`.

use super::wkt;
use crate::base::Name;
use crate::base::ledger::{At, Sink};
use crate::model::pushed::{File, Source};
use prost::Message;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use weir_proto::envoy::config::bootstrap::v3::bootstrap::DynamicResources;
use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::config::core::v3::api_config_source::ApiType;
use weir_proto::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use weir_proto::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use weir_xds::{Backoff, Dialect};

/// Envoy's default of `initial_fetch_timeout`.
const FETCH: Duration = Duration::from_secs(15);

/// A gRPC stream to a control plane.
#[derive(Debug, Clone)]
pub struct Grpc {
    /// The cluster of its servers.
    pub cluster: Name,
    /// `:authority`
    pub authority: Box<str>,
    /// Dialect.
    pub dialect: Dialect,
    /// Further request headers.
    pub metadata: Vec<(Box<str>, Box<str>)>,
    /// Only the first message names the node.
    pub node_once: bool,
    /// Time between attempts.
    pub backoff: Backoff,
}

/// Where the resources of one type come from.
#[derive(Debug, Clone)]
pub struct Fed {
    /// The source.
    pub from: Source,
    /// How long the first answer is waited for; none: for ever.
    pub fetch: Option<Duration>,
}

/// `DynamicResources`
#[derive(Debug, Clone, Default)]
pub struct Dynamic {
    /// The aggregated stream.
    pub ads: Option<Grpc>,
    /// Listeners.
    pub listeners: Option<Fed>,
    /// Clusters.
    pub clusters: Option<Fed>,
}

/// `DynamicResources`
pub fn dynamic(at: &At<'_>, message: &DynamicResources) -> Dynamic {
    crate::ledger!(at, message => DynamicResources { lds_config, cds_config, ads_config }
        refuse { lds_resources_locator, cds_resources_locator });
    let ads = ads_config.as_ref().and_then(|m| grpc(&at.field("ads_config"), m));
    let of = |field: &str, message: &Option<core::ConfigSource>| {
        let here = at.field(field);
        let message = message.as_ref()?;
        let fetch = judge(&here, message);
        let from = from(&here, message)?;
        if from == Source::Aggregated && ads_config.is_none() {
            here.error_with("names the aggregated stream, and there is none", "set ads_config");
        }
        Some(Fed { from, fetch })
    };
    Dynamic { listeners: of("lds_config", lds_config), clusters: of("cds_config", cds_config), ads }
}

/// The source that a message names.
// `path` is deprecated, and known to control planes all the same.
#[expect(deprecated)]
fn from(at: &At<'_>, message: &core::ConfigSource) -> Option<Source> {
    match message.config_source_specifier.as_ref()? {
        // The same source as that of the message itself.
        ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_) => Some(Source::Aggregated),
        ConfigSourceSpecifier::ApiConfigSource(own) => {
            grpc(&at.field("api_config_source"), own)?;
            Some(Source::Stream(own.encode_to_vec().into()))
        }
        ConfigSourceSpecifier::Path(path) => file(at, "path", path, None),
        ConfigSourceSpecifier::PathConfigSource(message) => {
            let at = &at.field("path_config_source");
            crate::ledger!(at, message => core::PathConfigSource { path, watched_directory } ignore { poll_interval });
            let watched = match watched_directory {
                None => None,
                Some(core::WatchedDirectory { path, watch_modify: _ }) => {
                    Some(at.field("watched_directory").non_empty("path", path)?.into())
                }
            };
            file(at, "path", path, watched)
        }
    }
}

fn file(at: &At<'_>, field: &str, path: &str, watched: Option<Box<str>>) -> Option<Source> {
    let path = at.non_empty(field, path)?;
    if !Path::new(path).exists() {
        let message = format!("paths must refer to an existing path in the system: '{path}' does not exist");
        at.field(field).error_with(message, "the file must be there when it is named");
        return None;
    }
    Some(Source::File(Arc::new(File { path: path.into(), watched })))
}

/// The source of what another resource names. Gives how long the first answer is waited for, too.
pub fn pushed(at: &At<'_>, message: Option<&core::ConfigSource>) -> (Source, Option<Duration>) {
    let Some(message) = message else {
        at.error("must be set");
        return (Source::Aggregated, Some(FETCH));
    };
    let fetch = judge(at, message);
    (from(at, message).unwrap_or_default(), fetch)
}

/// The stream of a source that was judged before.
pub fn stream(settings: &[u8]) -> Option<Grpc> {
    let message = core::ApiConfigSource::decode(settings).ok()?;
    grpc(&Sink::new().root(""), &message)
}

/// What all sources have.
fn judge(at: &At<'_>, message: &core::ConfigSource) -> Option<Duration> {
    crate::ledger!(at, message => core::ConfigSource { config_source_specifier, initial_fetch_timeout }
        refuse { authorities } ignore { resource_api_version });
    at.required("config_source_specifier", config_source_specifier.as_ref());
    wkt::timeout(at, "initial_fetch_timeout", initial_fetch_timeout, Some(FETCH))
}

/// An `ApiConfigSource` that is a gRPC stream.
fn grpc(at: &At<'_>, message: &core::ApiConfigSource) -> Option<Grpc> {
    crate::ledger!(at, message => core::ApiConfigSource { api_type, cluster_names, grpc_services,
        set_node_on_first_message_only }
        refuse { rate_limit_settings, config_validators }
        ignore { transport_api_version, refresh_delay, request_timeout });
    at.refuse("cluster_names", !cluster_names.is_empty());
    let dialect = match ApiType::try_from(*api_type) {
        Ok(ApiType::Grpc) => Dialect::World,
        Ok(ApiType::DeltaGrpc) => Dialect::Delta,
        _ => {
            at.field("api_type").lacks("is not supported by this release", "use GRPC or DELTA_GRPC");
            return None;
        }
    };
    let [service] = grpc_services.as_slice() else {
        at.bad("grpc_services", format!("must have one element, has {}", grpc_services.len()));
        return None;
    };
    let at = &at.item("grpc_services", 0);
    crate::ledger!(at, service => core::GrpcService { initial_metadata, retry_policy, target_specifier }
        ignore { timeout });
    let common = retry_policy.as_ref().map(|policy| backoff(&at.field("retry_policy"), policy));
    let at_target = at.field("envoy_grpc");
    let target = match at.required("target_specifier", target_specifier.as_ref())? {
        TargetSpecifier::EnvoyGrpc(target) => target,
        TargetSpecifier::GoogleGrpc(_) => {
            at.field("google_grpc").error_with("is not supported", "use envoy_grpc and a cluster");
            return None;
        }
    };
    crate::ledger!(at_target, target => EnvoyGrpc { cluster_name, authority, retry_policy }
        ignore { max_receive_message_length, skip_envoy_headers });
    let cluster = at_target.non_empty("cluster_name", cluster_name)?;
    let own = retry_policy.as_ref().map(|policy| backoff(&at_target.field("retry_policy"), policy));
    let authority = if authority.is_empty() { cluster } else { authority };
    Some(Grpc {
        cluster: cluster.into(),
        authority: authority.into(),
        dialect,
        metadata: metadata(at, initial_metadata),
        node_once: *set_node_on_first_message_only,
        backoff: own.or(common).unwrap_or_else(|| Backoff::new(Backoff::BASE, Backoff::MAX)),
    })
}

fn backoff(at: &At<'_>, message: &core::RetryPolicy) -> Backoff {
    crate::ledger!(at, message => core::RetryPolicy { retry_back_off }
        ignore { num_retries, retry_on, retry_priority, retry_host_predicate, host_selection_retry_max_attempts });
    let (mut base, mut max) = (Backoff::BASE, Backoff::MAX);
    if let Some(message) = retry_back_off {
        let at = &at.field("retry_back_off");
        crate::ledger!(at, message => core::BackoffStrategy { base_interval, max_interval });
        base = wkt::positive(at, "base_interval", base_interval).unwrap_or(base);
        max = wkt::positive(at, "max_interval", max_interval).unwrap_or(max);
        if max < base {
            at.bad("max_interval", "must be greater than or equal to the base_interval");
        }
    }
    Backoff::new(base, max)
}

fn metadata(at: &At<'_>, list: &[core::HeaderValue]) -> Vec<(Box<str>, Box<str>)> {
    let mut all = Vec::new();
    for (i, message) in list.iter().enumerate() {
        let here = at.item("initial_metadata", i);
        crate::ledger!(here, message => core::HeaderValue { key, value } refuse { raw_value });
        if let Some(key) = here.non_empty("key", key) {
            all.push((key.into(), value.as_str().into()));
        }
    }
    all
}
