//! Sidecar resources: which one holds for a proxy, and what the proxy sees then.

use weir_config::World;
use weir_config::compile::{Compiled, Node, Target, compile};
use weir_proto::envoy::config::core::v3::address::Address;
use weir_proto::envoy::config::core::v3::socket_address::PortSpecifier;
use weir_proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use weir_proto::envoy::config::listener::v3::Listener;

/// Services in three namespaces, one of them for its own alone, and a ServiceEntry.
const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}, {name: tcp-admin, port: 9000}]}
---
apiVersion: v1
kind: Service
metadata: {name: search, namespace: shop}
spec: {clusterIP: 10.0.0.2, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: stock, namespace: depot}
spec: {clusterIP: 10.0.0.3, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: ledger, namespace: depot, annotations: {networking.istio.io/exportTo: .}}
spec: {clusterIP: 10.0.0.4, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: pay, namespace: edge}
spec:
  hosts: [pay.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.7}]
";

fn sidecar(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

fn of_shop() -> Node {
    let node = Node::parse("sidecar~10.1.1.1~web-1.shop~shop.svc.cluster.local").unwrap();
    node.with("LABELS", "app=web").unwrap()
}

fn compiled(texts: &[&str], node: &Node, target: Target) -> Compiled {
    let sources: Vec<(String, &str)> =
        texts.iter().enumerate().map(|(index, text)| (format!("{index}.yaml"), *text)).collect();
    let (world, diagnostics) = World::read(&sources);
    assert!(!weir_config::diag::has_errors(&diagnostics), "{diagnostics:#?}");
    compile(&world, node, target)
}

/// `NAME:PORT` of the services that there are clusters for, with the first label of the name.
fn seen(compiled: &Compiled) -> Vec<String> {
    let outbound = compiled.clusters.iter().filter_map(|one| {
        let parts: Vec<&str> = one.name.split('|').collect();
        match parts.as_slice() {
            ["outbound", port, "", host] => {
                Some(format!("{}:{port}", host.split('.').next().unwrap_or(host)))
            }
            _ => None,
        }
    });
    let mut seen: Vec<String> = outbound.collect();
    seen.sort();
    seen
}

fn seen_with(texts: &[&str], node: &Node) -> Vec<String> {
    let mut all = vec![MESH];
    all.extend(texts);
    seen(&compiled(&all, node, Target::Istiod))
}

fn hosts(list: &str) -> String {
    format!("{{egress: [{{hosts: [{list}]}}]}}")
}

#[test]
fn hosts_limit_what_a_proxy_sees() {
    const ALL: [&str; 5] = ["cart:80", "cart:9000", "pay:80", "search:80", "stock:80"];
    let cases: &[(&str, &[&str])] = &[
        ("'*/*'", &ALL),
        ("./*", &["cart:80", "cart:9000", "search:80"]),
        ("shop/*", &["cart:80", "cart:9000", "search:80"]),
        ("~/*", &[]),
        ("'*/cart.shop.svc.cluster.local'", &["cart:80", "cart:9000"]),
        ("'./Search.shop.svc.cluster.local', edge/*", &["pay:80", "search:80"]),
        ("'*/*.example.com'", &["pay:80"]),
        ("'*/pay.example.com', depot/*", &["pay:80", "stock:80"]),
        // What is said of its namespace is not all that holds for a service.
        ("shop/cart.shop.svc.cluster.local, '*/*'", &ALL),
        ("depot/ledger.depot.svc.cluster.local", &[]),
        ("cart, shop/cart", &[]),
    ];
    for (list, expected) in cases {
        let text = sidecar("own", "shop", &hosts(list));
        assert_eq!(seen_with(&[&text], &of_shop()), *expected, "{list}");
    }
}

#[test]
fn the_nearest_sidecar_holds() {
    let selecting = |app: &str, list: &str| {
        format!("{{workloadSelector: {{labels: {{app: {app}}}}}, egress: [{{hosts: [{list}]}}]}}")
    };
    let root = sidecar("root", "istio-system", &hosts("edge/*"));
    let namespace = sidecar("all", "shop", &hosts("depot/*"));
    let own = sidecar("own", "shop", &selecting("web", "'*/cart.shop.svc.cluster.local'"));
    let other = sidecar("other", "shop", &selecting("db", "~/*"));
    let foreign = sidecar("foreign", "depot", &hosts("~/*"));
    let node = of_shop();
    assert_eq!(seen_with(&[&root], &node), ["pay:80"]);
    assert_eq!(seen_with(&[&root, &namespace, &foreign], &node), ["stock:80"]);
    assert_eq!(seen_with(&[&root, &namespace, &own, &other], &node), ["cart:80", "cart:9000"]);
    assert_eq!(seen_with(&[&foreign, &other], &node).len(), 5, "none of them is for this proxy");
    let router = Node::parse("router~10.1.1.1~web-1.shop~shop.svc.cluster.local").unwrap();
    assert_eq!(seen_with(&[&root, &namespace], &router.with("LABELS", "app=web").unwrap()).len(), 5);
}

#[test]
fn of_several_the_oldest_holds() {
    let aged = |name: &str, year: u32, list: &str| {
        let text = sidecar(name, "shop", &hosts(list));
        text.replace("namespace:", &format!("creationTimestamp: '{year}-01-01T00:00:00Z', namespace:"))
    };
    let (young, old) = (aged("a", 2024, "depot/*"), aged("b", 2020, "edge/*"));
    assert_eq!(seen_with(&[&young, &old], &of_shop()), ["pay:80"]);
    let (world, _) = World::read(&[("0.yaml", &young), ("1.yaml", &old)]);
    let told = weir_config::check::check(&world);
    let told = told.iter().find(|one| one.code == "several-sidecars").expect("a warning");
    assert_eq!(told.at.as_ref().map(|at| &*at.file), Some("0.yaml"), "the young one is not in force");
}

/// A rule for the cart that leads elsewhere.
const RULE: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart]
  http:
  - match: [{sourceNamespace: depot}]
    route: [{destination: {host: pay.example.com}}]
  - mirror: {host: search}
    route: [{destination: {host: stock.depot.svc.cluster.local, port: {number: 80}}}]
