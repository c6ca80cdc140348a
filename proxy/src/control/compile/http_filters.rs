//! The HTTP filter list of a connection manager.

use super::discovered::{self, Found};
use super::{Cx, typed_struct};
use crate::base::ledger::At;
use crate::http::filter::{self, Factory, missing};
use crate::model::plugin::PluginConfig;
use crate::model::pushed::Place;
use std::borrow::Cow;
use weir_proto::any;
use weir_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use weir_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;

/// The compiled chain; its last filter is terminal and no other one is.
pub fn chain(cx: &Cx<'_>, at: &At<'_>, field: &str, list: &[HttpFilter]) -> Box<[PluginConfig]> {
    let mut chain = Vec::with_capacity(list.len());
    for (i, message) in list.iter().enumerate() {
        let here = at.item(field, i);
        if let Some((factory, config)) = one(cx, &here, message) {
            if factory.type_name != missing::FACTORY.type_name {
                check_place(&here, factory, message, i.saturating_add(1) == list.len());
            }
            // Filters of one name share what routes say of it, as in Envoy.
            chain.push(config);
        }
    }
    chain.into()
}

fn check_place(at: &At<'_>, factory: &Factory, message: &HttpFilter, last: bool) {
    let name = &message.name;
    if factory.terminal && !last {
        at.error(format!(
            "terminal filter named {name} of type {} must be the last filter in a http filter chain",
            factory.name
        ));
    }
    if !factory.terminal && last {
        at.error(format!(
            "non-terminal filter named {name} of type {} is the last filter in a http filter chain",
            factory.name
        ));
    }
    if factory.terminal && message.disabled {
        at.bad("disabled", "a terminal filter cannot be disabled");
    }
}

fn one(cx: &Cx<'_>, at: &At<'_>, message: &HttpFilter) -> Option<(&'static Factory, PluginConfig)> {
    crate::ledger!(at, message => HttpFilter { name, is_optional, disabled, config_type });
    let slot = at.non_empty("name", name)?;
    let config = match config_type {
        Some(ConfigType::TypedConfig(config)) => Some(typed_struct::open(&at.field("typed_config"), config)?),
        Some(ConfigType::ConfigDiscovery(message)) => {
            let known = |wanted: &str| filter::factories().iter().any(|f| f.type_name == wanted);
            let here = at.field("config_discovery");
            match discovered::config(cx, &here, (Place::Http, slot), message, known)? {
                Found::Config(config) => Some(Cow::Owned((*config).clone())),
                Found::Missing => return Some((&missing::FACTORY, missing::slot(slot, *disabled))),
            }
        }
        None => None,
    };
    let config = config.as_deref();
    let wanted = config.map_or(slot, any::type_name);
    let found = filter::factories()
        .iter()
        .find(|f| if config.is_some() { f.type_name == wanted } else { f.name == slot });
    let Some(factory) = found else {
        if !is_optional {
            let here = at.field("typed_config");
            here.unsupported(&format!("the HTTP filter '{slot}' of type '{wanted}'"));
        }
        return None;
    };
    let bytes = config.map(|config| config.value.as_slice()).unwrap_or_default();
    let compiled = (factory.config)(cx, &at.field("typed_config"), bytes)?;
    let plugin = PluginConfig {
        name: slot.into(),
        type_name: factory.type_name,
        config: compiled,
        disabled: *disabled,
    };
    Some((factory, plugin))
}
