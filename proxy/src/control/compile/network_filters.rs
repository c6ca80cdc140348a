//! The network filters of a chain, and those of a cluster.

use super::discovered::{self, Found};
use super::{Cx, hcm, tcp_proxy, typed_struct, wkt};
use crate::base::Name;
use crate::base::ledger::At;
use crate::model::listener::Terminal;
use crate::model::plugin::PluginConfig;
use crate::model::pushed::Place;
use crate::network;
use std::sync::Arc;
use weir_proto::any;
use weir_proto::envoy::config::cluster::v3::Filter as ClusterFilter;
use weir_proto::envoy::config::listener::v3 as proto;
use weir_proto::envoy::config::listener::v3::filter::ConfigType;
use weir_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use weir_proto::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use weir_proto::google::protobuf::Any;

enum Compiled {
    Filter(PluginConfig),
    Terminal(Terminal),
    /// Its configuration has not come.
    Missing,
}

/// What a chain does with a connection.
pub struct Chain {
    /// Filters before the terminal one.
    pub filters: Box<[PluginConfig]>,
    /// The terminal one.
    pub terminal: Terminal,
    /// The configuration of one of them has not come.
    pub incomplete: bool,
}

/// The filters of a chain: the last one is terminal and no other one is.
pub fn chain(cx: &Cx<'_>, at: &At<'_>, list: &[proto::Filter], listener: &Name) -> Option<Chain> {
    let mut filters = Vec::new();
    let mut terminal = None;
    let mut incomplete = false;
    let mistakes = at.mistakes();
    for (i, message) in list.iter().enumerate() {
        let here = at.item("filters", i);
        let last = i.saturating_add(1) == list.len();
        match one(cx, &here, message, listener) {
            Some(Compiled::Filter(_) | Compiled::Missing) if last => here.error(format!(
                "non-terminal filter named {} is the last filter in a network filter chain",
                message.name
            )),
            Some(Compiled::Filter(filter)) => filters.push(filter),
            Some(Compiled::Missing) => incomplete = true,
            Some(Compiled::Terminal(_)) if !last => here.error(format!(
                "terminal filter named {} must be the last filter in a network filter chain",
                message.name
            )),
            Some(Compiled::Terminal(found)) => terminal = Some(found),
            None => {}
        }
    }
    if list.is_empty() {
        at.lacks(
            "a filter chain without filters closes every connection; this release refuses it",
            "add a terminal filter",
        );
    }
    debug_assert!(terminal.is_some() || at.mistakes() > mistakes, "what is missing was told");
    Some(Chain { filters: filters.into(), terminal: terminal?, incomplete })
}

fn one(cx: &Cx<'_>, at: &At<'_>, message: &proto::Filter, listener: &Name) -> Option<Compiled> {
    crate::ledger!(at, message => proto::Filter { name, config_type });
    at.non_empty("name", name);
    let config = match at.required("typed_config", config_type.as_ref())? {
        ConfigType::TypedConfig(config) => config,
        ConfigType::ConfigDiscovery(message) => {
            // What ends a chain stands in the listener itself.
            let known = |wanted: &str| network::factory(wanted).is_some();
            let here = at.field("config_discovery");
            return match discovered::config(cx, &here, (Place::Network, name), message, known)? {
                Found::Config(config) => plugin(cx, &at.field("typed_config"), name, &config, false),
                Found::Missing => return Some(Compiled::Missing),
            }
            .map(Compiled::Filter);
        }
    };
    let here = at.field("typed_config");
    let config = &*typed_struct::open(&here, config)?;
    if wkt::is::<HttpConnectionManager>(config) {
        let message = wkt::unpack::<HttpConnectionManager>(&here, config)?;
        let manager = hcm::connection_manager(cx, &here, &message, listener)?;
        return Some(Compiled::Terminal(Terminal::Http(Arc::new(manager))));
    }
    if wkt::is::<TcpProxy>(config) {
        let message = wkt::unpack::<TcpProxy>(&here, config)?;
        return Some(Compiled::Terminal(Terminal::Tcp(tcp_proxy::tcp_proxy(cx, &here, &message)?)));
    }
    plugin(cx, &here, name, config, false).map(Compiled::Filter)
}

fn plugin(cx: &Cx<'_>, at: &At<'_>, name: &str, config: &Any, upstream: bool) -> Option<PluginConfig> {
    let type_name = any::type_name(config);
    let Some(factory) = network::factory(type_name).filter(|f| f.upstream || !upstream) else {
        at.unsupported(&format!("the network filter '{name}' of type '{type_name}'"));
        return None;
    };
    Some(PluginConfig {
        name: name.into(),
        type_name: factory.type_name,
        config: (factory.config)(cx.node, at, &config.value)?,
        disabled: false,
    })
}

/// The filters on connections to a cluster.
pub fn upstream(cx: &Cx<'_>, at: &At<'_>, list: &[ClusterFilter]) -> Box<[PluginConfig]> {
    let one = |(i, message): (usize, &ClusterFilter)| {
        let at = &at.item("filters", i);
        crate::ledger!(at, message => ClusterFilter { name, typed_config } refuse { config_discovery });
        at.non_empty("name", name);
        let here = at.field("typed_config");
        let config = typed_struct::open(&here, at.required("typed_config", typed_config.as_ref())?)?;
        plugin(cx, &here, name, &config, true)
    };
    list.iter().enumerate().filter_map(one).collect()
}
