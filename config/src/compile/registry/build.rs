//! From ServiceEntries and Kubernetes Services to the registry.

use std::collections::{BTreeMap, HashMap};

use super::super::protocol::Protocol;
use super::pods::{Pods, takes_mutual_tls};
use super::{Address, Endpoint, Locality, Origin, Port, Registry, Resolution, Service, Visibility};
use crate::diag::Diagnostic;
use crate::kinds::service::{self, PortName, ServiceType};
use crate::kinds::service_entry::{self as entry, ServiceEntry, WorkloadEntry};
use crate::kinds::{Meta, Resource};
use crate::read::Reader;
use crate::world::{World, is_wildcard};
use crate::yaml::{Span, Spanned};

/// Label that names an endpoint's locality.
const LOCALITY_LABEL: &str = "istio-locality";
/// Annotation that says who sees a Kubernetes Service.
const EXPORT_TO_ANNOTATION: &str = "networking.istio.io/exportTo";

impl Registry {
    /// All services of a world.
    pub(crate) fn of(world: &World, reader: &mut Reader<'_>) -> Self {
        let pods = Pods::of(world);
        let mut services: Vec<Service> = Vec::new();
        for resource in &world.service_entries {
            services.extend(service_entry(world, resource, &pods, reader));
        }
        let mut aliases: HashMap<String, Vec<String>> = HashMap::new();
        for one in world.services.iter().filter(|one| is_external_name(&one.spec)) {
            if let Some(name) = &one.spec.external_name {
                let alias = kubernetes_host(&one.meta.name, &one.meta.namespace, world);
                aliases.entry(name.to_ascii_lowercase()).or_default().push(alias);
            }
        }
        for resource in &world.services {
            let Some(mut service) = kubernetes(world, resource, &pods, reader) else {
                continue;
            };
            if let Some(names) = aliases.get(&service.hostname) {
                service.aliases.clone_from(names);
                service.aliases.sort();
            }
            services.push(service);
        }
        Self::new(services)
    }
}

/// One service for each host of a ServiceEntry.
fn service_entry(
    world: &World,
    resource: &Resource<ServiceEntry>,
    pods: &Pods<'_>,
    reader: &mut Reader<'_>,
) -> Vec<Service> {
    let (meta, spec) = (&resource.meta, &resource.spec);
    let ports: Vec<Port> = spec.ports.iter().map(entry_port).collect();
    let resolution = match spec.resolution.as_ref().map(|resolution| resolution.value) {
        Some(entry::Resolution::Static) => Resolution::Endpoints,
        Some(entry::Resolution::Dns | entry::Resolution::DynamicDns) => Resolution::Dns,
        Some(entry::Resolution::DnsRoundRobin) => Resolution::DnsRoundRobin,
        Some(entry::Resolution::None) | None => Resolution::Passthrough,
    };
    let listed = listed_endpoints(world, resource, pods);
    let mut services = Vec::new();
    for host in &spec.hosts {
        let hostname = host.to_ascii_lowercase();
        let mut endpoints = listed.clone();
        let by_name = matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        if let Some(dynamic) = dynamic(spec) {
            let left_out = is_wildcard(&hostname) && endpoints.is_empty();
            say_not_dynamic(&hostname, left_out, dynamic, reader);
            if left_out {
                continue;
            }
        }
        if endpoints.is_empty() && by_name && spec.workload_selector.is_none() {
            endpoints.push(named_endpoint(meta, &hostname, spec));
        }
        services.push(Service {
            name: hostname.clone(),
            hostname,
            namespace: meta.namespace.clone(),
            origin: Origin::ServiceEntry,
            ports: ports.clone(),
            addresses: spec.addresses.iter().map(|address| address.value.clone()).collect(),
            resolution,
            external: !matches!(
                spec.location.as_ref().map(|it| it.value),
                Some(entry::Location::MeshInternal)
            ),
            headless: false,
            aliases: Vec::new(),
            visibility: Visibility::read(spec.export_to.iter().map(|word| word.as_str()), &meta.namespace),
            subject_alt_names: spec.subject_alt_names.iter().map(|name| name.value.clone()).collect(),
            endpoints,
            span: host.span,
        });
    }
    services
}

/// Where the entry asks for names to be looked up as requests name them, if it does.
fn dynamic(spec: &ServiceEntry) -> Option<Span> {
    let resolution = spec.resolution.as_ref()?;
    (resolution.value == entry::Resolution::DynamicDns).then_some(resolution.span)
}

fn say_not_dynamic(hostname: &str, left_out: bool, span: Span, reader: &mut Reader<'_>) {
    let (consequence, remedy) = if left_out {
        (
            "the names that a request may ask for are not looked up, and the service is left out",
            "list the hosts by name with resolution DNS",
        )
    } else {
        ("names are looked up all the time, as with DNS", "write resolution DNS")
    };
    let message = format!("resolution DYNAMIC_DNS of {hostname} is not obeyed yet: {consequence}");
    reader.report(Diagnostic::warning("field-not-obeyed", message).remedy(remedy), span);
}

