//! EndpointSlice (`discovery.k8s.io/v1`) and Endpoints (core v1): where a Service's pods are.

use std::collections::BTreeMap;

use crate::read::ANY;
use crate::yaml::Spanned;

/// Label of an EndpointSlice that names its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

fields! {
    /// An EndpointSlice.
    pub struct EndpointSlice {
        /// IPv4, IPv6 or FQDN.
        address_type: Option<Spanned<AddressType>> = "addressType",
        /// The endpoints.
        endpoints: Vec<SliceEndpoint> = "endpoints",
        /// Their ports.
        ports: Vec<SlicePort> = "ports",
    }
    ignores &["apiVersion", "kind", "metadata"];

    /// An endpoint of a slice.
    pub struct SliceEndpoint {
        /// Its addresses, of which the first counts.
        addresses: Vec<Spanned<String>> = "addresses",
        /// Whether it is ready.
        conditions: Option<Conditions> = "conditions",
        /// What it is, mostly a Pod.
        target_ref: Option<TargetRef> = "targetRef",
        /// Its zone.
        zone: Option<Spanned<String>> = "zone",
        /// Its node.
        node_name: Option<Spanned<String>> = "nodeName",
    }
    ignores &["hostname", "hints", "deprecatedTopology"];

    /// Whether an endpoint is ready; not known counts as yes.
    pub struct Conditions {
        /// Takes traffic.
        ready: Option<Spanned<bool>> = "ready",
        /// Serves, even if it is terminating.
        serving: Option<Spanned<bool>> = "serving",
        /// Is going away.
        terminating: Option<Spanned<bool>> = "terminating",
    }

    /// What an endpoint is.
    pub struct TargetRef {
        /// Mostly Pod.
        kind: Option<String> = "kind",
        /// Its name.
        name: Option<String> = "name",
        /// Its namespace.
        namespace: Option<String> = "namespace",
    }
    ignores ANY;

    /// A port of a slice.
    pub struct SlicePort {
        /// The name of the Service's port; empty if that has only one.
        name: Option<Spanned<String>> = "name",
        /// The endpoints' port.
        port: Option<Spanned<u32>> = "port",
        /// TCP, UDP or SCTP.
        protocol: Option<Spanned<String>> = "protocol",
        /// The protocol above it.
        app_protocol: Option<Spanned<String>> = "appProtocol",
    }

    /// An Endpoints object: it bears the name of its Service.
    pub struct Endpoints {
        /// Groups of addresses with the same ports.
        subsets: Vec<EndpointSubset> = "subsets",
    }
    ignores &["apiVersion", "kind", "metadata"];

    /// Addresses with the same ports.
    pub struct EndpointSubset {
        /// Those that are ready.
        addresses: Vec<EndpointAddress> = "addresses",
        /// Those that are not.
        not_ready_addresses: Vec<EndpointAddress> = "notReadyAddresses",
        /// Their ports.
        ports: Vec<SlicePort> = "ports",
    }

    /// An address.
    pub struct EndpointAddress {
        /// The address.
        ip: Spanned<String> = "ip",
        /// Its node.
        node_name: Option<Spanned<String>> = "nodeName",
        /// What it is, mostly a Pod.
        target_ref: Option<TargetRef> = "targetRef",
    }
    ignores &["hostname"];

    /// A Pod: what routing needs of it.
    pub struct Pod {
        /// Containers, for the names of their ports.
        spec: Option<PodSpec> = "spec",
        /// Its addresses.
        status: Option<PodStatus> = "status",
    }
    ignores ANY;

    /// `spec` of a Pod.
    pub struct PodSpec {
        /// Its containers.
        containers: Vec<Container> = "containers",
        /// Its identity.
        service_account_name: Option<Spanned<String>> = "serviceAccountName",
        /// Its node.
        node_name: Option<Spanned<String>> = "nodeName",
    }
    ignores ANY;

    /// A container.
    pub struct Container {
        /// Its ports.
        ports: Vec<ContainerPort> = "ports",
    }
    ignores ANY;

    /// A port of a container.
    pub struct ContainerPort {
        /// Its name.
        name: Option<String> = "name",
        /// Its number.
        container_port: Spanned<u32> = "containerPort",
    }
    ignores ANY;

    /// `status` of a Pod.
    pub struct PodStatus {
        /// Its address.
        pod_ip: Option<Spanned<String>> = "podIP",
        /// Running, Pending, ...
        phase: Option<String> = "phase",
        /// Ready and others.
        conditions: Vec<PodCondition> = "conditions",
    }
    ignores ANY;

    /// A condition of a Pod.
    pub struct PodCondition {
        /// Its name, such as Ready.
        condition: String = "type",
        /// True, False or Unknown.
        status: String = "status",
    }
    ignores ANY;

    /// A workload (Deployment, StatefulSet, DaemonSet, Job, ...): only the labels of its pods.
    pub struct Workload {
        /// The template of its pods.
        template: Option<PodTemplate> = "template",
    }
    ignores ANY;

    /// The template of a workload's pods.
    pub struct PodTemplate {
        /// Their metadata.
        metadata: Option<TemplateMeta> = "metadata",
        /// Their spec.
        spec: Option<PodSpec> = "spec",
    }
    ignores ANY;

    /// The metadata of a template.
    pub struct TemplateMeta {
        /// Labels of the pods.
        labels: BTreeMap<String, String> = "labels",
    }
    ignores ANY;
}

choices! {
    /// Kinds of address.
    pub enum AddressType {
        /// IPv4.
        V4 = "IPv4",
        /// IPv6.
        V6 = "IPv6",
        /// Names.
        Fqdn = "FQDN",
    }
}
