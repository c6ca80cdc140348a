//! Network filters that are no terminals, on filter chains and on clusters: one file each, one line in the table.

mod metadata_exchange;
mod mongo_proxy;

use crate::base::ledger::At;
use crate::model::plugin::PluginConfig;
use std::any::Any;
use std::sync::Arc;

/// Compiles a configuration from its encoded message; mistakes are reported at the place.
pub type ConfigFn = fn(&At<'_>, &[u8]) -> Option<Arc<dyn Any + Send + Sync>>;

/// How a filter's configuration is made, and what it does with a connection.
#[derive(Clone, Copy)]
pub struct Factory {
    /// Full name of its configuration message.
    pub type_name: &'static str,
    /// May it stand in a cluster's `filters`, too?
    pub upstream: bool,
    /// Its configuration.
    pub config: ConfigFn,
    /// Told of a connection that is made.
    pub opened: fn(&PluginConfig),
}

/// Every filter of this release.
pub const FACTORIES: &[Factory] = &[metadata_exchange::FACTORY, mongo_proxy::FACTORY];

/// The filter with this configuration message.
pub fn factory(type_name: &str) -> Option<&'static Factory> {
    FACTORIES.iter().find(|factory| factory.type_name == type_name)
}

/// Tells the filters of a connection that is made.
pub fn opened(filters: &[PluginConfig]) {
    for filter in filters {
        if let Some(factory) = factory(filter.type_name) {
            (factory.opened)(filter);
        }
    }
}
