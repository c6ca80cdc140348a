//! ServiceEntry and WorkloadEntry (`networking.istio.io`): services and endpoints that Kubernetes does not know.

use std::collections::BTreeMap;

use crate::yaml::Spanned;

fields! {
    /// `spec` of a ServiceEntry.
    pub struct ServiceEntry {
        /// Its names.
        hosts: Vec<Spanned<String>> = "hosts",
        /// Virtual addresses or CIDRs.
        addresses: Vec<Spanned<String>> = "addresses",
        /// Its ports.
        ports: Vec<EntryPort> = "ports",
        /// Inside or outside the mesh; outside if it is not there.
        location: Option<Spanned<Location>> = "location",
        /// How endpoints are found; none if it is not there.
        resolution: Option<Spanned<Resolution>> = "resolution",
        /// Endpoints.
        endpoints: Vec<WorkloadEntry> = "endpoints",
        /// Labels of the pods and WorkloadEntries that are its endpoints.
        workload_selector: Option<WorkloadSelector> = "workloadSelector",
        /// Namespaces that see it: `.`, `*`, `~` or names.
        export_to: Vec<Spanned<String>> = "exportTo",
        /// Names of which an endpoint's certificate must have one.
        subject_alt_names: Vec<Spanned<String>> = "subjectAltNames",
    }

    /// A set of labels.
    pub struct WorkloadSelector {
        /// The labels.
        labels: BTreeMap<String, String> = "labels",
    }

    /// A port.
    pub struct EntryPort {
        /// 1 to 65535.
        number: Spanned<u32> = "number",
        /// HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP, TLS; TCP if it is not there.
        protocol: Option<Spanned<String>> = "protocol",
        /// A name for it.
        name: Option<Spanned<String>> = "name",
        /// The endpoints' port, if it differs.
        target_port: Option<Spanned<u32>> = "targetPort",
    }

    /// `spec` of a WorkloadEntry, and an endpoint of a ServiceEntry.
    pub struct WorkloadEntry {
        /// IP address, name (with DNS resolution) or `unix://` path.
        address: Option<Spanned<String>> = "address",
        /// Ports by the names of the service's ports.
        ports: BTreeMap<String, Spanned<u32>> = "ports",
        /// Labels.
        labels: BTreeMap<String, String> = "labels",
        /// Network it is in.
        network: Option<Spanned<String>> = "network",
        /// `region/zone/subzone`.
        locality: Option<Spanned<String>> = "locality",
        /// Its share.
        weight: Option<Spanned<u32>> = "weight",
        /// Its identity.
        service_account: Option<Spanned<String>> = "serviceAccount",
    }
}

choices! {
    /// Inside or outside the mesh.
    pub enum Location {
        /// Outside.
        MeshExternal = "MESH_EXTERNAL",
        /// Inside.
        MeshInternal = "MESH_INTERNAL",
    }

    /// How endpoints are found.
    pub enum Resolution {
        /// The address that the client asked for.
        None = "NONE",
        /// As listed.
        Static = "STATIC",
        /// By name, all addresses.
        Dns = "DNS",
        /// By name, one address at a time.
        DnsRoundRobin = "DNS_ROUND_ROBIN",
        /// By the name of the request.
        DynamicDns = "DYNAMIC_DNS",
    }
}
