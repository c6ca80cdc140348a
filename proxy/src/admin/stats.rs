//! `/stats`

use super::call::{Call, Reply};
use super::stats_query::Wanted;
use super::{Endpoint, prometheus, sums};
use crate::observe::metrics::histogram::{BUCKETS, Distribution, QUANTILES};
use crate::observe::metrics::{HistogramValue, Snapshot};
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
        ("type", "Stat types to include.; One of (All, Counters, Histograms, Gauges, TextReadouts)"),
        (
            "histogram_buckets",
            "Histogram bucket display mode of the text format; One of (cumulative, disjoint, summary)",
        ),
    ],
    answer,
};

/// How histograms are written in text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Buckets {
    Summary,
    Cumulative,
    Disjoint,
}

fn answer(call: &Call<'_>) -> Reply {
    let refused = |text: &str| Reply::refused(StatusCode::BAD_REQUEST, text);
    let format = call.query.value("format").unwrap_or("text");
    if format == "prometheus" {
        return prometheus::answer(call);
    }
    let buckets = match call.query.value("histogram_buckets") {
        None | Some("" | "summary") => Buckets::Summary,
        Some("cumulative") => Buckets::Cumulative,
        Some("disjoint") => Buckets::Disjoint,
        Some(_) => return refused("usage: /stats?histogram_buckets=(cumulative|disjoint|summary)\n"),
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
    match (format, buckets) {
        ("json", Buckets::Summary) => compact(&as_json(&snapshot)),
        ("json", _) => refused("histogram_buckets is for the text format\n"),
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
        let _ = match buckets {
            Buckets::Summary => writeln!(out, "{name}: {}", quantiles(histogram)),
            Buckets::Cumulative => writeln!(out, "{name}: {}", counts(histogram, false)),
            Buckets::Disjoint => writeln!(out, "{name}: {}", counts(histogram, true)),
        };
    }
    out
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "nan".to_owned(), |v| v.to_string())
}

fn quantiles(histogram: &HistogramValue) -> String {
    if histogram.cumulative.is_empty() {
        return "No recorded values".into();
    }
    let each = QUANTILES.iter().map(|q| {
        format!(
            "P{q}({},{})",
            shown(histogram.interval.quantile(*q)),
            shown(histogram.cumulative.quantile(*q))
        )
    });
    each.collect::<Vec<_>>().join(" ")
}

fn counts(histogram: &HistogramValue, disjoint: bool) -> String {
    if histogram.cumulative.is_empty() {
        return "No recorded values".into();
    }
    let at = |of: &Distribution, i: usize| {
        let up_to = |i: usize| BUCKETS.get(i).map_or(0, |bound| of.up_to(*bound));
        let below = if disjoint { i.checked_sub(1).map_or(0, up_to) } else { 0 };
        up_to(i).saturating_sub(below)
    };
    let each = BUCKETS.iter().enumerate().map(|(i, bound)| {
        format!("B{}({},{})", label(*bound), at(&histogram.interval, i), at(&histogram.cumulative, i))
    });
    each.collect::<Vec<_>>().join(" ")
}

/// Six significant digits, as C's `%g`.
fn label(bound: f64) -> String {
    if bound >= 1e6 { format!("{}e+06", bound / 1e6) } else { bound.to_string() }
}

fn as_json(snapshot: &Snapshot) -> Value {
    let texts = snapshot.texts.iter().map(|(name, value)| json!({"name": name, "value": value}));
    let numbers = numbers(snapshot).into_iter().map(|(name, value)| json!({"name": name, "value": value}));
    let mut stats: Vec<Value> = texts.chain(numbers).collect();
    if !snapshot.histograms.is_empty() {
        let computed = snapshot.histograms.iter().map(|(name, histogram)| {
            let values = QUANTILES.iter().map(|q| {
                json!({"cumulative": histogram.cumulative.quantile(*q), "interval": histogram.interval.quantile(*q)})
            });
            json!({"name": name, "values": values.collect::<Vec<_>>()})
        });
        let supported: Vec<Value> =
            QUANTILES.iter().map(|q| if q.fract() == 0.0 { json!(*q as u64) } else { json!(q) }).collect();
        stats.push(json!({"histograms": {
            "supported_quantiles": supported,
            "computed_quantiles": computed.collect::<Vec<_>>(),
        }}));
    }
    json!({"stats": stats})
}
