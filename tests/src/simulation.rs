//! Verdicts on what `sim.py` saw: Istio's own expectations of listener, chain, virtual host, route and cluster.
//!
//! The release makes no TLS. A call is exempt when the chain that was rightly chosen has a TLS transport socket, or
//! the cluster that was rightly chosen has one in force for its endpoint; rightly is what the real Envoy chose in the
//! same case. Nothing else is exempt, and no call may reach another back end than it reached there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value};

use crate::corpora;

/// What became of one expectation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// As expected.
    Passed,
    /// It needs TLS.
    Exempt,
    /// `sim.py` does not judge it.
    Unjudged,
    /// The configuration was not taken.
    NotStarted,
    /// Otherwise than expected, and why.
    Failed(String),
}

/// One expectation.
#[derive(Clone, Debug)]
pub struct Row {
    /// Case and number.
    pub name: String,
    /// What became of it.
    pub ended: Ended,
}

/// All of a run.
#[derive(Default, Debug)]
pub struct Judged {
    /// Expectations.
    pub rows: Vec<Row>,
    /// Cases that started.
    pub started: usize,
    /// Cases that did not, and what was said.
    pub refused: BTreeMap<String, String>,
    /// Calls that reached another back end than with Envoy.
    pub astray: Vec<String>,
}

impl Judged {
    /// How many ended so.
    pub fn count(&self, ended: &Ended) -> usize {
        self.rows.iter().filter(|row| row.ended == *ended).count()
    }
}

/// What the real Envoy did in the same place.
type Reference = BTreeMap<(String, u64), Value>;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn results(file: &Value) -> anyhow::Result<&Vec<Value>> {
    file.get("results").and_then(Value::as_array).context("no results")
}

/// Case and number of a row.
fn key(row: &Value) -> (String, u64) {
    (text(row, "case").to_owned(), row.get("n").and_then(Value::as_u64).unwrap_or_default())
}

/// Judges a run's `--json` by the data it was made from and by Envoy's answers.
pub fn judge(ran: &Value, reference: &Value, data: &Path) -> anyhow::Result<Judged> {
    let saw = |row: &Value| row.get("saw").cloned().unwrap_or_default();
    let reference: Reference = results(reference)?.iter().map(|row| (key(row), saw(row))).collect();
    let mut judged = Judged::default();
    let mut configs: BTreeMap<String, Value> = BTreeMap::new();
    for row in results(ran)? {
        let (case, n) = key(row);
        let saw = saw(row);
        if n == 0 {
            match saw.get("up").and_then(Value::as_bool) {
                Some(true) if text(row, "verdict") == "pass" => judged.started += 1,
                _ => drop(judged.refused.insert(case, text(row, "why").to_owned())),
            }
            continue;
        }
        let name = format!("{case}-{n}");
        let envoy = reference.get(&(case.clone(), n)).with_context(|| format!("no reference for {name}"))?;
        if saw.get("backend").is_some() && saw.get("backend") != envoy.get("backend") {
            judged.astray.push(format!(
                "{name} reached {} instead of {:?}",
                saw["backend"],
                envoy.get("backend")
            ));
        }
        if !configs.contains_key(&case) {
            configs.insert(case.clone(), config(data, &case)?);
        }
        let ended = match (text(row, "verdict"), text(&saw, "end")) {
            ("pass", _) => Ended::Passed,
            (_, "not-started") => Ended::NotStarted,
            ("unjudged", _) => Ended::Unjudged,
            _ if configs.get(&case).is_some_and(|config| exempt(&saw, envoy, config)) => Ended::Exempt,
            _ => Ended::Failed(text(row, "why").to_owned()),
        };
        judged.rows.push(Row { name, ended });
    }
    Ok(judged)
}

/// The resources of a case.
fn config(data: &Path, case: &str) -> anyhow::Result<Value> {
    let xds = corpora::json(&data.join(case).join("xds.json"))?;
    match xds.get("same_as").and_then(Value::as_str) {
        Some(other) => corpora::json(&data.join(other).join("xds.json")),
        None => Ok(xds),
    }
}

