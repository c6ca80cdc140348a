//! Ingress and IngressClass (`networking.k8s.io/v1`).

use super::service::PortName;
use crate::read::ANY;
use crate::yaml::{Node, Spanned};

fields! {
    /// `spec` of an Ingress.
    pub struct Ingress {
        /// Which controller it is for.
        ingress_class_name: Option<Spanned<String>> = "ingressClassName",
        /// For requests that no rule takes.
        default_backend: Option<IngressBackend> = "defaultBackend",
        /// TLS.
        tls: Vec<IngressTls> = "tls",
        /// Rules.
        rules: Vec<IngressRule> = "rules",
    }

    /// TLS of some hosts.
    pub struct IngressTls {
        /// The hosts.
        hosts: Vec<Spanned<String>> = "hosts",
        /// The secret that holds certificate and key.
        secret_name: Option<Spanned<String>> = "secretName",
    }

    /// Rules of one host.
    pub struct IngressRule {
        /// The host, exact or `*.suffix`; all if it is not there.
        host: Option<Spanned<String>> = "host",
        /// Paths.
        http: Option<IngressHttp> = "http",
    }

    /// Paths.
    pub struct IngressHttp {
        /// The paths.
        paths: Vec<IngressPath> = "paths",
    }

    /// One path.
    pub struct IngressPath {
        /// The path; all if it is not there.
        path: Option<Spanned<String>> = "path",
        /// How it is compared.
        path_type: Option<Spanned<PathType>> = "pathType",
        /// Where to.
        backend: IngressBackend = "backend",
    }

    /// Where to.
    pub struct IngressBackend {
        /// A service of the same namespace.
        service: Option<IngressService> = "service",
        /// Another kind of resource (Istio does not implement it).
        resource: Option<Node> = "resource",
    }

    /// A service and its port.
    pub struct IngressService {
        /// Its name.
        name: Spanned<String> = "name",
        /// Its port.
        port: Option<IngressPort> = "port",
    }

    /// A port: one of the two.
    pub struct IngressPort {
        /// By name.
        name: Option<Spanned<String>> = "name",
        /// By number.
        number: Option<Spanned<u32>> = "number",
    }

    /// `spec` of an IngressClass.
    pub struct IngressClass {
        /// The controller.
        controller: Option<Spanned<String>> = "controller",
    }
    ignores ANY;
}

choices! {
    /// How an Ingress path is compared.
    pub enum PathType {
        /// The same.
        Exact = "Exact",
        /// By elements of the path.
        Prefix = "Prefix",
        /// As the controller likes: Istio takes `PATH.*` for the prefix `PATH`, and anything else for an exact path.
        ImplementationSpecific = "ImplementationSpecific",
    }
}

impl IngressPort {
    /// The port as number or name.
    #[must_use]
    pub fn port(&self) -> Option<PortName> {
        match (&self.name, &self.number) {
            (_, Some(number)) => Some(PortName::Number(number.value)),
            (Some(name), None) => Some(PortName::Name(name.value.clone())),
            (None, None) => None,
        }
    }
}
