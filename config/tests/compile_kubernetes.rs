//! Compiling Kubernetes Services, Pods and Ingresses, and what Istio's rules make of them: what recordings on files,
//! without Kubernetes, cannot show.

use weir_config::World;
use weir_config::compile::{Compiled, Node, Target, compile};
use weir_proto::envoy::config::cluster::v3::Cluster;
use weir_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use weir_proto::envoy::config::core::v3::address::Address;
use weir_proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use weir_proto::envoy::config::route::v3::route::Action;
use weir_proto::envoy::config::route::v3::route_action::ClusterSpecifier;
use weir_proto::envoy::config::route::v3::{Route, VirtualHost};

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: consumer}
spec:
  selector: {app: consumer}
  clusterIP: 10.0.0.1
  ports: [{name: http, port: 8080, targetPort: web}, {name: grpc-api, port: 9090}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: consumer}
spec:
  host: consumer
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
";

const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: consumer-v1-a, labels: {app: consumer, version: v1}}
spec: {containers: [{ports: [{name: web, containerPort: 8081}]}]}
status: {podIP: 127.0.1.1, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: consumer-v2-a, labels: {app: consumer, version: v2}}
spec: {containers: [{ports: [{name: web, containerPort: 8082}]}]}
status: {podIP: 127.0.1.2, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: consumer-v2-b, labels: {app: consumer, version: v2}}
status: {podIP: 127.0.1.3, phase: Pending}
";

const SIDECAR: &str = "sidecar~127.0.1.1~consumer-v1-a.default~default.svc.cluster.local";
const ROUTER: &str = "router~127.0.2.1~edge-1.default~default.svc.cluster.local";

fn compiled(texts: &[&str], node: Node, target: Target) -> Compiled {
    let sources: Vec<(String, &str)> =
        texts.iter().enumerate().map(|(index, text)| (format!("{index}.yaml"), *text)).collect();
    let (world, diagnostics) = World::read(&sources);
    assert!(!weir_config::diag::has_errors(&diagnostics), "{diagnostics:#?}");
    compile(&world, &node, target)
}

fn sidecar() -> Node {
    Node::parse(SIDECAR).unwrap().with("INTERCEPTION_MODE", "NONE").unwrap()
}

fn router() -> Node {
    Node::parse(ROUTER).unwrap()
}

/// `address:port` of the endpoints of a cluster.
fn endpoints(compiled: &Compiled, cluster: &str) -> Vec<String> {
    let assignment = compiled.endpoints.iter().find(|one| one.cluster_name == cluster).expect(cluster);
    let members = assignment.endpoints.iter().flat_map(|group| &group.lb_endpoints);
    members
        .map(|one| match one.host_identifier.as_ref() {
            Some(HostIdentifier::Endpoint(endpoint)) => {
                match endpoint.address.clone().unwrap().address.unwrap() {
                    Address::SocketAddress(socket) => format!("{}:{}", socket.address, port(&socket)),
                    other => format!("{other:?}"),
                }
            }
            other => format!("{other:?}"),
        })
        .collect()
}

fn port(socket: &weir_proto::envoy::config::core::v3::SocketAddress) -> u32 {
    use weir_proto::envoy::config::core::v3::socket_address::PortSpecifier;
    match socket.port_specifier {
        Some(PortSpecifier::PortValue(port)) => port,
        _ => 0,
    }
}

fn hosts<'c>(compiled: &'c Compiled, routes: &str) -> &'c [VirtualHost] {
    let found = compiled.routes.iter().find(|one| one.name == routes);
    &found.unwrap_or_else(|| panic!("no {routes} among {:?}", names(compiled))).virtual_hosts
}

fn names(compiled: &Compiled) -> Vec<&str> {
    compiled.routes.iter().map(|one| one.name.as_str()).collect()
}

