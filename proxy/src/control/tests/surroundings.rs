//! Secrets of the bootstrap, and filters whose configurations a source brings.

use super::*;

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

fn pem(label: &str) -> String {
    format!("{{inline_string: \"-----BEGIN {label}-----\\nQUJD\\n-----END {label}-----\\n\"}}")
}

/// A bootstrap with a secret of this chain and key, and a cluster that takes a secret of this name.
fn with_secret(chain: &str, key: &str, taken: &str) -> Bootstrap {
    parse(&format!(
        "{{static_resources: {{
            secrets: [{{name: own, tls_certificate: {{certificate_chain: {chain}, private_key: {key}}}}}],
            clusters: [{{name: c, transport_socket: {{name: tls, typed_config: {{'@type': {TLS},
              common_tls_context: {{tls_certificate_sds_secret_configs: [{{name: {taken}}}]}}}}}}}}]}}}}"
    ))
}

#[test]
fn secrets_of_the_bootstrap_are_judged_and_known_by_name() {
    let (chain, key) = (pem("CERTIFICATE"), pem("EC PRIVATE KEY"));
    assert!(validate(&with_secret(&chain, &key, "own")).is_ok());
    for (chain, key, taken, place, piece) in [
        (&chain, &key, "other", "tls_certificate_sds_secret_configs[0].name", "Unknown static secret: other"),
        (&key, &key, "own", "secrets[0].tls_certificate.certificate_chain", "no PEM of certificates"),
        (&chain, &chain, "own", "secrets[0].tls_certificate.private_key", "no PEM of a private key"),
    ] {
        let Err(error) = validate(&with_secret(chain, key, taken)) else { panic!("accepted: {piece}") };
        assert!(error.to_string().contains(place) && error.to_string().contains(piece), "{error}");
    }
}