/// It ended for want of TLS, where Envoy was, too, and TLS is configured there.
fn exempt(saw: &Value, envoy: &Value, config: &Value) -> bool {
    let same = |key: &str| text(saw, key) == text(envoy, key);
    if !same("listener_matched") || !same("filter_chain_matched") {
        return false;
    }
    match text(saw, "kind") {
        "listener" => {
            let chain = tls_chain(config, text(saw, "listener_matched"), text(saw, "filter_chain_matched"));
            chain && text(saw, "details") == "tls_not_available"
        }
        _ => {
            same("cluster_matched")
                && same("route_matched")
                && same("virtual_host_matched")
                && tls_cluster(config, text(saw, "cluster_matched"))
        }
    }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn is_tls(socket: Option<&Value>) -> bool {
    let kind = socket.and_then(|socket| socket.get("typed_config")).map(|config| text(config, "@type"));
    kind.is_some_and(|kind| kind.ends_with("TlsContext"))
}

fn tls_chain(config: &Value, listener: &str, chain: &str) -> bool {
    let listener = list(config, "listeners").find(|l| text(l, "name") == listener);
    listener.is_some_and(|listener| {
        let chains = list(listener, "filter_chains").chain(listener.get("default_filter_chain"));
        let mut named = chains.filter(|c| text(c, "name") == chain);
        named.any(|chain| is_tls(chain.get("transport_socket")))
    })
}

/// The socket that a connection to the cluster's first endpoint has.
fn tls_cluster(config: &Value, name: &str) -> bool {
    let Some(cluster) = list(config, "clusters").find(|c| text(c, "name") == name) else { return false };
    let service = cluster.get("eds_cluster_config").map(|eds| text(eds, "service_name")).unwrap_or_default();
    let service = if service.is_empty() { name } else { service };
    let pushed = list(config, "endpoints").find(|e| text(e, "cluster_name") == service);
    let given = pushed.or_else(|| cluster.get("load_assignment"));
    let hosts =
        given.map(|given| list(given, "endpoints").flat_map(|locality| list(locality, "lb_endpoints")));
    let metadata = hosts.and_then(|mut hosts| hosts.next()?.get("metadata")?.get("filter_metadata").cloned());
    let told = metadata.and_then(|metadata| metadata.get("envoy.transport_socket_match").cloned());
    let none = Map::new();
    let fits = |found: &&Value| {
        let wants = found.get("match").and_then(Value::as_object).unwrap_or(&none);
        wants.iter().all(|(key, want)| told.as_ref().and_then(|told| told.get(key)) == Some(want))
    };
    match list(cluster, "transport_socket_matches").find(fits) {
        Some(found) => is_tls(found.get("transport_socket")),
        None => is_tls(cluster.get("transport_socket")),
    }
}

/// Names of cases, for comparison.
pub fn names<'a>(cases: impl IntoIterator<Item = &'a String>) -> BTreeSet<&'a str> {
    cases.into_iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample() -> Value {
        let tls = json!({"typed_config": {"@type": "type.googleapis.com/x.UpstreamTlsContext"}});
        json!({
            "listeners": [{"name": "l", "filter_chains": [
                {"name": "t", "transport_socket": {"typed_config": {"@type": "x.DownstreamTlsContext"}}}, {"name": "p"},
            ]}],
            "clusters": [
                {"name": "always", "transport_socket": tls},
                {"name": "auto", "transport_socket_matches": [{"match": {"tlsMode": "istio"}, "transport_socket": tls}]},
                {"name": "plain", "transport_socket_matches": [{"match": {"tlsMode": "istio"}, "transport_socket": tls}]},
            ],
            "endpoints": [{"cluster_name": "auto", "endpoints": [{"lb_endpoints": [
                {"metadata": {"filter_metadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}}}}
            ]}]}],
        })
    }

    #[test]
    fn tls_where_it_is_in_force() {
        let config = sample();
        assert!(
            tls_chain(&config, "l", "t") && !tls_chain(&config, "l", "p") && !tls_chain(&config, "m", "t")
        );
        let of = |name: &str| tls_cluster(&config, name);
        assert!(of("always") && of("auto") && !of("plain") && !of("absent"));
    }

    #[test]
    fn only_what_is_rightly_chosen_is_exempt() {
        let config = sample();
        let envoy = json!({"kind": "http", "listener_matched": "l", "filter_chain_matched": "t"});
        let saw = |chain: &str, details: &str| json!({"kind": "listener", "listener_matched": "l", "filter_chain_matched": chain, "details": details});
        assert!(exempt(&saw("t", "tls_not_available"), &envoy, &config));
        assert!(!exempt(&saw("t", "filter_chain_not_found"), &envoy, &config));
        assert!(!exempt(&saw("p", "tls_not_available"), &envoy, &config));
        let call =
            |cluster: &str| json!({"kind": "tcp", "listener_matched": "l", "cluster_matched": cluster});
        assert!(exempt(&call("auto"), &call("auto"), &config));
        assert!(!exempt(&call("auto"), &call("always"), &config));
        assert!(!exempt(&call("plain"), &call("plain"), &config));
    }
}
