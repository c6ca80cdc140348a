//! `/config_dump`

use super::Endpoint;
use super::call::{Call, Reply};
use hyper::StatusCode;
use regex::Regex;
use serde_json::{Map, Value, json};

pub(super) const ENDPOINT: Endpoint = Endpoint {
    path: "/config_dump",
    changes: false,
    help: "dump current configs",
    params: &[
        ("resource", "The resource to dump: the name of a repeated field of a dump, as dynamic_listeners"),
        (
            "mask",
            "The mask to apply: comma-separated paths of fields to keep, in each dump or, with resource, in each element",
        ),
        ("name_regex", "Dump only the configurations whose names match the regular expression"),
        ("include_eds", "Dump the endpoints too"),
    ],
    answer,
};

/// Repeated fields of the dumps, and where an element's name stands.
const FIELDS: &[(&str, &str, &[&str])] = &[
    ("static_clusters", "ClustersConfigDump.StaticCluster", &["cluster", "name"]),
    ("dynamic_active_clusters", "ClustersConfigDump.DynamicCluster", &["cluster", "name"]),
    ("dynamic_warming_clusters", "ClustersConfigDump.DynamicCluster", &["cluster", "name"]),
    ("ecds_filters", "EcdsConfigDump.EcdsFilterConfig", &["ecds_filter", "name"]),
    (
        "static_endpoint_configs",
        "EndpointsConfigDump.StaticEndpointConfig",
        &["endpoint_config", "cluster_name"],
    ),
    (
        "dynamic_endpoint_configs",
        "EndpointsConfigDump.DynamicEndpointConfig",
        &["endpoint_config", "cluster_name"],
    ),
    ("static_listeners", "ListenersConfigDump.StaticListener", &["listener", "name"]),
    ("dynamic_listeners", "ListenersConfigDump.DynamicListener", &["name"]),
    ("inline_scoped_route_configs", "ScopedRoutesConfigDump.InlineScopedRouteConfigs", &["name"]),
    ("dynamic_scoped_route_configs", "ScopedRoutesConfigDump.DynamicScopedRouteConfigs", &["name"]),
    ("static_route_configs", "RoutesConfigDump.StaticRouteConfig", &["route_config", "name"]),
    ("dynamic_route_configs", "RoutesConfigDump.DynamicRouteConfig", &["route_config", "name"]),
    ("static_secrets", "SecretsConfigDump.StaticSecret", &["name"]),
    ("dynamic_active_secrets", "SecretsConfigDump.DynamicSecret", &["name"]),
    ("dynamic_warming_secrets", "SecretsConfigDump.DynamicSecret", &["name"]),
];

/// Fields of the dumps that are not repeated.
const SINGLE: [&str; 3] = ["bootstrap", "last_updated", "version_info"];

/// Has a dump a field of this name, set or not?
fn has(dump: &Value, field: &str) -> bool {
    let kind = dump.get("@type").and_then(Value::as_str).unwrap_or_default();
    let of_kind = |of: &str| of.split('.').next().is_some_and(|of| kind.ends_with(&format!(".{of}")));
    dump.get(field).is_some() || FIELDS.iter().any(|(name, of, _)| *name == field && of_kind(of))
}

/// Is there anything behind one of the paths, or only a field that is not set?
fn fits(value: &Value, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    match value {
        Value::Array(items) => items.iter().any(|item| fits(item, path)),
        Value::Object(fields) => fields.get(*first).is_some_and(|field| fits(field, rest)),
        _ => false,
    }
}

/// Drops the dumps that none of the paths fits; none when no dump is left.
fn masked(dumps: &[Value], paths: &[Vec<&str>]) -> Option<Vec<Value>> {
    let fit = |dump: &Value| {
        let one = |path: &Vec<&str>| match &**path {
            [field] => has(dump, field),
            path => fits(dump, path),
        };
        paths.iter().any(one)
    };
    let kept: Vec<Value> =
        dumps.iter().filter(|dump| fit(dump)).map(|dump| keep_masked(dump, paths)).collect();
    (!kept.is_empty()).then_some(kept)
}

