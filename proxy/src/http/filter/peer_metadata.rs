//! `istio.metadata_exchange` on HTTP: proxies of the mesh tell each other who they are, in two headers.

use super::hooks::{HttpFilter, RequestContext, ResponseContext, Step};
use super::{Factory, decode};
use crate::base::headers::HeaderBlock;
use crate::base::ledger::At;
use crate::base::names::HeaderName;
use crate::model::plugin::{Compile, Node, PluginConfig};
use crate::observe::mesh::Peer;
use crate::upstream::Worker;
use prost::Message;
use serde_json::Value;
use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use weir_proto::base64;
use weir_proto::google::protobuf as pb;
use weir_proto::google::protobuf::value::Kind;
use weir_proto::io::istio::http::peer_metadata::Config as Proto;
use weir_proto::io::istio::http::peer_metadata::config::{
    DiscoveryMethod, IstioHeaders, PropagationMethod, discovery_method, propagation_method,
};

/// The table's line.
pub const FACTORY: Factory = Factory {
    type_name: "io.istio.http.peer_metadata.Config",
    name: "istio.metadata_exchange",
    terminal: false,
    config: compile,
    route_config: None,
    run: Some(run),
};

/// Who somebody is, as a `Struct` in base64, and the node's id.
const HEADERS: [&str; 2] = ["x-envoy-peer-metadata", "x-envoy-peer-metadata-id"];
/// Labels that are told of a workload.
const LABELS: [&str; 4] =
    ["app", "version", "service.istio.io/canonical-name", "service.istio.io/canonical-revision"];
/// Most peers that a worker remembers, so that their headers are not read again.
const MAX_PEERS: usize = 500;
/// Longest header that is read.
const MAX_HEADER: usize = 16 * 1024;

/// What is done.
struct Config {
    /// Read who the client is; who the upstream is.
    discover: (bool, bool),
    /// Tell the client; the upstream.
    tell: (bool, Option<Tell>),
    /// The two headers with our own values.
    names: [HeaderName; 2],
    own: [Vec<u8>; 2],
}

#[derive(Clone, Copy)]
struct Tell {
    skip_external: bool,
}

fn compile(cx: &dyn Compile, at: &At<'_>, bytes: &[u8]) -> Option<Arc<dyn Any + Send + Sync>> {
    let message = &decode::<Proto>(at, bytes)?;
    crate::ledger!(at, message => Proto { downstream_discovery, upstream_discovery, downstream_propagation,
        upstream_propagation, shared_with_upstream } ignore { additional_labels });
    at.refuse("shared_with_upstream", *shared_with_upstream);
    let [metadata, id] = HEADERS.map(HeaderName::parse);
    let names = [metadata.ok()?, id.ok()?];
    Some(Arc::new(Config {
        discover: (
            discovers(at, "downstream_discovery", downstream_discovery),
            discovers(at, "upstream_discovery", upstream_discovery),
        ),
        tell: (
            tells(at, "downstream_propagation", downstream_propagation).is_some(),
            tells(at, "upstream_propagation", upstream_propagation),
        ),
        own: [own(cx.node()).into_bytes(), cx.node().id.as_bytes().to_vec()],
        names,
    }))
}

fn discovers(at: &At<'_>, field: &str, list: &[DiscoveryMethod]) -> bool {
    use discovery_method::MethodSpecifier as Method;
    let mut by_headers = false;
    for (i, DiscoveryMethod { method_specifier }) in list.iter().enumerate() {
        let here = at.item(field, i);
        match method_specifier {
            Some(Method::IstioHeaders(IstioHeaders { skip_external_clusters: _ })) => by_headers = true,
            // Nothing is known by address without the extension that subscribes to workloads, as in Envoy.
            Some(Method::WorkloadDiscovery(_)) => {}
            Some(Method::Baggage(_)) => here.field("baggage").unsupported("discovery by baggage"),
            Some(Method::UpstreamFilterState(_)) => {
                here.field("upstream_filter_state").unsupported("discovery by filter state");
            }
            None => here.error("must have a method"),
        }
    }
    by_headers
}

fn tells(at: &At<'_>, field: &str, list: &[PropagationMethod]) -> Option<Tell> {
    use propagation_method::MethodSpecifier as Method;
    let mut found = None;
    for (i, PropagationMethod { method_specifier }) in list.iter().enumerate() {
        let here = at.item(field, i);
        match method_specifier {
            Some(Method::IstioHeaders(IstioHeaders { skip_external_clusters })) => {
                found = Some(Tell { skip_external: *skip_external_clusters });
            }
            Some(Method::Baggage(_)) => here.field("baggage").unsupported("propagation by baggage"),
            None => here.error("must have a method"),
        }
    }
    found
}

