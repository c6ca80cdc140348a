//! Fields that our protos do not know are found by path, also inside `Any`.

mod support;

use prost::Message;
use weir_proto::Pool;
use weir_proto::envoy::config::cluster::v3::Cluster;
use weir_proto::google::protobuf::Any;

/// Field 5000 as a varint 1.
const FIELD_5000: [u8; 4] = [0xc0, 0xb8, 0x02, 0x01];

#[test]
fn unknown_fields_are_reported_with_their_path() {
    let pool = Pool::load().expect("descriptors");
    let mut options =
        weir_proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions::default().encode_to_vec();
    options.extend(FIELD_5000);
    let any = Any {
        type_url: "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(),
        value: options,
    };
    let mut cluster = Cluster { name: "a".to_owned(), ..Cluster::default() };
    cluster.typed_extension_protocol_options.insert("x".to_owned(), any);
    let mut bytes = cluster.encode_to_vec();
    let name = "envoy.config.cluster.v3.Cluster";
    assert_eq!(pool.unknown_fields(name, &Cluster::default().encode_to_vec()), Ok(Vec::new()));
    bytes.extend(FIELD_5000);
    let found = pool.unknown_fields(name, &bytes).expect("a cluster");
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    let expected = [
        "field 5000 of envoy.config.cluster.v3.Cluster",
        "typed_extension_protocol_options[\"x\"]: field 5000 of envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    ];
    assert_eq!(found, expected);
}

/// Known gaps of `envoy-types` 0.7.7 that a real istiod uses; a new one must be looked at.
const KNOWN_GAPS: [&str; 0] = [];

#[test]
fn istiod_sends_nothing_that_is_unknown_here() {
    let Some(corpus) = support::corpus("istiod-recorded/ads") else { return };
    let pool = Pool::load().expect("descriptors");
    let name = "envoy.service.discovery.v3.DeltaDiscoveryResponse";
    let mut gaps = std::collections::BTreeSet::new();
    for file in support::files(&corpus, &[".pb"]) {
        if file.to_string_lossy().contains("-req-") {
            continue;
        }
        let bytes = std::fs::read(&file).expect("a recording");
        for unknown in pool.unknown_fields(name, &bytes).expect("a response") {
            gaps.insert(format!("{} of {}", unknown.number, unknown.type_name));
        }
    }
    gaps.retain(|gap| !KNOWN_GAPS.contains(&gap.as_str()));
    assert!(gaps.is_empty(), "{gaps:?}");
}
