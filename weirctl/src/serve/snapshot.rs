//! The resources of one proxy. A version is a hash of what the resource says: what did not change keeps it, across
//! restarts of the control plane too, so that a proxy that comes back is sent nothing it has.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use prost::{Message, Name};
use weir_config::compile::{Compiled, Lacking, Node, NodeError, Target, compile};
use weir_config::world::World;
use weir_proto::any::name_in_url;
use weir_proto::envoy::config::core::v3::Node as Told;
use weir_proto::envoy::config::core::v3::node::UserAgentVersionType;
use weir_proto::google::protobuf::value::Kind;
use weir_proto::google::protobuf::{Any, Struct, Value};
use weir_proto::{Pool, Secrets};
use weir_xds::{CLUSTER, ENDPOINTS, LISTENER, ROUTE};
use xxhash_rust::xxh64::xxh64;

use super::common::Common;

/// Name in the build's metadata by which weir is told from Envoy, whose user agent it bears. It gets what it puts in
/// force, others what Envoy would.
const WEIR: &str = "weir";

/// A resource and its version.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// Hash of its content.
    pub version: String,
    /// The resource.
    pub resource: Any,
}

/// Resources of a type by name.
pub type Resources = BTreeMap<String, Arc<Held>>;

/// All that a proxy is to have, by the type's full name.
#[derive(Debug, Default)]
pub struct Snapshot(BTreeMap<&'static str, Resources>);

impl Snapshot {
    /// Compiles a world for a proxy. Takes milliseconds: not for a thread that serves.
    pub fn of(world: &World, proxy: &Proxy, pool: &Pool, common: &Common) -> Snapshot {
        let Compiled { listeners, routes, clusters, endpoints, .. } =
            compile(world, &proxy.node, proxy.target);
        let hold = Hold { pool, common };
        Snapshot(BTreeMap::from([
            hold.all(CLUSTER.name, clusters, |one| &one.name),
            hold.all(ENDPOINTS.name, endpoints, |one| &one.cluster_name),
            hold.all(LISTENER.name, listeners, |one| &one.name),
            hold.all(ROUTE.name, routes, |one| &one.name),
        ]))
    }

    /// Resources of a type; of one that we have none of: none.
    pub fn resources(&self, kind: &str) -> &Resources {
        static NONE: Resources = BTreeMap::new();
        self.0.get(kind).unwrap_or(&NONE)
    }
}

/// What a resource needs to be held.
struct Hold<'a> {
    pool: &'a Pool,
    common: &'a Common,
}

impl Hold<'_> {
    fn all<M: Message + Name>(
        &self,
        kind: &'static str,
        messages: Vec<M>,
        name: impl Fn(&M) -> &String,
    ) -> (&'static str, Resources) {
        let held = messages.into_iter().map(|message| {
            let resource = weir_proto::any::pack(&message);
            // As JSON, where the entries of maps have an order: encoded, equal content may be other bytes.
            let content = self.pool.any_to_json(&resource, Secrets::Show).to_string();
            let version = format!("{:016x}", xxh64(content.as_bytes(), 0));
            let name = name(&message).clone();
            let held = self.common.hold(kind, &name, Held { version, resource });
            (name, held)
        });
        (kind, held.collect())
    }
}

/// Who a stream belongs to.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// The node as the compiler sees it.
    pub node: Node,
    target: Target,
}

impl Proxy {
    /// The proxy that a node message describes.
    ///
    /// # Errors
    /// Its id is none, or its metadata cannot be understood.
    pub fn of(told: &Told) -> Result<Proxy, NodeError> {
        let metadata = told.metadata.as_ref().map(object).unwrap_or_default();
        let node = Node::parse(&told.id)?.with_metadata(&metadata)?;
        Ok(Proxy { node, target: target(told) })
    }
}

/// What istiod's resources name and a client that lists its extensions does not have.
fn lacking(told: &Told) -> Lacking {
    let types = told.extensions.iter().flat_map(|extension| &extension.type_urls);
    Lacking::of(&types.map(|url| name_in_url(url)).collect::<HashSet<&str>>())
}

fn target(told: &Told) -> Target {
    if is_weir(told) { Target::Weir } else { Target::Envoy(lacking(told)) }
}

/// What is left out for a client: the extensions that it does not have, and what is not made yet.
pub fn left_out(told: &Told) -> Vec<&'static str> {
    target(told).left_out()
}

/// Is it a weir?
fn is_weir(told: &Told) -> bool {
    let Some(UserAgentVersionType::UserAgentBuildVersion(build)) = &told.user_agent_version_type else {
        return false;
    };
    build.metadata.as_ref().is_some_and(|metadata| metadata.fields.contains_key(WEIR))
}

/// What the proxy is, in one word.
pub fn agent(told: &Told) -> &str {
    if is_weir(told) { WEIR } else { &told.user_agent_name }
}

fn object(fields: &Struct) -> serde_json::Map<String, serde_json::Value> {
    fields.fields.iter().map(|(name, value)| (name.clone(), json(value))).collect()
}

/// A value as JSON. Its depth is bounded by the decoder of the message.
fn json(value: &Value) -> serde_json::Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(value)) => (*value).into(),
        Some(Kind::NumberValue(value)) => (*value).into(),
        Some(Kind::StringValue(value)) => value.as_str().into(),
        Some(Kind::StructValue(value)) => object(value).into(),
        Some(Kind::ListValue(list)) => list.values.iter().map(json).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(id: &str, port_map: &str) -> Told {
        let text = Value { kind: Some(Kind::StringValue(port_map.to_owned())) };
        let metadata = Struct { fields: [("WEIR_LISTEN_PORT_MAP".to_owned(), text)].into() };
        Told { id: id.to_owned(), metadata: Some(metadata), ..Told::default() }
    }

    #[test]
    fn a_node_says_who_it_is() {
        let proxy = Proxy::of(&told("sidecar~10.1.1.1~web-1.shop~shop.svc.cluster.local", "80=8080"));
        let node = proxy.unwrap().node;
        assert_eq!(node.namespace, "shop");
        assert_eq!(node.listen_port_map, BTreeMap::from([(80, 8080)]));
        assert!(Proxy::of(&told("web-1", "")).is_err());
        assert!(Proxy::of(&told("sidecar~10.1.1.1~web-1.shop~shop.svc.cluster.local", "80=x")).is_err());
    }

    #[test]
    fn versions_follow_the_content() {
        let world = |port: u16| {
            let text = format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\n\
                 spec: {{clusterIP: 10.0.0.1, ports: [{{name: http, port: {port}}}]}}\n"
            );
            World::read(&[("services.yaml".to_owned(), text)]).0
        };
        let proxy = Proxy::of(&told("sidecar~10.1.1.1~web-1.shop~shop.svc.cluster.local", "")).unwrap();
        let pool = Pool::load().unwrap();
        let common = Common::default();
        let of = |port| Snapshot::of(&world(port), &proxy, &pool, &common);
        let (one, same, other) = (of(80), of(80), of(81));
        // The bytes may differ: maps are encoded in any order.
        let clusters = |snapshot: &Snapshot| -> Vec<String> {
            snapshot.resources(CLUSTER.name).values().map(|held| held.version.clone()).collect()
        };
        assert!(!clusters(&one).is_empty());
        assert_eq!(clusters(&one), clusters(&same));
        assert_ne!(clusters(&one), clusters(&other));
        assert!(one.resources("envoy.service.runtime.v3.Runtime").is_empty());
    }
}
