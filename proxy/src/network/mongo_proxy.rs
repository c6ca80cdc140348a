//! `envoy.filters.network.mongo_proxy`: bytes pass. Its statistics of commands are not made (see `docs/fields.md`).

use super::Factory;
use crate::base::ledger::At;
use crate::model::plugin::Node;
use prost::Message;
use std::any::Any;
use std::sync::Arc;
use weir_proto::envoy::extensions::filters::network::mongo_proxy::v3::MongoProxy;

/// The table's line.
pub const FACTORY: Factory = Factory {
    type_name: "envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy",
    upstream: false,
    config: compile,
    opened: |_| {},
    told: None,
};

/// Nothing of it is obeyed.
#[derive(Debug)]
struct Config;

fn compile(_: &Node, at: &At<'_>, bytes: &[u8]) -> Option<Arc<dyn Any + Send + Sync>> {
    let message =
        &MongoProxy::decode(bytes).map_err(|error| at.error(format!("cannot be decoded: {error}"))).ok()?;
    crate::ledger!(at, message => MongoProxy { stat_prefix } refuse { access_log, delay }
        ignore { emit_dynamic_metadata, commands, max_bson_depth });
    at.non_empty("stat_prefix", stat_prefix)?;
    Some(Arc::new(Config))
}
