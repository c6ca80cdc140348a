//! Listener filters.

use super::discovered::{self, Found};
use super::{Cx, typed_struct, wkt};
use crate::base::ledger::At;
use crate::model::listener::{FilterSlot, ListenerFilter, Predicate};
use crate::model::pushed::Place;
use crate::observe::metrics::sanitized;
use std::borrow::Cow;
use weir_proto::any;
use weir_proto::envoy::config::core::v3::proxy_protocol_config::Version;
use weir_proto::envoy::config::listener::v3 as proto;
use weir_proto::envoy::config::listener::v3::listener_filter::ConfigType;
use weir_proto::envoy::config::listener::v3::listener_filter_chain_match_predicate::{MatchSet, Rule};
use weir_proto::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use weir_proto::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use weir_proto::envoy::extensions::filters::listener::original_src::v3::OriginalSrc;
use weir_proto::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use weir_proto::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use weir_proto::envoy::r#type::v3::Int32Range;
use weir_proto::google::protobuf::Any;

/// Deepest nesting of a predicate.
const MAX_DEPTH: usize = 32;
/// Least and largest ClientHello that may be configured as the limit; the largest is the default.
const HELLO: (u32, u32) = (256, 16_384);

/// The listener filters in order.
pub fn filters(cx: &Cx<'_>, at: &At<'_>, list: &[proto::ListenerFilter]) -> Box<[FilterSlot]> {
    let all = list.iter().enumerate();
    all.filter_map(|(i, message)| filter(cx, &at.item("listener_filters", i), message)).collect()
}

type CompileFn = fn(&At<'_>, &Any) -> Option<ListenerFilter>;

/// The listener filters of this release by type.
const FILTERS: &[(&str, CompileFn)] = &[
    ("envoy.extensions.filters.listener.http_inspector.v3.HttpInspector", http_inspector),
    ("envoy.extensions.filters.listener.original_dst.v3.OriginalDst", original_dst),
    ("envoy.extensions.filters.listener.original_src.v3.OriginalSrc", original_src),
    ("envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol", proxy_protocol),
    ("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", tls_inspector),
];

fn compiler(type_name: &str) -> Option<CompileFn> {
    FILTERS.iter().find(|(kind, _)| *kind == type_name).map(|(_, compile)| *compile)
}

fn filter(cx: &Cx<'_>, at: &At<'_>, message: &proto::ListenerFilter) -> Option<FilterSlot> {
    crate::ledger!(at, message => proto::ListenerFilter { name, config_type, filter_disabled });
    at.non_empty("name", name);
    let disabled = match filter_disabled {
        Some(message) => Some(predicate(&at.field("filter_disabled"), message, 0)?),
        None => None,
    };
    let here = at.field("typed_config");
    let found;
    let config = match at.required("typed_config", config_type.as_ref())? {
        ConfigType::TypedConfig(config) => typed_struct::open(&here, config)?,
        ConfigType::ConfigDiscovery(message) => {
            let from = at.field("config_discovery");
            let known = |wanted: &str| compiler(wanted).is_some();
            match discovered::config(cx, &from, (Place::Listener, name), message, known)? {
                Found::Missing => return Some(FilterSlot { filter: ListenerFilter::Missing, disabled }),
                Found::Config(config) => found = config,
            }
            Cow::Borrowed(&*found)
        }
    };
    let type_name = any::type_name(&config);
    let Some(compile) = compiler(type_name) else {
        here.unsupported(&format!("the listener filter '{name}' of type '{type_name}'"));
        return None;
    };
    Some(FilterSlot { filter: compile(&here, &config)?, disabled })
}

fn predicate(
    at: &At<'_>,
    message: &proto::ListenerFilterChainMatchPredicate,
    depth: usize,
) -> Option<Predicate> {
    crate::ledger!(at, message => proto::ListenerFilterChainMatchPredicate { rule });
    if depth > MAX_DEPTH {
        at.error(format!("is nested more than {MAX_DEPTH} deep"));
        return None;
    }
    let next = depth.saturating_add(1);
    let set = |field: &str, MatchSet { rules }: &MatchSet| -> Option<Box<[Predicate]>> {
        let here = at.field(field);
        if rules.len() < 2 {
            here.bad("rules", "must have at least two entries");
        }
        rules.iter().enumerate().map(|(i, m)| predicate(&here.item("rules", i), m, next)).collect()
    };
    Some(match at.required("rule", rule.as_ref())? {
        Rule::OrMatch(message) => Predicate::Or(set("or_match", message)?),
        Rule::AndMatch(message) => Predicate::And(set("and_match", message)?),
        Rule::NotMatch(message) => {
            Predicate::Not(Box::new(predicate(&at.field("not_match"), message, next)?))
        }
        Rule::AnyMatch(all) => {
            if !all {
                at.bad("any_match", "must be true");
            }
            Predicate::Any
        }
        Rule::DestinationPortRange(Int32Range { start, end }) => {
            if start >= end {
                at.bad("destination_port_range", format!("is empty: {start} to {end}, the end not included"));
            }
            Predicate::DestinationPort(*start..*end)
        }
    })
}

fn original_dst(at: &At<'_>, config: &Any) -> Option<ListenerFilter> {
    let OriginalDst {} = wkt::unpack::<OriginalDst>(at, config)?;
    Some(ListenerFilter::OriginalDst)
}

fn original_src(at: &At<'_>, config: &Any) -> Option<ListenerFilter> {
    let message = &wkt::unpack::<OriginalSrc>(at, config)?;
    crate::ledger!(at, message => OriginalSrc { mark } refuse { bind_port });
    Some(ListenerFilter::OriginalSrc { mark: *mark })
}

fn http_inspector(at: &At<'_>, config: &Any) -> Option<ListenerFilter> {
    let HttpInspector {} = wkt::unpack::<HttpInspector>(at, config)?;
    Some(ListenerFilter::HttpInspector)
}

fn tls_inspector(at: &At<'_>, config: &Any) -> Option<ListenerFilter> {
    let message = &wkt::unpack::<TlsInspector>(at, config)?;
    crate::ledger!(at, message => TlsInspector { enable_ja3_fingerprinting, enable_ja4_fingerprinting,
        close_connection_on_client_hello_parsing_errors, max_client_hello_size }
        ignore { initial_read_buffer_size });
    at.refuse("enable_ja3_fingerprinting", wkt::flag(enable_ja3_fingerprinting, false));
    at.refuse("enable_ja4_fingerprinting", wkt::flag(enable_ja4_fingerprinting, false));
    let (least, most) = HELLO;
    Some(ListenerFilter::TlsInspector {
        max_hello: wkt::u32_in(at, "max_client_hello_size", max_client_hello_size, most, least, most),
        close_on_error: *close_connection_on_client_hello_parsing_errors,
    })
}

fn proxy_protocol(at: &At<'_>, config: &Any) -> Option<ListenerFilter> {
    let message = &wkt::unpack::<ProxyProtocol>(at, config)?;
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
