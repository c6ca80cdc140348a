//! All VirtualServices: delegates merged in, Ingresses among them.

use super::registry::Visibility;
use super::virtual_service::{VirtualService, gateway_names};
use super::{delegate, ingress};
use crate::read::Reader;
use crate::world::{World, resolve_host};

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