";

#[test]
fn imported_rules_bring_what_they_lead_to() {
    let text = sidecar("own", "shop", &hosts("./cart.shop.svc.cluster.local"));
    let all = compiled(&[MESH, RULE, &text], &of_shop(), Target::Istiod);
    assert_eq!(seen(&all), ["cart:80", "cart:9000", "search:80", "stock:80"]);
    let routes = all.routes.iter().find(|one| one.name == "80").expect("routes");
    let names: Vec<&str> = routes.virtual_hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["cart.shop.svc.cluster.local:80", "allow_any"], "clusters, and no virtual hosts");
    // A rule that is not imported says nothing.
    let text = sidecar("own", "shop", &hosts("./search.shop.svc.cluster.local"));
    assert_eq!(seen_with(&[RULE, &text], &of_shop()), ["search:80"]);
    // One for the whole namespace is imported by any name that it takes in; its port has to be there.
    let wide = RULE.replace("[cart]", "['*.shop.svc.cluster.local']").replace("number: 80", "number: 81");
    assert_eq!(seen_with(&[&wide, &text], &of_shop()), ["search:80"]);
}

fn place(listener: &Listener) -> String {
    let Some(Address::SocketAddress(socket)) = listener.address.clone().and_then(|one| one.address) else {
        panic!("{}: no address", listener.name)
    };
    let port = match socket.port_specifier {
        Some(PortSpecifier::PortValue(port)) => port,
        _ => 0,
    };
    format!("{}:{port}", socket.address)
}

/// Places of the listeners for what the pod calls; `*` behind those with a port of their own.
fn listeners(compiled: &Compiled) -> Vec<String> {
    let outbound = compiled.listeners.iter().filter(|one| !one.name.starts_with("virtual"));
    let shown = outbound.map(|one| {
        let own = one.bind_to_port.as_ref().is_none_or(|bind| bind.value);
        format!("{}{}", place(one), if own { "*" } else { "" })
    });
    shown.collect()
}

const PORTS: &str = "{egress: [
  {port: {number: 80, protocol: HTTP, name: http}, hosts: ['*/cart.shop.svc.cluster.local']},
  {port: {number: 9000, protocol: HTTP, name: admin}, bind: 127.0.0.9, captureMode: NONE, hosts: ['./*']},
  {hosts: ['*/*']}]}";

