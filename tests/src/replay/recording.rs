//! The recordings of one node: steps, each with what was pushed in it.

use std::fs;
use std::path::Path;

use anyhow::Context;
use prost::Message;
use serde_json::{Value, json};
use weir_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use weir_proto::google::protobuf::Any;
use weir_xds::ResourceType;

use crate::corpora;
use crate::plane::Plane;

/// What istiod pushed between two changes of its input.
pub struct Step {
    /// Its name.
    pub name: String,
    /// Resources, by type.
    pub put: Vec<(&'static ResourceType, Vec<(String, Any)>)>,
    /// Names of removed ones, by type.
    pub removed: Vec<(&'static ResourceType, Vec<String>)>,
}

/// One node's recording.
pub struct Recording {
    /// The node as it told itself to istiod: id, cluster, metadata.
    pub node: Value,
    /// In order.
    pub steps: Vec<Step>,
}

/// Number of a file of the recording.
fn number(name: &str) -> Option<u64> {
    name.get(..3)?.parse().ok()
}

impl Recording {
    /// Reads `SCENARIO/NODE` of the recordings, up to and with the step `last`, when there is one of that name.
    pub fn read(folder: &Path, last: &str) -> anyhow::Result<Self> {
        let first = corpora::json(&folder.join("001-req-cds.json"))?;
        let node = first.get("node").cloned().context("the first request names no node")?;
        let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        let mut files: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        files.retain(|name| name.contains("-push-") && name.ends_with(".pb"));
        files.sort();
        let mut files = files.into_iter().peekable();
        let mut steps = Vec::new();
        for text in fs::read_to_string(folder.join("steps.jsonl"))?.lines() {
            let told: Value = serde_json::from_str(text)?;
            let name = told.get("step").and_then(Value::as_str).context("a step without a name")?;
            let through = told.get("through").and_then(Value::as_u64).context("a step without an end")?;
            let mut step = Step { name: name.to_owned(), put: Vec::new(), removed: Vec::new() };
            while let Some(file) = files.next_if(|file| number(file).is_some_and(|n| n <= through)) {
                step.push(&fs::read(folder.join(&file))?).context(file)?;
            }
            steps.push(step);
            if name == last {
                break;
            }
        }
        Ok(Self { node, steps })
    }
}

impl Step {
    /// Pushes it, all at once.
    pub fn push_to(&self, plane: &Plane) {
        plane.change(|batch| {
            for (kind, resources) in &self.put {
                batch.put(kind, resources.clone());
            }
            for (kind, names) in &self.removed {
                names.iter().for_each(|name| batch.remove(kind, name));
            }
        });
    }

    fn push(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let message = DeltaDiscoveryResponse::decode(bytes)?;
        let kind = ResourceType::of(&message.type_url).with_context(|| message.type_url.clone())?;
        let body = |r: weir_proto::envoy::service::discovery::v3::Resource| Some((r.name, r.resource?));
        self.put.push((kind, message.resources.into_iter().filter_map(body).collect()));
        self.removed.push((kind, message.removed_resources));
        Ok(())
    }
}

/// A bootstrap for the node, with its control plane and its admin page on ports of 127.0.0.1.
pub fn bootstrap(node: &Value, plane: u16, admin: u16) -> Value {
    let socket = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let ads = json!({"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"});
    json!({
        "node": {"id": node.get("id"), "cluster": node.get("cluster"), "metadata": node.get("metadata")},
        "admin": {"address": socket(admin)},
        "dynamic_resources": {
            "cds_config": ads,
            "lds_config": ads,
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
        },
        "static_resources": {"clusters": [{
            "name": "xds-grpc", "type": "STATIC", "connect_timeout": "1s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }},
            "load_assignment": {"cluster_name": "xds-grpc", "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": socket(plane)}}]}
            ]},
        }]},
    })
}
