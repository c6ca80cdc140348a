//! Listeners for what comes in: to a sidecar's pod, with and without redirection, and to a gateway that passes TLS through;
//! and what becomes of rules that need to know where a redirected connection was meant to go.

use weir_config::World;
use weir_config::compile::{Compiled, Lacking, Node, Target, compile};
use weir_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use weir_proto::envoy::config::core::v3::address::Address;
use weir_proto::envoy::config::core::v3::socket_address::PortSpecifier;
use weir_proto::envoy::config::listener::v3::listener_filter_chain_match_predicate::Rule;
use weir_proto::envoy::config::listener::v3::{FilterChain, Listener};

const MESH: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.test]
  resolution: STATIC
  ports:
  - {number: 80, targetPort: 8080, name: http, protocol: HTTP}
  - {number: 90, targetPort: 9090, name: raw, protocol: TCP}
  - {number: 70, targetPort: 7070, name: any}
  endpoints: [{address: 10.1.1.1}]
";

fn envoy() -> Target {
    Target::Envoy(Lacking::default())
}

fn compiled(more: &str, kind: &str, mode: &str, target: Target) -> Compiled {
    let (world, found) = World::read(&[("mesh.yaml", MESH), ("more.yaml", more)]);
    assert!(!weir_config::diag::has_errors(&found), "{found:#?}");
    let node = Node::parse(&format!("{kind}~10.1.1.1~web-1.shop~shop.svc.cluster.local")).unwrap();
    let node = node.with("INTERCEPTION_MODE", mode).unwrap().with("LABELS", "istio=edge").unwrap();
    compile(&world, &node, target)
}

fn inbound(compiled: &Compiled) -> Vec<&Listener> {
    compiled.listeners.iter().filter(|one| one.traffic_direction == 1).collect()
}

fn place(listener: &Listener) -> String {
    let Some(Address::SocketAddress(socket)) = listener.address.clone().and_then(|one| one.address) else {
        panic!("{:?}", listener.address)
    };
    let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else { panic!("{socket:?}") };
    format!("{}:{port}", socket.address)
}

/// Which connections a chain takes, and its last filter.
fn chain(chain: &FilterChain) -> String {
    let told = chain.filter_chain_match.clone().unwrap_or_default();
    let port = told.destination_port.map(|port| port.value.to_string()).unwrap_or_default();
    let names = [told.application_protocols.join(","), told.server_names.join(",")].concat();
    let last = chain.filters.last().map_or("", |last| last.name.rsplit('.').next().unwrap_or_default());
    format!("{port}/{}/{names} {last}", told.transport_protocol)
}

#[test]
fn redirected_connections_arrive_at_one_listener() {
    for (mode, transparent, filters) in [
        ("REDIRECT", false, vec!["original_dst", "http_inspector"]),
        ("TPROXY", true, vec!["original_dst", "original_src", "http_inspector"]),
    ] {
        let all = compiled("", "sidecar", mode, envoy());
        let [listener] = inbound(&all)[..] else { panic!("{:?}", all.listeners) };
        assert_eq!((listener.name.as_str(), place(listener).as_str()), ("virtualInbound", "0.0.0.0:15006"));
        let chains: Vec<String> = listener.filter_chains.iter().map(chain).collect();
        assert_eq!(
            chains,
            [
                "15006// tcp_proxy",
                "/raw_buffer/http/1.1,h2c http_connection_manager",
                "/raw_buffer/ tcp_proxy",
                "7070/raw_buffer/http/1.1,h2c http_connection_manager",
                "7070/raw_buffer/ tcp_proxy",
                "8080/raw_buffer/ http_connection_manager",
                "9090/raw_buffer/ tcp_proxy",
            ]
        );
        assert_eq!(listener.transparent.as_ref().is_some_and(|on| on.value), transparent);
        let names = listener.listener_filters.iter().map(|one| one.name.rsplit('.').next().unwrap());
        assert_eq!(names.collect::<Vec<_>>(), filters);
        let off = listener.listener_filters.last().unwrap().filter_disabled.as_ref().unwrap();
        let Some(Rule::OrMatch(set)) = &off.rule else { panic!("{off:?}") };
        let starts: Vec<i32> = set.rules.iter().map(range).collect();
        assert_eq!(starts, [8080, 9090, 15006], "only what declares no protocol is looked at");
    }
}

