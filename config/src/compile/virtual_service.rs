//! One VirtualService as rules of routing, its names resolved.

use super::registry::Visibility;
use crate::kinds::http_route::HttpRoute;
use crate::kinds::virtual_service::{TcpRoute, TlsRoute};
use crate::yaml::Span;

/// Name of the gateway that stands for all sidecars.
pub(crate) const MESH: &str = "mesh";

/// One HTTP rule, and the namespace that its short names belong to (a delegate's own).
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub route: HttpRoute,
    pub namespace: String,
    /// Prefixes end at path separators, as Ingress wants it.
    pub by_segments: bool,
}

/// One VirtualService, ready for use.
#[derive(Debug, Clone)]
pub(crate) struct VirtualService<'w> {
    pub name: String,
    pub namespace: String,
    /// Age, then name: the order in which conflicting ones win.
    pub order: (String, String, String),
    /// Full names, lower case.
    pub hosts: Vec<(String, Span)>,
    /// `mesh` or `namespace/name`.
    pub gateways: Vec<String>,
    pub http: Vec<Rule>,
    pub tls: &'w [TlsRoute],
    pub tcp: &'w [TcpRoute],
    pub visibility: Visibility,
}

impl VirtualService<'_> {
    pub(crate) fn host_names(&self) -> Vec<String> {
        self.hosts.iter().map(|(host, _)| host.clone()).collect()
    }

    /// Its path, as istiod writes it into metadata.
    pub(crate) fn path(&self) -> String {
        super::wire::config_path("networking.istio.io", "v1", "virtual-service", &self.namespace, &self.name)
    }
}

/// Full names of gateways; none at all means the mesh.
pub(crate) fn gateway_names<'a>(names: impl Iterator<Item = &'a str>, namespace: &str) -> Vec<String> {
    let full = |name: &str| match name {
        MESH => MESH.to_owned(),
        name if name.contains('/') => match name.strip_prefix("./") {
            Some(name) => format!("{namespace}/{name}"),
            None => name.to_owned(),
        },
        // The old spelling `name.namespace.svc...` is a full name with dots.
        name => match name.split('.').collect::<Vec<_>>().as_slice() {
            [name, other, "svc", ..] => format!("{other}/{name}"),
            _ => format!("{namespace}/{name}"),
        },
    };
    let names: Vec<String> = names.map(full).collect();
    if names.is_empty() { vec![MESH.to_owned()] } else { names }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_named_in_full() {
        let names = |list: &[&str]| gateway_names(list.iter().copied(), "shop");
        assert_eq!(names(&[]), ["mesh"]);
        assert_eq!(
            names(&["edge", "mesh", "other/edge", "./edge"]),
            ["shop/edge", "mesh", "other/edge", "shop/edge"]
        );
        assert_eq!(names(&["edge.other.svc.cluster.local"]), ["other/edge"]);
    }
}
