//! Extensions of the process itself: of the bootstrap, and sinks of statistics.

use super::wkt;
use crate::base::ledger::At;
use std::borrow::Cow;
use weir_proto::envoy::config::core::v3::TypedExtensionConfig;
use weir_proto::envoy::config::metrics::v3::{StatsSink, stats_sink};
use weir_proto::google::protobuf::Any;
use weir_proto::{any, udpa, xds};

/// Extensions that are accepted and not obeyed yet: buffers of internal listeners (there are none), and Istio's
/// workload discovery.
const NOTED: &[&str] = &[
    "envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
    "istio.workload.BootstrapExtension",
];

/// `bootstrap_extensions`
pub fn extensions(at: &At<'_>, all: &[TypedExtensionConfig]) {
    for (i, message) in all.iter().enumerate() {
        let here = at.item("bootstrap_extensions", i);
        crate::ledger!(here, message => TypedExtensionConfig { typed_config } ignore { name });
        let Some(config) = here.required("typed_config", typed_config.as_ref()) else { continue };
        let Some(kind) = kind(&here.field("typed_config"), config) else { continue };
        if NOTED.contains(&&*kind) {
            here.not_obeyed("typed_config", true);
        } else {
            here.field("typed_config").unsupported(&format!("the bootstrap extension of type '{kind}'"));
        }
    }
}

/// `stats_sinks`: there is none in this release.
pub fn sinks(at: &At<'_>, all: &[StatsSink]) {
    for (i, message) in all.iter().enumerate() {
        let here = at.item("stats_sinks", i);
        crate::ledger!(here, message => StatsSink { name, config_type });
        here.non_empty("name", name);
        let Some(stats_sink::ConfigType::TypedConfig(config)) =
            here.required("typed_config", config_type.as_ref())
        else {
            continue;
        };
        let what = format!("the statistics sink of type '{}'", any::type_name(config));
        here.field("typed_config").unsupported(&what);
    }
}

/// The type of an extension's configuration, also of one in words (`TypedStruct`).
fn kind<'a>(at: &At<'_>, config: &'a Any) -> Option<Cow<'a, str>> {
    let url = if wkt::is::<udpa::r#type::v1::TypedStruct>(config) {
        wkt::unpack::<udpa::r#type::v1::TypedStruct>(at, config)?.type_url
    } else if wkt::is::<xds::r#type::v3::TypedStruct>(config) {
        wkt::unpack::<xds::r#type::v3::TypedStruct>(at, config)?.type_url
    } else {
        return Some(any::type_name(config).into());
    };
    Some(any::name_in_url(&url).to_owned().into())
}
