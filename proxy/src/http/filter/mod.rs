//! HTTP filters: one file each, one line in the table.
//!
//! | beside the filters | what it does |
//! | --- | --- |
//! | `hooks` | what a running filter sees and says |
//! | `chain` | the filters of one exchange |

pub mod chain;
pub mod compressor;
pub mod cors;
pub mod fault;
pub mod grpc_stats;
pub mod grpc_web;
pub mod hooks;
pub mod istio_alpn;
pub mod istio_stats;
pub mod local_ratelimit;
pub mod missing;
pub mod peer_metadata;
pub mod router;

use crate::base::ledger::At;
use crate::model::plugin::{Compile, RouteFilterConfig};
use std::any::Any;
use std::sync::Arc;

/// Compiles a configuration from its encoded message; mistakes are reported at the place.
pub type ConfigFn = fn(&dyn Compile, &At<'_>, &[u8]) -> Option<Arc<dyn Any + Send + Sync>>;

/// Compiles a per-route configuration.
pub type RouteConfigFn = fn(&dyn Compile, &At<'_>, &[u8]) -> Option<RouteFilterConfig>;

/// How a filter's configuration is made.
#[derive(Clone, Copy)]
pub struct Factory {
    /// Full name of its configuration message.
    pub type_name: &'static str,
    /// Its name in Envoy, for a slot without typed configuration.
    pub name: &'static str,
    /// Is it the end of a chain?
    pub terminal: bool,
    /// Its configuration.
    pub config: ConfigFn,
    /// Its configuration per route, with the full name of that message.
    pub route_config: Option<(&'static str, RouteConfigFn)>,
    /// Makes the part that runs; none for the terminal filter, which the exchange itself is.
    pub run: Option<hooks::RunFn>,
}

/// Every filter of this release.
pub const FACTORIES: &[Factory] = &[
    compressor::FACTORY,
    cors::FACTORY,
    fault::FACTORY,
    grpc_stats::FACTORY,
    grpc_web::FACTORY,
    istio_alpn::FACTORY,
    istio_stats::FACTORY,
    local_ratelimit::FACTORY,
    missing::FACTORY,
    peer_metadata::FACTORY,
    router::FACTORY,
];

/// The table.
pub fn factories() -> &'static [Factory] {
    FACTORIES
}

/// Decodes a message of a filter.
pub fn decode<M: prost::Message + Default>(at: &At<'_>, bytes: &[u8]) -> Option<M> {
    match M::decode(bytes) {
        Ok(message) => Some(message),
        Err(error) => {
            at.error(format!("cannot be decoded: {error}"));
            None
        }
    }
}

/// The running filter of a slot.
pub fn run(slot: &crate::model::plugin::PluginConfig) -> Option<Box<dyn hooks::HttpFilter>> {
    let factory = FACTORIES.iter().find(|factory| factory.type_name == slot.type_name)?;
    factory.run.and_then(|run| run(slot))
}
