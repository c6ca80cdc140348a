//! YAML that reads well and that no proxy would take: each mistake is told at the line that says it.
#![forbid(unsafe_code)]

use weir_config::World;
use weir_config::diag::{Diagnostic, Severity, has_errors, render_text};
use weir_proxy::boot::check_mesh;

/// Services that the cases speak of; a case begins at line [`FIRST`].
const BASE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.9.0.1, ports: [{name: http, port: 8000}, {name: tcp, port: 9000}]}
---
";

/// Line of a case's first line.
const FIRST: u32 = 6;

fn findings(case: &str) -> Vec<Diagnostic> {
    let (world, mut found) = World::read(&[("mesh.yaml".to_owned(), format!("{BASE}{case}"))]);
    found.extend(check_mesh(&world));
    found
}

/// A case has one error: that proxies refuse it, at its line, with some words.
fn judge(name: &str, case: &str, line: u32, words: &str) -> Option<String> {
    let all = findings(case);
    let errors: Vec<&Diagnostic> = all.iter().filter(|one| one.severity == Severity::Error).collect();
    let right = match errors.as_slice() {
        [one] => {
            let at = one.at.as_ref().map(|at| at.line.saturating_sub(FIRST).saturating_add(1));
            one.code == "refused" && at == Some(line) && one.message.contains(words) && one.remedy.is_some()
        }
        _ => false,
    };
    (!right).then(|| format!("== {name}: line {line}, `{words}`\n{case}\n{}", render_text(&all)))
}

fn rule(body: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: bad, namespace: shop}}\n\
         spec:\n  hosts: [web]\n  http:\n  - {body}\n    route: [{{destination: {{host: web, port: {{number: 8000}}}}}}]\n"
    )
}

fn policy(body: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: bad, namespace: shop}}\n\
         spec:\n  host: web\n  trafficPolicy:\n    {body}\n"
    )
}

fn entry(body: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: bad, namespace: shop}}\n\
         spec:\n  hosts: [bad.example]\n  ports: [{{number: 8000, name: http, protocol: HTTP}}]\n  {body}\n"
    )
}

#[test]
fn the_base_is_clean() {
    let all = findings("");
    assert!(!has_errors(&all), "{}", render_text(&all));
}

#[test]
fn rules_that_proxies_refuse() {
    let cases = [
        ("percent", r"headers: {request: {set: {xx: '100%'}}}", "request_headers_to_add"),
        ("no-such-value", r"headers: {request: {set: {xx: '%NOPE%'}}}", "NOPE"),
        ("line-break", "headers: {request: {set: {xx: \"a\\r\\nb\"}}}", "request_headers_to_add"),
        ("backoff", "retries: {attempts: 1, backoff: 0s}", "retry"),
        ("cors", "corsPolicy: {allowOrigins: [{exact: a}], allowHeaders: [\"a\\r\\nb\"]}", "allow_headers"),
    ];
    let wrong: Vec<String> =
        cases.iter().filter_map(|(name, body, words)| judge(name, &rule(body), 7, words)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn conditions_that_proxies_refuse() {
    let cases = [
        ("name", "- {headers: {'x y': {exact: a}}}", "match.headers"),
        ("prefix", "- {headers: {xx: {prefix: ''}}}", "match.headers"),
        ("query", "- {queryParams: {'': {exact: a}}}", "match.query_parameters"),
    ];
    let of = |body: &str| rule(&format!("match:\n    - {{uri: {{prefix: /a}}}}\n    {body}"));
    let wrong: Vec<String> =
        cases.iter().filter_map(|(name, body, words)| judge(name, &of(body), 9, words)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn policies_that_proxies_refuse() {
    let cases = [
        ("hash-header", "loadBalancer: {consistentHash: {httpHeaderName: 'x y'}}", "hash_policy"),
        ("hash-cookie", "loadBalancer: {consistentHash: {httpCookie: {name: '', ttl: 1s}}}", "hash_policy"),
        ("ring", "loadBalancer: {consistentHash: {httpHeaderName: a, minimumRingSize: 0}}", "ring"),
        ("duration", "connectionPool: {tcp: {maxConnectionDuration: 0s}}", "duration"),
    ];
    let wrong: Vec<String> =
        cases.iter().filter_map(|(name, body, words)| judge(name, &policy(body), 7, words)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_a_route_is_hashed_by_stands_in_the_policy() {
    let rules = rule("timeout: 1s");
    let hash = policy("loadBalancer: {consistentHash: {httpHeaderName: 'x y'}}");
    assert_eq!(judge("hash", &format!("{hash}---\n{rules}"), 7, "hash_policy"), None);
}

#[test]
fn what_weir_cannot_do_yet_is_no_mistake() {
    let all = findings(&policy("loadBalancer: {simple: PASSTHROUGH}"));
    let told = all.iter().any(|one| one.code == "no-interception" && one.message.contains("PASSTHROUGH"));
    assert!(told && !has_errors(&all), "{}", render_text(&all));
}

#[test]
fn services_that_proxies_refuse() {
    let long = format!("resolution: STATIC\n  endpoints: [{{address: 'unix:///{}'}}]", "a".repeat(200));
    let cases = [
        (
            "one-name",
            "resolution: DNS_ROUND_ROBIN\n  endpoints: [{address: a.example}, {address: b.example}]",
            "load_assignment",
        ),
        (
            "weights",
            "resolution: STATIC\n  endpoints: [{address: 10.0.0.1, weight: 4000000000}, {address: 10.0.0.2, weight: 4000000000}]",
            "weight",
        ),
        ("socket", &long, "path"),
    ];
    let wrong: Vec<String> =
        cases.iter().filter_map(|(name, body, words)| judge(name, &entry(body), 5, words)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_address_that_proxies_refuse() {
    let gateway = "\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: bad, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*'], bind: foo}
";
    assert_eq!(judge("bind", gateway, 7, "address"), None);
}

#[test]
fn a_mistake_has_no_consequences() {
    // The header is what proxies would refuse; that there is no field of this name is said first.
    let all = findings(&rule("headers: {request: {set: {xx: '100%'}}}\n    nothing: 1"));
    let errors: Vec<&Diagnostic> = all.iter().filter(|one| one.severity == Severity::Error).collect();
    assert!(matches!(errors.as_slice(), [one] if one.code == "unknown-field"), "{}", render_text(&all));
}
