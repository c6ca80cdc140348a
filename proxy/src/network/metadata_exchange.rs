//! `istio.metadata_exchange`: two proxies of the mesh tell each other who they are on the first bytes of a connection,
//! when TLS agreed on the protocol that says so. Without TLS nothing is agreed: all bytes pass, and that is counted.

use super::Factory;
use crate::base::ledger::At;
use crate::model::plugin::{Node, PluginConfig};
use crate::observe::metrics::{Cells, Registry};
use crate::observe::stats::metadata_exchange as stat;
use prost::Message;
use std::any::Any;
use std::sync::Arc;
use weir_proto::envoy::tcp::metadataexchange::config::MetadataExchange;

/// The table's line.
pub const FACTORY: Factory = Factory {
    type_name: "envoy.tcp.metadataexchange.config.MetadataExchange",
    upstream: true,
    config: compile,
    opened,
    told: None,
};

/// What it is configured to do.
#[derive(Debug)]
struct Config;

fn compile(_: &Node, at: &At<'_>, bytes: &[u8]) -> Option<Arc<dyn Any + Send + Sync>> {
    let message = &MetadataExchange::decode(bytes)
        .map_err(|error| at.error(format!("cannot be decoded: {error}")))
        .ok()?;
    // Workloads are not looked up by address: only what a peer says of itself is known of it.
    crate::ledger!(at, message => MetadataExchange { protocol } ignore { enable_discovery, additional_labels });
    at.non_empty("protocol", protocol)?;
    Some(Arc::new(Config))
}

thread_local! {
    static STATS: Cells = Registry::global().cells(&stat::SCHEMA, "metadata_exchange.");
}

fn opened(_: &PluginConfig) {
    STATS.with(|stats| stats.inc(stat::ALPN_PROTOCOL_NOT_FOUND));
}
