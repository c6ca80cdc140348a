//! What holds for a whole mesh.

/// Options of the mesh, Istio's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshOptions {
    /// DNS domain of the cluster: services are `<name>.<namespace>.svc.<domain>`.
    pub domain: String,
    /// Namespace whose resources hold for all (`meshConfig.rootNamespace`).
    pub root_namespace: String,
    /// Class an Ingress must have to be taken; all are if there is none here.
    pub ingress_class: Option<String>,
}

impl Default for MeshOptions {
    fn default() -> Self {
        Self {
            domain: "cluster.local".to_owned(),
            root_namespace: "istio-system".to_owned(),
            ingress_class: None,
        }
    }
}
