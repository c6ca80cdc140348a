//! `Listener`.

use super::{Cx, access_log, address, chain, listener_filters, wkt};
use crate::base::Name;
use crate::base::addr::Address;
use crate::base::ledger::At;
use crate::model::listener::{ChainMatch, FilterChain, FilterSlot, Listener, ListenerFilter};
use crate::observe::metrics::Registry;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use weir_proto::envoy::config::core::v3::TrafficDirection;
use weir_proto::envoy::config::listener::v3 as proto;
use weir_proto::envoy::config::listener::v3::listener::connection_balance_config::BalanceType;
use weir_proto::envoy::config::listener::v3::listener::{ConnectionBalanceConfig, DeprecatedV1};

/// Envoy's default of `listener_filters_timeout`.
const FILTERS_TIMEOUT: Duration = Duration::from_secs(15);
/// Envoy's default of `per_connection_buffer_limit_bytes`.
const BUFFER: u32 = 1 << 20;

/// A listener. `name`: what it is called when it has no name of its own.
pub fn listener(
    cx: &Cx<'_>,
    at: &At<'_>,
    message: &proto::Listener,
    name_if_none: &str,
) -> Option<Arc<Listener>> {
    crate::ledger!(at, message => proto::Listener { name, address, additional_addresses, stat_prefix, filter_chains,
        use_original_dst, default_filter_chain, per_connection_buffer_limit_bytes, deprecated_v1, listener_filters,
        listener_filters_timeout, continue_on_listener_filters_timeout, transparent, freebind,
        traffic_direction, connection_balance_config, enable_reuse_port, access_log,
        tcp_backlog_size, bind_to_port, ignore_global_conn_limit, tcp_keepalive }
        refuse { fcds_config, filter_chain_matcher, per_connection_buffer_high_watermark_timeout, socket_options,
            udp_listener_config, api_listener, tcp_fast_open_queue_length, enable_mptcp, listener_specifier }
        ignore { stats_matcher, metadata, drain_type, reuse_port, max_connections_to_accept_per_socket_event,
            bypass_overload_manager });
    let dual_stack = address.as_ref().is_some_and(address::dual_stack);
    let address = at.required("address", address.as_ref());
    let address = address
        .and_then(|message| Some((address::address(&at.field("address"), message)?, address::mode(message))));
    let mut addresses: Vec<(Address, Option<u32>)> = address.into_iter().collect();
    additional(at, additional_addresses, &mut addresses);
    let (addresses, modes): (Vec<Address>, Vec<Option<u32>>) = addresses.into_iter().unzip();
    let use_original_dst = wkt::flag(use_original_dst, false);
    if let Some(message) = connection_balance_config {
        balance(at, message);
    }
    let old_bind = deprecated_v1.as_ref().and_then(|DeprecatedV1 { bind_to_port }| bind_to_port.as_ref());
    let stat_prefix: Name = prefix(stat_prefix, addresses.first()).into();
    let one = |at: &At<'_>, message: &proto::FilterChain| chain::chain(cx, at, message, &stat_prefix);
    let chains = filter_chains.iter().enumerate();
    let chains: Box<[Arc<FilterChain>]> =
        chains.filter_map(|(i, m)| one(&at.item("filter_chains", i), m)).collect();
    let default_chain = default_filter_chain.as_ref().and_then(|m| one(&at.field("default_filter_chain"), m));
    if filter_chains.is_empty() && default_filter_chain.is_none() {
        at.bad("filter_chains", "no filter chains specified for this listener");
    }
    unique_chains(at, &chains, filter_chains.len());
    let name = if name.is_empty() { name_if_none } else { name };
    Some(Arc::new(Listener {
        name: name.into(),
        scope: Registry::global().scope(&format!("listener.{stat_prefix}.")),
        stat_prefix,
        bind_to_port: wkt::flag(bind_to_port, old_bind.is_none_or(|v| v.value)),
        listener_filters: all_filters(cx, at, listener_filters, use_original_dst),
        use_original_dst,
        listener_filters_timeout: wkt::timeout(
            at,
            "listener_filters_timeout",
            listener_filters_timeout,
            Some(FILTERS_TIMEOUT),
        ),
        continue_on_timeout: *continue_on_listener_filters_timeout,
        chains,
        default_chain,
        buffer_limit: wkt::u32_opt(per_connection_buffer_limit_bytes).unwrap_or(BUFFER),
        reuse_port: wkt::flag(enable_reuse_port, true),
        backlog: wkt::u32_opt(tcp_backlog_size),
        freebind: wkt::flag(freebind, false),
        transparent: wkt::flag(transparent, false),
        dual_stack,
        keepalive: tcp_keepalive.as_ref().map(address::keepalive),
        ignore_global_limit: *ignore_global_conn_limit,
        inbound: *traffic_direction == TrafficDirection::Inbound as i32,
        logs: access_log::logs(cx, at, "access_log", access_log),
        addresses: if addresses.is_empty() { return None } else { addresses.into() },
        modes: modes.into(),
        discovered: cx.discovered.take().into(),
    }))
}

