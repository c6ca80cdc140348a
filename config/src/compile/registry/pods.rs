//! The addresses behind Kubernetes Services: EndpointSlices, Endpoints objects, Pods.

use std::collections::{BTreeMap, HashMap};

use super::{Address, Endpoint, Locality};
use crate::diag::Diagnostic;
use crate::kinds::Resource;
use crate::kinds::endpoint::{
    EndpointAddress, EndpointSlice, Endpoints, Pod, SERVICE_NAME_LABEL, SliceEndpoint, SlicePort, TargetRef,
};
use crate::kinds::service::{PortName, Service, ServicePort};
use crate::read::Reader;
use crate::world::World;

/// Label by which an endpoint says that it takes Istio's mutual TLS.
const TLS_MODE_LABEL: &str = "security.istio.io/tlsMode";

/// A Pod with what routing needs of it.
pub(crate) struct PodRow<'w> {
    pod: &'w Resource<Pod>,
    ip: Option<&'w str>,
}

/// All Pods of a world, and the objects that list them.
pub(crate) struct Pods<'w> {
    world: &'w World,
    rows: Vec<PodRow<'w>>,
    /// Positions of the Pods by namespace and name, and by namespace and address.
    by_name: HashMap<(&'w str, &'w str), usize>,
    by_ip: HashMap<(&'w str, &'w str), usize>,
    /// EndpointSlices by namespace and name of their Service.
    slices: HashMap<(&'w str, &'w str), Vec<&'w Resource<EndpointSlice>>>,
    /// Endpoints objects by namespace and name.
    objects: HashMap<(&'w str, &'w str), &'w Resource<Endpoints>>,
}

impl<'w> Pods<'w> {
    pub(crate) fn of(world: &'w World) -> Self {
        let rows: Vec<PodRow<'w>> = world
            .pods
            .iter()
            .map(|pod| PodRow {
                pod,
                ip: pod.spec.status.as_ref().and_then(|status| status.pod_ip.as_ref()).map(|ip| ip.as_str()),
            })
            .collect();
        let (mut by_name, mut by_ip) = (HashMap::new(), HashMap::new());
        for (index, row) in rows.iter().enumerate() {
            let meta = &row.pod.meta;
            by_name.entry((meta.namespace.as_str(), meta.name.as_str())).or_insert(index);
            if let Some(ip) = row.ip {
                by_ip.entry((meta.namespace.as_str(), ip)).or_insert(index);
            }
        }
        let mut slices: HashMap<_, Vec<&'w Resource<EndpointSlice>>> = HashMap::new();
        for slice in &world.endpoint_slices {
            if let Some(service) = slice.meta.labels.get(SERVICE_NAME_LABEL) {
                slices.entry((slice.meta.namespace.as_str(), service.as_str())).or_default().push(slice);
            }
        }
        let key =
            |object: &'w Resource<Endpoints>| (object.meta.namespace.as_str(), object.meta.name.as_str());
        let objects = world.endpoints.iter().map(|object| (key(object), object)).collect();
        Self { world, rows, by_name, by_ip, slices, objects }
    }