fn range(one: &weir_proto::envoy::config::listener::v3::ListenerFilterChainMatchPredicate) -> i32 {
    match &one.rule {
        Some(Rule::DestinationPortRange(range)) => range.start,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_redirection_each_port_has_a_listener() {
    for (target, any) in [(envoy(), "/raw_buffer/http/1.1,h2c"), (Target::Weir, "//")] {
        let all = compiled("", "sidecar", "NONE", target);
        let found: Vec<(String, String)> = inbound(&all)
            .iter()
            .map(|one| (place(one), one.filter_chains.iter().map(chain).collect::<Vec<_>>().join(" ")))
            .collect();
        let listener = |port: u16, chain: String| (format!("10.1.1.1:{port}"), chain);
        assert_eq!(
            found,
            [
                listener(7070, format!("{any} http_connection_manager")),
                listener(8080, "// http_connection_manager".to_owned()),
                listener(9090, "// tcp_proxy".to_owned()),
            ]
        );
        let rest = inbound(&all)[0].default_filter_chain.as_ref().map(chain);
        assert_eq!(rest.as_deref(), (target == envoy()).then_some("// tcp_proxy"));
    }
}

#[test]
fn a_load_balancer_that_passes_through_needs_redirection() {
    let rule = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec: {host: web.test, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}
";
    for (kind, mode, target, passes) in [
        ("sidecar", "REDIRECT", envoy(), true),
        ("sidecar", "NONE", envoy(), false),
        ("router", "REDIRECT", envoy(), false),
        ("sidecar", "REDIRECT", Target::Weir, false),
        ("router", "REDIRECT", Target::Istiod, true),
    ] {
        let all = compiled(rule, kind, mode, target);
        let cluster = all.clusters.iter().find(|one| one.name == "outbound|80||web.test").unwrap();
        let wanted = if passes {
            (DiscoveryType::OriginalDst, LbPolicy::ClusterProvided)
        } else {
            (DiscoveryType::Eds, LbPolicy::LeastRequest)
        };
        let found = Some(ClusterDiscoveryType::Type(wanted.0.into()));
        assert_eq!(
            (&cluster.cluster_discovery_type, cluster.lb_policy),
            (&found, wanted.1.into()),
            "{kind} {mode}"
        );
        let told = all.diagnostics.iter().any(|one| one.message.starts_with("PASSTHROUGH of web.test"));
        assert_eq!(told, !passes, "{kind} {mode}: {:#?}", all.diagnostics);
    }
}

#[test]
fn a_gateway_passes_tls_through_by_name() {
    let more = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  selector: {istio: edge}
  servers: [{port: {number: 443, name: tls, protocol: TLS}, hosts: ['*.test'], tls: {mode: PASSTHROUGH}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.test]
  gateways: [edge]
  tls: [{match: [{sniHosts: [web.test]}], route: [{destination: {host: web.test, port: {number: 90}}}]}]
";
    for target in [envoy(), Target::Weir] {
        let all = compiled(more, "router", "NONE", target);
        let [listener] = &all.listeners[..] else { panic!("{:?}", all.listeners) };
        assert_eq!(listener.filter_chains.iter().map(chain).collect::<Vec<_>>(), ["//web.test tcp_proxy"]);
        assert_eq!(listener.listener_filters[0].name, "envoy.filters.listener.tls_inspector");
        let told = all.diagnostics.iter().find(|one| one.message.contains("TLS"));
        assert!(told.is_none(), "{told:?}");
    }
}
