//! VirtualServices as rules of routing: delegates merged in, names resolved, Ingresses among them.

use super::delegate;
use super::ingress;
use super::registry::Visibility;
use crate::kinds::http_route::HttpRoute;
use crate::kinds::virtual_service::{TcpRoute, TlsRoute};
use crate::read::Reader;
use crate::world::{World, resolve_host};
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

/// All VirtualServices of a world, older ones first.
pub(crate) struct VirtualServices<'w> {
    list: Vec<VirtualService<'w>>,
}

impl<'w> VirtualServices<'w> {
    pub(crate) fn of(world: &'w World, reader: &mut Reader<'_>) -> Self {
        let mut list: Vec<VirtualService<'w>> = Vec::new();
        for resource in &world.virtual_services {
            let (meta, spec) = (&resource.meta, &resource.spec);
            // Without hosts it is a delegate: part of others.
            if spec.hosts.is_empty() {
                continue;
            }
            let resolve = |host: &str| resolve_host(host, &meta.namespace, &world.mesh.domain);
            list.push(VirtualService {
                name: meta.name.value.clone(),
                namespace: meta.namespace.clone(),
                order: super::age(meta),
                hosts: spec.hosts.iter().map(|host| (resolve(host), host.span)).collect(),
                gateways: gateway_names(spec.gateways.iter().map(|name| name.as_str()), &meta.namespace),
                http: delegate::merged(world, resource, reader),
                tls: &spec.tls,
                tcp: &spec.tcp,
                visibility: Visibility::read(
                    spec.export_to.iter().map(|word| word.as_str()),
                    &meta.namespace,
                ),
            });
        }
        list.extend(ingress::virtual_services(world, reader));
        list.sort_by(|a, b| a.order.cmp(&b.order));
        Self { list }
    }

    /// Those bound to a gateway (or [`MESH`]) that a namespace sees.
    pub(crate) fn bound_to(&self, gateway: &str, namespace: &str) -> Vec<&VirtualService<'w>> {
        self.at(&self.places_of(gateway, namespace))
    }

    /// Their places among all.
    pub(crate) fn places_of(&self, gateway: &str, namespace: &str) -> Vec<usize> {
        let bound = |one: &VirtualService<'w>| {
            one.visibility.shows(namespace) && one.gateways.iter().any(|name| name == gateway)
        };
        let all = self.list.iter().enumerate();
        all.filter(|(_, one)| bound(one)).map(|(place, _)| place).collect()
    }

    /// Those at some places.
    pub(crate) fn at(&self, places: &[usize]) -> Vec<&VirtualService<'w>> {
        places.iter().filter_map(|place| self.list.get(*place)).collect()
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
