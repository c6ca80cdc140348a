//! `/config_dump`: rendered from the bytes that are kept.

use super::endpoints_now::Now;
use super::state::State;
use super::store::{Kept, Refused, Table};
use super::update::Kind;
use crate::base::Name;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};
use weir_proto::google::protobuf::Any;
use weir_proto::{Pool, Secrets, any, re2};

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `?include_eds`: endpoints too.
    pub include_endpoints: bool,
    /// `?resource=`: only this part (`static_clusters`, `dynamic_listeners`, ...), as a list.
    pub resource: Option<String>,
    /// `?name_regex=`: only resources whose name matches as a whole.
    pub name_regex: Option<String>,
}

/// Names of the parts of one section.
struct Section {
    kind: Kind,
    type_name: &'static str,
    fixed: &'static str,
    dynamic: &'static str,
    /// Where resources stand that wait to come into force.
    warming: &'static str,
    field: &'static str,
}

const SECTIONS: [Section; 6] = [
    Section {
        kind: Kind::Cluster,
        type_name: "envoy.admin.v3.ClustersConfigDump",
        fixed: "static_clusters",
        dynamic: "dynamic_active_clusters",
        warming: "dynamic_warming_clusters",
        field: "cluster",
    },
    Section {
        kind: Kind::Extension,
        type_name: "envoy.admin.v3.EcdsConfigDump",
        fixed: "ecds_filters",
        dynamic: "ecds_filters",
        warming: "ecds_filters",
        field: "ecds_filter",
    },
    Section {
        kind: Kind::Endpoints,
        type_name: "envoy.admin.v3.EndpointsConfigDump",
        fixed: "static_endpoint_configs",
        dynamic: "dynamic_endpoint_configs",
        warming: "dynamic_endpoint_configs",
        field: "endpoint_config",
    },
    Section {
        kind: Kind::Listener,
        type_name: "envoy.admin.v3.ListenersConfigDump",
        fixed: "static_listeners",
        dynamic: "dynamic_listeners",
        warming: "dynamic_listeners",
        field: "listener",
    },
    Section {
        kind: Kind::Route,
        type_name: "envoy.admin.v3.RoutesConfigDump",
        fixed: "static_route_configs",
        dynamic: "dynamic_route_configs",
        warming: "dynamic_route_configs",
        field: "route_config",
    },
    Section {
        kind: Kind::Secret,
        type_name: "envoy.admin.v3.SecretsConfigDump",
        fixed: "static_secrets",
        dynamic: "dynamic_active_secrets",
        warming: "dynamic_warming_secrets",
        field: "secret",
    },
];

/// The dump. An error inside (descriptors that cannot be loaded, a wrong expression) is the dump: `{"error": ...}`.
pub(super) fn dump(state: &State, bootstrap: &[u8], since: SystemTime, options: &Options) -> Value {
    let pool = match Pool::load() {
        Ok(pool) => pool,
        Err(error) => return json!({ "error": error.to_string() }),
    };
    let filter = match options.name_regex.as_deref().map(re2::full).transpose() {
        Ok(filter) => filter,
        Err(error) => return json!({ "error": format!("name_regex: {error}") }),
    };
    let printer = Printer { pool, filter };
    let waiting = &state.force.waiting;
    let mut configs = vec![json!({
        "@type": any::type_url("envoy.admin.v3.BootstrapConfigDump"),
        "bootstrap": printer.bootstrap(bootstrap),
        "last_updated": timestamp(since),
    })];
    for section in &SECTIONS {
        if section.kind == Kind::Endpoints && !options.include_endpoints {
            continue;
        }
        if section.kind == Kind::Route {
            // There are none, but tools look for the section.
            configs.push(json!({ "@type": any::type_url("envoy.admin.v3.ScopedRoutesConfigDump") }));
        }
        let empty = state.extensions.kept.is_empty() && state.extensions.refused.is_empty();
        if section.kind == Kind::Extension && empty {
            continue;
        }
        configs.push(match section.kind {
            Kind::Cluster => printer.section(section, &state.clusters, waiting),
            Kind::Endpoints => {
                let mut out = printer.section(section, &state.endpoints, waiting);
                let now = Now::of(state);
                for part in [section.fixed, section.dynamic] {
                    let entries = out.get_mut(part).and_then(Value::as_array_mut);
                    let told = entries.into_iter().flatten().filter_map(|entry| entry.get_mut(section.field));
                    told.for_each(|assignment| now.fill(assignment));
                }
                out
            }
            Kind::Listener => printer.section(section, &state.listeners, waiting),
            Kind::Route => printer.section(section, &state.routes, waiting),
            Kind::Extension => printer.section(section, &state.extensions, waiting),
            Kind::Secret => {
                let mut out = printer.section(section, &state.secrets, waiting);
                printer.awaited(&mut out, section, state);
                out
            }
            // Shown by `/runtime`.
            Kind::Runtime => continue,
        });
    }
    match &options.resource {
        None => json!({ "configs": configs }),
        Some(part) => only(&configs, part),
    }
}

/// One part of all sections as a flat list.
fn only(configs: &[Value], part: &str) -> Value {
    let found = configs.iter().filter_map(|config| config.get(part));
    let lists = found.flat_map(|value| match value {
        Value::Array(list) => list.clone(),
        other => vec![other.clone()],
    });
    json!({ "configs": lists.collect::<Vec<_>>() })
}

struct Printer {
    pool: Pool,
    filter: Option<regex::bytes::Regex>,
}

