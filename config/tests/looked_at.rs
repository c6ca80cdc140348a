//! Which proxies `weirctl check` looks at: mistakes under a selector are found, and what was left out is said.

use weir_config::check::{MAX_PROXIES, check};
use weir_config::diag::{Diagnostic, Severity, render_text};
use weir_config::{World, compile};

fn findings(text: &str) -> Vec<Diagnostic> {
    let (world, mut found) = World::read(&[("mesh.yaml", text)]);
    found.extend(check(&world));
    found
}

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: x, namespace: shop}
spec: {clusterIP: 10.1.1.1, ports: [{name: tcp, port: 8000}]}
---
";

/// A Sidecar and a DestinationRule with fields that are not obeyed, for some pods or for all.
fn limited(sidecar: &str, rule: &str) -> String {
    format!(
        "{SERVICE}\
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: zz, namespace: shop}}
spec:
  {sidecar}
  ingress:
  - port: {{number: 2990, name: http, protocol: HTTP}}
    bind: 'unix:///tmp/u'
    defaultEndpoint: '127.0.0.1:1'
  egress:
  - hosts: ['*/*']
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: d, namespace: shop}}
spec:
  host: x.shop.svc.cluster.local
  {rule}
  trafficPolicy:
    proxyProtocol: {{version: V1}}
"
    )
}

#[test]
fn what_a_selector_limits_is_looked_at() {
    let told = |text: &str| -> Vec<String> {
        let all = findings(text);
        let fields = all.iter().filter(|one| one.code == "field-not-obeyed");
        fields.map(|one| one.message.clone()).collect()
    };
    let all = told(&limited("", ""));
    assert!(all.iter().any(|one| one.contains("Unix socket")), "{all:?}");
    assert!(all.iter().any(|one| one.contains("proxyProtocol")), "{all:?}");
    let selected =
        limited("workloadSelector: {labels: {app: zzz}}", "workloadSelector: {matchLabels: {app: yyy}}");
    assert_eq!(told(&selected), all);
}

#[test]
fn rules_for_some_callers_are_looked_at() {
    let rule = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: shop}
spec:
  hosts: [web.example]
  http:
  - match: [{sourceLabels: {app: caller}, sourceNamespace: other}]
    fault: {delay: {fixedDelay: 1s, exponentialDelay: 1s}}
    directResponse: {status: 200}
";
    let all = findings(&format!("{}{rule}", SERVICE.replace("tcp", "http").replace("8000", "80")));
    assert!(all.iter().any(|one| one.message.contains("exponentialDelay")), "{}", render_text(&all));
}

#[test]
fn what_was_not_looked_at_is_said() {
    let services = |count: usize| -> String {
        let one = |index: usize| {
            format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: x, namespace: n{index:03}}}\n\
                 spec: {{clusterIP: 10.1.1.1, ports: [{{name: http, port: 8000}}]}}\n---\n"
            )
        };
        (0..count).map(one).collect()
    };
    assert!(findings(&services(MAX_PROXIES)).is_empty());
    let all = findings(&services(MAX_PROXIES + 2));
    let [one] = all.as_slice() else { panic!("{}", render_text(&all)) };
    assert_eq!((one.code, one.severity), ("not-looked-at", Severity::Note));
    assert!(one.message.contains("2 of 66") && one.message.contains("n064"), "{}", one.message);
}

#[test]
fn ingresses_without_a_gateway_are_looked_at() {
    let ingress = "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: i, namespace: shop}
spec:
  defaultBackend: {service: {name: x, port: {number: 8000}}}
";
    let (world, _) = World::read(&[("mesh.yaml", format!("{SERVICE}{ingress}"))]);
    let mut ports = Vec::new();
    let mut judge = |compiled: &compile::Compiled| {
        ports.extend(compiled.listeners.iter().map(|one| one.name.clone()));
        Vec::new()
    };
    weir_config::check::check_with(&world, &mut judge);
    assert!(ports.iter().any(|name| name == "0.0.0.0_80"), "{ports:?}");
}
