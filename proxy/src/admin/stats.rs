//! `/stats`

use super::call::{Call, Reply};
use super::histograms::Buckets;
use super::stats_query::Wanted;
use super::{Endpoint, histograms, prometheus, sums};
use crate::observe::metrics::Snapshot;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

pub(super) const ENDPOINT: Endpoint = Endpoint {
    path: "/stats",
    changes: false,
    help: "print server stats",
    params: &[
        ("usedonly", "Only include stats that have been written by system since restart"),
        ("filter", "Regular expression for filtering stats"),
        ("invert_filter", "Invert the filter regex"),
        ("format", "Format to use; One of (text, json, prometheus)"),
        ("hidden", "Hidden statistics, of which there are none; One of (include, only, exclude)"),
        ("type", "Stat types to include.; One of (All, Counters, Histograms, Gauges, TextReadouts)"),
        (
            "histogram_buckets",
            "Histogram bucket display mode; One of (cumulative, disjoint, detailed, summary)",
        ),
    ],
    answer,
};

fn answer(call: &Call<'_>) -> Reply {
    let refused = |text: &str| Reply::refused(StatusCode::BAD_REQUEST, text);
    let format = call.query.value("format").unwrap_or("text");
    if format == "prometheus" {
        return prometheus::answer(call);
    }
    let buckets = match Buckets::parse(&call.query) {
        Ok(Some(Buckets::Native)) => {
            return refused("Invalid histogram_buckets type for non prometheus stats type");
        }
        Ok(buckets) => buckets.unwrap_or(Buckets::Summary),
        Err(error) => return refused(error),
    };
    let wanted = match Wanted::parse(&call.query) {
        Ok(wanted) => wanted,
        Err(error) => return refused(&error),
    };
    if !matches!(format, "text" | "json") {
        return refused("usage: /stats?format=(json|prometheus|text)\n\n");
    }
    let mut snapshot = sums::snapshot(call);
    wanted.apply(&mut snapshot);
    match format {
        "json" => compact(&as_json(&snapshot, buckets)),
        _ => Reply::text(text(&snapshot, buckets)),
    }
}

/// Envoy writes this JSON without white space.
fn compact(value: &Value) -> Reply {
    Reply { content_type: "application/json", ..Reply::text(value.to_string()) }
}

/// Counters and gauges together, by name.
fn numbers(snapshot: &Snapshot) -> BTreeMap<&str, u64> {
    let gauges = snapshot.gauges.iter().map(|(name, gauge)| (name.as_str(), gauge.value));
    snapshot.counters.iter().map(|(name, value)| (name.as_str(), *value)).chain(gauges).collect()
}

fn text(snapshot: &Snapshot, buckets: Buckets) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    for (name, value) in &snapshot.texts {
        let _ = writeln!(out, "{name}: \"{value}\"");
    }
    for (name, value) in numbers(snapshot) {
        let _ = writeln!(out, "{name}: {value}");
    }
    for (name, histogram) in &snapshot.histograms {
        let _ = writeln!(out, "{name}:{}", histograms::text(histogram, buckets));
    }
    out
}

fn as_json(snapshot: &Snapshot, buckets: Buckets) -> Value {
    let texts = snapshot.texts.iter().map(|(name, value)| json!({"name": name, "value": value}));
    let numbers = numbers(snapshot).into_iter().map(|(name, value)| json!({"name": name, "value": value}));
    let mut stats: Vec<Value> = texts.chain(numbers).collect();
    if !snapshot.histograms.is_empty() {
        stats.push(json!({"histograms": histograms::as_json(snapshot.histograms.iter(), buckets)}));
    }
    json!({"stats": stats})
}
