//! Routes and clusters that must be refused, each with the field path and a piece of the text of its mistake.

#![allow(clippy::too_many_lines)] // Tables of cases.

use super::bad::*;

#[test]
fn virtual_hosts() {
    let place = |path: &str| in_hcm(&format!("route_config.{path}"));
    for (fields, path, piece) in [
        ("virtual_hosts: [{name: v}]", "virtual_hosts[0].domains", "at least one entry"),
        ("virtual_hosts: [{domains: ['*']}]", "virtual_hosts[0].name", "must not be empty"),
        (
            "virtual_hosts: [{name: v, domains: [a, A]}]",
            "virtual_hosts[0].domains[1]",
            "Duplicate entry of domain a",
        ),
        (
            "virtual_hosts: [{name: v, domains: [a]}, {name: w, domains: ['*.b', '*.B']}]",
            "virtual_hosts[1].domains[1]",
            "Duplicate entry",
        ),
        (
            "virtual_hosts: [{name: v, domains: [a]}, {name: v, domains: [b]}]",
            "virtual_hosts[1].name",
            "single virtual host with name v",
        ),
        ("virtual_hosts: [{name: v, domains: ['a*b']}]", "virtual_hosts[0].domains[0]", "one '*'"),
        (
            "virtual_hosts: [{name: v, domains: [a], cors: {}}]",
            "virtual_hosts[0].cors",
            "typed_per_filter_config",
        ),
        (
            "virtual_hosts: [{name: v, domains: [a], request_headers_to_remove: [Host]}]",
            "virtual_hosts[0].request_headers_to_remove[0]",
            "may not be removed",
        ),
        (
            "virtual_hosts: [{name: v, domains: [a], request_headers_to_add: [{header: {key: ':path', value: x}}]}]",
            "virtual_hosts[0].request_headers_to_add[0].header.key",
            "only be overwritten",
        ),
        (
            "virtual_hosts: [{name: v, domains: [a], response_headers_to_add: [{header: {key: 'x y', value: x}}]}]",
            "virtual_hosts[0].response_headers_to_add[0].header.key",
            "not a valid HTTP header name",
        ),
        (
            "virtual_hosts: [{name: v, domains: [a], response_headers_to_add: [{header: {key: x, value: \"%PROTOCOL%\\r\\ny: z\"}}]}]",
            "virtual_hosts[0].response_headers_to_add[0].header.value",
            "control characters",
        ),
        (
            "virtual_hosts: [{name: v, domains: [a], response_headers_to_add: [{header: {key: x, value: '%NOPE%'}}]}]",
            "virtual_hosts[0].response_headers_to_add[0].header.value",
            "NOPE",
        ),
        (
            "virtual_hosts: [{name: v, domains: [a], typed_per_filter_config: {x: {'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute}}}]",
            "virtual_hosts[0].typed_per_filter_config[\"x\"]",
            "BufferPerRoute",
        ),
        ("vhds: {}", "vhds", "not supported"),
        ("internal_only_headers: ['']", "internal_only_headers[0]", "header name"),
    ] {
        refused(&with_routes(fields), &place(path), piece);
    }
}

#[test]
fn route_matches() {
    for (fields, path, piece) in [
        ("", "match.path_specifier", "must be set"),
        ("safe_regex: {regex: '('}", "match.safe_regex.regex", "invalid regular expression"),
        ("safe_regex: {}", "match.safe_regex.regex", "must not be empty"),
        ("path_separated_prefix: /a/", "match.path_separated_prefix", "not end with it"),
        ("connect_matcher: {}", "match.connect_matcher", "CONNECT"),
        ("prefix: /, headers: [{name: ''}]", "match.headers[0].name", "header name"),
        (
            "prefix: /, headers: [{name: x, string_match: {}}]",
            "match.headers[0].string_match.match_pattern",
            "must be set",
        ),
        (
            "prefix: /, headers: [{name: x, string_match: {prefix: ''}}]",
            "match.headers[0].string_match.prefix",
            "must not be empty",
        ),
        ("prefix: /, query_parameters: [{name: ''}]", "match.query_parameters[0].name", "must not be empty"),
        ("prefix: /, dynamic_metadata: [{filter: x}]", "match.dynamic_metadata", "not supported"),
        (
            "prefix: /, runtime_fraction: {runtime_key: k}",
            "match.runtime_fraction.default_value",
            "must be set",
        ),
    ] {
        refused(&with_match(fields), &in_route(path), piece);
    }
}