/// This proxy's own description.
fn own(node: &Node) -> String {
    let text = |value: &str| pb::Value { kind: Some(Kind::StringValue(value.to_owned())) };
    let mut fields = BTreeMap::new();
    for key in ["NAME", "NAMESPACE", "WORKLOAD_NAME", "CLUSTER_ID", "OWNER"] {
        if let Some(value) = node.metadata.get(key).and_then(Value::as_str) {
            fields.insert(key.to_owned(), text(value));
        }
    }
    let labels = node.metadata.get("LABELS").and_then(Value::as_object);
    let labels = labels.into_iter().flatten().filter(|(key, _)| LABELS.contains(&key.as_str()));
    let labels: BTreeMap<String, pb::Value> =
        labels.filter_map(|(key, value)| Some((key.clone(), text(value.as_str()?)))).collect();
    if !labels.is_empty() {
        let inner = pb::Struct { fields: labels.into_iter().collect() };
        fields.insert("LABELS".to_owned(), pb::Value { kind: Some(Kind::StructValue(inner)) });
    }
    let message = pb::Struct { fields: fields.into_iter().collect() };
    base64::encode(&message.encode_to_vec())
}

struct Running {
    config: Arc<dyn Any + Send + Sync>,
    /// The client told who it is, and is told in return.
    asked: bool,
}

fn run(slot: &PluginConfig) -> Option<Box<dyn HttpFilter>> {
    slot.config.is::<Config>().then(|| Box::new(Running { config: slot.config.clone(), asked: false }) as _)
}

/// Takes the headers out; gives who they say somebody is.
fn take(config: &Config, headers: &mut HeaderBlock) -> (bool, Option<Arc<Peer>>) {
    let [metadata, id] = &config.names;
    let peer = headers.find(metadata).and_then(peer);
    let told = headers.remove(metadata);
    (headers.remove(id) || told, peer)
}

/// Reads a description; a worker remembers what it read.
fn peer(value: &[u8]) -> Option<Arc<Peer>> {
    thread_local! {
        static KNOWN: RefCell<HashMap<Box<[u8]>, Arc<Peer>, foldhash::fast::RandomState>> = RefCell::default();
    }
    if let Some(known) = KNOWN.with_borrow(|known| known.get(value).cloned()) {
        return Some(known);
    }
    let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= MAX_HEADER)?;
    let bytes = base64::decode(text).ok()?;
    let message = pb::Struct::decode(bytes.as_slice()).ok()?;
    let found = Arc::new(Peer::of_node(&flat(&message)));
    KNOWN.with_borrow_mut(|known| {
        if known.len() >= MAX_PEERS {
            known.clear();
        }
        known.insert(value.into(), found.clone());
    });
    Some(found)
}

/// Texts, and texts one level below: all that a description holds.
fn flat(message: &pb::Struct) -> Value {
    let text = |kind: &Option<Kind>| match kind {
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        _ => Value::Null,
    };
    let all = message.fields.iter().map(|(key, value)| {
        let value = match &value.kind {
            Some(Kind::StructValue(inner)) => {
                Value::Object(inner.fields.iter().map(|(k, v)| (k.clone(), text(&v.kind))).collect())
            }
            other => text(other),
        };
        (key.clone(), value)
    });
    Value::Object(all.collect())
}

/// Is the cluster one that is told nothing: outside of the mesh, or marked so?
fn is_silent(cluster: &str, skip_external: bool) -> bool {
    let metadata = Worker::current().and_then(|worker| {
        worker.with_snapshot(|s| s.clusters.get(cluster).and_then(|c| c.metadata.clone()))
    });
    let flag =
        |key: &str| metadata.as_ref().and_then(|m| m.get("istio")?.get(key)?.as_bool()).unwrap_or_default();
    flag("disable_mx") || (skip_external && (cluster == "PassthroughCluster" || flag("external")))
}

impl HttpFilter for Running {
    fn request(&mut self, cx: &mut RequestContext<'_>) -> Step {
        let Some(config) = self.config.downcast_ref::<Config>() else { return Step::Continue };
        let headers = &mut cx.request.headers;
        if config.discover.0 {
            let (told, peer) = take(config, headers);
            self.asked = told;
            if peer.is_some() {
                cx.record.mesh_facts().downstream = peer;
            }
        }
        if let Some(tell) = config.tell.1
            && !cx.cluster.is_some_and(|cluster| is_silent(cluster, tell.skip_external))
        {
            config.write(headers);
        }
        Step::Continue
    }

    fn response(&mut self, cx: &mut ResponseContext<'_>) {
        let Some(config) = self.config.downcast_ref::<Config>() else { return };
        if config.discover.1
            && let (_, Some(peer)) = take(config, &mut cx.response.headers)
        {
            cx.record.mesh_facts().upstream = Some(peer);
        }
        if config.tell.0 && self.asked {
            config.write(&mut cx.response.headers);
        }
    }
}

impl Config {
    fn write(&self, headers: &mut HeaderBlock) {
        for (name, value) in self.names.iter().zip(&self.own) {
            headers.set(name, value);
        }
    }
}
