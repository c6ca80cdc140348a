//! What does not count as a difference. Each step here has its paragraph in `docs/compiler-golden.md`.

use serde_json::{Map, Value};

use super::recording::Resources;

/// All resources of a kind, brought into one form.
pub fn all(kind: &str, resources: &Resources) -> Resources {
    let one = |(name, value): (&String, &Value)| {
        let mut value = value.clone();
        match kind {
            "clusters" => cluster(&mut value),
            "routes" => route_configuration(&mut value),
            _ => assignment(&mut value),
        }
        (name.clone(), value)
    };
    resources.iter().map(one).collect()
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    value.as_object_mut().expect("message")
}

fn array<'v>(value: &'v mut Value, key: &str) -> &'v mut Vec<Value> {
    object(value).entry(key).or_insert_with(|| Value::Array(Vec::new())).as_array_mut().expect("list")
}

/// Sorts by the JSON text: the order means nothing.
fn sort(list: &mut [Value]) {
    list.sort_by_cached_key(Value::to_string);
}

/// Settings of mutual TLS are compared once they are in force.
fn cluster(cluster: &mut Value) {
    let fields = object(cluster);
    fields.remove("transport_socket");
    fields.remove("transport_socket_matches");
    if let Some(assigned) = fields.get_mut("load_assignment") {
        assignment(assigned);
    }
    if let Some(services) = cluster.pointer_mut("/metadata/filter_metadata/istio/services") {
        sort(services.as_array_mut().expect("services"));
    }
}

/// Endpoints are a set, and so are localities.
fn assignment(assignment: &mut Value) {
    for locality in array(assignment, "endpoints") {
        sort(array(locality, "lb_endpoints"));
    }
    sort(array(assignment, "endpoints"));
}

/// Virtual hosts are found by their domains: neither order counts. One of a gateway that stands for several hosts
/// is called after any of them.
fn route_configuration(configuration: &mut Value) {
    let gateway = configuration["name"].as_str().is_some_and(|name| name.starts_with("http"));
    for host in array(configuration, "virtual_hosts") {
        sort(array(host, "domains"));
        if gateway {
            rename(host);
        }
        for route in array(host, "routes") {
            if let Some(parameters) = route.pointer_mut("/match/query_parameters") {
                sort(parameters.as_array_mut().expect("query parameters"));
            }
        }
    }
    sort(array(configuration, "virtual_hosts"));
}

/// `DOMAIN:PORT` with the first domain, if it is called after one of them.
fn rename(host: &mut Value) {
    let name = host["name"].as_str().unwrap_or_default().to_owned();
    let Some((domain, port)) = name.rsplit_once(':') else {
        return;
    };
    let domains = array(host, "domains");
    if let (true, Some(first)) =
        (domains.iter().any(|one| one == domain), domains.first().and_then(Value::as_str))
    {
        host["name"] = Value::String(format!("{first}:{port}"));
    }
}
