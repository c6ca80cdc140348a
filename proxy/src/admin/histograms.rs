//! Histograms as text and as JSON.

use super::call::Query;
use crate::observe::metrics::HistogramValue;
use crate::observe::metrics::histogram::{BUCKETS, Distribution, QUANTILES};
use serde_json::{Value, json};

/// How histograms are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Buckets {
    /// By their quantiles.
    Summary,
    /// How many values are up to each bound.
    Cumulative,
    /// How many values are between two bounds.
    Disjoint,
    /// The bins themselves, too.
    Detailed,
    /// Known, but for protobuf only.
    Native,
}

impl Buckets {
    /// From the query, if it says so; the error is what the client is told.
    pub(super) fn parse(query: &Query) -> Result<Option<Buckets>, &'static str> {
        Ok(Some(match query.value("histogram_buckets") {
            None | Some("") => return Ok(None),
            Some("none" | "summary") => Buckets::Summary,
            Some("cumulative") => Buckets::Cumulative,
            Some("disjoint") => Buckets::Disjoint,
            Some("detailed") => Buckets::Detailed,
            Some("prometheusnative") => Buckets::Native,
            Some(_) => {
                return Err(
                    "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|prometheusnative)\n",
                );
            }
        }))
    }
}

/// What stands behind a histogram's name.
pub(super) fn text(histogram: &HistogramValue, buckets: Buckets) -> String {
    if histogram.cumulative.is_empty() {
        return " No recorded values".into();
    }
    match buckets {
        Buckets::Summary | Buckets::Native => format!(" {}", quantiles(histogram)),
        Buckets::Cumulative => format!(" {}", counts(histogram, false)),
        Buckets::Disjoint => format!(" {}", counts(histogram, true)),
        Buckets::Detailed => format!(
            "\n  totals={}\n  intervals={}\n  summary={}",
            bins(&histogram.cumulative),
            bins(&histogram.interval),
            quantiles(histogram)
        ),
    }
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "nan".to_owned(), |v| v.to_string())
}

fn quantiles(histogram: &HistogramValue) -> String {
    let each = QUANTILES.iter().map(|q| {
        format!(
            "P{q}({},{})",
            shown(histogram.interval.quantile(*q)),
            shown(histogram.cumulative.quantile(*q))
        )
    });
    each.collect::<Vec<_>>().join(" ")
}

/// Values up to each bound, or between it and the one before.
fn up_to_each(of: &Distribution, disjoint: bool) -> impl Iterator<Item = u64> {
    let mut before = 0;
    BUCKETS.iter().map(move |bound| {
        let all = of.up_to(*bound);
        let below = std::mem::replace(&mut before, if disjoint { all } else { 0 });
        all.saturating_sub(below)
    })
}

/// Each bound, with the values of the last interval and of all time.
fn rows(histogram: &HistogramValue, disjoint: bool) -> impl Iterator<Item = (f64, u64, u64)> {
    let (interval, all) = (&histogram.interval, &histogram.cumulative);
    let counts = up_to_each(interval, disjoint).zip(up_to_each(all, disjoint));
    BUCKETS.iter().zip(counts).map(|(bound, (interval, all))| (*bound, interval, all))
}

fn counts(histogram: &HistogramValue, disjoint: bool) -> String {
    let each = rows(histogram, disjoint)
        .map(|(bound, interval, all)| format!("B{}({interval},{all})", label(bound)));
    each.collect::<Vec<_>>().join(" ")
}

fn bins(of: &Distribution) -> String {
    let each = of.bins().map(|(lower, width, count)| format!("{lower},{width}:{count}"));
    each.collect::<Vec<_>>().join(", ")
}

/// Six significant digits, as C's `%g`.
fn label(bound: f64) -> String {
    if bound >= 1e6 { format!("{}e+06", bound / 1e6) } else { bound.to_string() }
}

/// A whole number without a point.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 { json!(value as u64) } else { json!(value) }
}

/// All histograms, as they stand in the list of statistics.
pub(super) fn as_json<'a>(
    all: impl Iterator<Item = (&'a String, &'a HistogramValue)>,
    buckets: Buckets,
) -> Value {
    match buckets {
        Buckets::Summary | Buckets::Native => json!({
            "supported_quantiles": supported(),
            "computed_quantiles": all
                .map(|(name, one)| json!({"name": name, "values": values(one)}))
                .collect::<Vec<_>>(),
        }),
        Buckets::Cumulative | Buckets::Disjoint => all
            .map(|(name, one)| {
                let rows = rows(one, buckets == Buckets::Disjoint);
                let rows = rows.map(|(bound, interval, all)| {
                    json!({"upper_bound": number(bound), "interval": interval, "cumulative": all})
                });
                json!({"name": name, "buckets": rows.collect::<Vec<_>>()})
            })
            .collect(),
        Buckets::Detailed => json!({
            "supported_percentiles": supported(),
            "details": all
                .map(|(name, one)| json!({
                    "name": name,
                    "totals": bins_json(&one.cumulative),
                    "intervals": bins_json(&one.interval),
                    "percentiles": values(one),
                }))
                .collect::<Vec<_>>(),
        }),
    }
}

fn supported() -> Vec<Value> {
    QUANTILES.iter().map(|q| number(*q)).collect()
}

fn values(histogram: &HistogramValue) -> Vec<Value> {
    let one = |q: &f64| json!({"cumulative": histogram.cumulative.quantile(*q), "interval": histogram.interval.quantile(*q)});
    QUANTILES.iter().map(one).collect()
}

fn bins_json(of: &Distribution) -> Vec<Value> {
    let one =
        |(lower, width, count)| json!({"lower_bound": number(lower), "width": number(width), "count": count});
    of.bins().map(one).collect()
}
