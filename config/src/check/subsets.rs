//! Subsets of DestinationRules: do their labels select any endpoint?

use std::collections::{BTreeMap, HashMap};

use super::{Findings, Registry};
use crate::kinds::Resource;
use crate::kinds::destination_rule::DestinationRule;
use crate::kinds::service::Service;
use crate::kinds::service_entry::ServiceEntry;
use crate::world::World;

type Labels = BTreeMap<String, String>;

pub(super) fn check(world: &World, registry: &Registry<'_>, findings: &mut Findings<'_>) {
    let labels = Workloads::new(world);
    let mut services: HashMap<String, Vec<Backing<'_>>> = HashMap::new();
    for service in &world.services {
        let host = registry.resolve(&service.meta.name, &service.meta.namespace);
        services.entry(host).or_default().push(Backing::Service(service));
    }
    for entry in &world.service_entries {
        for host in &entry.spec.hosts {
            services.entry(host.to_ascii_lowercase()).or_default().push(Backing::Entry(entry));
        }
    }
    let read = |rule: &&Resource<DestinationRule>| {
        !rule.meta.misread("spec.host", &[], None)
            && !rule.meta.misread("spec.subsets", &["name", "labels"], None)
    };
    for rule in world.destination_rules.iter().filter(read) {
        let host = registry.resolve(&rule.spec.host, &rule.meta.namespace);
        let Some(endpoints) = services.get(&host).and_then(|backing| endpoints(backing, &labels)) else {
            continue;
        };
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

/// What a host's endpoints are known by.
enum Backing<'w> {
    Service(&'w Resource<Service>),
    Entry(&'w Resource<ServiceEntry>),
}

/// Labels of the endpoints that are known of a host; `None` if nothing is known.
fn endpoints<'w>(backing: &[Backing<'w>], workloads: &Workloads<'w>) -> Option<Vec<&'w Labels>> {
    let mut found = Vec::new();
    for part in backing {
        match part {
            Backing::Service(service) if service.spec.selector.is_empty() => {}
            Backing::Service(service) => {
                found.extend(workloads.selected(&service.meta.namespace, &service.spec.selector))
            }
            Backing::Entry(entry) => {
                found.extend(entry.spec.endpoints.iter().map(|endpoint| &endpoint.labels));
                if let Some(selector) = &entry.spec.workload_selector {
                    found.extend(workloads.selected(&entry.meta.namespace, &selector.labels));
                }
            }
        }
    }
    (!found.is_empty()).then_some(found)
}

fn includes(labels: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}