/// The configured filters, and the one that `use_original_dst` stands for.
fn all_filters(
    cx: &Cx<'_>,
    at: &At<'_>,
    list: &[proto::ListenerFilter],
    use_original_dst: bool,
) -> Box<[FilterSlot]> {
    let mut all = listener_filters::filters(cx, at, list).into_vec();
    if use_original_dst && !all.iter().any(|slot| slot.filter == ListenerFilter::OriginalDst) {
        all.push(FilterSlot { filter: ListenerFilter::OriginalDst, disabled: None });
    }
    all.into()
}

fn additional(at: &At<'_>, list: &[proto::AdditionalAddress], addresses: &mut Vec<(Address, Option<u32>)>) {
    for (i, message) in list.iter().enumerate() {
        let here = at.item("additional_addresses", i);
        crate::ledger!(here, message => proto::AdditionalAddress { address }
            refuse { socket_options, tcp_keepalive });
        let Some(message) = here.required("address", address.as_ref()) else { continue };
        let Some(found) = address::address(&here.field("address"), message) else { continue };
        // One that stands twice is taken, as in Envoy; a second socket would serve nothing.
        if addresses.iter().all(|(other, _)| *other != found) {
            addresses.push((found, address::mode(message)));
        }
    }
}

/// The address with `:` as `_` unless configured.
fn prefix(configured: &str, address: Option<&Address>) -> String {
    if !configured.is_empty() {
        return configured.to_owned();
    }
    address.map(ToString::to_string).unwrap_or_default().replace(':', "_")
}

/// `exact_balance` changes nothing here: the kernel spreads connections over the workers' sockets.
fn balance(at: &At<'_>, message: &ConnectionBalanceConfig) {
    let at = &at.field("connection_balance_config");
    crate::ledger!(at, message => ConnectionBalanceConfig { balance_type });
    match balance_type {
        Some(BalanceType::ExactBalance(_)) => {}
        Some(BalanceType::ExtendBalance(_) | BalanceType::CpuLocalityBalance(_)) => {
            at.unsupported("a balance other than exact_balance");
        }
        None => at.bad("balance_type", "must be set"),
    }
}

/// One expanded match: a value of every list (Envoy compares chains by these).
type Rule<'a> = (
    Option<u16>,
    Option<&'a ipnet::IpNet>,
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a ipnet::IpNet>,
    u8,
    Option<&'a ipnet::IpNet>,
    Option<u16>,
);

/// Most combinations of one chain that are expanded for the check.
const MAX_RULES: usize = 4096;

/// Two chains whose matches overlap exactly are an error.
fn unique_chains(at: &At<'_>, chains: &[Arc<FilterChain>], configured: usize) {
    if chains.len() != configured {
        return; // Positions would lie; the resource is rejected anyway.
    }
    let mut seen = HashSet::new();
    for (i, chain) in chains.iter().enumerate() {
        let rules = expand(&chain.matcher);
        if rules.iter().any(|rule| !seen.insert(*rule)) {
            at.item("filter_chains", i).bad(
                "filter_chain_match",
                "multiple filter chains with overlapping matching rules are defined",
            );
        }
    }
}

fn expand(m: &ChainMatch) -> Vec<Rule<'_>> {
    fn each<T>(list: &[T]) -> Vec<Option<&T>> {
        if list.is_empty() { vec![None] } else { list.iter().map(Some).collect() }
    }
    let mut rules: Vec<Rule<'_>> = vec![(
        m.destination_port,
        None,
        None,
        m.transport_protocol.as_deref(),
        None,
        None,
        m.source_type as u8,
        None,
        None,
    )];
    fn grow<'a, T>(
        rules: &mut Vec<Rule<'a>>,
        values: &[Option<&'a T>],
        set: impl Fn(&mut Rule<'a>, Option<&'a T>),
    ) {
        let old = std::mem::take(rules);
        let all = old.iter().flat_map(|rule| values.iter().map(move |value| (*rule, *value)));
        rules.extend(all.take(MAX_RULES).map(|(mut rule, value)| {
            set(&mut rule, value);
            rule
        }));
    }
    grow(&mut rules, &each(&m.prefixes), |rule, v| rule.1 = v);
    grow(&mut rules, &each(&m.server_names), |rule, v| rule.2 = v.map(|s| &**s));
    grow(&mut rules, &each(&m.application_protocols), |rule, v| rule.4 = v.map(|s| &**s));
    grow(&mut rules, &each(&m.direct_source), |rule, v| rule.5 = v);
    grow(&mut rules, &each(&m.source), |rule, v| rule.7 = v);
    grow(&mut rules, &each(&m.source_ports), |rule, v| rule.8 = v.copied());
    rules
}
