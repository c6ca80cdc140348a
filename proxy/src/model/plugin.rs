//! The ports of the plug-ins: what a listener filter, a network terminal and an HTTP filter look like to the rest.

use super::matcher::{Fraction, HeaderMatch, StringMatch};
use super::mutation::HeaderAdd;
use crate::base::Name;
use crate::base::ledger::At;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Who this proxy is.
#[derive(Clone, Default, Debug, PartialEq)]
pub struct Node {
    /// Id (`--service-node` or the bootstrap).
    pub id: Box<str>,
    /// Cluster (`--service-cluster` or the bootstrap).
    pub cluster: Box<str>,
    /// The bootstrap's metadata as JSON.
    pub metadata: serde_json::Value,
}

/// A plug-in's own compiled configuration for one route level.
pub type RouteFilterConfig = Arc<dyn Any + Send + Sync>;

/// What one level (weighted cluster, route, virtual host, route configuration) says of one filter slot.
#[derive(Clone)]
pub struct FilterOverride {
    /// The slot's name in the filter chain.
    pub filter: Name,
    /// Switched off here.
    pub disabled: bool,
    /// Its configuration here.
    pub config: Option<RouteFilterConfig>,
}

impl fmt::Debug for FilterOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilterOverride({}, disabled: {})", self.filter, self.disabled)
    }
}

/// All overrides of one level.
#[derive(Clone, Default, Debug)]
pub struct FilterOverrides(pub Box<[FilterOverride]>);

impl FilterOverrides {
    /// The override of a slot.
    pub fn of(&self, filter: &str) -> Option<&FilterOverride> {
        self.0.iter().find(|o| &*o.filter == filter)
    }
}

/// A plug-in's compiled configuration, made by its factory; the worker makes the running part from it
/// (`http::filter`, `network`, `tcp` downcast it in their tables' `run` functions).
#[derive(Clone)]
pub struct PluginConfig {
    /// Name of the slot.
    pub name: Name,
    /// Type URL without its prefix: key of the table.
    pub type_name: &'static str,
    /// The plug-in's own configuration.
    pub config: Arc<dyn Any + Send + Sync>,
    /// Off unless a route switches it on.
    pub disabled: bool,
}

impl fmt::Debug for PluginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PluginConfig({}: {})", self.name, self.type_name)
    }
}

/// What `control` lends to a plug-in's factory: shared pieces, compiled from their encoded protos. Each reports its
/// own mistakes at the given place and gives none then.
pub trait Compile {
    /// Who this proxy is.
    fn node(&self) -> &Node;

    /// An `envoy.type.matcher.v3.StringMatcher`.
    fn string_match(&self, at: &At<'_>, message: &[u8]) -> Option<StringMatch>;

    /// An `envoy.config.route.v3.HeaderMatcher`.
    fn header_match(&self, at: &At<'_>, message: &[u8]) -> Option<HeaderMatch>;

    /// `envoy.config.core.v3.HeaderValueOption`s of a repeated field.
    fn header_additions(&self, at: &At<'_>, field: &str, messages: &[Vec<u8>]) -> Box<[HeaderAdd]>;

    /// An `envoy.config.core.v3.RuntimeFractionalPercent`.
    fn runtime_fraction(&self, at: &At<'_>, message: &[u8]) -> Option<Fraction>;

    /// An `envoy.config.core.v3.RuntimeFeatureFlag`.
    fn runtime_flag(&self, at: &At<'_>, message: &[u8]) -> Option<bool>;
}