#[test]
fn a_port_has_a_listener_of_its_own() {
    let text = sidecar("own", "shop", PORTS);
    let all = compiled(&[MESH, &text], &of_shop(), Target::Istiod);
    // The port of cart that is spoken to as HTTP, and as TCP to its address through the listener for all others.
    assert_eq!(listeners(&all), ["0.0.0.0:80", "10.0.0.1:9000", "127.0.0.9:9000*"]);
    assert_eq!(seen(&all), ["cart:80", "cart:9000", "pay:80", "search:80", "stock:80"]);
    let hosts = |name: &str| -> Vec<String> {
        let routes = all.routes.iter().find(|one| one.name == name).expect("routes");
        routes.virtual_hosts.iter().map(|host| host.name.clone()).collect()
    };
    assert_eq!(hosts("80"), ["cart.shop.svc.cluster.local:80", "allow_any"]);
    assert_eq!(hosts("9000"), ["cart.shop.svc.cluster.local:9000", "allow_any"]);
    // Without a listener for all other ports there are no others.
    let text = sidecar("own", "shop", "{egress: [{port: {number: 9000, protocol: TCP}, hosts: ['*/*']}]}");
    let all = compiled(&[MESH, &text], &of_shop(), Target::Istiod);
    assert_eq!(
        (seen(&all), listeners(&all)),
        (vec!["cart:9000".to_owned()], vec!["10.0.0.1:9000".to_owned()])
    );
}

#[test]
fn without_interception_listeners_are_bound() {
    let text = sidecar("own", "shop", PORTS);
    let node = of_shop().with("INTERCEPTION_MODE", "NONE").unwrap();
    let all = compiled(&[MESH, &text], &node, Target::Istiod);
    assert_eq!(listeners(&all), ["127.0.0.1:80*", "127.0.0.1:9000*", "127.0.0.9:9000*"]);
    assert!(all.listeners.iter().all(|one| one.name != "virtualOutbound"), "nothing is redirected");
    let weir = compiled(&[MESH, &text], &node, Target::Weir);
    assert_eq!(listeners(&weir), ["127.0.0.1:80*", "127.0.0.1:9000*", "127.0.0.9:9000*"]);
}

#[test]
fn what_cannot_be_listened_on_is_said() {
    for (listener, what) in [
        ("{bind: 'unix:///run/mesh', hosts: ['./*']}", "Unix socket"),
        ("{port: {number: 8080, protocol: HTTP_PROXY}, hosts: ['./*']}", "HTTP_PROXY"),
    ] {
        let text = sidecar("own", "shop", &format!("{{egress: [{listener}]}}"));
        let all = compiled(&[MESH, &text], &of_shop(), Target::Istiod);
        assert_eq!(seen(&all), ["cart:80", "cart:9000", "search:80"], "{what}");
        assert!(listeners(&all).is_empty(), "{what}: {:?}", listeners(&all));
        let told =
            |one: &weir_config::Diagnostic| one.code == "field-not-obeyed" && one.message.contains(what);
        assert!(all.diagnostics.iter().any(told), "{what}: {:#?}", all.diagnostics);
    }
}

#[test]
fn unknown_destinations_pass_are_refused_or_go_to_a_proxy() {
    let cases = [
        ("{}", "allow_any", "PassthroughCluster"),
        ("{outboundTrafficPolicy: {mode: ALLOW_ANY}}", "allow_any", "PassthroughCluster"),
        ("{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}", "block_all", "BlackHoleCluster"),
        ("{outboundTrafficPolicy: {}}", "block_all", "BlackHoleCluster"),
        (
            "{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: out.edge.svc.cluster.local, port: {number: 3128}}}}",
            "allow_any",
            "outbound|3128||out.edge.svc.cluster.local",
        ),
    ];
    for (spec, host, cluster) in cases {
        let all = compiled(&[MESH, &sidecar("own", "shop", spec)], &of_shop(), Target::Istiod);
        let routes = all.routes.iter().find(|one| one.name == "80").expect("routes");
        let last = routes.virtual_hosts.last().expect("virtual hosts");
        assert_eq!(last.name, host, "{spec}");
        let listener = all.listeners.iter().find(|one| one.name == "virtualOutbound").expect("listener");
        let shown = format!("{:?}", listener.filter_chains.last());
        let bytes = format!("{:?}", bytes_of(cluster));
        assert!(shown.contains(bytes.trim_matches(['[', ']'])), "{spec}: {cluster} is not in {shown}");
    }
}

