//! What a text may say, and in which words and at which place a mistake is reported.

use weir_proto::envoy::config::bootstrap::v3::Bootstrap;
use weir_proto::envoy::config::cluster::v3::{Cluster, cluster};
use weir_proto::envoy::config::core::v3::{Metadata, Node};
use weir_proto::{FieldPath, Format, ParseOptions, Pool, locate};

fn cluster(pool: &Pool, text: &str) -> Result<Cluster, String> {
    let options = ParseOptions { file: "c.yaml".to_owned(), ..ParseOptions::default() };
    pool.parse(text, &options).map(|parsed| parsed.message).map_err(|error| error.to_string())
}

#[test]
fn names_and_values_in_all_their_spellings() {
    let pool = Pool::load().expect("descriptors");
    let table = [
        "{name: a, lb_policy: RING_HASH, connect_timeout: 0.25s, upstream_config: null}",
        "{name: a, lbPolicy: ring_hash, connectTimeout: 0.250s}",
        "{name: a, lb_policy: 2, connect_timeout: {nanos: 250000000}}",
        "{\"name\": \"a\", \"lb_policy\": \"2\", \"connect_timeout\": \"0.25s\", \"health_checks\": []}",
    ];
    for text in &table[..3] {
        let found = cluster(&pool, text).expect(text);
        assert_eq!(found.lb_policy, cluster::LbPolicy::RingHash as i32, "{text}");
        assert_eq!(
            found.connect_timeout.map(|span| (span.seconds, span.nanos)),
            Some((0, 250_000_000)),
            "{text}"
        );
    }
    assert!(cluster(&pool, table[3]).is_err_and(|error| error.contains("has no value \"2\"")));
}

#[test]
fn mistakes_name_their_place_and_their_remedy() {
    let pool = Pool::load().expect("descriptors");
    let table = [
        (
            "name: 12",
            "c.yaml:1:7: name: needs a text (in quotes, where it looks like a number or a boolean), found the number 12\n1 | name: 12\n  |       ^",
        ),
        (
            "name: a\nlb_polcy: X",
            "c.yaml:2:1: envoy.config.cluster.v3.Cluster has no field \"lb_polcy\"; did you mean lb_policy?\n2 | lb_polcy: X\n  | ^",
        ),
        (
            "name: a\nlb_policy: ROUND_ROBINN",
            "c.yaml:2:12: lb_policy: envoy.config.cluster.v3.Cluster.LbPolicy has no value \"ROUND_ROBINN\"; did you mean ROUND_ROBIN?\n2 | lb_policy: ROUND_ROBINN\n  |            ^",
        ),
        (
            "name: a\nconnect_timeout: 5",
            "c.yaml:2:18: connect_timeout: needs a duration in seconds, such as 1.5s, found the number 5\n2 | connect_timeout: 5\n  |                  ^",
        ),
        (
            "name: a\ntype: EDS\ncluster_type: {name: x}",
            "c.yaml:3:1: cluster_type: excludes type: only one of \"cluster_discovery_type\" may be set\n3 | cluster_type: {name: x}\n  | ^",
        ),
        (
            "name: a\naltStatName: b\nalt_stat_name: c",
            "c.yaml:3:1: alt_stat_name: given twice, under both of its names\n3 | alt_stat_name: c\n  | ^",
        ),
        ("name: a\nname: b", "c.yaml:2:1: the key \"name\" stands twice in this map\n2 | name: b\n  | ^"),
        (
            "name: a\nper_connection_buffer_limit_bytes: -1",
            "c.yaml:2:36: per_connection_buffer_limit_bytes: needs an integer from 0 to 4294967295, found the number -1\n2 | per_connection_buffer_limit_bytes: -1\n  |                                    ^",
        ),
        ("- a", "c.yaml:1:1: needs a map (envoy.config.cluster.v3.Cluster), found a list\n1 | - a\n  | ^"),
    ];
    for (text, expected) in table {
        assert_eq!(cluster(&pool, text).expect_err(text), expected);
    }
}