    /// The ready Pods of a namespace that a selector takes, as endpoints.
    pub(crate) fn select(
        &self,
        namespace: &str,
        selects: impl Fn(&BTreeMap<String, String>) -> bool,
        ports: impl Fn(&PodRow<'w>) -> BTreeMap<u32, u32>,
    ) -> Vec<Endpoint> {
        let rows = self.rows.iter().filter(|row| {
            row.pod.meta.namespace == namespace && selects(&row.pod.meta.labels) && row.is_ready()
        });
        rows.filter_map(|row| Some(row.endpoint(row.ip?, ports(row)))).collect()
    }

    /// The endpoints of a Service: its EndpointSlices, else its Endpoints object, else the Pods it selects.
    pub(crate) fn behind(&self, service: &Resource<Service>, reader: &mut Reader<'_>) -> Vec<Endpoint> {
        let name = service.meta.name.as_str();
        let namespace = service.meta.namespace.as_str();
        let mut endpoints: Vec<Endpoint> = Vec::new();
        let slices = self.slices.get(&(namespace, name)).map_or(&[][..], Vec::as_slice);
        let object = self.objects.get(&(namespace, name)).filter(|_| slices.is_empty());
        for slice in slices {
            let ports = listed_ports(&service.spec.ports, &slice.spec.ports);
            for one in &slice.spec.endpoints {
                if takes_traffic(one, service.spec.publish_not_ready_addresses) {
                    endpoints.extend(self.of_slice(one, namespace, &ports, reader));
                }
            }
        }
        for subset in object.into_iter().flat_map(|object| &object.spec.subsets) {
            let ports = listed_ports(&service.spec.ports, &subset.ports);
            let late = subset.not_ready_addresses.iter().filter(|_| service.spec.publish_not_ready_addresses);
            let addresses = subset.addresses.iter().chain(late);
            endpoints.extend(addresses.map(|one| self.of_address(one, namespace, &ports, reader)));
        }
        if slices.is_empty() && object.is_none() && !service.spec.selector.is_empty() {
            let selector = &service.spec.selector;
            endpoints = self.select(
                namespace,
                |labels| selector.iter().all(|(key, value)| labels.get(key) == Some(value)),
                |row| row.ports(&service.spec.ports),
            );
        }
        merge(endpoints)
    }

    fn of_slice(
        &self,
        one: &SliceEndpoint,
        namespace: &str,
        ports: &BTreeMap<u32, u32>,
        reader: &mut Reader<'_>,
    ) -> Option<Endpoint> {
        let address = one.addresses.first()?;
        let mut endpoint =
            self.endpoint(address, one.target_ref.as_ref(), namespace, ports, address.span, reader);
        if let Some(zone) = &one.zone {
            endpoint.locality.zone.clone_from(&zone.value);
        }
        Some(endpoint)
    }

    fn of_address(
        &self,
        one: &EndpointAddress,
        namespace: &str,
        ports: &BTreeMap<u32, u32>,
        reader: &mut Reader<'_>,
    ) -> Endpoint {
        self.endpoint(&one.ip, one.target_ref.as_ref(), namespace, ports, one.ip.span, reader)
    }

    fn endpoint(
        &self,
        address: &str,
        target: Option<&TargetRef>,
        namespace: &str,
        ports: &BTreeMap<u32, u32>,
        span: crate::yaml::Span,
        reader: &mut Reader<'_>,
    ) -> Endpoint {
        let name = target.and_then(|target| target.name.as_deref());
        let index = match name {
            Some(name) => self.by_name.get(&(namespace, name)),
            None => self.by_ip.get(&(namespace, address)),
        };
        let row = index.and_then(|index| self.rows.get(*index));
        if let Some(row) = row {
            return row.endpoint(address, ports.clone());
        }
        let workload = name.and_then(|name| self.workload_of(name, namespace));
        let labels = workload.map(|(_, labels)| labels.clone()).unwrap_or_default();
        if workload.is_none() {
            let message = format!("nothing says which labels the endpoint {address} has: it is in no subset");
            let remedy = "add its Pod (metadata.labels, status.podIP), or a targetRef with the name of one";
            reader.report(Diagnostic::note("endpoint-without-labels", message).remedy(remedy), span);
        }
        Endpoint {
            address: parse_address(address),
            ports: ports.clone(),
            mutual_tls: takes_mutual_tls(&labels),
            labels,
            locality: Locality::default(),
            weight: 1,
            workload: workload
                .map_or_else(|| name.unwrap_or_default().to_owned(), |(name, _)| name.to_owned()),
            namespace: namespace.to_owned(),
        }
    }

    /// The workload whose pod bears this name (`WORKLOAD-...`), with the labels of its pods: the one with the
    /// longest name, for `web` and `web-admin` both fit `web-admin-5d8f`.
    fn workload_of(&self, pod: &str, namespace: &str) -> Option<(&'w str, &'w BTreeMap<String, String>)> {
        let fits =
            |name: &str| pod.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        self.world
            .workloads
            .iter()
            .filter(|one| one.meta.namespace == namespace && fits(&one.meta.name))
            .max_by_key(|one| one.meta.name.len())
            .and_then(|one| {
                let template = one.spec.template.as_ref()?.metadata.as_ref()?;
                Some((one.meta.name.as_str(), &template.labels))
            })
    }
}

impl PodRow<'_> {
    fn is_ready(&self) -> bool {
        let Some(status) = &self.pod.spec.status else {
            return false;
        };
        let running = status.phase.as_deref().is_none_or(|phase| phase == "Running");
        running && !status.conditions.iter().any(|one| one.condition == "Ready" && one.status != "True")
    }

