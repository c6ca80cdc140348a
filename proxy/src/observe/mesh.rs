//! What an exchange or a connection is in the mesh: who speaks with whom, and Istio's metrics of it.

use crate::base::Name;
use crate::observe::metrics::{self, Cells, Schema};
use crate::observe::record::Record;
use serde_json::Value;
use std::fmt::Write;
use std::sync::Arc;

/// A workload as it describes itself; empty texts are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Name of the workload.
    pub workload: Name,
    /// Its namespace.
    pub namespace: Name,
    /// Label `app`.
    pub app: Name,
    /// Label `version`.
    pub version: Name,
    /// Canonical name of the service.
    pub service: Name,
    /// Canonical revision.
    pub revision: Name,
    /// Cluster (of Kubernetes) that it runs in.
    pub cluster: Name,
}

impl Peer {
    /// From a node's metadata (`WORKLOAD_NAME`, `NAMESPACE`, `CLUSTER_ID`, `LABELS`), as proxies of the mesh exchange it.
    pub fn of_node(metadata: &Value) -> Peer {
        let text = |value: Option<&Value>| Name::from(value.and_then(Value::as_str).unwrap_or_default());
        let labels = metadata.get("LABELS");
        let label = |name: &str| text(labels.and_then(|labels| labels.get(name)));
        Peer {
            workload: text(metadata.get("WORKLOAD_NAME")),
            namespace: text(metadata.get("NAMESPACE")),
            app: label("app"),
            version: label("version"),
            service: label("service.istio.io/canonical-name"),
            revision: label("service.istio.io/canonical-revision"),
            cluster: text(metadata.get("CLUSTER_ID")),
        }
    }

    /// From an endpoint's metadata: `name;namespace;canonical name;revision;cluster` in `istio.workload`.
    pub fn of_endpoint(metadata: &Value) -> Option<Peer> {
        let text = metadata.get("istio")?.get("workload")?.as_str()?;
        let mut parts = text.split(';').map(Name::from);
        let mut next = || parts.next().unwrap_or_else(|| "".into());
        let (workload, namespace, service) = (next(), next(), next());
        Some(Peer { workload, namespace, service, revision: next(), cluster: next(), ..Peer::default() })
    }
}

/// What filters learn of an exchange for the metrics.
#[derive(Clone, Debug, Default)]
pub struct MeshFacts {
    /// The client's workload.
    pub downstream: Option<Arc<Peer>>,
    /// The upstream's workload.
    pub upstream: Option<Arc<Peer>>,
    /// gRPC messages of request and response.
    pub messages: Option<(u64, u64)>,
}

/// Who reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reporter {
    /// The client's side: on outbound listeners.
    Source,
    /// The server's side: on inbound ones.
    Destination,
}

/// The service that was spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its host name.
    pub host: Name,
    /// Its short name.
    pub name: Name,
    /// Its namespace.
    pub namespace: Name,
}

/// Clusters that stand for themselves in the metrics.
const OWN_NAMES: [&str; 3] = ["BlackHoleCluster", "PassthroughCluster", "InboundPassthroughCluster"];

impl Service {
    /// What a cluster's metadata say of its service (the first in `istio.services`), or a cluster that is a service of
    /// its own kind.
    pub fn of_cluster(cluster: &str, metadata: Option<&Value>) -> Option<Service> {
        if let Some(own) = OWN_NAMES.iter().find(|own| cluster.starts_with(*own)) {
            return Some(Service::named(own));
        }
        let first = metadata?.get("istio")?.get("services")?.get(0)?;
        let text = |key: &str| Name::from(first.get(key).and_then(Value::as_str).unwrap_or_default());
        Some(Service { host: text("host"), name: text("name"), namespace: text("namespace") })
    }

    /// A service known by one name alone.
    pub fn named(name: &str) -> Service {
        Service { host: name.into(), name: name.into(), namespace: "".into() }
    }
}

/// The labels of one series.
pub struct Labels<'a> {
    /// Who reports.
    pub reporter: Reporter,
    /// The client's workload.
    pub source: &'a Peer,
    /// The server's workload.
    pub destination: &'a Peer,
    /// The service.
    pub service: &'a Service,
    /// `http`, `grpc` or `tcp`.
    pub protocol: &'static str,
    /// Status and gRPC status of an exchange; none for a raw connection.
    pub answer: Option<(u16, Option<u32>)>,
    /// Labels that are left out.
    pub left_out: &'a [Box<str>],
}