fn entry_port(port: &entry::EntryPort) -> Port {
    // What is not declared is detected, as for Kubernetes' ports; a name says nothing here.
    let protocol = port.protocol.as_ref().and_then(|word| Protocol::parse(word)).unwrap_or(Protocol::Auto);
    let name = port.name.as_ref().map_or_else(String::new, |name| name.value.clone());
    Port { number: port.number.value, protocol, name }
}

/// The endpoints that the entry lists, or else those that it selects.
fn listed_endpoints(world: &World, resource: &Resource<ServiceEntry>, pods: &Pods<'_>) -> Vec<Endpoint> {
    let (meta, spec) = (&resource.meta, &resource.spec);
    if let (Some(selector), true) = (&spec.workload_selector, spec.endpoints.is_empty()) {
        let selects = |labels: &BTreeMap<String, String>| {
            !selector.labels.is_empty()
                && selector.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        };
        let entries = world
            .workload_entries
            .iter()
            .filter(|one| one.meta.namespace == meta.namespace && selects(&one.spec.labels))
            .filter_map(|one| workload_endpoint(&one.spec, &one.meta.name, &meta.namespace, spec));
        let ports = |_: &super::pods::PodRow<'_>| {
            spec.ports.iter().map(|port| (port.number.value, target(port))).collect::<BTreeMap<_, _>>()
        };
        return entries.chain(pods.select(&meta.namespace, selects, ports)).collect();
    }
    let named = |(index, one): (usize, &WorkloadEntry)| {
        workload_endpoint(one, &format!("{}-{index}", meta.name.value), &meta.namespace, spec)
    };
    spec.endpoints.iter().enumerate().filter_map(named).collect()
}

fn target(port: &entry::EntryPort) -> u32 {
    port.target_port.as_ref().map_or(port.number.value, |target| target.value)
}

/// The host itself, to be resolved.
fn named_endpoint(meta: &Meta, hostname: &str, spec: &ServiceEntry) -> Endpoint {
    Endpoint {
        address: Address::Name(hostname.to_owned()),
        ports: spec.ports.iter().map(|port| (port.number.value, target(port))).collect(),
        labels: BTreeMap::new(),
        locality: Locality::default(),
        weight: 1,
        workload: meta.name.value.clone(),
        namespace: meta.namespace.clone(),
        mutual_tls: false,
    }
}

fn workload_endpoint(
    one: &WorkloadEntry,
    name: &str,
    namespace: &str,
    spec: &ServiceEntry,
) -> Option<Endpoint> {
    let address = one.address.as_ref()?;
    let address = match address.strip_prefix("unix://") {
        Some(path) => Address::Pipe(path.to_owned()),
        None if address.parse::<std::net::IpAddr>().is_ok() => Address::Ip(address.value.clone()),
        None => Address::Name(address.value.clone()),
    };
    let port_of = |port: &entry::EntryPort| {
        let named = port.name.as_ref().and_then(|name| one.ports.get(&name.value));
        named.map_or_else(|| target(port), |number| number.value)
    };
    let locality =
        one.locality.as_ref().map(|text| Locality::parse(text)).or_else(|| locality_label(&one.labels));
    Some(Endpoint {
        address,
        ports: spec.ports.iter().map(|port| (port.number.value, port_of(port))).collect(),
        mutual_tls: takes_mutual_tls(&one.labels),
        labels: one.labels.clone(),
        locality: locality.unwrap_or_default(),
        weight: one.weight.as_ref().map_or(1, |weight| weight.value.max(1)),
        workload: name.to_owned(),
        namespace: namespace.to_owned(),
    })
}

fn locality_label(labels: &BTreeMap<String, String>) -> Option<Locality> {
    labels.get(LOCALITY_LABEL).map(|text| Locality::parse(&text.replace('.', "/")))
}

