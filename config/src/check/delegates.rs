//! VirtualServices that hand a part of their rules to others.

use std::collections::{HashMap, HashSet};

use super::{Findings, Registry};
use crate::kinds::Resource;
use crate::kinds::virtual_service::VirtualService;
use crate::world::World;

pub(super) fn check(world: &World, _: &Registry<'_>, findings: &mut Findings<'_>) {
    let mut referenced = HashSet::new();
    let key = |service: &'_ Resource<VirtualService>| {
        (service.meta.namespace.clone(), service.meta.name.value.clone())
    };
    let known: HashMap<_, _> = world.virtual_services.iter().map(|service| (key(service), service)).collect();
    for service in &world.virtual_services {
        for rule in &service.spec.http {
            let Some(delegate) = &rule.delegate else { continue };
            let namespace = delegate
                .namespace
                .as_ref()
                .map_or(service.meta.namespace.as_str(), |namespace| namespace.as_str());
            let name = delegate.name.as_str();
            referenced.insert((namespace, name));
            let target = known.get(&(namespace.to_owned(), name.to_owned())).copied();
            match target {
                None => {
                    let message = format!("there is no VirtualService {namespace}/{name} to delegate to");
                    findings.error(
                        "missing-delegate",
                        delegate.name.span,
                        message,
                        "add it, or correct name and namespace",
                    );
                }
                Some(target) if std::ptr::eq(target, service) => {
                    let message = "this VirtualService delegates to itself";
                    findings.error(
                        "delegate-cycle",
                        delegate.name.span,
                        message,
                        "delegate to another one, which has no hosts",
                    );
                }
                Some(target) => judge(service, target, findings),
            }
        }
    }
    for service in &world.virtual_services {
        let key = (service.meta.namespace.as_str(), service.meta.name.as_str());
        if service.spec.hosts.is_empty() && !service.meta.broken() && !referenced.contains(&key) {
            let message = format!(
                "{} has no hosts and nothing delegates to it: it has no effect",
                service.meta.title()
            );
            findings.warning(
                "no-hosts",
                service.spec.span,
                message,
                "add `hosts:`, or a rule that delegates to it",
            );
        }
    }
}

fn judge(service: &Resource<VirtualService>, target: &Resource<VirtualService>, findings: &mut Findings<'_>) {
    if let Some(host) = target.spec.hosts.first() {
        let message = format!(
            "{} delegates to this VirtualService, which therefore must have no hosts",
            service.meta.title()
        );
        findings.error(
            "delegate-with-hosts",
            host.span,
            message,
            "remove `hosts:`; those of the delegating one hold",
        );
    }
    let nested = target.spec.http.iter().find_map(|rule| rule.delegate.as_ref());
    if let Some(nested) = nested {
        let message = format!(
            "{} delegates to this VirtualService, which delegates further: one level is possible",
            service.meta.title()
        );
        findings.error("delegate-nested", nested.span, message, "put the rules of the last one here");
    }
}
