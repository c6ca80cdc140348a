//! Service (Kubernetes core v1).

use std::collections::BTreeMap;

use crate::read::{Field, Reader};
use crate::yaml::{Node, Spanned, Style};

fields! {
    /// `spec` of a Service.
    pub struct Service {
        /// Its ports.
        ports: Vec<ServicePort> = "ports",
        /// Labels of its pods.
        selector: BTreeMap<String, String> = "selector",
        /// Its virtual address; `None` for a headless one.
        cluster_ip: Option<Spanned<String>> = "clusterIP",
        /// All of them, for two IP families.
        cluster_ips: Vec<Spanned<String>> = "clusterIPs",
        /// ClusterIP, NodePort, LoadBalancer or ExternalName.
        service_type: Option<Spanned<ServiceType>> = "type",
        /// The name it stands for, if it is of type ExternalName.
        external_name: Option<Spanned<String>> = "externalName",
        /// Further addresses.
        external_ips: Vec<Spanned<String>> = "externalIPs",
        /// Endpoints that are not ready count too.
        publish_not_ready_addresses: bool = "publishNotReadyAddresses",
        /// Which endpoints are preferred.
        traffic_distribution: Option<Spanned<String>> = "trafficDistribution",
        /// `Local` keeps traffic on the node.
        internal_traffic_policy: Option<Spanned<String>> = "internalTrafficPolicy",
    }
    ignores &[
        "sessionAffinity", "sessionAffinityConfig", "loadBalancerIP", "loadBalancerSourceRanges",
        "loadBalancerClass", "externalTrafficPolicy", "healthCheckNodePort", "ipFamilies", "ipFamilyPolicy",
        "allocateLoadBalancerNodePorts", "clusterIp",
    ];

    /// A port of a Service.
    pub struct ServicePort {
        /// `<protocol>` or `<protocol>-<suffix>`.
        name: Option<Spanned<String>> = "name",
        /// The service's port.
        port: Spanned<u32> = "port",
        /// The pods' port: number or name; the same if it is not there.
        target_port: Option<Spanned<PortName>> = "targetPort",
        /// TCP, UDP or SCTP.
        protocol: Option<Spanned<String>> = "protocol",
        /// The protocol above it, if the name does not say.
        app_protocol: Option<Spanned<String>> = "appProtocol",
    }
    ignores &["nodePort"];
}

choices! {
    /// Kinds of Service.
    pub enum ServiceType {
        /// A virtual address.
        ClusterIp = "ClusterIP",
        /// And a port of each node.
        NodePort = "NodePort",
        /// And a load balancer outside.
        LoadBalancer = "LoadBalancer",
        /// A DNS alias.
        ExternalName = "ExternalName",
    }
}

/// A port by number or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortName {
    /// By number.
    Number(u32),
    /// By the name of a container's port.
    Name(String),
}

impl Field for PortName {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.kind {
            crate::yaml::Kind::Scalar(text, Style::Plain) if text.parse::<i64>().is_ok() => {
                u32::read(node, reader).map(PortName::Number)
            }
            _ => String::read(node, reader).map(PortName::Name),
        }
    }
}
