//! The proxy that resources are compiled for.

use std::collections::BTreeMap;

use super::registry::Locality;

/// What a proxy is to the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// Stands before one pod.
    Sidecar,
    /// A gateway (Istio's name in a node id is `router`).
    Router,
}

/// How a sidecar gets its pod's traffic (node metadata `INTERCEPTION_MODE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interception {
    /// Redirected by packet filter rules; also the value when nothing is said.
    #[default]
    Redirect,
    /// Redirected with the client's address kept.
    Tproxy,
    /// Not redirected: applications talk to the proxy's own listeners.
    None,
}

/// The proxy that resources are compiled for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Sidecar or gateway.
    pub kind: NodeKind,
    /// Its addresses; the first is the one of the node id.
    pub ips: Vec<String>,
    /// `POD.NAMESPACE`.
    pub id: String,
    /// Namespace whose rules it obeys.
    pub namespace: String,
    /// Labels of its workload.
    pub labels: BTreeMap<String, String>,
    /// Node metadata with text values, as given.
    pub metadata: BTreeMap<String, String>,
    /// DNS domain of its services, such as `default.svc.cluster.local`.
    pub domain: String,
    /// Interception mode.
    pub interception: Interception,
    /// Port of a listener as configured -> port it is bound to (`--listen-port-map`, `WEIR_LISTEN_PORT_MAP`).
    pub listen_port_map: BTreeMap<u32, u32>,
}

/// What a node says of itself cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// Its id.
    #[error(
        "node id {id:?}: {problem}; expected KIND~IP~POD.NAMESPACE~DOMAIN with KIND sidecar or router, such as sidecar~10.1.1.1~web-1.default~default.svc.cluster.local"
    )]
    Id {
        /// As it was given.
        id: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A value of its metadata.
    #[error("node metadata {name}: {value:?} is not known; write {expected}")]
    Metadata {
        /// The value's name.
        name: &'static str,
        /// As it was given.
        value: String,
        /// What may stand there.
        expected: &'static str,
    },
}

/// Node metadata that says how a sidecar gets its pod's traffic.
const INTERCEPTION_MODE: &str = "INTERCEPTION_MODE";

/// Node metadata that maps the port of a listener to the one it is bound to: `80=8080,443=8443`.
const LISTEN_PORT_MAP: &str = "WEIR_LISTEN_PORT_MAP";

/// The metadata that must be understood, and what may stand there.
const STRICT: [(&str, &str); 2] = [
    (INTERCEPTION_MODE, "REDIRECT, TPROXY or NONE"),
    (LISTEN_PORT_MAP, "PORT=BOUND,... with ports from 1 to 65535, such as 80=8080,443=8443"),
];

/// Refuses a value of one of [`STRICT`].
fn refused(name: &str, value: &str) -> NodeError {
    let (name, expected) = STRICT.into_iter().find(|(strict, _)| *strict == name).unwrap_or(("", ""));
    NodeError::Metadata { name, value: value.to_owned(), expected }
}

/// A listener's port and the one it is bound to: `80=8080`.
#[must_use]
pub fn port_pair(text: &str) -> Option<(u32, u32)> {
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0).map(u32::from);
    let (from, to) = text.split_once('=')?;
    Some((port(from)?, port(to)?))
}

impl Node {
    /// Reads a node id: `sidecar~IP~POD.NAMESPACE~DOMAIN` or `router~...`.
    ///
    /// # Errors
    /// When a part is missing or the kind is not one of the two.
    pub fn parse(id: &str) -> Result<Self, NodeError> {
        let fail = |problem| NodeError::Id { id: id.to_owned(), problem };
        let parts: Vec<&str> = id.split('~').collect();
        let [kind, ip, pod, domain] = parts.as_slice() else {
            return Err(fail("it has not four parts divided by '~'"));
        };
        let kind = match *kind {
            "sidecar" => NodeKind::Sidecar,
            "router" => NodeKind::Router,
            _ => return Err(fail("its first part is not a known kind")),
        };
        if ip.parse::<std::net::IpAddr>().is_err() {
            return Err(fail("its second part is not an IP address"));
        }
        let namespace = pod.split_once('.').map_or("default", |(_, namespace)| namespace);
        if namespace.is_empty() {
            return Err(fail("its third part names no namespace"));
        }
        Ok(Self {
            kind,
            ips: vec![(*ip).to_owned()],
            id: (*pod).to_owned(),
            namespace: namespace.to_owned(),
            labels: BTreeMap::new(),
            metadata: BTreeMap::new(),
            domain: (*domain).to_owned(),
            interception: Interception::default(),
            listen_port_map: BTreeMap::new(),
        })
    }

