//! Listener filters.

use super::wkt;
use crate::base::ledger::At;
use crate::model::listener::ListenerFilter;
use crate::observe::metrics::sanitized;
use weir_proto::any;
use weir_proto::envoy::config::core::v3::proxy_protocol_config::Version;
use weir_proto::envoy::config::listener::v3 as proto;
use weir_proto::envoy::config::listener::v3::listener_filter::ConfigType;
use weir_proto::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use weir_proto::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;

/// The listener filters in order.
pub fn filters(at: &At<'_>, list: &[proto::ListenerFilter]) -> Box<[ListenerFilter]> {
    let all = list.iter().enumerate();
    all.filter_map(|(i, message)| filter(&at.item("listener_filters", i), message)).collect()
}

fn filter(at: &At<'_>, message: &proto::ListenerFilter) -> Option<ListenerFilter> {
    crate::ledger!(at, message => proto::ListenerFilter { name, config_type } refuse { filter_disabled });
    at.non_empty("name", name);
    let config = match at.required("typed_config", config_type.as_ref())? {
        ConfigType::TypedConfig(config) => config,
        ConfigType::ConfigDiscovery(_) => {
            at.field("config_discovery").unsupported("a filter configuration by discovery (ECDS)");
            return None;
        }
    };
    let here = at.field("typed_config");
    if wkt::is::<OriginalDst>(config) {
        let OriginalDst {} = wkt::unpack::<OriginalDst>(&here, config)?;
        return Some(ListenerFilter::OriginalDst);
    }
    if wkt::is::<ProxyProtocol>(config) {
        return proxy_protocol(&here, &wkt::unpack::<ProxyProtocol>(&here, config)?);
    }
    here.unsupported(&format!("the listener filter '{name}' of type '{}'", any::type_name(config)));
    None
}

fn proxy_protocol(at: &At<'_>, message: &ProxyProtocol) -> Option<ListenerFilter> {
    crate::ledger!(at, message => ProxyProtocol { allow_requests_without_proxy_protocol, disallowed_versions, stat_prefix }
        refuse { rules, pass_through_tlvs, tlv_location });
    let versions = disallowed_versions.iter().enumerate();
    let versions: Vec<Version> = versions
        .filter_map(|(i, version)| wkt::enumeration(&at.item("disallowed_versions", i), "", *version))
        .collect();
    let refuse_v1 = versions.contains(&Version::V1);
    let refuse_v2 = versions.contains(&Version::V2);
    if refuse_v1 && refuse_v2 {
        at.bad("disallowed_versions", "disallows every version");
    }
    Some(ListenerFilter::ProxyProtocol {
        stat_prefix: sanitized(stat_prefix).as_str().into(),
        allow_without: *allow_requests_without_proxy_protocol,
        refuse_v1,
        refuse_v2,
    })
}
