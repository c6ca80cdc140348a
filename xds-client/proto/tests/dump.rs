//! Messages as JSON: unknown types, secrets, and the way back.

use prost::Message;
use serde_json::json;
use weir_proto::any::pack;
use weir_proto::envoy::config::bootstrap::v3::Bootstrap;
use weir_proto::envoy::config::cluster::v3::Cluster;
use weir_proto::envoy::extensions::transport_sockets::tls::v3::Secret;
use weir_proto::google::protobuf::Any;
use weir_proto::{Format, ParseOptions, Pool, Secrets};

const CLUSTERS: &str = r#"
static_resources:
  clusters:
  - name: a
    type: strict_dns
    connect_timeout: 0.25s
    respect_dns_ttl: true
    lb_policy: RING_HASH
    ring_hash_lb_config: {minimum_ring_size: 8388608}
    metadata:
      filter_metadata:
        envoy.lb: {canary: true, weight: 12, share: "1.5", none: null, list: [a, {b: c}]}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 100}}
"#;

#[test]
fn json_reads_back_as_the_same_message() {
    let pool = Pool::load().expect("descriptors");
    let name = "envoy.config.bootstrap.v3.Bootstrap";
    let first: Bootstrap = pool.parse(CLUSTERS, &ParseOptions::default()).expect("valid").message;
    let json = pool.to_json(name, &first.encode_to_vec(), Secrets::Show).expect("a dump");
    let cluster = json.pointer("/static_resources/clusters/0").expect("a cluster");
    assert_eq!(cluster["type"], "STRICT_DNS");
    assert_eq!(cluster["connect_timeout"], "0.250s");
    assert_eq!(cluster["ring_hash_lb_config"]["minimum_ring_size"], "8388608");
    let metadata = &cluster["metadata"]["filter_metadata"]["envoy.lb"];
    let expected =
        json!({"canary": true, "weight": 12.0, "share": "1.5", "none": null, "list": ["a", {"b": "c"}]});
    assert_eq!(metadata, &expected);
    let again: Bootstrap = pool.parse_value(json.clone(), &ParseOptions::default()).expect("valid").message;
    assert_eq!(pool.to_json(name, &again.encode_to_vec(), Secrets::Show).expect("a dump"), json);
    let options = ParseOptions { format: Format::Json, ..ParseOptions::default() };
    let text: Bootstrap = pool.parse(&json.to_string(), &options).expect("valid").message;
    assert_eq!(pool.to_json(name, &text.encode_to_vec(), Secrets::Show).expect("a dump"), json);
}

#[test]
fn an_unknown_type_costs_its_node_alone() {
    let pool = Pool::load().expect("descriptors");
    let mut cluster = Cluster { name: "a".to_owned(), ..Cluster::default() };
    let unknown = Any { type_url: "type.googleapis.com/not.Known".to_owned(), value: vec![1, 2, 3] };
    cluster.typed_extension_protocol_options.insert("x".to_owned(), unknown);
    let json = pool.any_to_json(&pack(&cluster), Secrets::Redact);
    let expected = json!({
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": "a",
        "typed_extension_protocol_options": {"x": {"@type": "type.googleapis.com/not.Known", "value": "AQID"}},
    });
    assert_eq!(json, expected);
    let broken =
        Any { type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned(), value: vec![9] };
    assert_eq!(pool.any_to_json(&broken, Secrets::Show)["value"], "CQ==");
}

#[test]
fn secrets_are_redacted_also_inside_any_and_typed_struct() {
    let pool = Pool::load().expect("descriptors");
    let text = r#"{"name": "s", "tls_certificate": {
        "certificate_chain": {"inline_string": "chain"},
        "private_key": {"inline_string": "key"},
        "password": {"inline_bytes": "a2V5"}}}"#;
    let options = ParseOptions { format: Format::Json, ..ParseOptions::default() };
    let secret: Secret = pool.parse(text, &options).expect("valid").message;
    let shown = pool.any_to_json(&pack(&secret), Secrets::Redact);
    let certificate = &shown["tls_certificate"];
    assert_eq!(certificate["certificate_chain"]["inline_string"], "chain");
    assert_eq!(certificate["private_key"]["inline_string"], "[redacted]");
    assert_eq!(certificate["password"]["inline_bytes"], "W3JlZGFjdGVkXQ==");
    assert_eq!(
        pool.any_to_json(&pack(&secret), Secrets::Show)["tls_certificate"]["private_key"]["inline_string"],
        "key"
    );

    let value = json!({"type_url": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "value": serde_json::from_str::<serde_json::Value>(text).expect("JSON")});
    let wrapped: weir_proto::udpa::r#type::v1::TypedStruct =
        pool.parse_value(value, &options).expect("valid").message;
    let shown = pool.any_to_json(&pack(&wrapped), Secrets::Redact);
    assert_eq!(shown["value"]["tls_certificate"]["private_key"]["inline_string"], "[redacted]");
    assert_eq!(shown["value"]["name"], "s");
}
