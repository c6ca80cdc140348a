//! Which services a world has, by full name.

use std::collections::{BTreeMap, HashMap};

use crate::kinds::Resource;
use crate::kinds::destination_rule::DestinationRule;
use crate::kinds::service::ServiceType;
use crate::read::nearest;
use crate::world::{World, host_covers, is_wildcard, resolve_host};

/// Most names that a "did you mean" compares.
const MAX_CANDIDATES: usize = 2_000;

/// A service, from a Service or a ServiceEntry.
#[derive(Debug, Clone)]
pub struct Known {
    /// Number and name of each port.
    pub ports: Vec<(u32, Option<String>)>,
    /// It stands for another name.
    pub alias: bool,
}

/// All services of a world.
#[derive(Debug)]
pub struct Registry<'w> {
    world: &'w World,
    exact: BTreeMap<String, Known>,
    wildcards: Vec<(String, Known)>,
    rules: HashMap<String, Vec<&'w Resource<DestinationRule>>>,
    wild_rules: Vec<(String, &'w Resource<DestinationRule>)>,
}

impl<'w> Registry<'w> {
    /// Collects them.
    #[must_use]
    pub fn new(world: &'w World) -> Self {
        let mut registry = Self {
            world,
            exact: BTreeMap::new(),
            wildcards: Vec::new(),
            rules: HashMap::new(),
            wild_rules: Vec::new(),
        };
        for service in &world.services {
            let ports = &service.spec.ports;
            let ports =
                ports.iter().map(|port| (port.port.value, port.name.as_ref().map(|name| name.value.clone())));
            let alias =
                service.spec.service_type.as_ref().is_some_and(|kind| **kind == ServiceType::ExternalName);
            let known = Known { ports: ports.collect(), alias };
            let host = registry.resolve(&service.meta.name, &service.meta.namespace);
            registry.add(host, known);
        }
        for entry in &world.service_entries {
            let ports = &entry.spec.ports;
            let ports = ports
                .iter()
                .map(|port| (port.number.value, port.name.as_ref().map(|name| name.value.clone())));
            let known = Known { ports: ports.collect(), alias: false };
            for host in &entry.spec.hosts {
                registry.add(host.to_ascii_lowercase(), known.clone());
            }
        }
        for rule in &world.destination_rules {
            let host = registry.resolve(&rule.spec.host, &rule.meta.namespace);
            if is_wildcard(&host) {
                registry.wild_rules.push((host, rule));
            } else {
                registry.rules.entry(host).or_default().push(rule);
            }
        }
        registry
    }

    fn add(&mut self, host: String, known: Known) {
        if is_wildcard(&host) {
            self.wildcards.push((host, known));
        } else {
            self.exact
                .entry(host)
                .or_insert_with(|| Known { ports: Vec::new(), alias: known.alias })
                .ports
                .extend(known.ports);
        }
    }

    /// The full name of a host as `namespace` means it.
    #[must_use]
    pub fn resolve(&self, host: &str, namespace: &str) -> String {
        resolve_host(host, namespace, &self.world.mesh.domain)
    }

    /// The service of a full name, if there is one.
    #[must_use]
    pub fn find(&self, host: &str) -> Option<&Known> {
        let wild =
            || self.wildcards.iter().find(|(pattern, _)| host_covers(pattern, host)).map(|(_, known)| known);
        self.exact.get(host).or_else(wild)
    }

    /// Whether a pattern takes in any service.
    #[must_use]
    pub fn any_under(&self, pattern: &str) -> bool {
        self.exact.keys().any(|host| host_covers(pattern, host))
            || self.wildcards.iter().any(|(host, _)| host_covers(pattern, host) || host_covers(host, pattern))
    }

    /// Whether there is no service at all: then nothing can be said of the ones that are named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcards.is_empty()
    }

    /// Whether a name is one of the cluster's own.
    #[must_use]
    pub fn is_internal(&self, host: &str) -> bool {
        host.strip_suffix(self.world.mesh.domain.as_str()).is_some_and(|rest| rest.ends_with(".svc."))
    }

    /// Whether there are other services of a name's namespace.
    #[must_use]
    pub fn has_neighbours(&self, host: &str) -> bool {
        let Some((_, rest)) = host.split_once('.') else { return false };
        self.exact.keys().any(|name| name.split_once('.').is_some_and(|(_, other)| other == rest))
    }

    /// What to do about a name that no service has.
    #[must_use]
    pub fn remedy(&self, host: &str) -> String {
        let names: Vec<&str> = self.exact.keys().take(MAX_CANDIDATES).map(String::as_str).collect();
        let short = host.split('.').next().unwrap_or_default();
        let dotted = host.split('.').count() <= 3 && !self.is_internal(host);
        if let Some((name, _)) =
            self.exact.iter().find(|(name, _)| dotted && name.starts_with(&format!("{host}.")))
        {
            return format!("a name with dots is taken as it stands: write `{name}`");
        }
        if let Some(name) =
            names.iter().find(|name| self.is_internal(name) && name.split('.').next() == Some(short))
        {
            return format!("there is `{name}`: write the full name to refer to another namespace");
        }
        match nearest_host(host, &names) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "add the Service, or a ServiceEntry for a host outside the cluster".to_owned(),
        }
    }

    /// The DestinationRules for a full name.
    pub fn rules<'r>(
        &'r self,
        host: &'r str,
    ) -> impl Iterator<Item = &'w Resource<DestinationRule>> + use<'r, 'w> {
        let wild = self
            .wild_rules
            .iter()
            .filter(move |(pattern, _)| host_covers(pattern, host))
            .map(|(_, rule)| *rule);
        self.rules.get(host).into_iter().flatten().copied().chain(wild)
    }
}

/// Like [`nearest`], by the first label: the rest of the name is the same for all services of a namespace.
fn nearest_host<'n>(host: &str, names: &[&'n str]) -> Option<&'n str> {
    let (short, rest) = host.split_once('.')?;
    let peers: Vec<&str> = names
        .iter()
        .filter_map(|name| name.split_once('.').filter(|(_, tail)| *tail == rest))
        .map(|(head, _)| head)
        .collect();
    let meant = nearest(short, &peers)?;
    names.iter().find(|name| name.split_once('.') == Some((meant, rest))).copied()
}