#[test]
fn route_actions() {
    for (fields, path, piece) in [
        ("", "route.cluster_specifier", "must be set"),
        ("cluster: nowhere", "route.cluster", "unknown cluster 'nowhere'"),
        ("cluster: ''", "route.cluster", "must not be empty"),
        ("cluster_header: 'a b'", "route.cluster_header", "header name"),
        ("weighted_clusters: {clusters: []}", "route.weighted_clusters.clusters", "at least one"),
        (
            "weighted_clusters: {clusters: [{name: c, weight: 0}]}",
            "route.weighted_clusters.clusters",
            "greater than 0",
        ),
        (
            "weighted_clusters: {clusters: [{name: c, weight: 4294967295}, {name: c, weight: 1}]}",
            "route.weighted_clusters.clusters",
            "exceeds",
        ),
        (
            "weighted_clusters: {total_weight: 100, clusters: [{name: c, weight: 90}]}",
            "route.weighted_clusters.total_weight",
            "add up to 90",
        ),
        (
            "weighted_clusters: {clusters: [{name: c, cluster_header: h, weight: 1}]}",
            "route.weighted_clusters.clusters[0]",
            "only one of",
        ),
        ("cluster: c, prefix_rewrite: \"/a\\r\\nx: y\"", "route.prefix_rewrite", "free of NUL, CR and LF"),
        (
            "cluster: c, host_rewrite_literal: \"a\\nb\"",
            "route.host_rewrite_literal",
            "free of NUL, CR and LF",
        ),
        (
            "cluster: c, regex_rewrite: {pattern: {regex: a}, substitution: \"b\\0\"}",
            "route.regex_rewrite.substitution",
            "free of NUL, CR and LF",
        ),
        (
            "cluster: c, regex_rewrite: {pattern: {regex: 'a)|(b'}}",
            "route.regex_rewrite.pattern.regex",
            "invalid regular expression: unexpected )",
        ),
        (
            "cluster: c, hash_policy: [{cookie: {name: c, path: \"/\\r\\nx\", attributes: [{name: a, value: b}]}}]",
            "route.hash_policy[0].cookie.path",
            "free of NUL, CR and LF",
        ),
        (
            "cluster: c, hash_policy: [{cookie: {name: c, attributes: [{name: a, value: \"b\\r\"}]}}]",
            "route.hash_policy[0].cookie.attributes[0].value",
            "free of NUL, CR and LF",
        ),
        (
            "cluster: c, upgrade_configs: [{upgrade_type: \"a\\r\\nx\"}]",
            "route.upgrade_configs[0].upgrade_type",
            "free of NUL, CR and LF",
        ),
        (
            "cluster: c, prefix_rewrite: /a, regex_rewrite: {pattern: {regex: a}}",
            "route.regex_rewrite",
            "only one of",
        ),
        (
            "cluster: c, regex_rewrite: {pattern: {regex: '(a)'}, substitution: '\\2'}",
            "route.regex_rewrite.substitution",
            "refers to group 2",
        ),
        ("cluster: c, hedge_policy: {}", "route.hedge_policy", "not supported"),
        ("cluster: c, internal_redirect_policy: {}", "route.internal_redirect_policy", "not supported"),
        (
            "cluster: c, retry_policy: {retry_back_off: {base_interval: 2s, max_interval: 1s}}",
            "route.retry_policy.retry_back_off.max_interval",
            "base_interval",
        ),
        (
            "cluster: c, retry_policy: {retriable_status_codes: [99]}",
            "route.retry_policy.retriable_status_codes[0]",
            "no HTTP status",
        ),
        (
            "cluster: c, retry_policy: {retry_host_predicate: [{name: x}]}",
            "route.retry_policy.retry_host_predicate[0]",
            "predicate 'x'",
        ),
        (
            "cluster: c, request_mirror_policies: [{cluster: gone}]",
            "route.request_mirror_policies[0].cluster",
            "unknown cluster",
        ),
        ("cluster: c, hash_policy: [{}]", "route.hash_policy[0].policy_specifier", "must be set"),
        ("cluster: c, hash_policy: [{cookie: {}}]", "route.hash_policy[0].cookie.name", "must not be empty"),
    ] {
        let text = with_action(fields);
        refused(&text, &in_route(path), piece);
    }
    refused(&with_route("match: {prefix: /}"), &in_route("action"), "must be set");
    refused(
        &with_route("match: {prefix: /}, direct_response: {status: 99}"),
        &in_route("direct_response.status"),
        "between 200 and 599",
    );
    let long = "x".repeat(5000);
    refused(
        &with_route(&format!(
            "match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: {long}}}}}"
        )),
        &in_route("direct_response.body"),
        "the limit is 4096",
    );
    refused(
        &with_route("match: {prefix: /}, redirect: {regex_rewrite: {pattern: {regex: '['}}}"),
        &in_route("redirect.regex_rewrite.pattern.regex"),
        "invalid regular expression",
    );
    assert!(errors(&with_routes("validate_clusters: false, virtual_hosts: [{name: v, domains: [a], routes: [{match: {prefix: /}, route: {cluster: nowhere}}]}]")).is_empty());
}