impl Labels<'_> {
    /// The prefix of the series' names: `istiocustom.label=.=value;.;...`.
    fn prefix(&self, record: &Record) -> String {
        let mut out = String::with_capacity(640);
        out.push_str(NAMESPACE);
        let mut put = |label: &str, value: &str, missing: &str| {
            if !self.left_out.iter().any(|out| &**out == label) {
                let value = if value.is_empty() { missing } else { value };
                // Writing to a String cannot fail. What divides labels is no part of one.
                let _ = match value.contains(';') {
                    false => write!(out, "{label}=.={value};.;"),
                    true => write!(out, "{label}=.={};.;", value.replace(';', "_")),
                };
            }
        };
        put("reporter", if self.reporter == Reporter::Source { "source" } else { "destination" }, "");
        for (side, peer) in [("source", self.source), ("destination", self.destination)] {
            let mut of =
                |part: &str, value: &str, missing: &str| put(&format!("{side}_{part}"), value, missing);
            of("workload", &peer.workload, UNKNOWN);
            of("workload_namespace", &peer.namespace, UNKNOWN);
            of("principal", "", UNKNOWN);
            of("app", &peer.app, UNKNOWN);
            of("version", &peer.version, UNKNOWN);
            of("canonical_service", &peer.service, UNKNOWN);
            of("canonical_revision", &peer.revision, "latest");
            of("cluster", &peer.cluster, UNKNOWN);
        }
        put("destination_service", &self.service.host, UNKNOWN);
        put("destination_service_name", &self.service.name, UNKNOWN);
        put("destination_service_namespace", &self.service.namespace, UNKNOWN);
        put("request_protocol", self.protocol, UNKNOWN);
        if let Some((status, grpc)) = self.answer {
            put("response_code", itoa::Buffer::new().format(status), "0");
            put("grpc_response_status", &grpc.map(|n| n.to_string()).unwrap_or_default(), "");
        }
        let flags: Vec<&str> = record.flags.iter().map(|flag| flag.short()).collect();
        put("response_flags", &flags.join(","), "-");
        let policy = if self.reporter == Reporter::Source { UNKNOWN } else { "none" };
        put("connection_security_policy", policy, "");
        out
    }

    /// The worker's cells of the series.
    pub fn cells(&self, schema: &'static Schema, record: &Record) -> Cells {
        // Hosts and peers' words are the client's: beyond the bound on series they are told without them.
        let rest = || {
            let (peer, service) = (Peer::default(), Service::default());
            let rest = Labels { source: &peer, destination: &peer, service: &service, answer: None, ..*self };
            rest.prefix(record)
        };
        metrics::at_hand(schema, &self.prefix(record), rest)
    }
}

/// What the names of Istio's metrics begin with; Prometheus does not see it.
pub const NAMESPACE: &str = "istiocustom.";

/// Label set of a name of Istio's metrics: pairs of label and value, and the metric.
pub fn taken_apart(name: &str) -> Option<(Vec<(&str, &str)>, &str)> {
    let mut rest = name.strip_prefix(NAMESPACE)?;
    let mut labels = Vec::new();
    while let Some((pair, behind)) = rest.split_once(";.;") {
        labels.push(pair.split_once("=.=")?);
        rest = behind;
    }
    Some((labels, rest))
}

/// A label whose value nobody knows.
const UNKNOWN: &str = "unknown";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn peers_are_read_from_nodes_and_endpoints() {
        let node = json!({"WORKLOAD_NAME": "reviews-v2", "NAMESPACE": "default", "CLUSTER_ID": "K",
            "LABELS": {"app": "reviews", "version": "v2", "service.istio.io/canonical-name": "reviews"}});
        let peer = Peer::of_node(&node);
        assert_eq!(
            (&*peer.workload, &*peer.app, &*peer.service, &*peer.revision),
            ("reviews-v2", "reviews", "reviews", "")
        );
        let endpoint = json!({"istio": {"workload": "ratings-v1;default;ratings;v1;K"}});
        let peer = Peer::of_endpoint(&endpoint).unwrap();
        assert_eq!(
            (&*peer.workload, &*peer.service, &*peer.revision, &*peer.cluster),
            ("ratings-v1", "ratings", "v1", "K")
        );
        assert_eq!(Peer::of_endpoint(&json!({})), None);
    }

    #[test]
    fn services_are_read_from_clusters() {
        let metadata =
            json!({"istio": {"services": [{"host": "a.default.svc", "name": "a", "namespace": "default"}]}});
        let service = Service::of_cluster("outbound|80||a", Some(&metadata)).unwrap();
        assert_eq!((&*service.host, &*service.name, &*service.namespace), ("a.default.svc", "a", "default"));
        assert_eq!(
            Service::of_cluster("PassthroughCluster", None),
            Some(Service::named("PassthroughCluster"))
        );
        assert_eq!(Service::of_cluster("other", None), None);
    }

    #[test]
    fn names_come_apart_again() {
        let (labels, metric) =
            taken_apart("istiocustom.reporter=.=source;.;a=.=b.c;.;istio_requests_total").unwrap();
        assert_eq!((labels, metric), (vec![("reporter", "source"), ("a", "b.c")], "istio_requests_total"));
        assert_eq!(taken_apart("cluster.x"), None);
    }
}
