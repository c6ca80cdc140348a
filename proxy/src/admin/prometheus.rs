//! `/stats/prometheus`: the text exposition format as Envoy writes it.
//!
//! Written here rather than by the `prometheus` crate, whose encoder has no `{}` for series without tags and wants a
//! metric family object for each of the hundred thousands of series of a large mesh.

use super::call::{Call, Reply};
use super::histograms::Buckets;
use super::stats_query::Wanted;
use super::tags::{Tagged, Tags};
use super::{Endpoint, sums};
use crate::observe::mesh;
use crate::observe::metrics::histogram::{BUCKETS, QUANTILES};
use crate::observe::metrics::{HistogramValue, Snapshot};
use hyper::StatusCode;
use std::collections::BTreeMap;
use std::fmt::Write;

pub(super) const ENDPOINT: Endpoint = Endpoint {
    path: "/stats/prometheus",
    changes: false,
    help: "print server stats in prometheus format",
    params: &[
        ("usedonly", "Only include stats that have been written by system since restart"),
        ("text_readouts", "Render text_readouts as new gauges with value 0 (increases Prometheus data size)"),
        ("filter", "Regular expression for filtering stats"),
        ("histogram_buckets", "Histogram bucket display mode; One of (cumulative, summary)"),
        ("type", "Stat types to include.; One of (All, Counters, Histograms, Gauges, TextReadouts)"),
    ],
    answer,
};

pub(super) fn answer(call: &Call<'_>) -> Reply {
    let wanted = match Wanted::parse(&call.query) {
        Ok(wanted) => wanted,
        Err(error) => return Reply::refused(StatusCode::BAD_REQUEST, error),
    };
    let refused = |text: &str| Reply::refused(StatusCode::BAD_REQUEST, text);
    let summaries = match Buckets::parse(&call.query) {
        Ok(None | Some(Buckets::Cumulative)) => false,
        Ok(Some(Buckets::Summary)) => true,
        Ok(Some(Buckets::Disjoint | Buckets::Detailed)) => {
            return refused("unsupported prometheus histogram bucket mode");
        }
        Ok(Some(Buckets::Native)) => {
            return refused(
                "unsupported prometheusnative histogram type when not using protobuf exposition format",
            );
        }
        Err(error) => return refused(error),
    };
    let mut snapshot = sums::snapshot(call);
    wanted.apply(&mut snapshot);
    Reply::text(render(&snapshot, call.state.tags(), call.query.has("text_readouts"), summaries))
}

/// Series by family, in order.
type Families<'a, V> = BTreeMap<String, Vec<(Tagged, &'a V)>>;

fn families<'a, V>(series: impl Iterator<Item = (&'a String, &'a V)>, tags: &Tags) -> Families<'a, V> {
    let mut families: Families<'a, V> = BTreeMap::new();
    for (name, value) in series {
        let (family, tagged) = match mesh::taken_apart(name) {
            // Istio's metrics have their own names and labels.
            Some((labels, metric)) => {
                let owned = |(k, v): (&str, &str)| (k.into(), v.to_owned());
                let tags = labels.into_iter().map(owned).collect();
                (metric.to_owned(), Tagged { name: metric.to_owned(), tags })
            }
            None => {
                let tagged = tags.extract(name);
                (metric_name(&tagged.name), tagged)
            }
        };
        families.entry(family).or_default().push((tagged, value));
    }
    families
}

/// `envoy_` and the name, with `_` for what Prometheus does not allow.
fn metric_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len().saturating_add(6));
    out.push_str("envoy_");
    out.extend(name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }));
    out
}

/// `a="1",b="2"`.
fn labels(tagged: &Tagged) -> String {
    let mut out = String::new();
    for (i, (name, value)) in tagged.tags.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.extend(name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }));
        out.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out
}

/// Renders a snapshot: counters, gauges, texts (on request), histograms.
fn render(snapshot: &Snapshot, tags: &Tags, texts: bool, summaries: bool) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    for (family, series) in families(snapshot.counters.iter(), tags) {
        let _ = writeln!(out, "# TYPE {family} counter");
        for (tagged, value) in series {
            let _ = writeln!(out, "{family}{{{}}} {value}", labels(&tagged));
        }
    }
    for (family, series) in families(snapshot.gauges.iter(), tags) {
        let _ = writeln!(out, "# TYPE {family} gauge");
        for (tagged, gauge) in series {
            let _ = writeln!(out, "{family}{{{}}} {}", labels(&tagged), gauge.value);
        }
    }
    if texts {
        for (family, series) in families(snapshot.texts.iter(), tags) {
            let _ = writeln!(out, "# TYPE {family} gauge");
            for (mut tagged, value) in series {
                tagged.tags.push(("text_value".into(), value.clone()));
                let _ = writeln!(out, "{family}{{{}}} 0", labels(&tagged));
            }
        }
    }
    for (family, series) in families(snapshot.histograms.iter(), tags) {
        let _ = writeln!(out, "# TYPE {family} {}", if summaries { "summary" } else { "histogram" });
        for (tagged, value) in series {
            match summaries {
                true => summary(&family, &labels(&tagged), value, &mut out),
                false => histogram(&family, &labels(&tagged), value, &mut out),
            }
        }
    }
    out
}

/// Quantiles of the last interval.
fn summary(family: &str, labels: &str, value: &HistogramValue, out: &mut String) {
    let comma = if labels.is_empty() { "" } else { "," };
    let last = &value.interval;
    for percent in QUANTILES {
        let quantile = (percent * 10.0).round() / 1000.0;
        let shown = last.quantile(percent).map_or_else(|| "nan".to_owned(), |v| v.to_string());
        let _ = writeln!(out, "{family}{{{labels}{comma}quantile=\"{quantile}\"}} {shown}");
    }
    let _ = writeln!(out, "{family}_sum{{{labels}}} {}", last.sum);
    let _ = writeln!(out, "{family}_count{{{labels}}} {}", last.count());
}

fn histogram(family: &str, labels: &str, value: &HistogramValue, out: &mut String) {
    let comma = if labels.is_empty() { "" } else { "," };
    let all = &value.cumulative;
    for bound in BUCKETS {
        let _ = writeln!(out, "{family}_bucket{{{labels}{comma}le=\"{bound}\"}} {}", all.up_to(bound));
    }
    let _ = writeln!(out, "{family}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", all.count());
    let _ = writeln!(out, "{family}_sum{{{labels}}} {}", all.sum);
    let _ = writeln!(out, "{family}_count{{{labels}}} {}", all.count());
}
