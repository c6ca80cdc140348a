//! Network filters that are no terminals, on filter chains and on clusters: one file each, one line in the table.

pub mod istio_stats;
mod metadata_exchange;
mod mongo_proxy;

use crate::base::ledger::At;
use crate::model::istio_stats::Config;
use crate::model::plugin::{Node, PluginConfig};
use crate::observe::record::Record;
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

/// Compiles a configuration from its encoded message; mistakes are reported at the place.
pub type ConfigFn = fn(&Node, &At<'_>, &[u8]) -> Option<Arc<dyn Any + Send + Sync>>;

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
    /// Told of the life of a raw connection, when it wants to know.
    pub told: Option<fn(&PluginConfig, Event, &Record)>,
}

/// What happens to a raw connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The upstream is connected.
    Opened,
    /// This many bytes came from the client and went to it since the last time.
    Moved {
        /// From the client.
        received: u64,
        /// To the client.
        sent: u64,
    },
    /// It is over.
    Closed,
}

/// Every filter of this release.
pub const FACTORIES: &[Factory] = &[istio_stats::FACTORY, metadata_exchange::FACTORY, mongo_proxy::FACTORY];

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

/// The filters that want to know of a raw connection's life, and what they were told.
pub struct Told<'c> {
    filters: &'c [PluginConfig],
    /// Time between two reports; none when nobody wants any.
    pub interval: Option<Duration>,
    bytes: (u64, u64),
}

impl<'c> Told<'c> {
    /// For a connection through these filters.
    pub fn new(filters: &'c [PluginConfig]) -> Self {
        let wants = |f: &PluginConfig| factory(f.type_name).is_some_and(|factory| factory.told.is_some());
        let of = |f: &PluginConfig| f.config.downcast_ref::<Config>().map(|config| config.interval);
        let interval = filters.iter().filter(|f| wants(f)).filter_map(of).min();
        Told { filters, interval, bytes: (0, 0) }
    }

    /// Tells them.
    pub fn tell(&self, event: Event, record: &Record) {
        for filter in self.filters {
            if let Some(told) = factory(filter.type_name).and_then(|factory| factory.told) {
                told(filter, event, record);
            }
        }
    }

    /// Tells them how many bytes have moved, in all.
    pub fn moved(&mut self, received: u64, sent: u64, record: &Record) {
        let (before_received, before_sent) = std::mem::replace(&mut self.bytes, (received, sent));
        let received = received.saturating_sub(before_received);
        self.tell(Event::Moved { received, sent: sent.saturating_sub(before_sent) }, record);
    }
}
