use super::*;
use crate::observe::stats::{cluster, http};

#[test]
fn writers_are_summed_and_nothing_runs_backwards() {
    let registry = Registry::default();
    let a = registry.cells(&cluster::SCHEMA, "cluster.x.");
    let b = registry.cells(&cluster::SCHEMA, "cluster.x.");
    a.inc(cluster::UPSTREAM_RQ_TOTAL);
    b.add(cluster::UPSTREAM_RQ_TOTAL, 2);
    a.gauge_add(cluster::UPSTREAM_CX_ACTIVE, 1);
    b.gauge_add(cluster::UPSTREAM_CX_ACTIVE, 1);
    b.record(cluster::UPSTREAM_RQ_TIME, 7);
    b.response_code(204);
    b.response_code_in(cluster::EXTERNAL, 204);
    let clone = b.clone();
    drop(b);
    let with_clone = registry.snapshot();
    assert_eq!(with_clone.gauges["cluster.x.upstream_cx_active"], GaugeValue { value: 2, used: true });
    drop(clone);
    registry.flush();
    let now = registry.snapshot();
    assert_eq!(now.counters["cluster.x.upstream_rq_total"], 3);
    assert_eq!(now.counters["cluster.x.upstream_rq_204"], 1);
    assert_eq!(now.counters["cluster.x.upstream_rq_2xx"], 1);
    assert_eq!(now.counters["cluster.x.upstream_rq_completed"], 1);
    assert_eq!(now.counters["cluster.x.external.upstream_rq_204"], 1);
    assert!(!now.counters.contains_key("cluster.x.upstream_rq_200"));
    assert_eq!(now.gauges["cluster.x.upstream_cx_active"], GaugeValue { value: 1, used: true });
    assert_eq!(now.gauges["cluster.x.upstream_rq_active"], GaugeValue { value: 0, used: false });
    assert_eq!(now.histograms["cluster.x.upstream_rq_time"].cumulative.count(), 1);
    assert_eq!(now.histograms["cluster.x.upstream_rq_time"].interval.count(), 1);
    registry.flush();
    assert!(registry.snapshot().histograms["cluster.x.upstream_rq_time"].interval.is_empty());
}

#[test]
fn a_gauge_may_be_lowered_by_another_writer() {
    let registry = Registry::default();
    let (a, b) = (registry.cells(&http::SCHEMA, "http.p."), registry.cells(&http::SCHEMA, "http.p."));
    a.gauge_add(http::DOWNSTREAM_CX_ACTIVE, 3);
    b.gauge_sub(http::DOWNSTREAM_CX_ACTIVE, 1);
    assert_eq!(registry.snapshot().gauges["http.p.downstream_cx_active"].value, 2);
    b.gauge_set(http::DOWNSTREAM_CX_ACTIVE, 0);
    assert_eq!((a.gauge(http::DOWNSTREAM_CX_ACTIVE), b.gauge(http::DOWNSTREAM_CX_ACTIVE)), (3, 0));
}

#[test]
fn classes_of_a_connection_manager_are_there_from_the_start() {
    let registry = Registry::default();
    let cells = registry.cells(&http::SCHEMA, "http.p.");
    assert_eq!(registry.snapshot().counters["http.p.downstream_rq_5xx"], 0);
    for status in [99, 100, 599, 600, 0, u16::MAX] {
        cells.response_code(status);
    }
    let now = registry.snapshot();
    assert_eq!(now.counters["http.p.downstream_rq_1xx"], 1);
    assert_eq!(now.counters["http.p.downstream_rq_5xx"], 1);
    assert_eq!(now.counters["http.p.downstream_rq_completed"], 2);
    assert!(!now.counters.contains_key("http.p.downstream_rq_100"));
}

#[test]
fn counters_are_reset() {
    let registry = Registry::default();
    let cells = registry.cells(&cluster::SCHEMA, "cluster.x.");
    cells.add(cluster::UPSTREAM_RQ_TOTAL, 5);
    cells.response_code(503);
    registry.reset_counters();
    assert_eq!(registry.snapshot().counters["cluster.x.upstream_rq_total"], 0);
    assert_eq!(registry.snapshot().counters["cluster.x.upstream_rq_503"], 0);
    cells.inc(cluster::UPSTREAM_RQ_TOTAL);
    assert_eq!(registry.snapshot().counters["cluster.x.upstream_rq_total"], 1);
}

#[test]
fn what_belongs_to_a_scope_leaves_with_it() {
    let registry = Registry::default();
    let shows = |name: &str| registry.snapshot().counters.contains_key(&format!("{name}upstream_rq_total"));
    let taken = |name: &str| registry.cells(&cluster::SCHEMA, name);
    let (x, again, longer) =
        (registry.scope("cluster.x."), registry.scope("cluster.x."), registry.scope("cluster.x.y."));
    assert_eq!(again.prefix(), "cluster.x.");
    for name in ["cluster.x.", "cluster.x.grpc.", "cluster.x.y.", "cluster.xy.", "cluster.w."] {
        taken(name).inc(cluster::UPSTREAM_RQ_TOTAL);
    }
    drop(x);
    assert!(shows("cluster.x."), "one scope is left");
    drop(again);
    let left = ["cluster.x.y.", "cluster.xy.", "cluster.w."];
    assert!(!shows("cluster.x.") && !shows("cluster.x.grpc.") && left.into_iter().all(shows));
    drop(longer);
    assert!(!shows("cluster.x.y.") && shows("cluster.xy."));
}

#[test]
fn what_is_still_counted_after_its_scope_is_not_shown_and_begins_anew_with_another() {
    let registry = Registry::default();
    let total = || registry.snapshot().counters.get("cluster.x.upstream_rq_total").copied();
    let scope = registry.scope("cluster.x.");
    let cells = registry.cells_within(&cluster::SCHEMA, "cluster.x.", 1).unwrap();
    cells.inc(cluster::UPSTREAM_RQ_TOTAL);
    drop(scope);
    cells.inc(cluster::UPSTREAM_RQ_TOTAL);
    assert_eq!(total(), None);
    let scope = registry.scope("cluster.x.");
    cells.inc(cluster::UPSTREAM_RQ_TOTAL);
    assert_eq!(total(), Some(2));
    drop((scope, cells));
    assert_eq!(total(), None);
    // Its place among those that requests name is free again.
    assert!(registry.cells_within(&cluster::SCHEMA, "cluster.y.", 1).is_some());
}

#[test]
fn shared_values_live_as_long_as_they_are_held() {
    struct Fixed;
    impl Source for Fixed {
        fn collect(&self, into: &mut Snapshot) {
            into.gauge("x.depth", 4);
        }
        fn reset(&self) {}
    }
    let registry = Registry::default();
    let gauge = registry.shared_gauge("x.open");
    registry.shared_gauge("x.open").add(2);
    gauge.sub(1);
    let text = registry.shared_text("x.version");
    text.set("v1");
    let source: std::sync::Arc<dyn Source> = std::sync::Arc::new(Fixed);
    registry.add_source(std::sync::Arc::downgrade(&source));
    let now = registry.snapshot();
    assert_eq!(now.gauges["x.open"].value, 1);
    assert_eq!(now.gauges["x.depth"].value, 4);
    assert_eq!(now.texts["x.version"], "v1");
    drop((gauge, text, source));
    let now = registry.snapshot();
    assert!(now.gauges.is_empty() && now.texts.is_empty());
}

#[test]
fn names_are_cleaned_as_envoy_does() {
    assert_eq!(sanitized("http://a:80"), "http_a_80");
    assert_eq!(sanitized("outbound|80||a.b"), "outbound|80||a.b");
}
