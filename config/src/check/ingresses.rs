//! Ingresses: their backends, and two rules for one path.

use std::collections::HashMap;

use super::{Findings, Registry};
use crate::kinds::Resource;
use crate::kinds::ingress::{Ingress, IngressBackend};
use crate::kinds::service::PortName;
use crate::world::World;

pub(super) fn check(world: &World, registry: &Registry<'_>, findings: &mut Findings<'_>) {
    let mut seen = HashMap::new();
    for ingress in &world.ingresses {
        let paths = || ingress.spec.rules.iter().filter_map(|rule| Some((rule, rule.http.as_ref()?)));
        for backend in ingress
            .spec
            .default_backend
            .iter()
            .chain(paths().flat_map(|(_, http)| http.paths.iter().map(|path| &path.backend)))
        {
            one(backend, ingress, registry, findings);
        }
        for (rule, http) in paths() {
            for path in &http.paths {
                let host = rule.host.as_ref().map_or("*", |host| host.as_str());
                let text = path.path.as_ref().map_or("/", |path| path.as_str());
                let class = ingress.spec.ingress_class_name.as_ref().map(|class| class.as_str());
                let key = (class, host, text, path.path_type.as_ref().map(|kind| kind.value));
                if let Some(first) = seen.insert(key, path.span) {
                    let message = format!(
                        "the path `{text}` of host `{host}` is already taken at {}",
                        findings.place(first)
                    );
                    findings.warning("path-conflict", path.span, message, "keep one of them");
                }
                if !text.starts_with('/') {
                    let message = format!("the path `{text}` does not begin with `/`");
                    findings.error(
                        "bad-path",
                        path.path.as_ref().map_or(path.span, |path| path.span),
                        message,
                        "begin it with `/`",
                    );
                }
            }
        }
    }
}

fn one(
    backend: &IngressBackend,
    ingress: &Resource<Ingress>,
    registry: &Registry<'_>,
    findings: &mut Findings<'_>,
) {
    let Some(service) = &backend.service else {
        let message = "a backend without a service has no effect";
        findings.error(
            "no-backend",
            backend.span,
            message,
            "name a service: `service: {name: ..., port: {number: ...}}`",
        );
        return;
    };
    let host = registry.resolve(&service.name, &ingress.meta.namespace);
    let Some(known) = registry.find(&host) else {
        let message =
            format!("there is no service `{}` in the namespace {}", service.name, ingress.meta.namespace);
        if registry.is_empty() {
            findings.warning(
                "missing-host",
                service.name.span,
                message,
                "no Service at all is among what was read",
            );
        } else {
            findings.error("missing-host", service.name.span, message, registry.remedy(&host));
        }
        return;
    };
    let Some(port) = &service.port else {
        findings.error("missing-port", service.span, "this backend has no port", "add `port: {number: ...}`");
        return;
    };
    let found = match port.port() {
        Some(PortName::Number(wanted)) => known.ports.iter().any(|(number, _)| *number == wanted),
        Some(PortName::Name(wanted)) => known.ports.iter().any(|(_, name)| name.as_ref() == Some(&wanted)),
        None => false,
    };
    if !found && !known.alias {
        let ports: Vec<String> = known
            .ports
            .iter()
            .map(|(number, name)| {
                name.as_ref().map_or_else(|| number.to_string(), |name| format!("{number} ({name})"))
            })
            .collect();
        let message = format!("the service `{}` has no such port", service.name);
        findings.error("missing-port", port.span, message, format!("its ports are: {}", ports.join(", ")));
    }
}
