//! Histograms in every display.

use super::*;

#[test]
fn histograms_are_shown_as_asked() {
    let admin = serve();
    let cells = Registry::global().cells(&stat::SCHEMA, "cluster.admin-times.");
    cells.record(stat::UPSTREAM_RQ_TIME, 1);
    let begun = Instant::now();
    // Shown with the next flush, and no more of the last interval with one after it.
    while !admin.get("/stats?filter=admin-times.upstream_rq_time%24").contains("P0(nan,1.05)") {
        assert!(begun.elapsed() < Duration::from_secs(10), "no flush");
    }
    let time = "filter=admin-times.upstream_rq_time%24";
    let detailed = admin.get(&format!("/stats?histogram_buckets=detailed&{time}"));
    assert!(
        detailed.starts_with(
            "cluster.admin-times.upstream_rq_time:\n  totals=1,0.1:1\n  intervals=\n  summary=P0(nan,1.05) "
        ),
        "{detailed}"
    );
    let quantiles = admin.get(&format!("/stats?{time}"));
    assert_eq!(admin.get(&format!("/stats?histogram_buckets=none&{time}")), quantiles);
    let found = admin.json(&format!("/stats?format=json&histogram_buckets=disjoint&{time}"));
    let found = &found["stats"][0]["histograms"][0];
    assert_eq!(found["name"], "cluster.admin-times.upstream_rq_time");
    assert_eq!(found["buckets"][1], json!({"upper_bound": 1, "interval": 0, "cumulative": 1}));
    assert_eq!(found["buckets"][2], json!({"upper_bound": 5, "interval": 0, "cumulative": 0}));
    let found = admin.json(&format!("/stats?format=json&histogram_buckets=detailed&{time}"));
    let found = &found["stats"][0]["histograms"]["details"][0];
    assert_eq!(found["totals"], json!([{"lower_bound": 1, "width": 0.1, "count": 1}]));
    assert_eq!(found["percentiles"][0], json!({"cumulative": 1.05, "interval": null}));
    let summary = admin.get(&format!("/stats/prometheus?histogram_buckets=summary&{time}"));
    for line in [
        "# TYPE envoy_cluster_upstream_rq_time summary",
        "envoy_cluster_upstream_rq_time{envoy_cluster_name=\"admin-times\",quantile=\"0.999\"} nan",
        "envoy_cluster_upstream_rq_time_count{envoy_cluster_name=\"admin-times\"} 0",
    ] {
        assert!(summary.lines().any(|l| l == line), "{line}\n{summary}");
    }
    assert_eq!(admin.get("/stats?hidden=only"), "");
    assert_eq!(admin.get(&format!("/stats?hidden=include&{time}")), quantiles);
}