/// A Kubernetes Service. One of type ExternalName is an alias of another service, or else a name to resolve.
fn kubernetes(
    world: &World,
    resource: &Resource<service::Service>,
    pods: &Pods<'_>,
    reader: &mut Reader<'_>,
) -> Option<Service> {
    let (meta, spec) = (&resource.meta, &resource.spec);
    let hostname = kubernetes_host(&meta.name, &meta.namespace, world);
    let external = is_external_name(spec);
    let ports: Vec<Port> = spec.ports.iter().map(service_port).collect();
    let headless = spec.cluster_ip.as_ref().is_some_and(|ip| ip.value == "None");
    let mut service = Service {
        hostname,
        name: meta.name.value.clone(),
        namespace: meta.namespace.clone(),
        origin: Origin::Kubernetes,
        ports,
        addresses: cluster_addresses(spec),
        resolution: if headless { Resolution::Passthrough } else { Resolution::Endpoints },
        external: false,
        headless,
        aliases: Vec::new(),
        visibility: kubernetes_visibility(meta),
        subject_alt_names: Vec::new(),
        endpoints: Vec::new(),
        span: meta.name.span,
    };
    if external {
        let name = spec.external_name.as_ref()?;
        if alias_target(world, name).is_some() {
            return None;
        }
        service.resolution = Resolution::Dns;
        service.endpoints.push(Endpoint {
            address: Address::Name(name.to_ascii_lowercase()),
            ports: service.ports.iter().map(|port| (port.number, port.number)).collect(),
            labels: BTreeMap::new(),
            locality: Locality::default(),
            weight: 1,
            workload: String::new(),
            namespace: meta.namespace.clone(),
            mutual_tls: false,
        });
        return Some(service);
    }
    service.endpoints = pods.behind(resource, reader);
    service.endpoints.extend(selected_workload_entries(world, resource));
    service.endpoints.sort_by(|a, b| (&a.locality, &a.address).cmp(&(&b.locality, &b.address)));
    Some(service)
}

pub(crate) fn kubernetes_host(name: &str, namespace: &str, world: &World) -> String {
    format!("{name}.{namespace}.svc.{}", world.mesh.domain).to_ascii_lowercase()
}

fn service_port(port: &service::ServicePort) -> Port {
    let word = |field: &Option<Spanned<String>>| field.as_ref().map(|word| word.value.clone());
    let name = word(&port.name).unwrap_or_default();
    Port {
        number: port.port.value,
        protocol: Protocol::of_service_port(
            word(&port.protocol).as_deref(),
            &name,
            word(&port.app_protocol).as_deref(),
        ),
        name,
    }
}

fn cluster_addresses(spec: &service::Service) -> Vec<String> {
    let mut addresses: Vec<String> = Vec::new();
    for ip in spec.cluster_ip.iter().chain(&spec.cluster_ips) {
        if ip.parse::<std::net::IpAddr>().is_ok() && !addresses.contains(&ip.value) {
            addresses.push(ip.value.clone());
        }
    }
    addresses
}

fn kubernetes_visibility(meta: &Meta) -> Visibility {
    let words = meta.annotations.get(EXPORT_TO_ANNOTATION).map_or("", String::as_str);
    let words = words.split(',').map(str::trim).filter(|word| !word.is_empty());
    Visibility::read(words, &meta.namespace)
}

/// The Kubernetes Service that an external name is, if it is one.
fn alias_target<'w>(world: &'w World, name: &str) -> Option<&'w Resource<service::Service>> {
    let name = name.to_ascii_lowercase();
    world.services.iter().find(|one| kubernetes_host(&one.meta.name, &one.meta.namespace, world) == name)
}

fn is_external_name(spec: &service::Service) -> bool {
    matches!(spec.service_type.as_ref().map(|it| it.value), Some(ServiceType::ExternalName))
}

/// WorkloadEntries that a Kubernetes Service selects by their labels.
fn selected_workload_entries(world: &World, resource: &Resource<service::Service>) -> Vec<Endpoint> {
    let (meta, spec) = (&resource.meta, &resource.spec);
    if spec.selector.is_empty() {
        return Vec::new();
    }
    let selected = world.workload_entries.iter().filter(|one| {
        one.meta.namespace == meta.namespace
            && spec.selector.iter().all(|(key, value)| one.spec.labels.get(key) == Some(value))
    });
    selected
        .filter_map(|one| {
            let ports = spec.ports.iter().map(|port| {
                let named = port.name.as_ref().and_then(|name| one.spec.ports.get(&name.value));
                let target = match port.target_port.as_ref().map(|target| &target.value) {
                    Some(PortName::Number(number)) => *number,
                    Some(PortName::Name(name)) => {
                        one.spec.ports.get(name).map_or(port.port.value, |number| number.value)
                    }
                    None => port.port.value,
                };
                (port.port.value, named.map_or(target, |number| number.value))
            });
            let address = one.spec.address.as_ref()?.value.clone();
            Some(Endpoint {
                address: Address::Ip(address),
                ports: ports.collect(),
                mutual_tls: takes_mutual_tls(&one.spec.labels),
                labels: one.spec.labels.clone(),
                locality: one.spec.locality.as_ref().map(|text| Locality::parse(text)).unwrap_or_default(),
                weight: one.spec.weight.as_ref().map_or(1, |weight| weight.value.max(1)),
                workload: one.meta.name.value.clone(),
                namespace: meta.namespace.clone(),
            })
        })
        .collect()
}
