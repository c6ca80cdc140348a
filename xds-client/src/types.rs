//! The types that a session can subscribe to.

/// A type of resources.
#[derive(Debug, PartialEq, Eq)]
pub struct ResourceType {
    /// Full name of the message; the type URL without its prefix.
    pub name: &'static str,
    /// Does a state-of-the-world response hold all there is, so that what it lacks is gone? (CDS and LDS alone.)
    pub whole: bool,
    /// Does a removal by the server take away what is wanted all the same? (Of other named types it ends the waiting.)
    pub removable: bool,
    /// Full name of the type's own gRPC service.
    service: &'static str,
    /// What follows `Stream` and `Delta` in the names of its methods.
    method: &'static str,
}

impl ResourceType {
    /// The type URL.
    pub fn url(&self) -> String {
        weir_proto::any::type_url(self.name)
    }

    /// Path of the type's own stream.
    pub fn path(&self, delta: bool) -> String {
        format!("/{}/{}{}", self.service, if delta { "Delta" } else { "Stream" }, self.method)
    }

    /// The type of a type URL, if this crate knows it.
    pub fn of(url: &str) -> Option<&'static ResourceType> {
        let name = weir_proto::any::name_in_url(url);
        ALL.into_iter().find(|kind| kind.name == name)
    }
}

/// `Cluster` (CDS).
pub static CLUSTER: ResourceType = ResourceType {
    name: "envoy.config.cluster.v3.Cluster",
    whole: true,
    removable: true,
    service: "envoy.service.cluster.v3.ClusterDiscoveryService",
    method: "Clusters",
};

/// `ClusterLoadAssignment` (EDS).
pub static ENDPOINTS: ResourceType = ResourceType {
    name: "envoy.config.endpoint.v3.ClusterLoadAssignment",
    whole: false,
    removable: false,
    service: "envoy.service.endpoint.v3.EndpointDiscoveryService",
    method: "Endpoints",
};

/// `Listener` (LDS).
pub static LISTENER: ResourceType = ResourceType {
    name: "envoy.config.listener.v3.Listener",
    whole: true,
    removable: true,
    service: "envoy.service.listener.v3.ListenerDiscoveryService",
    method: "Listeners",
};

/// `RouteConfiguration` (RDS).
pub static ROUTE: ResourceType = ResourceType {
    name: "envoy.config.route.v3.RouteConfiguration",
    whole: false,
    removable: false,
    service: "envoy.service.route.v3.RouteDiscoveryService",
    method: "Routes",
};

/// `Secret` (SDS).
pub static SECRET: ResourceType = ResourceType {
    name: "envoy.extensions.transport_sockets.tls.v3.Secret",
    whole: false,
    removable: false,
    service: "envoy.service.secret.v3.SecretDiscoveryService",
    method: "Secrets",
};

/// `TypedExtensionConfig` (ECDS).
pub static EXTENSION: ResourceType = ResourceType {
    name: "envoy.config.core.v3.TypedExtensionConfig",
    whole: false,
    removable: true,
    service: "envoy.service.extension.v3.ExtensionConfigDiscoveryService",
    method: "ExtensionConfigs",
};

/// `Runtime` (RTDS).
pub static RUNTIME: ResourceType = ResourceType {
    name: "envoy.service.runtime.v3.Runtime",
    whole: false,
    removable: true,
    service: "envoy.service.runtime.v3.RuntimeDiscoveryService",
    method: "Runtime",
};

/// Every type.
pub static ALL: [&ResourceType; 7] = [&CLUSTER, &ENDPOINTS, &LISTENER, &ROUTE, &SECRET, &EXTENSION, &RUNTIME];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_found_by_its_url_and_has_two_methods() {
        for kind in ALL {
            assert_eq!(ResourceType::of(&kind.url()), Some(kind));
        }
        assert_eq!(ResourceType::of("type.googleapis.com/istio.workload.Workload"), None);
        assert_eq!(CLUSTER.path(true), "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters");
        assert_eq!(RUNTIME.path(false), "/envoy.service.runtime.v3.RuntimeDiscoveryService/StreamRuntime");
    }
}