/// The name of an element.
fn name<'a>(element: &'a Value, path: &[&str]) -> &'a str {
    path.iter().try_fold(element, |value, key| value.get(key)).and_then(Value::as_str).unwrap_or_default()
}

/// Keeps the elements whose names match.
fn keep_named(dump: &mut Value, names: &Regex) {
    for (field, _, path) in FIELDS {
        if let Some(Value::Array(elements)) = dump.get_mut(*field) {
            elements.retain(|element| names.is_match(name(element, path)));
        }
    }
    if let Some(fields) = dump.as_object_mut() {
        fields.retain(|_, value| !value.as_array().is_some_and(Vec::is_empty));
    }
}

/// Keeps the fields that one of the paths names, and the type.
fn keep_masked(value: &Value, paths: &[Vec<&str>]) -> Value {
    if paths.iter().any(Vec::is_empty) {
        return value.clone();
    }
    match value {
        Value::Array(items) => items.iter().map(|item| keep_masked(item, paths)).collect(),
        Value::Object(fields) => {
            let mut kept = Map::new();
            for (key, field) in fields {
                let below: Vec<Vec<&str>> = paths
                    .iter()
                    .filter(|path| path.first() == Some(&key.as_str()))
                    .map(|path| path.iter().skip(1).copied().collect())
                    .collect();
                if key == "@type" {
                    kept.insert(key.clone(), field.clone());
                } else if !below.is_empty() {
                    kept.insert(key.clone(), keep_masked(field, &below));
                }
            }
            Value::Object(kept)
        }
        other => other.clone(),
    }
}

/// The elements of one repeated field, with their types.
fn resource(dumps: &[Value], field: &str) -> Option<Vec<Value>> {
    let (_, kind, _) = FIELDS.iter().find(|(name, ..)| *name == field)?;
    let found = dumps.iter().find_map(|dump| dump.get(field)?.as_array());
    let typed = found.into_iter().flatten().map(|element| {
        let mut element = element.clone();
        if let Some(fields) = element.as_object_mut() {
            fields.insert("@type".into(), json!(format!("type.googleapis.com/envoy.admin.v3.{kind}")));
        }
        element
    });
    Some(typed.collect())
}

fn answer(call: &Call<'_>) -> Reply {
    let names = match call.query.value("name_regex").map(Regex::new).transpose() {
        Ok(names) => names,
        Err(error) => {
            return Reply::refused(
                StatusCode::BAD_REQUEST,
                format!("Error while parsing name_regex: {error}\n"),
            );
        }
    };
    let mut dumps = match call.state.config_dump(call.query.has("include_eds")) {
        Value::Object(mut all) => match all.remove("configs") {
            Some(Value::Array(dumps)) => dumps,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    if let Some(names) = &names {
        dumps.iter_mut().for_each(|dump| keep_named(dump, names));
    }
    let mask = call.query.value("mask").filter(|mask| !mask.is_empty());
    let paths: Option<Vec<Vec<&str>>> =
        mask.map(|mask| mask.split(',').map(|path| path.split('.').collect()).collect());
    let Some(field) = call.query.value("resource") else {
        let kept = match &paths {
            Some(paths) => masked(&dumps, paths),
            None => Some(dumps),
        };
        return match kept {
            Some(dumps) => Reply::json(&json!({"configs": dumps})),
            None => Reply::refused(
                StatusCode::BAD_REQUEST,
                format!(
                    "FieldMask {} could not be successfully applied to any configs.",
                    mask.unwrap_or_default()
                ),
            ),
        };
    };
    if SINGLE.contains(&field) {
        let text = format!("{field} is not a repeated field. Use ?mask={field} to get only this field");
        return Reply::refused(StatusCode::BAD_REQUEST, text);
    }
    let Some(mut elements) = resource(&dumps, field) else {
        return Reply::refused(StatusCode::NOT_FOUND, format!("{field} not found in config dump"));
    };
    if let Some(paths) = &paths {
        elements = elements.iter().map(|element| keep_masked(element, paths)).collect();
    }
    Reply::json(&json!({"configs": elements}))
}