    /// Takes over node metadata as a bootstrap carries it.
    ///
    /// `INTERCEPTION_MODE`, `NAMESPACE`, `INSTANCE_IPS` and `LABELS` (an object, or `k=v,...`)
    /// take effect, and `WEIR_LISTEN_PORT_MAP` (`80=8080,...`); every value that is text is kept in
    /// [`Node::metadata`].
    ///
    /// # Errors
    /// See [`Node::with`].
    pub fn with_metadata(
        mut self,
        metadata: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Self, NodeError> {
        for (key, value) in metadata {
            match value {
                serde_json::Value::String(value) => self = self.with(key, value)?,
                serde_json::Value::Object(labels) if key == "LABELS" => {
                    for (name, value) in labels {
                        if let Some(value) = value.as_str() {
                            self.labels.insert(name.clone(), value.to_owned());
                        }
                    }
                }
                serde_json::Value::Null => {}
                other if STRICT.iter().any(|(strict, _)| strict == key) => {
                    return Err(refused(key, &other.to_string()));
                }
                _ => {}
            }
        }
        Ok(self)
    }

    /// Sets one metadata value; see [`Node::with_metadata`].
    ///
    /// # Errors
    /// `INTERCEPTION_MODE` is none of the three, or `WEIR_LISTEN_PORT_MAP` no list of pairs of ports.
    pub fn with(mut self, key: &str, value: &str) -> Result<Self, NodeError> {
        match key {
            INTERCEPTION_MODE => {
                self.interception = match value {
                    "NONE" => Interception::None,
                    "TPROXY" => Interception::Tproxy,
                    "REDIRECT" | "" => Interception::Redirect,
                    _ => return Err(refused(key, value)),
                };
            }
            LISTEN_PORT_MAP if !value.trim().is_empty() => {
                let pairs: Option<Vec<(u32, u32)>> = value.split(',').map(port_pair).collect();
                self.listen_port_map.extend(pairs.ok_or_else(|| refused(key, value))?);
            }
            "NAMESPACE" if !value.is_empty() => value.clone_into(&mut self.namespace),
            "INSTANCE_IPS" => {
                for ip in value.split(',').map(str::trim).filter(|ip| !ip.is_empty()) {
                    if !self.ips.iter().any(|known| known == ip) {
                        self.ips.push(ip.to_owned());
                    }
                }
            }
            "LABELS" => {
                for (name, value) in value.split(',').filter_map(|pair| pair.split_once('=')) {
                    self.labels.insert(name.trim().to_owned(), value.trim().to_owned());
                }
            }
            _ => {}
        }
        self.metadata.insert(key.to_owned(), value.to_owned());
        Ok(self)
    }

    /// The cluster (in Istio's sense) that the node belongs to.
    pub(crate) fn cluster_id(&self) -> &str {
        self.metadata.get("CLUSTER_ID").map_or("Kubernetes", String::as_str)
    }

    /// Where the node runs, by its labels (`istio-locality` with dots, else the well-known topology labels).
    pub(crate) fn locality(&self) -> Locality {
        if let Some(text) = self.labels.get("istio-locality") {
            return Locality::parse(&text.replace('.', "/"));
        }
        let label = |name: &str| self.labels.get(name).cloned().unwrap_or_default();
        Locality {
            region: label("topology.kubernetes.io/region"),
            zone: label("topology.kubernetes.io/zone"),
            sub_zone: label("topology.istio.io/subzone"),
        }
    }

    /// The port a listener for `port` is bound to.
    pub(crate) fn bind_port(&self, port: u32) -> u32 {
        self.listen_port_map.get(&port).copied().unwrap_or(port)
    }

    /// Whether a selector (all pairs must be there) selects this node; an empty one selects all.
    pub(crate) fn selected_by<'a>(
        &self,
        selector: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> bool {
        selector.into_iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_four_parts() {
        let node = Node::parse("router~10.1.1.80~gw-1.edge~edge.svc.cluster.local").unwrap();
        assert_eq!(node.kind, NodeKind::Router);
        assert_eq!(node.namespace, "edge");
        assert_eq!(node.id, "gw-1.edge");
        assert_eq!(node.domain, "edge.svc.cluster.local");
    }

    #[test]
    fn refuses_what_is_no_node_id() {
        for bad in ["", "sidecar", "waypoint~1.1.1.1~a.b~c", "sidecar~x~a.b~c", "sidecar~1.1.1.1~a.~c"] {
            let error = Node::parse(bad).unwrap_err().to_string();
            assert!(error.contains("KIND~IP~POD.NAMESPACE~DOMAIN"), "{error}");
        }
    }

    #[test]
    fn metadata_sets_mode_labels_and_addresses() {
        let node = said(&serde_json::json!({
            "INTERCEPTION_MODE": "NONE", "LABELS": "app=web,version=v1", "INSTANCE_IPS": "10.1.1.1,fd00::1",
            "WEIR_LISTEN_PORT_MAP": "80=8080, 443=8443",
        }));
        let node = node.unwrap();
        assert_eq!(node.interception, Interception::None);
        assert_eq!(node.labels["version"], "v1");
        assert_eq!(node.ips, ["10.1.1.1", "fd00::1"]);
        assert_eq!(node.listen_port_map, BTreeMap::from([(80, 8080), (443, 8443)]));
    }

    fn said(metadata: &serde_json::Value) -> Result<Node, NodeError> {
        let node = Node::parse("sidecar~10.1.1.1~web-1.default~default.svc.cluster.local").unwrap();
        node.with_metadata(metadata.as_object().unwrap())
    }

    #[test]
    fn metadata_that_must_be_understood_is_refused_by_name() {
        let refused = [
            ("INTERCEPTION_MODE", serde_json::json!("nonsense")),
            ("INTERCEPTION_MODE", serde_json::json!(3)),
            ("WEIR_LISTEN_PORT_MAP", serde_json::json!("80=abc,81=8081")),
            ("WEIR_LISTEN_PORT_MAP", serde_json::json!("80=abc,81:21813")),
            ("WEIR_LISTEN_PORT_MAP", serde_json::json!("80=0")),
            ("WEIR_LISTEN_PORT_MAP", serde_json::json!({"80": 8080})),
        ];
        for (name, value) in refused {
            let error = said(&serde_json::json!({name: value})).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("; write "), "{error}");
        }
        let nothing = serde_json::json!({"INTERCEPTION_MODE": "", "WEIR_LISTEN_PORT_MAP": "", "ANYTHING": 3});
        assert_eq!(said(&nothing).unwrap().interception, Interception::Redirect);
        assert!(said(&serde_json::json!({"INTERCEPTION_MODE": null})).is_ok());
    }
}