fn bytes_of(text: &str) -> Vec<u8> {
    text.bytes().collect()
}

/// The pod's own service, with a limit on connections.
const OWN: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.example.com]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  resolution: STATIC
  endpoints: [{address: 10.1.1.1}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec: {host: web.example.com, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}
";

/// Of the inbound clusters: name, where they lead, most connections.
fn inbound(compiled: &Compiled) -> Vec<(String, String, u32)> {
    let own = compiled.clusters.iter().filter(|one| one.name.starts_with("inbound|"));
    let shown = own.map(|one| {
        let member = one
            .load_assignment
            .iter()
            .flat_map(|all| &all.endpoints)
            .flat_map(|all| &all.lb_endpoints)
            .next();
        let to = match member.and_then(|member| member.host_identifier.clone()) {
            Some(HostIdentifier::Endpoint(endpoint)) => {
                let place = Listener { address: endpoint.address, ..Listener::default() };
                match place.address.clone().and_then(|one| one.address) {
                    Some(Address::Pipe(pipe)) => pipe.path,
                    _ => self::place(&place),
                }
            }
            _ => "as asked".to_owned(),
        };
        let limits = one.circuit_breakers.as_ref().and_then(|limits| limits.thresholds.first());
        let most = limits.and_then(|limits| limits.max_connections).map_or(0, |most| most.value);
        (one.name.clone(), to, most)
    });
    shown.collect()
}

#[test]
fn ingress_declares_the_ports_of_the_pod() {
    let of = |spec: &str, target| {
        let all = compiled(&[MESH, OWN, &sidecar("own", "shop", spec)], &of_shop(), target);
        inbound(&all).into_iter().map(|(name, to, most)| format!("{name} {to} {most}")).collect::<Vec<_>>()
    };
    assert_eq!(of("{}", Target::Istiod), ["inbound|8080|| as asked 7"]);
    assert_eq!(
        of("{inboundConnectionPool: {tcp: {maxConnections: 3}}}", Target::Istiod),
        ["inbound|8080|| as asked 3"]
    );
    let declared = "{inboundConnectionPool: {tcp: {maxConnections: 3}}, ingress: [
      {port: {number: 8080, protocol: HTTP}, defaultEndpoint: '127.0.0.1:9090'},
      {port: {number: 8081, protocol: TCP}, defaultEndpoint: '0.0.0.0:9091', connectionPool: {tcp: {maxConnections: 5}}},
      {port: {number: 8082, protocol: GRPC}, defaultEndpoint: 'unix:///run/app'},
      {port: {number: 8083, protocol: HTTP}}]}";
    let same =
        ["inbound|8080|| 127.0.0.1:9090 3", "inbound|8081|| 10.1.1.1:9091 5", "inbound|8082|| /run/app 3"];
    let all = of(declared, Target::Istiod);
    assert_eq!((&all[..3], all[3].as_str()), (&same.map(str::to_owned)[..], "inbound|8083|| as asked 3"));
    let all = of(declared, Target::Weir);
    assert_eq!(
        (&all[..3], all[3].as_str()),
        (&same.map(str::to_owned)[..], "inbound|8083|| 127.0.0.1:8083 3")
    );
}

#[test]
fn a_declared_port_is_listened_on_where_it_says() {
    let spec = "{ingress: [{port: {number: 8080, protocol: HTTP}, bind: 127.0.0.9, defaultEndpoint: '127.0.0.1:9090'},
      {port: {number: 8081, protocol: TCP}, tls: {mode: SIMPLE}, defaultEndpoint: '127.0.0.1:9091'}], egress: [{hosts: [~/*]}]}";
    let all = compiled(&[MESH, OWN, &sidecar("own", "shop", spec)], &of_shop(), Target::Weir);
    assert_eq!(listeners(&all), ["10.1.1.1:8081*", "127.0.0.9:8080*"]);
    let told = all.diagnostics.iter().filter(|one| one.message.contains("ingress.tls")).count();
    assert_eq!(told, 1, "{:#?}", all.diagnostics);
}