fn cluster_of(route: &Route) -> &str {
    match &route.action {
        Some(Action::Route(action)) => match &action.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => name,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn kind(cluster: &Cluster) -> DiscoveryType {
    match cluster.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(kind).unwrap(),
        _ => panic!("no type"),
    }
}

#[test]
fn pods_are_the_endpoints_of_a_service_without_slices() {
    let compiled = compiled(&[SERVICE, PODS], sidecar(), Target::Weir);
    let of = |subset: &str, port: u32| {
        endpoints(&compiled, &format!("outbound|{port}|{subset}|consumer.default.svc.cluster.local"))
    };
    assert_eq!(of("", 8080), ["127.0.1.1:8081", "127.0.1.2:8082"]);
    assert_eq!(of("v2", 8080), ["127.0.1.2:8082"]);
    assert_eq!(of("v1", 9090), ["127.0.1.1:9090"]);
}

#[test]
fn slices_go_before_pods_and_take_their_labels() {
    let slice = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: consumer-1, labels: {kubernetes.io/service-name: consumer}}
addressType: IPv4
ports: [{name: http, port: 7000}]
endpoints:
- {addresses: [127.0.1.2], targetRef: {kind: Pod, name: consumer-v2-a}}
- {addresses: [127.0.1.9], conditions: {ready: false}}
- {addresses: [127.0.1.8]}
";
    let compiled = compiled(&[SERVICE, PODS, slice], sidecar(), Target::Weir);
    let of = |subset: &str| {
        endpoints(&compiled, &format!("outbound|8080|{subset}|consumer.default.svc.cluster.local"))
    };
    assert_eq!(of(""), ["127.0.1.2:7000", "127.0.1.8:7000"]);
    assert_eq!(of("v2"), ["127.0.1.2:7000"]);
    assert!(of("v1").is_empty());
    let unlabelled =
        compiled.diagnostics.iter().find(|one| one.code == "endpoint-without-labels").expect("note");
    assert!(unlabelled.message.contains("127.0.1.8"), "{}", unlabelled.message);
}

#[test]
fn a_deployment_gives_its_pods_their_labels() {
    let more = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: consumer-v1}
spec: {template: {metadata: {labels: {app: consumer, version: v1}}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: consumer-1, labels: {kubernetes.io/service-name: consumer}}
addressType: IPv4
ports: [{name: http, port: 7000}]
endpoints: [{addresses: [127.0.1.5], targetRef: {kind: Pod, name: consumer-v1-5d8f-x2}}]
";
    let compiled = compiled(&[SERVICE, more], sidecar(), Target::Weir);
    assert_eq!(
        endpoints(&compiled, "outbound|8080|v1|consumer.default.svc.cluster.local"),
        ["127.0.1.5:7000"]
    );
}

#[test]
fn a_sidecar_listens_on_loopback_and_on_its_own_address() {
    let mut node = sidecar();
    node.listen_port_map.insert(8080, 18080);
    let compiled = compiled(&[SERVICE, PODS], node, Target::Weir);
    let bound: Vec<String> = compiled
        .listeners
        .iter()
        .map(|one| match one.address.clone().unwrap().address.unwrap() {
            Address::SocketAddress(socket) => format!("{} {}:{}", one.name, socket.address, port(&socket)),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        bound,
        [
            "127.0.0.1_8080 127.0.0.1:18080",
            "127.0.0.1_9090 127.0.0.1:9090",
            "127.0.1.1_8081 127.0.1.1:8081",
            "127.0.1.1_9090 127.0.1.1:9090"
        ]
    );
    let own = compiled.clusters.iter().find(|one| one.name == "inbound|8081||").expect("inbound");
    assert_eq!(kind(own), DiscoveryType::Static);
}

#[test]
fn an_ingress_serves_its_hosts_by_path_and_no_other() {
    let ingress = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  rules:
  - host: www.one.example
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: consumer, port: {number: 8080}}}}
      - {path: /api, pathType: Prefix, backend: {service: {name: consumer, port: {name: grpc-api}}}}
      - {path: /api, pathType: Exact, backend: {service: {name: consumer, port: {number: 8080}}}}
  - host: www.two.example
    http: {paths: [{pathType: ImplementationSpecific, backend: {service: {name: consumer, port: {number: 8080}}}}]}
