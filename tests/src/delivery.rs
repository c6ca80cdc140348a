//! How a configuration comes to a proxy: in its file, or pushed by a control plane over gRPC. What is pushed goes the
//! whole way: route configurations as RDS, endpoints of static clusters as EDS, the rest as LDS and CDS.

use serde_json::{Value, json};
use weir_proto::envoy::config::cluster::v3::Cluster;
use weir_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use weir_proto::envoy::config::listener::v3::Listener;
use weir_proto::envoy::config::route::v3::RouteConfiguration;
use weir_proto::google::protobuf::Any;
use weir_xds::{CLUSTER, ENDPOINTS, LISTENER, ROUTE};

use crate::plane::{self, Plane, parsed};

/// One of the ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// In the file.
    File,
    /// Over the aggregated stream, state of the world.
    StateOfTheWorld,
    /// Over the aggregated stream, delta.
    Delta,
}

impl Delivery {
    /// What is added to the name of a case.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::File => "",
            Self::StateOfTheWorld => " over xDS",
            Self::Delta => " over delta xDS",
        }
    }

    /// Makes of a whole bootstrap what the proxy is started with, and the control plane that has the rest.
    ///
    /// # Errors
    /// A resource is none, or the control plane cannot listen.
    pub fn deliver(self, bootstrap: Value) -> anyhow::Result<(Value, Option<Plane>)> {
        let api = match self {
            Self::File => return Ok((bootstrap, None)),
            Self::StateOfTheWorld => "GRPC",
            Self::Delta => "DELTA_GRPC",
        };
        let plane = Plane::start()?;
        let bootstrap = push(bootstrap, api, &plane)?;
        Ok((bootstrap, Some(plane)))
    }
}

fn push(mut bootstrap: Value, api: &str, plane: &Plane) -> anyhow::Result<Value> {
    let mut resources = Resources::default();
    for mut listener in taken(&mut bootstrap, "/static_resources/listeners") {
        resources.move_routes(&mut listener)?;
        resources.listeners.push((name(&listener, "name"), plane::any(&parsed::<Listener>(&listener)?)));
    }
    for mut cluster in taken(&mut bootstrap, "/static_resources/clusters") {
        resources.move_endpoints(&mut cluster)?;
        resources.clusters.push((name(&cluster, "name"), plane::any(&parsed::<Cluster>(&cluster)?)));
    }
    plane.change(|batch| {
        batch.put(&CLUSTER, resources.clusters);
        batch.put(&ENDPOINTS, resources.endpoints);
        batch.put(&LISTENER, resources.listeners);
        batch.put(&ROUTE, resources.routes);
    });
    if let Some(Value::Object(fixed)) = bootstrap.get_mut("static_resources") {
        fixed.insert("clusters".to_owned(), json!([plane::reached_at(plane.port)]));
    }
    if let Some(all) = bootstrap.as_object_mut() {
        all.insert("dynamic_resources".to_owned(), plane::dynamic(api));
        all.entry("node").or_insert_with(|| json!({ "id": "test", "cluster": "test" }));
    }
    Ok(bootstrap)
}

fn taken(bootstrap: &mut Value, at: &str) -> Vec<Value> {
    match bootstrap.pointer_mut(at).map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn name(resource: &Value, field: &str) -> String {
    resource.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

type Named = Vec<(String, Any)>;

#[derive(Default)]
struct Resources {
    listeners: Named,
    routes: Named,
    clusters: Named,
    endpoints: Named,
}

impl Resources {
    /// Route configurations within a listener become resources of their own.
    fn move_routes(&mut self, value: &mut Value) -> anyhow::Result<()> {
        match value {
            Value::Object(map) => {
                if let Some(mut routes) = map.remove("route_config") {
                    if name(&routes, "name").is_empty() {
                        routes["name"] = json!(format!("routes-{}", self.routes.len()));
                    }
                    let own = name(&routes, "name");
                    self.routes.push((own.clone(), plane::any(&parsed::<RouteConfiguration>(&routes)?)));
                    let rds = json!({ "config_source": plane::aggregated(), "route_config_name": own });
                    map.insert("rds".to_owned(), rds);
                }
                map.values_mut().try_for_each(|part| self.move_routes(part))
            }
            Value::Array(items) => items.iter_mut().try_for_each(|part| self.move_routes(part)),
            _ => Ok(()),
        }
    }

    /// A static cluster's endpoints become a resource of their own.
    fn move_endpoints(&mut self, cluster: &mut Value) -> anyhow::Result<()> {
        let Some(map) = cluster.as_object_mut().filter(|map| map.get("type") == Some(&json!("STATIC")))
        else {
            return Ok(());
        };
        if let Some(assignment) = map.remove("load_assignment") {
            let held = plane::any(&parsed::<ClusterLoadAssignment>(&assignment)?);
            self.endpoints.push((name(&assignment, "cluster_name"), held));
            map.insert("type".to_owned(), json!("EDS"));
            map.insert("eds_cluster_config".to_owned(), json!({ "eds_config": plane::aggregated() }));
        }
        Ok(())
    }
}