/// A listener whose HTTP filter has its configuration from a source; these fields say more of that.
fn discovered(more: &str) -> Resource {
    let message: Listener = parse(&format!(
        r#"{{name: l, address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}},
            filter_chains: [{{filters: [{{name: http, typed_config: {{
              "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
              stat_prefix: s, route_config: {{}},
              http_filters: [{{name: f, config_discovery: {{config_source: {{ads: {{}}}}, {more}}}}},
                {{name: router, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}]}}]}}"#
    ));
    resource("l", &message)
}

#[test]
fn what_a_discovered_filter_may_be_is_judged_with_its_listener() {
    let (control, published, _) = started("{}");
    let cors = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors";
    let grpc = "type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig";
    for (more, piece) in [
        (
            "type_urls: [type.googleapis.com/no.Such]".to_owned(),
            "type_urls[0]: the filter of type 'no.Such' is not",
        ),
        (
            format!("type_urls: ['{cors}'], default_config: {{'@type': {grpc}}}"),
            "default_config: filter config has type URL",
        ),
        (
            format!("type_urls: ['{cors}'], apply_default_config_without_warming: true"),
            "there is no default_config",
        ),
    ] {
        let verdicts =
            control.apply(Update { listeners: added(vec![discovered(&more)]), ..Update::default() });
        let errors = verdicts.first().unwrap().result.as_ref().unwrap_err();
        assert!(errors.iter().any(|error| error.to_string().contains(piece)), "{piece}: {errors:?}");
    }
    // With a default that need not be waited for it serves at once; else it waits, and then serves without.
    let at_once = format!(
        "type_urls: ['{cors}'], default_config: {{'@type': {cors}}}, apply_default_config_without_warming: true"
    );
    control.apply(Update::sent(Kind::Listener, "1", added(vec![discovered(&at_once)])));
    assert!(published.load().listeners.contains_key("l"));
    let waits = format!("type_urls: ['{cors}']");
    control.apply(Update::sent(Kind::Listener, "2", removed("l")));
    control.apply(Update::sent(Kind::Listener, "3", added(vec![discovered(&waits)])));
    assert!(!published.load().listeners.contains_key("l"));
    let missing = Change { missing: vec!["f".into()], ..Change::default() };
    control.apply(Update::sent(Kind::Extension, "1", missing));
    assert!(published.load().listeners.contains_key("l"), "a source that has none is not waited for");
}

fn extension(name: &str, type_name: &str) -> Resource {
    let config: weir_proto::envoy::config::core::v3::TypedExtensionConfig =
        parse(&format!("{{name: {name}, typed_config: {{'@type': type.googleapis.com/{type_name}}}}}"));
    resource(name, &config)
}

#[test]
fn what_one_source_is_not_asked_for_any_more_stays_for_whoever_wants_it() {
    let (control, published, _) = started("{}");
    let cors = "envoy.extensions.filters.http.cors.v3.Cors";
    let waits = format!("type_urls: ['type.googleapis.com/{cors}']");
    control.apply(Update::sent(Kind::Listener, "1", added(vec![discovered(&waits)])));
    control.apply(Update::sent(Kind::Extension, "1", added(vec![extension("f", cors)])));
    let missing = || {
        let snapshot = published.load();
        format!("{:?}", snapshot.listeners.get("l").expect("in force")).contains("weir.MissingFilter")
    };
    assert!(!missing());
    let unwanted = Change { unwanted: vec!["f".into()], ..Change::default() };
    control.apply(Update::sent(Kind::Extension, "", unwanted.clone()));
    assert!(!missing(), "the listener still wants it");
    // A source without it says nothing against one that has come.
    let none = Change { missing: vec!["f".into()], ..Change::default() };
    control.apply(Update::sent(Kind::Extension, "2", none));
    assert!(!missing());
    control.apply(Update::sent(Kind::Extension, "3", removed("f")));
    assert!(missing(), "gone is gone");
    control.apply(Update::sent(Kind::Extension, "4", added(vec![extension("f", cors)])));
    assert!(!missing());
    // With the listener it goes, refused versions and all.
    let verdicts = control.apply(Update::sent(
        Kind::Extension,
        "5",
        added(vec![extension("f", "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig")]),
    ));
    assert!(verdicts.first().unwrap().result.is_err());
    control.apply(Update::sent(Kind::Listener, "2", removed("l")));
    control.apply(Update::sent(Kind::Extension, "", unwanted));
    let dump = control.dump_blocking(DumpOptions::default()).to_string();
    assert!(!dump.contains("ecds_filters"), "{dump}");
}

#[test]
fn listeners_wait_for_runtime_layers_and_only_what_has_asked_is_compiled_again() {
    let (control, published, _) = started(
        "{layered_runtime: {layers: [{name: r, rtds_layer: {name: layer, rtds_config: {ads: {}, initial_fetch_timeout: 0s}}}]},
          static_resources: {clusters: [{name: plain}, {name: limited, circuit_breakers: {thresholds: [{max_requests: 7}]}}]}}",
    );
    control.apply(Update::sent(
        Kind::Listener,
        "1",
        added(vec![resource("l", &tcp_listener("l", 0, "plain"))]),
    ));
    assert!(!published.load().listeners.contains_key("l"), "it would serve without its runtime values");
    let layer = |value: u32| {
        let message: weir_proto::envoy::service::runtime::v3::Runtime = parse(&format!(
            "{{name: layer, layer: {{circuit_breakers.limited.default.max_requests: {value}, overload.global_downstream_max_connections: 123456}}}}"
        ));
        added(vec![resource("layer", &message)])
    };
    let before = published.load();
    control.apply(Update::sent(Kind::Runtime, "1", layer(3)));
    let after = published.load();
    assert!(after.listeners.contains_key("l"));
    let same =
        |name: &str| Arc::ptr_eq(before.clusters.get(name).unwrap(), after.clusters.get(name).unwrap());
    assert!(same("plain") && !same("limited"));
    assert_eq!(after.runtime.get("circuit_breakers.limited.default.max_requests"), Some("3"));
    assert_eq!(crate::live::limit::limit(), 123_456);
    // A refused version takes nothing from the one in force: that is compiled anew with the next value.
    let late: Cluster = parse("{name: late, type: STATIC}");
    control.apply(Update::sent(Kind::Cluster, "1", added(vec![resource("late", &late)])));
    let verdicts =
        control.apply(Update::sent(Kind::Cluster, "2", added(vec![Resource::new("late", &b"\xff"[..])])));
    assert!(verdicts.first().unwrap().result.is_err());
    let before = published.load().clusters.get("late").unwrap().clone();
    let message: weir_proto::envoy::service::runtime::v3::Runtime =
        parse("{name: layer, layer: {circuit_breakers.late.default.max_requests: 5}}");
    control.apply(Update::sent(Kind::Runtime, "2", added(vec![resource("layer", &message)])));
    assert!(!Arc::ptr_eq(&before, published.load().clusters.get("late").unwrap()));
}

#[test]
fn a_secret_that_cannot_be_decoded_shows_nothing_of_itself() {
    let (control, _, _) = started("{}");
    let bytes = b"\x0a\x01s\x12\x05\xff\xff\xffhush".to_vec();
    let verdicts = control.apply(Update::sent(Kind::Secret, "1", added(vec![Resource::new("s", bytes)])));
    let told = format!("{:?}", verdicts.first().unwrap().result.as_ref().unwrap_err());
    let dump = control.dump_blocking(DumpOptions::default()).to_string();
    assert!(dump.contains("failed_configuration") && dump.contains("[redacted]"), "{dump}");
    assert!(!told.contains("hush") && !dump.contains("hush") && !dump.contains("aHVzaA"), "{told} {dump}");
}
