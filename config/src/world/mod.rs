//! All resources of a mesh, as they were read together.

mod disk;
mod dispatch;
mod mesh;
mod names;
mod watch;

use crate::diag::{self, Diagnostic};
use crate::kinds::destination_rule::DestinationRule;
use crate::kinds::endpoint::{EndpointSlice, Endpoints, Pod, Workload};
use crate::kinds::gateway::Gateway;
use crate::kinds::ingress::{Ingress, IngressClass};
use crate::kinds::service::Service;
use crate::kinds::service_entry::{ServiceEntry, WorkloadEntry};
use crate::kinds::sidecar::Sidecar;
use crate::kinds::virtual_service::VirtualService;
use crate::kinds::{Meta, Resource};
use crate::yaml::Sources;

pub use disk::{MAX_FILES, Read, read_paths};
pub use mesh::MeshOptions;
pub use names::{host_covers, is_wildcard, resolve_host};
pub use watch::Watch;

/// All resources of a mesh. Lists keep the order in which the resources were read.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// What holds for the whole mesh.
    pub mesh: MeshOptions,
    /// The texts they were read from.
    pub sources: Sources,
    /// VirtualServices, delegates included.
    pub virtual_services: Vec<Resource<VirtualService>>,
    /// DestinationRules.
    pub destination_rules: Vec<Resource<DestinationRule>>,
    /// Istio's Gateways.
    pub gateways: Vec<Resource<Gateway>>,
    /// ServiceEntries.
    pub service_entries: Vec<Resource<ServiceEntry>>,
    /// WorkloadEntries.
    pub workload_entries: Vec<Resource<WorkloadEntry>>,
    /// Sidecars.
    pub sidecars: Vec<Resource<Sidecar>>,
    /// Kubernetes Services.
    pub services: Vec<Resource<Service>>,
    /// EndpointSlices.
    pub endpoint_slices: Vec<Resource<EndpointSlice>>,
    /// Endpoints objects.
    pub endpoints: Vec<Resource<Endpoints>>,
    /// Pods.
    pub pods: Vec<Resource<Pod>>,
    /// Deployments and the like: the labels that their pods will have.
    pub workloads: Vec<Resource<Workload>>,
    /// Ingresses.
    pub ingresses: Vec<Resource<Ingress>>,
    /// IngressClasses.
    pub ingress_classes: Vec<Resource<IngressClass>>,
    /// Everything else, by name only.
    pub noted: Vec<Meta>,
}

impl World {
    /// Reads texts, each with the name to use in messages. Pure: touches no file. Whatever can be read is in the
    /// world, also beside errors; what is to be put in force should have no error among its diagnostics
    /// ([`diag::has_errors`]).
    #[must_use]
    pub fn read<N: AsRef<str>, T: AsRef<str>>(sources: &[(N, T)]) -> (World, Vec<Diagnostic>) {
        Self::read_with(MeshOptions::default(), sources)
    }

    /// The same for a mesh with options of its own.
    #[must_use]
    pub fn read_with<N: AsRef<str>, T: AsRef<str>>(
        mesh: MeshOptions,
        sources: &[(N, T)],
    ) -> (World, Vec<Diagnostic>) {
        let mut world = World { mesh, ..World::default() };
        let mut diagnostics = Vec::new();
        for (name, text) in sources {
            world.take_source(name.as_ref(), text.as_ref(), &mut diagnostics);
        }
        diag::sort(&mut diagnostics);
        (world, diagnostics)
    }

    /// The identities of all resources, of every kind.
    pub fn metas(&self) -> impl Iterator<Item = &Meta> {
        fn of<T>(list: &[Resource<T>]) -> impl Iterator<Item = &Meta> {
            list.iter().map(|resource| &resource.meta)
        }
        of(&self.virtual_services)
            .chain(of(&self.destination_rules))
            .chain(of(&self.gateways))
            .chain(of(&self.service_entries))
            .chain(of(&self.workload_entries))
            .chain(of(&self.sidecars))
            .chain(of(&self.services))
            .chain(of(&self.endpoint_slices))
            .chain(of(&self.endpoints))
            .chain(of(&self.pods))
            .chain(of(&self.workloads))
            .chain(of(&self.ingresses))
            .chain(of(&self.ingress_classes))
            .chain(&self.noted)
    }
}
