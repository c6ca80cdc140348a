//! Filters whose configurations a source brings (ECDS): `ExtensionConfigSource`, `TypedExtensionConfig`.

use super::{Cx, source, typed_struct};
use crate::base::ledger::At;
use crate::model::pushed::{Discovered, Place, Pushed};
use std::sync::Arc;
use weir_proto::any;
use weir_proto::envoy::config::core::v3::{ExtensionConfigSource, TypedExtensionConfig};
use weir_proto::google::protobuf::Any;

/// The configuration of a filter now.
pub enum Found {
    /// It has come, or there is a default.
    Config(Arc<Any>),
    /// There is none yet.
    Missing,
}

/// The configuration of a filter of this name. `known`: is there such a filter of this type here?
pub fn config(
    cx: &Cx<'_>,
    at: &At<'_>,
    (place, name): (Place, &str),
    message: &ExtensionConfigSource,
    known: impl Fn(&str) -> bool,
) -> Option<Found> {
    crate::ledger!(at, message => ExtensionConfigSource { config_source, default_config,
        apply_default_config_without_warming, type_urls });
    if type_urls.is_empty() {
        at.bad("type_urls", "must have at least one element");
    }
    for (i, url) in type_urls.iter().enumerate() {
        if !known(any::name_in_url(url)) {
            at.item("type_urls", i).unsupported(&format!("the filter of type '{}'", any::name_in_url(url)));
        }
    }
    let takes = |config: &Any| type_urls.iter().any(|url| any::name_in_url(url) == any::type_name(config));
    let default = match default_config {
        None => None,
        Some(config) => {
            let here = at.field("default_config");
            let config = typed_struct::open(&here, config)?.into_owned();
            if !takes(&config) {
                here.error(unexpected(&config, type_urls));
            }
            Some(Arc::new(config))
        }
    };
    if *apply_default_config_without_warming && default.is_none() {
        at.bad("apply_default_config_without_warming", "is set, and there is no default_config");
    }
    let (from, fetch) = source::pushed(&at.field("config_source"), config_source.as_ref());
    let pushed = Pushed { name: name.into(), source: from, fetch };
    let awaited = !*apply_default_config_without_warming;
    cx.discovered.borrow_mut().push(Discovered { place, pushed, awaited });
    // One that is on trial is told what is wrong with it; one that serves other filters is none for this one.
    let found = match (cx.extension)(name) {
        Some(config) if takes(&config) => Some(config),
        Some(config) => {
            if cx.trial.is_some_and(|trial| trial == name) {
                at.error(unexpected(&config, type_urls));
            }
            None
        }
        None => None,
    };
    Some(found.or(default).map_or(Found::Missing, Found::Config))
}

fn unexpected(config: &Any, wanted: &[String]) -> String {
    format!("filter config has type URL {} but expect {}", config.type_url, wanted.join(", "))
}

/// A configuration that has come.
pub fn extension(at: &At<'_>, message: &TypedExtensionConfig) -> Option<Arc<Any>> {
    crate::ledger!(at, message => TypedExtensionConfig { name, typed_config });
    at.non_empty("name", name);
    let config = at.required("typed_config", typed_config.as_ref())?;
    typed_struct::open(&at.field("typed_config"), config).map(|config| Arc::new(config.into_owned()))
}
