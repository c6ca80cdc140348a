//! What waits for what when resources come one type at a time.

use super::*;
use std::time::{Duration, Instant};
use weir_proto::envoy::config::route::v3::RouteConfiguration;

/// A process with a control plane that never answers: everything here is sent by the test.
const PLANE: &str = r#"{
  dynamic_resources: {
    ads_config: {api_type: DELTA_GRPC, grpc_services: [{envoy_grpc: {cluster_name: plane}}]},
    cds_config: {ads: {}}, lds_config: {ads: {}}},
  static_resources: {clusters: [{name: plane, type: STATIC, load_assignment: {cluster_name: plane}}]}}"#;

#[test]
fn servers_are_hosts_of_a_cluster_that_is_there_before() {
    let eds = "{name: plane, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}}";
    let tls = r#"{name: plane, transport_socket: {name: tls, typed_config: {
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext}}}"#;
    for (clusters, piece) in [
        (tls, "in plain text only"),
        ("", "Unknown gRPC client cluster 'plane'"),
        (eds, "use a cluster of type STATIC"),
    ] {
        let text = format!(
            "{{dynamic_resources: {{ads_config: {{api_type: GRPC, grpc_services: [{{envoy_grpc: {{cluster_name: plane}}}}]}}}},
              static_resources: {{clusters: [{clusters}]}}}}"
        );
        let Err(error) = validate(&parse::<Bootstrap>(&text)) else { panic!("accepted: {text}") };
        let place = "dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name";
        assert!(error.to_string().contains(place) && error.to_string().contains(piece), "{error}");
    }
}

fn cluster(name: &str, fetch: &str) -> Resource {
    let message: Cluster = parse(&format!(
        "{{name: {name}, type: EDS, eds_cluster_config: {{eds_config: {{ads: {{}}, initial_fetch_timeout: {fetch}}}}}}}"
    ));
    resource(name, &message)
}

fn endpoints(name: &str) -> Resource {
    let message: ClusterLoadAssignment = parse(&format!("{{cluster_name: {name}}}"));
    resource(name, &message)
}

fn routes(name: &str, cluster: &str) -> Resource {
    let message: RouteConfiguration = parse(&format!(
        "{{name: {name}, virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: {cluster}}}}}]}}]}}"
    ));
    resource(name, &message)
}

fn listener(name: &str, routes: &str) -> Resource {
    let message: Listener = parse(&format!(
        r#"{{name: {name}, address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}},
            filter_chains: [{{filters: [{{name: http, typed_config: {{
              "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
              stat_prefix: s, rds: {{route_config_name: {routes}, config_source: {{ads: {{}}}}}},
              http_filters: [{{name: router, typed_config: {{
                "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}]}}]}}"#
    ));
    resource(name, &message)
}

fn send(control: &Running, kind: Kind, list: Vec<Resource>) {
    for verdict in control.apply(Update::sent(kind, "1", added(list))) {
        assert!(verdict.result.is_ok(), "{verdict:?}");
    }
}

fn within(time: Duration, what: &str, is: impl Fn() -> bool) {
    let end = Instant::now() + time;
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn clusters_wait_for_endpoints_routes_for_clusters_listeners_for_routes() {
    let (control, published, workers) = started(PLANE);
    let opened = || workers.opened.lock().unwrap().len();
    send(&control, Kind::Listener, vec![listener("l", "r")]);
    assert!(published.load().listeners.is_empty() && opened() == 0, "no routes yet");
    send(&control, Kind::Route, vec![routes("r", "wait-c")]);
    assert!(published.load().routes.is_empty(), "no cluster yet");
    send(&control, Kind::Cluster, vec![cluster("wait-c", "0s")]);
    assert!(!published.load().clusters.contains_key("wait-c"), "no endpoints yet");
    assert!(!control.is_initialised());
    send(&control, Kind::Endpoints, vec![endpoints("wait-c")]);
    let now = published.load();
    assert!(now.clusters.contains_key("wait-c") && now.routes.contains_key("r"));
    assert!(now.listeners.contains_key("l"));
    assert_eq!(opened(), 2, "its sockets are handed on, one for each worker");
    assert!(control.is_initialised());
}

#[test]
fn the_version_before_serves_while_the_next_one_waits() {
    let (control, published, _) = started(PLANE);
    send(&control, Kind::Cluster, vec![cluster("old", "0s")]);
    send(&control, Kind::Endpoints, vec![endpoints("old")]);
    send(&control, Kind::Route, vec![routes("r", "old")]);
    let before = published.load().routes.get("r").cloned().unwrap();
    send(&control, Kind::Cluster, vec![cluster("new", "0s")]);
    send(&control, Kind::Route, vec![routes("r", "new")]);
    assert!(Arc::ptr_eq(&before, published.load().routes.get("r").unwrap()));
    // What is removed meanwhile stays for the version that serves.
    control.apply(Update::sent(Kind::Cluster, "2", removed("old")));
    assert!(published.load().clusters.contains_key("old"));
    // The source says that there are none: nobody waits any longer.
    let none = Change { missing: vec!["new".into()], ..Change::default() };
    control.apply(Update::sent(Kind::Endpoints, "2", none));
    let now = published.load();
    assert!(!Arc::ptr_eq(&before, now.routes.get("r").unwrap()));
    assert!(now.clusters.contains_key("new") && !now.clusters.contains_key("old"));
}

#[test]
fn waiting_has_an_end() {
    let (control, published, _) = started(PLANE);
    send(&control, Kind::Route, vec![routes("r", "nobody-knows")]);
    send(&control, Kind::Cluster, vec![cluster("late", "0.2s")]);
    assert!(published.load().routes.is_empty());
    within(Duration::from_secs(2), "the cluster serves without endpoints", || {
        published.load().clusters.contains_key("late")
    });
    within(Duration::from_secs(4), "the route serves without its cluster", || {
        published.load().routes.contains_key("r")
    });
    // What is whole waits for nothing.
    let whole = Update { routes: added(vec![routes("w", "nobody-knows-either")]), ..Update::default() };
    control.apply(whole);
    assert!(published.load().routes.contains_key("w"));
}

#[test]
fn a_version_that_waits_is_shown_beside_the_one_that_serves() {
    let (control, _, _) = started(PLANE);
    send(&control, Kind::Cluster, vec![cluster("two", "0s")]);
    send(&control, Kind::Endpoints, vec![endpoints("two")]);
    let shown = || {
        let dump = control.dump_blocking(DumpOptions::default()).to_string();
        ["dynamic_active_clusters", "dynamic_warming_clusters"].map(|part| dump.contains(part))
    };
    assert_eq!(shown(), [true, false]);
    for service in ["other", "another"] {
        let message: Cluster = parse(&format!(
            "{{name: two, type: EDS, eds_cluster_config: {{service_name: {service}, eds_config: {{ads: {{}}, initial_fetch_timeout: 0s}}}}}}"
        ));
        send(&control, Kind::Cluster, vec![resource("two", &message)]);
        assert_eq!(shown(), [true, true], "{service}");
    }
    send(&control, Kind::Endpoints, vec![endpoints("another")]);
    assert_eq!(shown(), [true, false]);
    let dump = control.dump_blocking(DumpOptions::default()).to_string();
    assert!(dump.contains("another"), "{dump}");
}
