//! The dump of a configuration (`/config_dump`, Envoy's `ConfigDump`), resource by resource.

use serde::Serialize;
use serde_json::{Map, Value};

/// The resources of a type.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Kind {
    /// `listeners`, `routes`, `clusters`, `endpoints`, `secrets`.
    pub kind: &'static str,
    /// In force: those of the bootstrap included.
    pub in_force: usize,
    /// Taken, and not yet in force for what they wait for.
    pub warming: Vec<String>,
    /// Refused.
    pub rejected: Vec<Rejected>,
}

/// A resource whose newest version was refused.
#[derive(Debug, PartialEq, Serialize)]
pub struct Rejected {
    /// Its name.
    pub name: String,
    /// When it came, in RFC 3339.
    pub since: String,
    /// What is wrong with it: field and reason.
    pub details: String,
    /// Version that was refused.
    pub version: String,
    /// Version that serves instead; none: nothing serves.
    pub serving: Option<String>,
}

/// Sections by the end of their type, in the order of the report, and what their resources are called.
const SECTIONS: [(&str, &str); 5] = [
    ("ListenersConfigDump", "listeners"),
    ("RoutesConfigDump", "routes"),
    ("ClustersConfigDump", "clusters"),
    ("EndpointsConfigDump", "endpoints"),
    ("SecretsConfigDump", "secrets"),
];

/// Reads a dump. What it does not know it leaves out.
pub fn read(dump: &Value) -> Vec<Kind> {
    let configs = dump.get("configs").and_then(Value::as_array);
    let section = |end: &str| {
        let ends = |config: &&Value| {
            let kind = config.get("@type").and_then(Value::as_str).unwrap_or_default();
            kind.rsplit('.').next() == Some(end)
        };
        configs.into_iter().flatten().find(ends).and_then(Value::as_object)
    };
    let kind = |(end, kind): (&str, &'static str)| {
        let mut told = Kind { kind, ..Kind::default() };
        for (part, list) in section(end).into_iter().flatten() {
            for resource in list.as_array().into_iter().flatten().filter_map(Value::as_object) {
                told.add(part, resource);
            }
        }
        told
    };
    SECTIONS.into_iter().map(kind).collect()
}

impl Kind {
    fn add(&mut self, part: &str, resource: &Map<String, Value>) {
        // A listener's versions stand one level deeper.
        let active = resource.get("active_state").and_then(Value::as_object);
        let warming = part.contains("warming") || resource.contains_key("warming_state");
        let version =
            [Some(resource), active].into_iter().flatten().find_map(|state| text(state, "version_info"));
        let fixed = part.starts_with("static");
        if let Some(error) = resource.get("error_state").and_then(Value::as_object) {
            self.rejected.push(Rejected {
                name: name(resource),
                since: text(error, "last_update_attempt").unwrap_or_default(),
                details: text(error, "details").unwrap_or_default(),
                version: text(error, "version_info").unwrap_or_default(),
                serving: version.clone(),
            });
        }
        if warming {
            self.warming.push(name(resource));
        }
        if fixed || active.is_some() || (version.is_some() && !warming) {
            self.in_force = self.in_force.saturating_add(1);
        }
    }
}

fn text(map: &Map<String, Value>, field: &str) -> Option<String> {
    map.get(field)?.as_str().map(str::to_owned)
}

/// The name of a resource: its own, or that of the message that it holds.
fn name(resource: &Map<String, Value>) -> String {
    let own = |map: &Map<String, Value>| text(map, "name").or_else(|| text(map, "cluster_name"));
    let within = || resource.values().filter_map(Value::as_object).find_map(own);
    let failed = || {
        let failed = resource.get("error_state")?.get("failed_configuration")?;
        own(failed.as_object()?)
    };
    own(resource).or_else(within).or_else(failed).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_resource_is_counted_once() {
        let dump = json!({"configs": [
            {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
                "static_clusters": [{"cluster": {"name": "own"}}],
                "dynamic_active_clusters": [
                    {"version_info": "1", "cluster": {"name": "a"}},
                    {"version_info": "1", "cluster": {"name": "b"}, "error_state": {
                        "details": "lb_policy: no", "version_info": "2", "last_update_attempt": "t"}},
                    {"error_state": {"details": "x", "failed_configuration": {"name": "c"}}},
                ],
                "dynamic_warming_clusters": [{"version_info": "1", "cluster": {"name": "d"}}]},
            {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
                "dynamic_listeners": [
                    {"name": "l", "active_state": {"version_info": "3", "listener": {"name": "l"}}},
                    {"name": "m", "warming_state": {"version_info": "3"}},
                ]},
        ]});
        let kinds = read(&dump);
        let of = |name: &str| kinds.iter().find(|kind| kind.kind == name).unwrap();
        let clusters = of("clusters");
        assert_eq!((clusters.in_force, clusters.warming.as_slice()), (3, ["d".to_owned()].as_slice()));
        let refused = |one: &Rejected| (one.name.clone(), one.serving.clone());
        assert_eq!(
            clusters.rejected.iter().map(refused).collect::<Vec<_>>(),
            [("b".to_owned(), Some("1".to_owned())), ("c".to_owned(), None)]
        );
        assert_eq!((of("listeners").in_force, of("listeners").warming.len()), (1, 1));
        assert_eq!(of("routes").in_force, 0);
    }
}
