//! The services of the mesh as the compiler sees them, whatever kind of resource declared them.

pub(crate) mod build;
pub(crate) mod pods;

use std::collections::BTreeMap;
use std::rc::Rc;

use super::protocol::Protocol;
use crate::yaml::Span;

/// How the addresses behind a service are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// From the listed endpoints (EDS).
    Endpoints,
    /// By resolving their names (STRICT_DNS).
    Dns,
    /// By resolving one name, one address at a time (LOGICAL_DNS).
    DnsRoundRobin,
    /// The address the client asked for (ORIGINAL_DST).
    Passthrough,
}

/// Which namespaces may see something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Visibility {
    Everyone,
    Nobody,
    Namespaces(Vec<String>),
}

impl Visibility {
    /// Reads `exportTo`: `*`, `.`, `~` and names of namespaces; an empty list means everyone.
    pub(crate) fn read<'a>(export_to: impl IntoIterator<Item = &'a str>, own: &str) -> Self {
        let mut namespaces = Vec::new();
        for word in export_to {
            match word {
                "*" => return Self::Everyone,
                "~" => return Self::Nobody,
                "." => namespaces.push(own.to_owned()),
                name => namespaces.push(name.to_owned()),
            }
        }
        if namespaces.is_empty() { Self::Everyone } else { Self::Namespaces(namespaces) }
    }

    pub(crate) fn shows(&self, namespace: &str) -> bool {
        match self {
            Self::Everyone => true,
            Self::Nobody => false,
            Self::Namespaces(names) => names.iter().any(|name| name == namespace),
        }
    }
}

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub number: u32,
    pub name: String,
    pub protocol: Protocol,
}

/// Where an endpoint is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Address {
    /// An IP address.
    Ip(String),
    /// A name to resolve.
    Name(String),
    /// A Unix socket; it serves every port.
    Pipe(String),
}

/// Region, zone and sub-zone of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Locality {
    pub region: String,
    pub zone: String,
    pub sub_zone: String,
}

impl Locality {
    /// Reads `region/zone/sub-zone`, of which the later parts may be missing.
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        Self {
            region: parts.next().unwrap_or_default(),
            zone: parts.next().unwrap_or_default(),
            sub_zone: parts.next().unwrap_or_default(),
        }
    }
}

/// One address behind a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub address: Address,
    /// Number of the service's port -> port of the endpoint. A port that is missing is not served here.
    pub ports: BTreeMap<u32, u32>,
    pub labels: BTreeMap<String, String>,
    pub locality: Locality,
    /// 0 stands for 1.
    pub weight: u32,
    /// Name and namespace of the workload.
    pub workload: String,
    pub namespace: String,
    /// Whether it says that it takes Istio's mutual TLS.
    pub mutual_tls: bool,
}

impl Endpoint {
    /// Whether it has all of the labels.
    pub(crate) fn has_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }

    /// Istio's canonical service name: by label, else the workload's name.
    pub(crate) fn canonical_name(&self) -> &str {
        ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]
            .iter()
            .find_map(|label| self.labels.get(*label))
            .map_or(self.workload.as_str(), String::as_str)
    }

    /// Istio's canonical revision by label; empty when there is none.
    pub(crate) fn canonical_revision(&self) -> &str {
        ["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"]
            .iter()
            .find_map(|label| self.labels.get(*label))
            .map_or("", String::as_str)
    }
}

/// What declared a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Kubernetes,
    ServiceEntry,
}

/// A service: a host name with ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    /// Lower case; may be a wildcard.
    pub hostname: String,
    /// Name as Istio's metadata gives it.
    pub name: String,
    pub namespace: String,
    pub origin: Origin,
    pub ports: Vec<Port>,
    /// Virtual addresses; also networks (CIDR).
    pub addresses: Vec<String>,
    pub resolution: Resolution,
    /// Outside of the mesh.
    pub external: bool,
    /// Without a virtual address, told by its endpoints' own names.
    pub headless: bool,
    /// Host names that stand for this service (Services of type ExternalName).
    pub aliases: Vec<String>,
    pub visibility: Visibility,
    pub subject_alt_names: Vec<String>,
    pub endpoints: Vec<Endpoint>,
    /// Where its name was written.
    pub span: Span,
}

impl Service {
    pub(crate) fn port(&self, number: u32) -> Option<&Port> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// Virtual addresses that are single ones.
    pub(crate) fn vips(&self) -> impl Iterator<Item = &str> {
        self.addresses
            .iter()
            .map(String::as_str)
            .filter(|address| address.parse::<std::net::IpAddr>().is_ok())
    }
}

/// All services, found by host name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry {
    services: Vec<Rc<Service>>,
}

impl Registry {
    /// Sorts the services by host name. Of two with the same name and namespace the first is kept.
    pub(crate) fn new(mut services: Vec<Service>) -> Self {
        services.sort_by(|a, b| a.hostname.cmp(&b.hostname).then_with(|| a.namespace.cmp(&b.namespace)));
        services
            .dedup_by(|later, first| later.hostname == first.hostname && later.namespace == first.namespace);
        Self { services: services.into_iter().map(Rc::new).collect() }
    }

    /// The services that `namespace` sees and `import` takes, by host name: one for each, its own before others.
    pub(crate) fn visible(
        &self,
        namespace: &str,
        import: impl Fn(&Rc<Service>) -> Option<Rc<Service>>,
    ) -> BTreeMap<String, Rc<Service>> {
        let mut visible: BTreeMap<String, Rc<Service>> = BTreeMap::new();
        let shown = self.services.iter().filter(|service| service.visibility.shows(namespace));
        for service in shown.filter_map(import) {
            if service.namespace == namespace || !visible.contains_key(&service.hostname) {
                visible.insert(service.hostname.clone(), service);
            }
        }
        visible
    }

    /// The services of a host name, in the order of their namespaces.
    pub(crate) fn of_host(&self, host: &str) -> &[Rc<Service>] {
        let first = self.services.partition_point(|service| service.hostname.as_str() < host);
        let rest = self.services.get(first..).unwrap_or_default();
        let count = rest.partition_point(|service| service.hostname == host);
        rest.get(..count).unwrap_or_default()
    }

    /// Host names that stand for a service -> its own.
    pub(crate) fn aliases(&self) -> BTreeMap<String, String> {
        let of = |service: &Service| {
            let name = service.hostname.clone();
            service.aliases.clone().into_iter().map(move |alias| (alias, name.clone()))
        };
        self.services.iter().map(Rc::as_ref).flat_map(of).collect()
    }

    /// Keeps those that a condition holds for.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Service) -> bool) {
        self.services.retain(|service| keep(service));
    }

    pub(crate) fn all(&self) -> &[Rc<Service>] {
        &self.services
    }
}