    fn endpoint(&self, address: &str, ports: BTreeMap<u32, u32>) -> Endpoint {
        let labels = self.pod.meta.labels.clone();
        Endpoint {
            address: parse_address(address),
            ports,
            mutual_tls: takes_mutual_tls(&labels),
            labels,
            locality: Locality::default(),
            weight: 1,
            workload: self.workload(),
            namespace: self.pod.meta.namespace.clone(),
        }
    }

    /// Name of the workload: the Pod's without the hash of a ReplicaSet and of the Pod.
    fn workload(&self) -> String {
        let name = self.pod.meta.name.as_str();
        let Some(hash) = self.pod.meta.labels.get("pod-template-hash") else {
            return name.to_owned();
        };
        name.split_once(&format!("-{hash}")).map_or(name, |(workload, _)| workload).to_owned()
    }

    fn ports(&self, ports: &[ServicePort]) -> BTreeMap<u32, u32> {
        let mut targets = BTreeMap::new();
        for port in ports {
            let target = match port.target_port.as_ref().map(|target| &target.value) {
                None => Some(port.port.value),
                Some(PortName::Number(number)) => Some(*number),
                Some(PortName::Name(name)) => self.named_port(name),
            };
            if let Some(target) = target {
                targets.insert(port.port.value, target);
            }
        }
        targets
    }

    fn named_port(&self, name: &str) -> Option<u32> {
        let containers = self.pod.spec.spec.iter().flat_map(|spec| &spec.containers);
        let mut ports = containers.flat_map(|container| &container.ports);
        ports.find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port.value)
    }
}

fn parse_address(address: &str) -> Address {
    if address.parse::<std::net::IpAddr>().is_ok() {
        Address::Ip(address.to_owned())
    } else {
        Address::Name(address.to_owned())
    }
}

/// Ready, where not known counts as yes; not terminating.
fn takes_traffic(one: &SliceEndpoint, not_ready_too: bool) -> bool {
    let Some(conditions) = &one.conditions else {
        return true;
    };
    let ready = conditions.ready.as_ref().is_none_or(|ready| ready.value);
    let terminating = conditions.terminating.as_ref().is_some_and(|terminating| terminating.value);
    (ready || not_ready_too) && !terminating
}

/// Service port -> endpoint port, matched by name; a Service with one port takes a list with one.
fn listed_ports(service: &[ServicePort], listed: &[SlicePort]) -> BTreeMap<u32, u32> {
    let mut ports = BTreeMap::new();
    for port in service {
        let name = port.name.as_ref().map_or("", |name| name.as_str());
        let same = listed.iter().find(|one| one.name.as_ref().map_or("", |name| name.as_str()) == name);
        let only = || listed.first().filter(|_| listed.len() == 1 && service.len() == 1);
        let number = same.or_else(only).and_then(|one| one.port.as_ref());
        if let Some(number) = number {
            ports.insert(port.port.value, number.value);
        }
    }
    ports
}

/// One endpoint per address: several slices may list the same one with different ports.
fn merge(endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    let mut merged: Vec<Endpoint> = Vec::new();
    for one in endpoints {
        if merged.contains(&one) {
            continue;
        }
        match merged
            .iter_mut()
            .find(|known| known.address == one.address && disjoint(&known.ports, &one.ports))
        {
            Some(known) => known.ports.extend(one.ports),
            None => merged.push(one),
        }
    }
    merged
}

fn disjoint(a: &BTreeMap<u32, u32>, b: &BTreeMap<u32, u32>) -> bool {
    a.keys().all(|port| !b.contains_key(port))
}

/// Does a workload with these labels take mutual TLS?
pub(super) fn takes_mutual_tls(labels: &BTreeMap<String, String>) -> bool {
    labels.get(TLS_MODE_LABEL).is_some_and(|mode| mode == "istio")
}
