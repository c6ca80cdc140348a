//! `typed_per_filter_config` of any level.

use super::{Cx, typed_struct, wkt};
use crate::base::ledger::At;
use crate::http::filter;
use crate::model::plugin::{FilterOverride, FilterOverrides};
use std::collections::HashMap;
use weir_proto::any;
use weir_proto::envoy::config::route::v3::FilterConfig;
use weir_proto::google::protobuf::Any;

/// The overrides of one level, sorted by slot name.
pub fn overrides(cx: &Cx<'_>, at: &At<'_>, map: &HashMap<String, Any>) -> FilterOverrides {
    let mut names: Vec<_> = map.iter().collect();
    names.sort_by_key(|(name, _)| name.as_str());
    let one =
        |(name, config): (&String, &Any)| one(cx, &at.key("typed_per_filter_config", name), name, config);
    FilterOverrides(names.into_iter().filter_map(one).collect())
}

fn one(cx: &Cx<'_>, at: &At<'_>, name: &str, config: &Any) -> Option<FilterOverride> {
    if !wkt::is::<FilterConfig>(config) {
        return plugin(cx, at, name, config, false);
    }
    let wrapper = wkt::unpack::<FilterConfig>(at, config)?;
    let wrapper = &wrapper;
    crate::ledger!(at, wrapper => FilterConfig { config, is_optional, disabled });
    match config {
        Some(inner) if !disabled => plugin(cx, &at.field("config"), name, inner, *is_optional),
        None if !disabled => {
            at.error("a FilterConfig must have a config or be disabled");
            None
        }
        _ => Some(FilterOverride { filter: name.into(), disabled: true, config: None }),
    }
}

fn plugin(cx: &Cx<'_>, at: &At<'_>, name: &str, config: &Any, optional: bool) -> Option<FilterOverride> {
    let config = &*typed_struct::open(at, config)?;
    let kind = any::type_name(config);
    let Some(compile) = filter::factories().iter().find_map(|f| f.route_config.filter(|r| r.0 == kind))
    else {
        if !optional {
            at.unsupported(&format!("a per-route configuration of type '{kind}'"));
        }
        return None;
    };
    let config = (compile.1)(cx, at, &config.value)?;
    Some(FilterOverride { filter: name.into(), disabled: false, config: Some(config) })
}
