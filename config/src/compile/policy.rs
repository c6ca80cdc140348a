//! DestinationRules: which one speaks for a service, and what it says of a port and a subset.

use std::collections::BTreeMap;

use super::host::by_specificity;
use super::node::Node;
use super::registry::{Service, Visibility};
use super::wire;
use crate::kinds::Meta;
use crate::kinds::destination_rule::{
    ClientTls, ConnectionPool, DestinationRule, OutlierDetection, ProxyProtocol, RetryBudget, Subset,
    TrafficPolicy, Tunnel,
};
use crate::kinds::load_balancer::LoadBalancer;
use crate::world::{World, host_covers, is_wildcard, resolve_host};
use crate::yaml::Span;

/// One DestinationRule.
struct Rule<'w> {
    meta: &'w Meta,
    spec: &'w DestinationRule,
    host: String,
    visibility: Visibility,
}

/// All DestinationRules of a world.
pub(crate) struct Rules<'w> {
    /// By namespace and exact host; older ones first.
    exact: BTreeMap<&'w str, BTreeMap<String, Vec<Rule<'w>>>>,
    /// Those for wildcards.
    wild: Vec<Rule<'w>>,
    root_namespace: &'w str,
}

/// What DestinationRules say of one service: the rules of one namespace for one host, taken together.
#[derive(Clone, Default)]
pub(crate) struct ServiceRule<'w> {
    meta: Option<&'w Meta>,
    pub policy: Option<&'w TrafficPolicy>,
    pub subsets: Vec<&'w Subset>,
}

impl<'w> Rules<'w> {
    pub(crate) fn of(world: &'w World) -> Self {
        let mut rules: Vec<Rule<'w>> = world
            .destination_rules
            .iter()
            .map(|resource| Rule {
                meta: &resource.meta,
                spec: &resource.spec,
                host: resolve_host(&resource.spec.host, &resource.meta.namespace, &world.mesh.domain),
                visibility: Visibility::read(
                    resource.spec.export_to.iter().map(|word| word.as_str()),
                    &resource.meta.namespace,
                ),
            })
            .collect();
        rules.sort_by_key(|rule| super::age(rule.meta));
        let (wild, rules): (Vec<_>, Vec<_>) = rules.into_iter().partition(|rule| is_wildcard(&rule.host));
        let mut exact: BTreeMap<&'w str, BTreeMap<String, Vec<Rule<'w>>>> = BTreeMap::new();
        for rule in rules {
            let hosts = exact.entry(&rule.meta.namespace).or_default();
            hosts.entry(rule.host.clone()).or_default().push(rule);
        }
        Self { exact, wild, root_namespace: &world.mesh.root_namespace }
    }

    /// The rules for a service as the node sees them: of its own namespace, else of the service's, else of the
    /// root namespace; in each the most specific host wins, and all rules for that host are taken together.
    pub(crate) fn of_service(&self, service: &Service, node: &Node) -> ServiceRule<'w> {
        let own = node.namespace.as_str();
        let applies = |rule: &&Rule<'w>| {
            let selector = rule.spec.workload_selector.as_ref();
            rule.visibility.shows(own)
                && selector.is_none_or(|selector| node.selected_by(&selector.match_labels))
        };
        for namespace in [own, &service.namespace, self.root_namespace] {
            let hosts = self.exact.get(namespace);
            let exact = hosts.and_then(|hosts| hosts.get(&service.hostname)).map_or(&[][..], Vec::as_slice);
            let exact: Vec<&Rule<'w>> = exact.iter().filter(applies).collect();
            if !exact.is_empty() {
                return ServiceRule::merge(&exact);
            }
            let covers = |rule: &&Rule<'w>| {
                rule.meta.namespace == namespace && host_covers(&rule.host, &service.hostname)
            };
            let wild: Vec<&Rule<'w>> = self.wild.iter().filter(covers).filter(applies).collect();
            let best = wild.iter().map(|rule| rule.host.as_str()).min_by(|a, b| by_specificity(a, b));
            if let Some(best) = best {
                let best: Vec<&Rule<'w>> = wild.iter().filter(|rule| rule.host == best).copied().collect();
                return ServiceRule::merge(&best);
            }
        }
        ServiceRule::default()
    }
}

