//! Which kinds there are, in which API versions, and what becomes of them.

use super::Meta;
use super::meta::Resource;
use crate::read::{Field, Object, Reader};
use crate::world::World;
use crate::yaml::Node;

/// A kind.
#[derive(Debug)]
pub struct KindRow {
    /// Its name.
    pub kind: &'static str,
    /// Its API group; empty for Kubernetes' core.
    pub group: &'static str,
    /// The versions that are read; all if there are none here.
    pub versions: &'static [&'static str],
    /// What becomes of it.
    pub standing: Standing,
}

/// What becomes of a kind.
#[derive(Debug)]
pub enum Standing {
    /// Read into the world.
    Read(fn(&Node, Meta, &mut World, &mut Reader<'_>)),
    /// Of no concern to traffic: noted.
    Noted,
    /// Of concern to traffic, and not obeyed yet: a warning that says what is missing by it.
    NotObeyed(&'static str),
}

use Standing::{NotObeyed, Noted, Read};

const NETWORKING: &str = "networking.istio.io";
const ISTIO_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const SECURITY: &str = "security.istio.io";
const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// All kinds that are known by name.
pub static KINDS: &[KindRow] = &[
    row(
        "VirtualService",
        NETWORKING,
        ISTIO_VERSIONS,
        Read(|d, m, w, r| spec(d, m, r, &mut w.virtual_services)),
    ),
    row(
        "DestinationRule",
        NETWORKING,
        ISTIO_VERSIONS,
        Read(|d, m, w, r| spec(d, m, r, &mut w.destination_rules)),
    ),
    row("Gateway", NETWORKING, ISTIO_VERSIONS, Read(|d, m, w, r| spec(d, m, r, &mut w.gateways))),
    row("ServiceEntry", NETWORKING, ISTIO_VERSIONS, Read(|d, m, w, r| spec(d, m, r, &mut w.service_entries))),
    row(
        "WorkloadEntry",
        NETWORKING,
        ISTIO_VERSIONS,
        Read(|d, m, w, r| spec(d, m, r, &mut w.workload_entries)),
    ),
    row("Sidecar", NETWORKING, ISTIO_VERSIONS, Read(|d, m, w, r| spec(d, m, r, &mut w.sidecars))),
    row("Service", "", &["v1"], Read(|d, m, w, r| spec(d, m, r, &mut w.services))),
    row("Pod", "", &["v1"], Read(|d, m, w, r| body(d, m, r, &mut w.pods))),
    row("Endpoints", "", &["v1"], Read(|d, m, w, r| body(d, m, r, &mut w.endpoints))),
    row(
        "EndpointSlice",
        "discovery.k8s.io",
        &["v1"],
        Read(|d, m, w, r| body(d, m, r, &mut w.endpoint_slices)),
    ),
    row("Ingress", "networking.k8s.io", &["v1"], Read(|d, m, w, r| spec(d, m, r, &mut w.ingresses))),
    row(
        "IngressClass",
        "networking.k8s.io",
        &["v1"],
        Read(|d, m, w, r| spec(d, m, r, &mut w.ingress_classes)),
    ),
    row("Deployment", "apps", &[], Read(|d, m, w, r| spec(d, m, r, &mut w.workloads))),
    row("StatefulSet", "apps", &[], Read(|d, m, w, r| spec(d, m, r, &mut w.workloads))),
    row("DaemonSet", "apps", &[], Read(|d, m, w, r| spec(d, m, r, &mut w.workloads))),
    row("ReplicaSet", "apps", &[], Read(|d, m, w, r| spec(d, m, r, &mut w.workloads))),
    row("ReplicationController", "", &[], Read(|d, m, w, r| spec(d, m, r, &mut w.workloads))),
    row("Job", "batch", &[], Read(|d, m, w, r| spec(d, m, r, &mut w.workloads))),
    row("CronJob", "batch", &[], Noted),
    row("Namespace", "", &[], Noted),
    row("ServiceAccount", "", &[], Noted),
    row("ConfigMap", "", &[], Noted),
    row("Secret", "", &[], Noted),
    row("Node", "", &[], Noted),
    row("PersistentVolume", "", &[], Noted),
    row("PersistentVolumeClaim", "", &[], Noted),
    row("HorizontalPodAutoscaler", "autoscaling", &[], Noted),
    row("PodDisruptionBudget", "policy", &[], Noted),
    row(
        "NetworkPolicy",
        "networking.k8s.io",
        &[],
        NotObeyed("connections that it forbids are not refused here"),
    ),
    row("PeerAuthentication", SECURITY, &[], NotObeyed("mTLS is neither demanded nor offered")),
    row("AuthorizationPolicy", SECURITY, &[], NotObeyed("requests that it denies are let through")),
    row("RequestAuthentication", SECURITY, &[], NotObeyed("tokens are not checked")),
    row("Telemetry", "telemetry.istio.io", &[], NotObeyed("logs, metrics and traces keep their defaults")),
    row("EnvoyFilter", NETWORKING, &[], NotObeyed("the configuration is not patched")),
    row("WorkloadGroup", NETWORKING, &[], NotObeyed("no WorkloadEntry is made from it")),
    row("ProxyConfig", NETWORKING, &[], NotObeyed("proxies keep their own settings")),
    row("WasmPlugin", "extensions.istio.io", &[], NotObeyed("the plug-in does not run")),
    row("Gateway", GATEWAY_API, &[], NotObeyed("no port is opened for it")),
    row("GatewayClass", GATEWAY_API, &[], NotObeyed("its Gateways are not opened")),
    row("HTTPRoute", GATEWAY_API, &[], NotObeyed("its routes do not exist")),
    row("GRPCRoute", GATEWAY_API, &[], NotObeyed("its routes do not exist")),
    row("TCPRoute", GATEWAY_API, &[], NotObeyed("its routes do not exist")),
    row("TLSRoute", GATEWAY_API, &[], NotObeyed("its routes do not exist")),
    row("UDPRoute", GATEWAY_API, &[], NotObeyed("its routes do not exist")),
    row("ReferenceGrant", GATEWAY_API, &[], NotObeyed("references across namespaces are not granted")),
    row("BackendTLSPolicy", GATEWAY_API, &[], NotObeyed("backends are spoken to without TLS")),
];

const fn row(
    kind: &'static str,
    group: &'static str,
    versions: &'static [&'static str],
    standing: Standing,
) -> KindRow {
    KindRow { kind, group, versions, standing }
}

/// Reads a resource that has a `spec`.
fn spec<T: Field>(document: &Node, mut meta: Meta, reader: &mut Reader<'_>, into: &mut Vec<Resource<T>>) {
    const NAMES: &[&str] = &["apiVersion", "kind", "metadata", "spec", "status"];
    let before = reader.errors();
    let Some(object) = Object::open(document, NAMES, &[], reader) else { return };
    let spec = object.field::<T>("spec", reader);
    object.close(reader);
    if let Some(spec) = spec {
        meta.mistakes = reader.mistakes(before);
        into.push(Resource { meta, spec });
    }
}

/// Reads a resource whose fields stand beside its metadata.
fn body<T: Field>(document: &Node, mut meta: Meta, reader: &mut Reader<'_>, into: &mut Vec<Resource<T>>) {
    let before = reader.errors();
    if let Some(spec) = T::read(document, reader) {
        meta.mistakes = reader.mistakes(before);
        into.push(Resource { meta, spec });
    }
}
