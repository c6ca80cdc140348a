//! One version of everything, published as a whole.

use super::cluster::Cluster;
use super::listener::Listener;
use super::route::RouteConfig;
use crate::base::Name;
use std::collections::HashMap;
use std::sync::Arc;

/// Map by name.
pub type ByName<T> = HashMap<Name, Arc<T>, foldhash::fast::RandomState>;

/// Everything in force. Immutable; workers hold their own `Arc`.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with every publication.
    pub version: u64,
    /// Listeners by name.
    pub listeners: ByName<Listener>,
    /// Named route configurations.
    pub routes: ByName<RouteConfig>,
    /// Clusters by name.
    pub clusters: ByName<Cluster>,
    /// Runtime keys that the engine obeys (`weir.retry_as_envoy`, ...), as text.
    pub runtime: HashMap<Box<str>, Box<str>, foldhash::fast::RandomState>,
}