impl<'w> ServiceRule<'w> {
    fn merge(rules: &[&Rule<'w>]) -> Self {
        let mut merged = Self::default();
        for rule in rules {
            merged.meta = merged.meta.or(Some(rule.meta));
            merged.policy = merged.policy.or(rule.spec.traffic_policy.as_ref());
            for subset in &rule.spec.subsets {
                if !merged.subsets.iter().any(|known| known.name == subset.name) {
                    merged.subsets.push(subset);
                }
            }
        }
        merged
    }

    /// The rule's path, as istiod writes it into metadata.
    pub(crate) fn path(&self) -> Option<String> {
        let meta = self.meta?;
        Some(wire::config_path(
            "networking.istio.io",
            "v1",
            "destination-rule",
            &meta.namespace,
            &meta.name.value,
        ))
    }

    /// Where the policy was written that is in force for a subset, or for all.
    pub(crate) fn span(&self, subset: Option<&Subset>) -> Option<Span> {
        let own = subset.and_then(|subset| subset.traffic_policy.as_ref());
        own.or(self.policy).map(|policy| policy.span).or(self.meta.map(|meta| meta.name.span))
    }

    pub(crate) fn subset(&self, name: &str) -> Option<&'w Subset> {
        self.subsets.iter().find(|subset| subset.name.value == name).copied()
    }

    /// The policy in force for a port, and for a subset of it.
    pub(crate) fn effective(&self, port: u32, subset: Option<&'w Subset>) -> Policy<'w> {
        let policy = Policy::default().over(self.policy, port);
        match subset {
            Some(subset) => policy.over(subset.traffic_policy.as_ref(), port),
            None => policy,
        }
    }
}

/// A traffic policy with the settings of one port applied.
#[derive(Clone, Copy, Default)]
pub(crate) struct Policy<'w> {
    pub load_balancer: Option<&'w LoadBalancer>,
    pub pool: Option<&'w ConnectionPool>,
    pub outliers: Option<&'w OutlierDetection>,
    pub tls: Option<&'w ClientTls>,
    pub tunnel: Option<&'w Tunnel>,
    pub proxy_protocol: Option<&'w ProxyProtocol>,
    pub retry_budget: Option<&'w RetryBudget>,
}

impl<'w> Policy<'w> {
    /// What a further policy says goes before what is there, field by field; its settings for the port replace
    /// all four fields that such settings have.
    fn over(mut self, policy: Option<&'w TrafficPolicy>, port: u32) -> Self {
        let Some(policy) = policy else {
            return self;
        };
        self.load_balancer = policy.load_balancer.as_ref().or(self.load_balancer);
        self.pool = policy.connection_pool.as_ref().or(self.pool);
        self.outliers = policy.outlier_detection.as_ref().or(self.outliers);
        self.tls = policy.tls.as_ref().or(self.tls);
        self.tunnel = policy.tunnel.as_ref().or(self.tunnel);
        self.proxy_protocol = policy.proxy_protocol.as_ref().or(self.proxy_protocol);
        self.retry_budget = policy.retry_budget.as_ref().or(self.retry_budget);
        let of_port = |one: &&crate::kinds::destination_rule::PortPolicy| {
            one.port.as_ref().and_then(|selector| selector.number()) == Some(port)
        };
        if let Some(own) = policy.port_level_settings.iter().find(of_port) {
            self.load_balancer = own.load_balancer.as_ref();
            self.pool = own.connection_pool.as_ref();
            self.outliers = own.outlier_detection.as_ref();
            self.tls = own.tls.as_ref();
        }
        self
    }
}
