//! What a request is hashed by, where a DestinationRule asks for consistent hashing.

use weir_proto::envoy::config::route::v3::route_action as action;

use super::super::policy::ServiceRule;
use super::super::wire;
use crate::kinds::load_balancer::{ConsistentHash, LoadBalancer};
use action::hash_policy as policy;

/// The hash policy for a destination: of the subset's port, the subset, the port, the host, in this order the
/// first that asks for one. A port counts only if the route names it.
pub(super) fn of_destination<'w>(
    rule: &ServiceRule<'w>,
    subset: Option<&str>,
    port: Option<u32>,
) -> Option<&'w ConsistentHash> {
    let hash = |balancer: Option<&'w LoadBalancer>| balancer.and_then(|one| one.consistent_hash.as_ref());
    let of_port = |policy: Option<&'w crate::kinds::destination_rule::TrafficPolicy>| {
        let settings = policy.map(|policy| policy.port_level_settings.as_slice()).unwrap_or_default();
        let own = settings.iter().find(|one| {
            let number = one.port.as_ref().and_then(|selector| selector.number());
            number.is_some() && number == port
        });
        hash(own.and_then(|own| own.load_balancer.as_ref()))
    };
    let subset = subset.and_then(|name| rule.subset(name)).and_then(|subset| subset.traffic_policy.as_ref());
    of_port(subset)
        .or_else(|| hash(subset.and_then(|policy| policy.load_balancer.as_ref())))
        .or_else(|| of_port(rule.policy))
        .or_else(|| hash(rule.policy.and_then(|policy| policy.load_balancer.as_ref())))
}

/// The hash policy in Envoy's terms.
pub(crate) fn of_policy(hash: &ConsistentHash) -> Option<action::HashPolicy> {
    let specifier = if let Some(name) = &hash.http_header_name {
        policy::PolicySpecifier::Header(policy::Header {
            header_name: name.value.clone(),
            regex_rewrite: None,
        })
    } else if let Some(cookie) = &hash.http_cookie {
        let attributes = cookie.attributes.iter().map(|one| policy::CookieAttribute {
            name: one.name.value.clone(),
            value: one.value.as_ref().map_or_else(String::new, |value| value.value.clone()),
        });
        policy::PolicySpecifier::Cookie(policy::Cookie {
            name: cookie.name.value.clone(),
            ttl: cookie.ttl.as_ref().map(|ttl| wire::duration(ttl.value)),
            path: cookie.path.as_ref().map_or_else(String::new, |path| path.value.clone()),
            attributes: attributes.collect(),
        })
    } else if let Some(name) = &hash.http_query_parameter_name {
        policy::PolicySpecifier::QueryParameter(policy::QueryParameter { name: name.value.clone() })
    } else if hash.use_source_ip.as_ref().is_some_and(|by_source| by_source.value) {
        policy::PolicySpecifier::ConnectionProperties(policy::ConnectionProperties { source_ip: true })
    } else {
        return None;
    };
    Some(action::HashPolicy { terminal: false, policy_specifier: Some(specifier) })
}
