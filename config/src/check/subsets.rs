//! Subsets of DestinationRules: do their labels select any endpoint?

use std::collections::BTreeMap;

use super::{Findings, Registry};
use crate::kinds::Resource;
use crate::kinds::destination_rule::DestinationRule;
use crate::kinds::service::Service;
use crate::world::World;

type Labels = BTreeMap<String, String>;

pub(super) fn check(world: &World, registry: &Registry<'_>, findings: &mut Findings<'_>) {
    let labels = Workloads::new(world);
    for rule in world.destination_rules.iter().filter(|rule| !rule.meta.broken) {
        let Some(endpoints) = endpoints(rule, &labels, world, registry) else { continue };
        for subset in &rule.spec.subsets {
            if endpoints.iter().any(|labels| includes(labels, &subset.labels)) {
                continue;
            }
            let want: Vec<String> =
                subset.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let message = format!("the subset `{}` selects no endpoint of `{}`", subset.name, rule.spec.host);
            let remedy = format!(
                "no pod of the service bears the labels {}: correct them, or add such pods",
                want.join(", ")
            );
            findings.warning("empty-subset", subset.name.span, message, remedy);
        }
    }
}

/// Labels of everything that can be an endpoint, by namespace.
struct Workloads<'w> {
    by_namespace: BTreeMap<&'w str, Vec<&'w Labels>>,
}

impl<'w> Workloads<'w> {
    fn new(world: &'w World) -> Self {
        let mut by_namespace: BTreeMap<&str, Vec<&Labels>> = BTreeMap::new();
        let pods = world.pods.iter().map(|pod| (pod.meta.namespace.as_str(), &pod.meta.labels));
        let templates = world.workloads.iter().filter_map(|workload| {
            let labels = &workload.spec.template.as_ref()?.metadata.as_ref()?.labels;
            Some((workload.meta.namespace.as_str(), labels))
        });
        let entries =
            world.workload_entries.iter().map(|entry| (entry.meta.namespace.as_str(), &entry.spec.labels));
        for (namespace, labels) in pods.chain(templates).chain(entries) {
            by_namespace.entry(namespace).or_default().push(labels);
        }
        Self { by_namespace }
    }

    fn selected(&self, namespace: &str, selector: &Labels) -> Vec<&'w Labels> {
        let all = self.by_namespace.get(namespace).map_or(&[][..], Vec::as_slice);
        all.iter().filter(|labels| includes(labels, selector)).copied().collect()
    }
}

/// Labels of the endpoints that are known of a rule's host; `None` if nothing is known.
fn endpoints<'w>(
    rule: &Resource<DestinationRule>,
    workloads: &Workloads<'w>,
    world: &'w World,
    registry: &Registry<'_>,
) -> Option<Vec<&'w Labels>> {
    let host = registry.resolve(&rule.spec.host, &rule.meta.namespace);
    let mut found = Vec::new();
    let named =
        |service: &&Resource<Service>| registry.resolve(&service.meta.name, &service.meta.namespace) == host;
    for service in world.services.iter().filter(named).filter(|service| !service.spec.selector.is_empty()) {
        found.extend(workloads.selected(&service.meta.namespace, &service.spec.selector));
    }
    for entry in
        world.service_entries.iter().filter(|entry| entry.spec.hosts.iter().any(|name| **name == host))
    {
        found.extend(entry.spec.endpoints.iter().map(|endpoint| &endpoint.labels));
        if let Some(selector) = &entry.spec.workload_selector {
            found.extend(workloads.selected(&entry.meta.namespace, &selector.labels));
        }
    }
    (!found.is_empty()).then_some(found)
}

fn includes(labels: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}
