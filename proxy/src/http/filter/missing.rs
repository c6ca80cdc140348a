//! Stands for a filter whose configuration has not come (ECDS): every request is answered with 500.

use super::Factory;
use super::hooks::{HttpFilter, RequestContext, Step};
use crate::base::ledger::At;
use crate::failure::Failure;
use crate::model::plugin::{Compile, PluginConfig};
use std::any::Any;
use std::sync::Arc;

/// The table's line. No configuration names it.
pub const FACTORY: Factory = Factory {
    type_name: "weir.MissingFilter",
    name: "weir.missing_filter",
    terminal: false,
    config: refuse,
    route_config: None,
    run: Some(run),
};

fn refuse(_: &dyn Compile, at: &At<'_>, _: &[u8]) -> Option<Arc<dyn Any + Send + Sync>> {
    at.unsupported("a filter that only stands for one whose configuration is missing");
    None
}

/// The place of a filter of this name.
pub fn slot(name: &str, disabled: bool) -> PluginConfig {
    PluginConfig { name: name.into(), type_name: FACTORY.type_name, config: Arc::new(()), disabled }
}

struct Missing;

fn run(_: &PluginConfig) -> Option<Box<dyn HttpFilter>> {
    Some(Box::new(Missing))
}

impl HttpFilter for Missing {
    fn request(&mut self, _: &mut RequestContext<'_>) -> Step {
        Step::Reply(Box::new(Failure::FilterConfigNotFound.into()))
    }
}
