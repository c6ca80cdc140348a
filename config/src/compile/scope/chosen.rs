//! Which Sidecar resource holds for a proxy.

use super::super::node::{Node, NodeKind};
use crate::kinds::Resource;
use crate::kinds::sidecar::Sidecar;
use crate::world::World;

/// The Sidecar of a node: one of its namespace that selects it, else that of its namespace, else that of the root
/// namespace; of several the oldest. Gateways have none.
pub(super) fn chosen<'w>(world: &'w World, node: &Node) -> Option<&'w Resource<Sidecar>> {
    if node.kind != NodeKind::Sidecar {
        return None;
    }
    let root = world.mesh.root_namespace.as_str();
    let rank = |one: &Resource<Sidecar>| match &one.spec.workload_selector {
        Some(selector) if one.meta.namespace == node.namespace => {
            node.selected_by(&selector.labels).then_some(0)
        }
        Some(_) => None,
        None if one.meta.namespace == node.namespace => Some(1),
        None => (one.meta.namespace == root).then_some(2),
    };
    let ranked =
        world.sidecars.iter().filter_map(|one| Some((rank(one)?, super::super::age(&one.meta), one)));
    ranked.min_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1))).map(|(_, _, one)| one)
}
