//! Locality load balancing: which localities of a cluster get how much traffic, and in what order.

use std::collections::BTreeMap;

use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::config::endpoint::v3 as endpoint;

use super::node::Node;
use super::registry::{Endpoint, Locality};
use super::wire;
use crate::yaml::Spanned;

/// How the localities of a cluster are used.
#[derive(Debug, Clone, Default)]
pub(crate) enum LocalityPolicy<'a> {
    /// All alike.
    #[default]
    None,
    /// Weights per locality of the caller: (from, locality pattern -> percent).
    Distribute(Vec<(&'a str, &'a BTreeMap<String, Spanned<u32>>)>),
    /// Nearest first: (region, region that takes over).
    Failover(Vec<(&'a str, &'a str)>),
    /// First the endpoints that agree with the caller in the most of these labels, in order.
    FailoverByLabels(Vec<&'a str>),
}

type Groups<'a> = BTreeMap<&'a Locality, Vec<(&'a Endpoint, endpoint::LbEndpoint)>>;

/// The groups of endpoints that EDS carries, weighted and ordered by the policy.
pub(crate) fn groups(
    by_locality: Groups<'_>,
    policy: &LocalityPolicy<'_>,
    node: &Node,
) -> Vec<endpoint::LocalityLbEndpoints> {
    let here = node.locality();
    let mut groups: Vec<(Locality, endpoint::LocalityLbEndpoints)> = match policy {
        LocalityPolicy::FailoverByLabels(labels) => by_labels(by_locality, labels, node),
        _ => by_locality
            .into_iter()
            .map(|(locality, members)| {
                let endpoints = members.into_iter().map(|(_, endpoint)| endpoint).collect();
                (locality.clone(), group(locality, endpoints, 0))
            })
            .collect(),
    };
    match policy {
        LocalityPolicy::Distribute(rules) => distribute(&mut groups, rules, &here),
        LocalityPolicy::Failover(regions) => {
            for (locality, group) in &mut groups {
                group.priority = distance(&here, locality, regions);
            }
        }
        LocalityPolicy::None | LocalityPolicy::FailoverByLabels(_) => {}
    }
    let mut groups: Vec<_> = groups.into_iter().map(|(_, group)| group).collect();
    close_gaps(&mut groups);
    groups
}

fn group(
    locality: &Locality,
    lb_endpoints: Vec<endpoint::LbEndpoint>,
    priority: u32,
) -> endpoint::LocalityLbEndpoints {
    let weight = lb_endpoints
        .iter()
        .filter_map(|one| one.load_balancing_weight.as_ref())
        .fold(0_u32, |sum, weight| sum.saturating_add(weight.value));
    endpoint::LocalityLbEndpoints {
        locality: Some(core::Locality {
            region: locality.region.clone(),
            zone: locality.zone.clone(),
            sub_zone: locality.sub_zone.clone(),
        }),
        load_balancing_weight: (weight > 0).then(|| wire::u32v(weight)),
        lb_endpoints,
        priority,
        ..endpoint::LocalityLbEndpoints::default()
    }
}

/// Splits each locality by how many of the labels agree with the caller's, from the first one on.
fn by_labels(
    by_locality: Groups<'_>,
    labels: &[&str],
    node: &Node,
) -> Vec<(Locality, endpoint::LocalityLbEndpoints)> {
    let mut split: BTreeMap<(u32, &Locality), Vec<endpoint::LbEndpoint>> = BTreeMap::new();
    for (locality, members) in by_locality {
        for (one, lb_endpoint) in members {
            let agree = labels.iter().take_while(|label| agrees(label, one, node)).count();
            let missing = u32::try_from(labels.len().saturating_sub(agree)).unwrap_or(u32::MAX);
            split.entry((missing, locality)).or_default().push(lb_endpoint);
        }
    }
    split
        .into_iter()
        .map(|((priority, locality), endpoints)| (locality.clone(), group(locality, endpoints, priority)))
        .collect()
}

/// `key` compares the endpoint's label with the caller's, `key=value` with the value.
fn agrees(label: &str, one: &Endpoint, node: &Node) -> bool {
    match label.split_once('=') {
        Some((key, value)) => one.labels.get(key).map(String::as_str) == Some(value),
        None => one.labels.get(label) == node.labels.get(label),
    }
}

/// 0 for the same sub-zone up to 4 for a region that is not the one to fail over to.
fn distance(here: &Locality, there: &Locality, regions: &[(&str, &str)]) -> u32 {
    if here.region != there.region {
        let next = regions.iter().find(|(from, _)| *from == here.region).map(|(_, to)| *to);
        return match next {
            Some(to) if to != there.region => 4,
            _ => 3,
        };
    }
    if here.zone != there.zone {
        2
    } else if here.sub_zone != there.sub_zone {
        1
    } else {
        0
    }
}

/// Gives every locality the share that the first rule for the caller's locality gives it; a locality that the
/// rule does not name loses its endpoints.
fn distribute(
    groups: &mut [(Locality, endpoint::LocalityLbEndpoints)],
    rules: &[(&str, &BTreeMap<String, Spanned<u32>>)],
    here: &Locality,
) {
    let Some((_, shares)) = rules.iter().find(|(from, _)| matches(from, here)) else {
        return;
    };
    let mut named = vec![false; groups.len()];
    for (pattern, percent) in *shares {
        let members: Vec<usize> = groups
            .iter()
            .enumerate()
            .filter(|(index, (locality, _))| {
                !named.get(*index).copied().unwrap_or(true) && matches(pattern, locality)
            })
            .map(|(index, _)| index)
            .collect();
        let weight_of = |group: &endpoint::LocalityLbEndpoints| {
            group.load_balancing_weight.as_ref().map_or(0, |weight| weight.value)
        };
        let total: u64 = members
            .iter()
            .filter_map(|index| groups.get(*index))
            .map(|(_, group)| u64::from(weight_of(group)))
            .sum();
        for index in members {
            if let (Some(mark), Some((_, group))) = (named.get_mut(index), groups.get_mut(index)) {
                *mark = true;
                let share = u64::from(percent.value)
                    .saturating_mul(u64::from(weight_of(group)))
                    .div_ceil(total.max(1));
                group.load_balancing_weight = Some(wire::u32v(u32::try_from(share).unwrap_or(u32::MAX)));
            }
        }
    }
    for ((_, group), named) in groups.iter_mut().zip(named) {
        if !named {
            group.lb_endpoints.clear();
        }
    }
}

/// `region/zone/sub-zone` with `*` for the rest.
fn matches(pattern: &str, locality: &Locality) -> bool {
    let have = [&locality.region, &locality.zone, &locality.sub_zone];
    for (want, have) in pattern.split('/').zip(have) {
        if want == "*" {
            return true;
        }
        if want != have {
            return false;
        }
    }
    true
}

/// Envoy wants the priorities without gaps, from 0.
fn close_gaps(groups: &mut [endpoint::LocalityLbEndpoints]) {
    let used: std::collections::BTreeSet<u32> = groups.iter().map(|group| group.priority).collect();
    for group in groups {
        let rank = used.iter().take_while(|priority| **priority < group.priority).count();
        group.priority = u32::try_from(rank).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locality(text: &str) -> Locality {
        Locality::parse(text)
    }

    #[test]
    fn patterns_stop_at_the_star() {
        assert!(matches("r1/z1/*", &locality("r1/z1/s9")));
        assert!(matches("*", &locality("")));
        assert!(!matches("r1/z1/*", &locality("r1/z2/s9")));
    }

    #[test]
    fn shares_follow_the_weights_inside_a_pattern() {
        let mut groups: Vec<_> = [("r1/z1/a", 3_u32), ("r1/z1/b", 1), ("r1/z2/a", 5), ("r2/z1/a", 9)]
            .into_iter()
            .map(|(text, weight)| {
                let locality = locality(text);
                let mut group = group(&locality, vec![endpoint::LbEndpoint::default()], 0);
                group.load_balancing_weight = Some(wire::u32v(weight));
                (locality, group)
            })
            .collect();
        let shares: BTreeMap<String, Spanned<u32>> =
            [("r1/z1/*".to_owned(), 80.into()), ("r1/z2/*".to_owned(), 20.into())].into();
        distribute(&mut groups, &[("r1/z1/*", &shares)], &locality("r1/z1/a"));
        let weights: Vec<_> =
            groups.iter().map(|(_, group)| group.load_balancing_weight.as_ref().unwrap().value).collect();
        assert_eq!(weights, [60, 20, 20, 9]);
        assert!(groups[3].1.lb_endpoints.is_empty());
    }

    #[test]
    fn nearer_localities_come_first() {
        let here = locality("r1/z1/s1");
        let order: Vec<_> = ["r1/z1/s1", "r1/z1/s2", "r1/z2/s1", "r2/z1/s1", "r3/z1/s1"]
            .iter()
            .map(|there| distance(&here, &locality(there), &[("r1", "r2")]))
            .collect();
        assert_eq!(order, [0, 1, 2, 3, 4]);
    }
}