#[test]
fn clusters() {
    let endpoint = |address: &str| {
        format!(
            "load_assignment: {{cluster_name: c, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{{address}}}}}}}}}]}}]}}"
        )
    };
    let first = "load_assignment.endpoints[0]";
    for (fields, path, piece) in [
        ("name: ''".to_owned(), "name".to_owned(), "must not be empty"),
        ("type: LOGICAL_DNS".to_owned(), "load_assignment".to_owned(), "a single lb_endpoint"),
        ("type: EDS".to_owned(), "eds_cluster_config".to_owned(), "must be set"),
        ("type: STATIC, eds_cluster_config: {eds_config: {ads: {}}}".to_owned(), "eds_cluster_config".to_owned(), "non-EDS cluster"),
        ("connect_timeout: 0s".to_owned(), "connect_timeout".to_owned(), "greater than 0s"),
        ("lb_policy: CLUSTER_PROVIDED".to_owned(), "lb_policy".to_owned(), "ORIGINAL_DST"),
        ("type: ORIGINAL_DST".to_owned(), "lb_policy".to_owned(), "CLUSTER_PROVIDED"),
        ("lb_policy: MAGLEV, maglev_lb_config: {table_size: 100}".to_owned(), "maglev_lb_config.table_size".to_owned(), "prime number"),
        ("lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 10, maximum_ring_size: 5}".to_owned(), "ring_hash_lb_config.minimum_ring_size".to_owned(), "maximum_ring_size"),
        ("lb_policy: LEAST_REQUEST, least_request_lb_config: {choice_count: 1}".to_owned(), "least_request_lb_config.choice_count".to_owned(), "between 2"),
        ("lb_policy: LOAD_BALANCING_POLICY_CONFIG".to_owned(), "load_balancing_policy".to_owned(), "must be set"),
        ("health_checks: [{}]".to_owned(), "health_checks".to_owned(), "not supported"),
        ("lb_subset_config: {}".to_owned(), "lb_subset_config".to_owned(), "not supported"),
        ("outlier_detection: {max_ejection_percent: 101}".to_owned(), "outlier_detection.max_ejection_percent".to_owned(), "between 0 and 100"),
        ("outlier_detection: {enforcing_failure_percentage: 5}".to_owned(), "outlier_detection.enforcing_failure_percentage".to_owned(), "by rate"),
        ("circuit_breakers: {per_host_thresholds: [{}]}".to_owned(), "circuit_breakers.per_host_thresholds".to_owned(), "not supported"),
        ("circuit_breakers: {thresholds: [{retry_budget: {budget_percent: {value: 101}}}]}".to_owned(), "circuit_breakers.thresholds[0].retry_budget.budget_percent".to_owned(), "between 0 and 100"),
        ("common_lb_config: {healthy_panic_threshold: {value: -1}}".to_owned(), "common_lb_config.healthy_panic_threshold".to_owned(), "between 0 and 100"),
        ("typed_extension_protocol_options: {x: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}".to_owned(), "typed_extension_protocol_options[\"x\"]".to_owned(), "protocol options 'x'"),
        (endpoint("address: localhost, port_value: 1"), format!("{first}.lb_endpoints[0].endpoint.address.socket_address.address"), "STRICT_DNS"),
        ("load_assignment: {cluster_name: c, endpoints: [{priority: 129}]}".to_owned(), format!("{first}.priority"), "at most 128"),
        ("load_assignment: {cluster_name: c, endpoints: [{}, {}]}".to_owned(), "load_assignment.endpoints[1]".to_owned(), "duplicate locality"),
        ("transport_socket_matches: [{name: x}]".to_owned(), "transport_socket_matches[0].transport_socket".to_owned(), "must be set"),
    ] {
        let text = if fields.starts_with("name:") {
            format!("{{static_resources: {{clusters: [{{{fields}}}]}}}}")
        } else {
            cluster_with(&fields)
        };
        refused(&text, &format!("static_resources.clusters[0].{path}"), piece);
    }
}

#[test]
fn all_mistakes_of_a_resource_are_reported_at_once() {
    let found = errors(&with_host(
        "routes: [{match: {}, route: {cluster: gone}}, {match: {safe_regex: {regex: '('}}, route: {}}, {match: {prefix: /}, route: {cluster: c}}]",
    ));
    let paths: Vec<_> = found.iter().map(|e| e.path.rsplit_once("routes").map_or("", |(_, p)| p)).collect();
    assert_eq!(
        paths,
        [
            "[0].match.path_specifier",
            "[0].route.cluster",
            "[1].match.safe_regex.regex",
            "[1].route.cluster_specifier"
        ]
    );
}