#[test]
fn mistakes_inside_any_have_the_path_of_the_whole() {
    let pool = Pool::load().expect("descriptors");
    let text = r#"name: a
transport_socket:
  name: tls
  typed_config:
    common_tls_context: {alpn_protocols: [h2, 7], tls_params: {tls_minimum_protocol_version: TLSv9}}
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    sni: {}
filters:
- {name: x, typed_config: {"@type": type.googleapis.com/not.Known}}
- {name: w, typed_config: {a: b}}
- {name: z, typed_config: {"@type": google.protobuf.Empty}}
"#;
    let found = cluster(&pool, text).expect_err("five mistakes");
    let heads: Vec<&str> = found.lines().filter(|line| line.starts_with("c.yaml")).collect();
    let context = "transport_socket.typed_config.common_tls_context";
    assert_eq!(heads.len(), 6, "{found}");
    assert!(
        heads[0].starts_with(&format!("c.yaml:5:47: {context}.alpn_protocols[1]: needs a text")),
        "{found}"
    );
    assert!(
        heads[1].starts_with(&format!("c.yaml:5:94: {context}.tls_params.tls_minimum_protocol_version: ")),
        "{found}"
    );
    assert_eq!(
        heads[2],
        "c.yaml:7:10: transport_socket.typed_config.sni: needs a text (in quotes, where it looks like a number or a boolean), found a map"
    );
    assert_eq!(heads[3], "c.yaml:9:37: filters[0].typed_config: unknown type \"not.Known\"");
    assert_eq!(
        heads[4],
        "c.yaml:10:27: filters[1].typed_config: needs \"@type\", which says what message this is"
    );
    assert!(heads[5].ends_with("is no type URL; write type.googleapis.com/google.protobuf.Empty"), "{found}");
}

#[test]
fn unknown_fields_can_be_allowed_and_are_then_reported() {
    let pool = Pool::load().expect("descriptors");
    let options = ParseOptions { allow_unknown_fields: true, ..ParseOptions::default() };
    let parsed = pool.parse::<Cluster>("name: a\nnew_thing: {deep: 1}", &options).expect("allowed");
    assert_eq!(parsed.message.name, "a");
    let ignored: Vec<_> = parsed.ignored.iter().map(|problem| (problem.line, problem.column)).collect();
    assert_eq!(ignored, [(2, 1)]);
}

#[test]
fn yaml_numbers_in_a_struct_follow_envoy() {
    let pool = Pool::load().expect("descriptors");
    let text = "filter_metadata: {x: {a: 1, b: 1.5, c: yes, d: ~, e: '2', f: 99999999999}}";
    let metadata: Metadata = pool.parse(text, &ParseOptions::default()).expect("valid").message;
    let json = pool
        .to_json(
            "envoy.config.core.v3.Metadata",
            &prost::Message::encode_to_vec(&metadata),
            weir_proto::Secrets::Show,
        )
        .expect("a dump");
    let expected =
        serde_json::json!({"a": 1.0, "b": "1.5", "c": true, "d": null, "e": "2", "f": "99999999999"});
    assert_eq!(json["filter_metadata"]["x"], expected);
}

#[test]
fn json_files_are_json_and_the_rest_is_yaml() {
    let pool = Pool::load().expect("descriptors");
    for (file, format) in
        [("a.json", Format::Json), ("A.JSON", Format::Json), ("a.yaml", Format::Yaml), ("a", Format::Yaml)]
    {
        assert_eq!(ParseOptions::for_file(file).format, format);
    }
    let error = pool.parse::<Node>("{\"id\": \"a\"\n \"cluster\": \"b\"}", &ParseOptions::for_file("n.json"));
    assert_eq!(
        error.expect_err("a comma is missing").to_string(),
        "n.json:2:2: a `,` or `}` is needed here\n2 |  \"cluster\": \"b\"}\n  |  ^"
    );
    assert_eq!(
        pool.parse::<Node>("", &ParseOptions::default()).map_err(|e| e.to_string()).err().as_deref(),
        Some("1:1: needs a map (envoy.config.core.v3.Node), found null\n1 | \n  | ^")
    );
    let parsed = weir_proto::parse::<Bootstrap>("{}", &ParseOptions::default()).expect("an empty bootstrap");
    assert_eq!(parsed.message, Bootstrap::default());
}

#[test]
fn a_later_complaint_is_located_in_the_text() {
    let text = "clusters:\n- name: a\n  typedExtensionProtocolOptions:\n    x.y: {b: 1}\n- name: b\n";
    let place = |path: &str| {
        let found = locate(text, Format::Yaml, [(FieldPath::of(path), "no".to_owned())]);
        found.first().map(|(problem, steps)| (problem.line, problem.column, *steps)).expect("a problem")
    };
    assert_eq!(place("clusters[1].name"), (5, 3, 3));
    assert_eq!(place("clusters[0].typed_extension_protocol_options[\"x.y\"].b"), (4, 11, 5));
    // What is not written: the message around it.
    assert_eq!(place("clusters[1].type"), (5, 3, 2));
    assert_eq!(place("clusters[7].type"), (2, 3, 1));
    assert_eq!(place("").0, 0);
}