impl Printer {
    fn bootstrap(&self, bytes: &[u8]) -> Value {
        match self.pool.to_json("envoy.config.bootstrap.v3.Bootstrap", bytes, Secrets::Redact) {
            Ok(value) => value,
            Err(error) => json!({ "error": error.to_string() }),
        }
    }

    fn resource(&self, kind: Kind, body: &[u8]) -> Value {
        let any = Any { type_url: any::type_url(kind.type_name()), value: body.to_vec() };
        self.pool.any_to_json(&any, Secrets::Redact)
    }

    fn wanted(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.is_match(name.as_bytes()))
    }

    fn section<T>(&self, section: &Section, table: &Table<T>, waiting: &BTreeSet<(Kind, Name)>) -> Value {
        let mut parts: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for (name, kept) in table.sorted().into_iter().filter(|(name, _)| self.wanted(name)) {
            let warming = waiting.contains(&(section.kind, name.clone()));
            let refused = table.refused.get(name);
            let (active, coming) = match warming {
                true => (table.serving(name), Some(kept)),
                false => (Some(kept), None),
            };
            // Both versions of a listener stand in one entry; of a cluster each has its own place.
            let apart = section.warming != section.dynamic;
            let entries = match apart {
                _ if kept.fixed => vec![(section.fixed, self.fixed(section, name, kept))],
                false => vec![(section.dynamic, self.dynamic(section, name, (active, coming), refused))],
                true => {
                    let active = active
                        .map(|v| (section.dynamic, self.dynamic(section, name, (Some(v), None), refused)));
                    let coming =
                        coming.map(|v| (section.warming, self.dynamic(section, name, (None, Some(v)), None)));
                    active.into_iter().chain(coming).collect()
                }
            };
            for (part, value) in entries {
                parts.entry(part).or_default().push(value);
            }
        }
        let never =
            table.refused.iter().filter(|(name, _)| self.wanted(name) && !table.kept.contains_key(*name));
        for (name, refused) in never {
            let value = self.dynamic::<T>(section, name, (None, None), Some(refused));
            parts.entry(section.dynamic).or_default().push(value);
        }
        let mut out = Map::new();
        out.insert("@type".into(), any::type_url(section.type_name).into());
        out.extend(parts.into_iter().map(|(part, list)| (part.to_owned(), list.into())));
        Value::Object(out)
    }

    /// Secrets that are wanted and have never come.
    fn awaited(&self, out: &mut Value, section: &Section, state: &State) {
        let wanted = state.wants.now.all(Kind::Secret).into_iter();
        let wanted = wanted.filter(|name| self.wanted(name) && !state.secrets.has(name));
        let list: Vec<Value> = wanted
            .map(|name| json!({ "name": &*name, "version_info": "uninitialized", "secret": { "@type": any::type_url(Kind::Secret.type_name()), "name": &*name } }))
            .collect();
        if !list.is_empty() {
            out[section.warming] = list.into();
        }
    }

    fn fixed<T>(&self, section: &Section, name: &str, kept: &Kept<T>) -> Value {
        let mut out = json!({ section.field: self.resource(section.kind, &kept.body), "last_updated": timestamp(kept.since) });
        if section.kind == Kind::Secret {
            out["name"] = name.into();
        }
        out
    }

    fn version<T>(&self, section: &Section, kept: &Kept<T>) -> Map<String, Value> {
        let mut out = Map::new();
        out.insert("version_info".into(), (&*kept.version).into());
        out.insert(section.field.into(), self.resource(section.kind, &kept.body));
        out.insert("last_updated".into(), timestamp(kept.since).into());
        out
    }

    /// An entry of a version in force and of one that waits to be; a section with place for one shows what is in force.
    fn dynamic<T>(
        &self,
        section: &Section,
        name: &str,
        (active, coming): (Option<&Kept<T>>, Option<&Kept<T>>),
        refused: Option<&Refused>,
    ) -> Value {
        let mut out = Map::new();
        if matches!(section.kind, Kind::Listener | Kind::Secret) {
            out.insert("name".into(), name.into());
        }
        if section.kind == Kind::Listener {
            for (part, kept) in [("active_state", active), ("warming_state", coming)] {
                out.extend(kept.map(|kept| (part.to_owned(), self.version(section, kept).into())));
            }
        } else if let Some(kept) = active.or(coming) {
            out.append(&mut self.version(section, kept));
        }
        if let Some(refused) = refused {
            out.insert("error_state".into(), self.error(section.kind, refused));
            out.insert("client_status".into(), "NACKED".into());
        }
        Value::Object(out)
    }

    fn error(&self, kind: Kind, refused: &Refused) -> Value {
        json!({
            "failed_configuration": self.resource(kind, &refused.body),
            "last_update_attempt": timestamp(refused.since),
            "details": refused.details,
            "version_info": &*refused.version,
        })
    }
}

/// RFC 3339 in UTC with milliseconds.
pub(super) fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3600, seconds % 3600 / 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// Year, month and day of a number of days since 1970-01-01 (Gregorian calendar).
fn date(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days = days.saturating_sub(length);
        year = year.saturating_add(1);
    }
    let february = if leap(year) { 29 } else { 28 };
    for (month, length) in (1..).zip([31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
        if days < length {
            return (year, month, days.saturating_add(1));
        }
        days = days.saturating_sub(length);
    }
    (year, 12, 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn time_stamps_are_gregorian() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_795_281_421, "2026-11-21T17:17:01.000Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), want);
        }
    }
}
