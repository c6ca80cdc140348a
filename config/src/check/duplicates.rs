//! Two resources of one kind, namespace and name.

use std::collections::{HashMap, HashSet};

use super::{Findings, Registry};
use crate::diag::Severity;
use crate::kinds::Meta;
use crate::world::World;

pub(super) fn check(world: &World, _: &Registry<'_>, findings: &mut Findings<'_>) {
    let mut seen = HashMap::new();
    let noted: HashSet<*const Meta> = world.noted.iter().map(std::ptr::from_ref).collect();
    for meta in world.metas().filter(|meta| !meta.name.is_empty()) {
        let group = meta.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let key = (meta.kind.value.as_str(), group, meta.namespace.as_str(), meta.name.value.as_str());
        if let Some(first) = seen.insert(key, meta.name.span) {
            let message =
                format!("{} is there twice; the other one stands at {}", meta.title(), findings.place(first));
            // Of no concern to traffic, and the same in many samples: service accounts and the like.
            let severity =
                if noted.contains(&std::ptr::from_ref(meta)) { Severity::Warning } else { Severity::Error };
            findings.add(
                severity,
                "duplicate-resource",
                meta.name.span,
                message,
                "rename or remove one of them",
            );
        }
    }
}
