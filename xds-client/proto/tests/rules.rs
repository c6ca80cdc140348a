//! protoc-gen-validate rules: what is refused, where, and in which words.

use prost::Message;
use weir_proto::any::pack;
use weir_proto::envoy::config::bootstrap::v3::Bootstrap;
use weir_proto::envoy::config::cluster::v3::Cluster;
use weir_proto::envoy::config::core::v3::{TransportSocket, TypedExtensionConfig, transport_socket};
use weir_proto::envoy::config::listener::v3::Listener;
use weir_proto::envoy::config::route::v3::RouteConfiguration;
use weir_proto::{ParseOptions, Pool};

/// What is wrong with `text` as an `M`, one line each, without excerpts.
fn refusals<M: Message + Default + prost::Name>(pool: &Pool, text: &str) -> Vec<String> {
    match pool.parse::<M>(text, &ParseOptions::default()) {
        Ok(_) => Vec::new(),
        Err(error) => error
            .problems
            .iter()
            .map(|problem| {
                format!("{}:{} {}: {}", problem.line, problem.column, problem.path, problem.message)
            })
            .collect(),
    }
}

#[test]
fn clusters() {
    let pool = Pool::load().expect("descriptors");
    let table: [(&str, &[&str]); 9] = [
        ("name: a", &[]),
        ("lb_policy: RANDOM", &["1:1 name: must not be empty"]),
        ("name: a\nconnect_timeout: 0s", &["2:1 connect_timeout: must be greater than 0s, is 0s"]),
        ("name: a\nlbPolicy: 99", &["2:1 lb_policy: 99 is no value of this enum"]),
        (
            "name: a\nring_hash_lb_config: {minimumRingSize: 8388609}",
            &["2:23 ring_hash_lb_config.minimum_ring_size: must be at most 8388608, is 8388609"],
        ),
        (
            "name: a\nhealth_checks:\n- {timeout: 1s, interval: 1s, healthy_threshold: 1, tcp_health_check: {}}",
            &["3:3 health_checks[0].unhealthy_threshold: is required"],
        ),
        (
            "name: a\nhealth_checks:\n- {timeout: 1s, interval: 1s, healthy_threshold: 1, unhealthy_threshold: 1}",
            &[
                "3:3 health_checks[0]: needs one of http_health_check, tcp_health_check, grpc_health_check, custom_health_check",
            ],
        ),
        (
            "name: a\nload_assignment:\n  cluster_name: a\n  endpoints:\n  - lb_endpoints:\n    - endpoint: {address: {socket_address: {address: '', port_value: 70000}}}",
            &[
                "6:45 load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: must not be empty",
                "6:58 load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value: must be at most 65535, is 70000",
            ],
        ),
        (
            "name: a\nlb_subset_config: {subset_selectors: [{fallback_policy: 77}]}",
            &["2:40 lb_subset_config.subset_selectors[0].fallback_policy: 77 is no value of this enum"],
        ),
    ];
    for (text, expected) in table {
        assert_eq!(refusals::<Cluster>(&pool, text), expected, "{text}");
    }
}

#[test]
fn rules_hold_inside_any() {
    let pool = Pool::load().expect("descriptors");
    let text = r#"
name: l
address: {socket_address: {address: 127.0.0.1, port_value: 80}}
filter_chains:
- filters:
  - name: hcm
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: ""
      route_config:
        virtual_hosts:
        - {name: v, domains: [], routes: [{match: {prefix: /}}]}
"#;
    let base = "filter_chains[0].filters[0].typed_config";
    let expected = [
        format!("9:7 {base}.stat_prefix: must not be empty"),
        format!("12:21 {base}.route_config.virtual_hosts[0].domains: needs at least 1 item, has 0"),
        format!(
            "12:43 {base}.route_config.virtual_hosts[0].routes[0]: needs one of route, redirect, direct_response, \
             filter_action, non_forwarding_action"
        ),
    ];
    assert_eq!(refusals::<Listener>(&pool, text), expected);
}

#[test]
fn header_names_and_values_follow_their_well_known_rules() {
    let pool = Pool::load().expect("descriptors");
    let route = |header: &str| format!("request_headers_to_add:\n- header: {header}");
    let table: [(&str, &[&str]); 4] = [
        ("{key: x-a, value: b}", &[]),
        ("{key: '', value: b}", &["2:12 request_headers_to_add[0].header.key: must not be empty"]),
        (
            "{key: \"a\\nb\", value: b}",
            &["2:12 request_headers_to_add[0].header.key: must be free of NUL, CR and LF, is \"a\\nb\""],
        ),
        (
            "{key: a, value: \"b\\r\"}",
            &["2:20 request_headers_to_add[0].header.value: must be free of NUL, CR and LF, is \"b\\r\""],
        ),
    ];
    for (header, expected) in table {
        assert_eq!(refusals::<RouteConfiguration>(&pool, &route(header)), expected, "{header}");
    }
}

#[test]
fn bytes_from_a_control_plane_are_checked_likewise() {
    let pool = Pool::load().expect("descriptors");
    let socket = TransportSocket {
        name: "t".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack(&TypedExtensionConfig::default()))),
    };
    let cluster = Cluster { name: "c".to_owned(), transport_socket: Some(socket), ..Cluster::default() };
    let found =
        pool.violations("envoy.config.cluster.v3.Cluster", &cluster.encode_to_vec()).expect("a cluster");
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    let expected = [
        "transport_socket.typed_config.name: must not be empty",
        "transport_socket.typed_config.typed_config: is required",
    ];
    assert_eq!(found, expected);
    assert!(pool.violations("no.Such", &[]).is_err());
    assert!(pool.violations("envoy.config.cluster.v3.Cluster", &[0xff]).is_err());
}

#[test]
fn what_envoy_disallows_by_default_is_refused() {
    let pool = Pool::load().expect("descriptors");
    let text = "dynamic_resources: {ads_config: {grpc_services: []}}";
    let found = refusals::<Bootstrap>(&pool, text);
    let expected = "1:33 dynamic_resources.ads_config.api_type: DEPRECATED_AND_UNAVAILABLE_DO_NOT_USE is deprecated, \
                    and disallowed by default";
    assert!(found.iter().any(|line| line == expected), "{found:?}");
    let skipped = ParseOptions { skip_rules: true, ..ParseOptions::default() };
    assert!(pool.parse::<Bootstrap>(text, &skipped).is_ok());
}

/// Every rule that stands in the protos is one that is checked: a rule of another name must fail here, not be ignored.
#[test]
fn no_rule_of_the_protos_is_unknown_to_the_checker() {
    let pool = Pool::load().expect("descriptors");
    let unchecked = pool.unchecked_rules();
    assert!(unchecked.is_empty(), "{unchecked:?}");
}