";
    let compiled = compiled(&[SERVICE, PODS, ingress], router(), Target::Weir);
    assert_eq!(names(&compiled), ["http.80"]);
    let hosts = hosts(&compiled, "http.80");
    assert_eq!(
        hosts.iter().flat_map(|host| &host.domains).collect::<Vec<_>>(),
        ["www.one.example", "www.two.example"]
    );
    let clusters: Vec<&str> = hosts[0].routes.iter().map(cluster_of).collect();
    let to = |port: u32| format!("outbound|{port}||consumer.default.svc.cluster.local");
    assert_eq!(clusters, [to(8080), to(9090), to(8080)], "exact before prefix, longer before shorter");
}

#[test]
fn a_gateway_answers_404_for_hosts_that_nobody_serves() {
    let gateway = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: [a.example]}]
";
    let compiled = compiled(&[SERVICE, gateway], router(), Target::Weir);
    let hosts = hosts(&compiled, "http.8080");
    assert_eq!((hosts[0].name.as_str(), hosts[0].routes.len()), ("blackhole:8080", 0));
}

#[test]
fn rules_are_seen_where_they_are_exported_to() {
    let rule = |name: &str, export: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: other}}
spec:
  hosts: [consumer.default.svc.cluster.local]
  exportTo: [{export}]
  http: [{{name: {name}, route: [{{destination: {{host: consumer.default.svc.cluster.local, subset: v1}}}}]}}]
"
        )
    };
    for (export, seen) in [("'.'", "default"), ("default", "ruled"), ("'*'", "ruled"), ("'~'", "default")] {
        let text = rule("ruled", export);
        let compiled = compiled(&[SERVICE, PODS, &text], sidecar(), Target::Weir);
        assert_eq!(hosts(&compiled, "8080")[0].routes[0].name, seen, "exportTo {export}");
    }
}

#[test]
fn the_narrowest_host_speaks_for_a_service() {
    let rules = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a-all, creationTimestamp: '2020-01-01T00:00:00Z'}
spec: {hosts: ['*.svc.cluster.local'], http: [{name: wide, route: [{destination: {host: consumer}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: b-one, creationTimestamp: '2021-01-01T00:00:00Z'}
spec: {hosts: [consumer], http: [{name: narrow, route: [{destination: {host: consumer, subset: v2}}]}]}
";
    let compiled = compiled(&[SERVICE, PODS, rules], sidecar(), Target::Weir);
    assert_eq!(hosts(&compiled, "8080")[0].routes[0].name, "narrow");
}

#[test]
fn what_is_not_obeyed_is_said() {
    let rule = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: late}
spec:
  host: consumer
  trafficPolicy:
    tls: {mode: SIMPLE}
    loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 30s}}
    proxyProtocol: {version: V2}
";
    let compiled = compiled(&[SERVICE.split("---").next().unwrap(), rule], sidecar(), Target::Weir);
    let said = |what: &str| {
        compiled.diagnostics.iter().any(|one| one.code == "field-not-obeyed" && one.message.contains(what))
    };
    for what in ["tls", "proxyProtocol"] {
        assert!(said(what), "nothing is said of {what}: {:#?}", compiled.diagnostics);
    }
    assert!(!said("warmup"), "slow start is obeyed: {:#?}", compiled.diagnostics);
}

#[test]
fn the_same_world_compiles_to_equal_resources() {
    let of = || compiled(&[SERVICE, PODS], Node::parse(SIDECAR).unwrap(), Target::Istiod);
    let (first, second) = (of(), of());
    assert!(first.clusters == second.clusters, "clusters differ");
    assert!(first.endpoints == second.endpoints, "endpoints differ");
    assert!(first.routes == second.routes, "routes differ");
    assert!(first.listeners == second.listeners, "listeners differ");
}
