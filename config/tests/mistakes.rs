//! One mistake a case: its code, its line, and the words that its remedy has to contain.

use weir_config::diag::{Diagnostic, render_json, render_sarif, render_text};
use weir_config::{World, check};

/// Services and subsets that the cases refer to.
const BASE: &str = include_str!("mistakes/base.yaml");

/// `(case, line, code, words of the remedy)`: the file `mistakes/<case>.yaml` has that finding, and no other error.
const CASES: &[(&str, u32, &str, &str)] = &[
    ("unknown-field", 8, "unknown-field", "did you mean `timeout`?"),
    ("snake-case", 9, "unknown-field", "did you mean `perTryTimeout`?"),
    ("misplaced", 10, "unknown-field", "dedent"),
    ("wrong-type-list", 6, "wrong-type", "begin each entry with `- `"),
    ("wrong-type-string", 9, "wrong-type", "in quotes"),
    ("wrong-type-number", 10, "wrong-type", "remove the quotes"),
    ("bad-enum", 8, "unknown-value", "did you mean `ROUND_ROBIN`?"),
    ("bad-duration", 9, "bad-duration", "unit"),
    ("bad-regex", 9, "bad-regex", "RE2"),
    ("negative", 8, "out-of-range", "range"),
    ("missing-field", 9, "missing-field", "host"),
    ("unknown-kind", 2, "unknown-kind", "did you mean `VirtualService`?"),
    ("unknown-version", 1, "unknown-version", "networking.istio.io/v1"),
    ("wrong-group", 1, "unknown-kind", "networking.istio.io/v1"),
    ("duplicate-key", 8, "duplicate-key", "keep one"),
    ("syntax", 7, "syntax", "indentation"),
    ("missing-name", 4, "missing-field", "name"),
    ("one-of-match", 9, "one-of", "keep one"),
    ("missing-host", 10, "missing-host", "did you mean `reviews.default.svc.cluster.local`?"),
    ("missing-subset", 11, "missing-subset", "did you mean `v1`?"),
    ("missing-port", 12, "missing-port", "9080"),
    ("weights-zero", 8, "weights-zero", "weight"),
    ("host-conflict", 18, "host-conflict", "one VirtualService"),
    ("duplicate-resource", 13, "duplicate-resource", "rename"),
    ("missing-delegate", 9, "missing-delegate", "add it"),
    ("delegate-with-hosts", 16, "delegate-with-hosts", "remove"),
    ("delegate-cycle", 9, "delegate-cycle", "another"),
    ("missing-gateway", 21, "missing-gateway", "did you mean `default/edge`?"),
    ("wildcard-mesh", 6, "wildcard-host", "gateway"),
    ("bad-host", 6, "bad-host", "wildcard"),
    ("two-actions", 8, "one-of", "keep one"),
    ("no-action", 8, "no-route", "redirect"),
    ("bad-redirect", 9, "bad-status", "308"),
    ("bad-percent", 11, "out-of-range", "100"),
    ("bad-grpc-status", 10, "unknown-value", "UNAVAILABLE"),
    ("bad-body", 9, "bad-base64", "RFC 4648"),
    ("bad-retry-on", 10, "unknown-value", "did you mean `gateway-error`?"),
    ("bad-header", 12, "bad-header", "letters"),
    ("bad-port", 9, "bad-port", "65535"),
    ("duplicate-subset", 9, "duplicate-subset", "rename"),
    ("hash-two-keys", 9, "one-of", "httpHeaderName"),
    ("maglev-prime", 11, "out-of-range", "65537"),
    ("distribute-sum", 10, "weights-sum", "100"),
    ("gateway-protocol", 9, "bad-protocol", "did you mean HTTP?"),
    ("gateway-no-tls", 9, "tls-required", "tls"),
    ("ingress-port", 15, "missing-port", "9080"),
    ("ingress-service", 14, "missing-host", "reviews"),
    ("entry-static", 14, "bad-address", "DNS"),
    ("service-port-name", 9, "port-name", "name"),
    ("sidecar-host", 6, "bad-host", "`./reviews`"),
    ("sidecar-order", 6, "unreachable-listener", "end"),
    ("sidecar-endpoint", 7, "bad-endpoint", "127.0.0.1"),
    ("sidecar-port", 6, "bad-port", "65535"),
];

/// The same for findings that are no errors.
const WARNINGS: &[(&str, u32, &str, &str)] = &[
    ("not-obeyed", 2, "kind-not-obeyed", ""),
    ("not-a-resource", 1, "not-a-resource", "kind"),
    ("unreachable-rule", 11, "unreachable-rule", "move it up"),
    ("unreachable-prefix", 11, "unreachable-rule", "narrow"),
    ("unreachable-match", 10, "unreachable-match", "remove"),
    ("empty-subset", 7, "empty-subset", "version=v9"),
    ("rule-unknown-host", 6, "missing-host", "did you mean"),
    ("external-host", 10, "missing-host", "ServiceEntry"),
    ("client-tls", 7, "tls-not-obeyed", ""),
    ("weight-missing", 12, "weight-missing", "weight"),
    ("sidecar-several", 9, "several-sidecars", "into one"),
    ("sidecar-short-host", 6, "missing-host", "./reviews.default.svc.cluster.local"),
    ("host-not-served", 18, "host-not-served", "Gateway"),
    ("port-name", 7, "port-name", "http"),
    ("pseudo-header", 10, "no-effect", "rewrite"),
    ("dynamic-dns", 7, "field-not-obeyed", "list the hosts"),
    ("http2-error", 11, "field-not-obeyed", "httpStatus"),
    ("source-subnet", 8, "field-not-obeyed", ""),
];

fn findings(case: &str) -> Vec<Diagnostic> {
    let path = format!("{}/tests/mistakes/{case}.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (world, mut diagnostics) = World::read(&[("base.yaml", BASE), ("case.yaml", &text)]);
    diagnostics.extend(check::check(&world));
    diagnostics
}

/// What is wrong with the findings of a case.
fn judge(case: &str, line: u32, code: &str, remedy: &str, alone: bool) -> Option<String> {
    let all = findings(case);
    let here = |finding: &&Diagnostic| {
        finding.code == code
            && finding.at.as_ref().is_some_and(|at| at.line == line && &*at.file == "case.yaml")
    };
    let errors = all.iter().filter(|finding| finding.severity == weir_config::Severity::Error).count();
    let wanted = usize::from(alone);
    let found = all.iter().find(here);
    let said = found.is_some_and(|finding| finding.remedy.as_deref().unwrap_or_default().contains(remedy));
    (!said || errors != wanted)
        .then(|| format!("== {case}: {code} at line {line}, `{remedy}`\n{}", render_text(&all)))
}

#[test]
fn the_base_is_clean() {
    let (world, mut diagnostics) = World::read(&[("base.yaml", BASE)]);
    diagnostics.extend(check::check(&world));
    assert!(diagnostics.is_empty(), "{}", render_text(&diagnostics));
    assert_eq!(world.metas().count(), 5);
}

#[test]
fn what_passes_through_is_obeyed() {
    let text = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec:\n  servers:\n  \
                - {port: {number: 2443, name: tls, protocol: TLS}, hosts: [pass.example], tls: {mode: PASSTHROUGH}}\n";
    let (world, mut all) = World::read(&[("case.yaml", text)]);
    all.extend(check::check(&world));
    assert!(all.iter().all(|found| !found.code.ends_with("not-obeyed")), "{}", render_text(&all));
}

#[test]
fn every_mistake_is_found_at_its_line() {
    let errors = CASES.iter().filter_map(|(case, line, code, remedy)| judge(case, *line, code, remedy, true));
    let warnings =
        WARNINGS.iter().filter_map(|(case, line, code, remedy)| judge(case, *line, code, remedy, false));
    let wrong: Vec<String> = errors.chain(warnings).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A field that was misread hides nothing but what depends on it.
#[test]
fn what_can_be_known_beside_a_misread_field_is_told() {
    let told = |spec: &str| -> Vec<(&'static str, u32)> {
        let head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: case}\nspec:\n  hosts: [reviews]\n";
        let (world, mut all) = World::read(&[("base.yaml", BASE), ("case.yaml", &format!("{head}{spec}"))]);
        all.extend(check::check(&world));
        let line = |finding: &Diagnostic| finding.at.as_ref().map_or(0, |at| at.line);
        let mut told: Vec<_> = all.iter().map(|finding| (finding.code, line(finding))).collect();
        told.sort_by_key(|(_, line)| *line);
        told
    };
    let to = "route: [{destination: {host: reviews}}]";
    // The bad timeout hides neither that the rule takes everything nor that the next one is dead.
    let rules =
        format!("  http:\n  - {{timeout: soon, {to}}}\n  - {{match: [{{uri: {{prefix: /a}}}}], {to}}}\n");
    assert_eq!(told(&rules), [("bad-duration", 7), ("unreachable-rule", 8)]);
    // What the first rule takes is not known.
    let rules =
        format!("  http:\n  - {{match: all, {to}}}\n  - {{match: [{{uri: {{prefix: /a}}}}], {to}}}\n");
    assert_eq!(told(&rules), [("wrong-type", 7)]);
    let rules = format!("  http:\n  - {{macth: [], {to}}}\n  - {{match: [{{uri: {{prefix: /a}}}}], {to}}}\n");
    assert_eq!(told(&rules), [("unknown-field", 7)]);
    // Of two matches one was read.
    let rules = format!(
        "  http:\n  - {{match: [{{uri: {{prefix: /a}}}}], {to}}}\n  - match:\n    - {{uri: {{prefix: /a/b}}}}\n    - {{uri: 7}}\n    {to}\n"
    );
    assert_eq!(told(&rules), [("unreachable-match", 9), ("wrong-type", 10)]);
    // The subset is missing, whatever else is wrong with the DestinationRule; unless its subsets are.
    let rule = |policy: &str| {
        format!(
            "  http:\n  - route: [{{destination: {{host: ratings, subset: v7}}}}]\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: ratings}}\nspec:\n  host: ratings\n  {policy}\n"
        )
    };
    let found = told(&rule("trafficPolicy: {connectionPool: {tcp: {connectTimeout: soon}}}"));
    assert_eq!(found, [("missing-subset", 7), ("bad-duration", 14)]);
    assert_eq!(told(&rule("subsets: [{name: [v7], labels: {a: b}}]")), [("wrong-type", 14)]);
}

#[test]
fn every_case_is_in_the_table() {
    let folder = format!("{}/tests/mistakes", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    for entry in entries {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let case = name.trim_end_matches(".yaml");
        assert!(case == "base" || CASES.iter().chain(WARNINGS).any(|(known, ..)| *known == case), "{name}");
    }
}

#[test]
fn reports_have_their_forms() {
    let found = findings("unknown-field");
    let text = render_text(&found);
    assert!(text.contains("--> case.yaml:8:5"), "{text}");
    assert!(text.contains("8 |   - timeuot: 5s\n  |     ^^^^^^^"), "{text}");
    assert!(text.ends_with("1 error(s), 0 warning(s), 0 note(s)\n"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&render_json(&found)).expect("JSON");
    assert_eq!(json["errors"], 1);
    assert_eq!(json["diagnostics"][0]["at"]["line"], 8);
    assert_eq!(json["diagnostics"][0]["code"], "unknown-field");
    let sarif: serde_json::Value = serde_json::from_str(&render_sarif(&found, "weirctl", "0")).expect("JSON");
    assert_eq!(sarif["version"], "2.1.0");
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "unknown-field");
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 8);
}

#[test]
fn what_is_wrong_beside_a_misread_field_is_found_too() {
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [reviews]\n  http:\n  - rout: [{destination: {host: reviews}}]\n  - timeout: 5\n    redirect: {redirectCode: 200}\n";
    let (world, mut found) = World::read(&[("base.yaml", BASE), ("case.yaml", text)]);
    found.extend(check::check(&world));
    let errors = found.iter().filter(|finding| finding.severity == weir_config::Severity::Error);
    let codes: Vec<&str> = errors.map(|finding| finding.code).collect();
    // That the first rule does nothing is a consequence of its misspelt field, and not told.
    assert_eq!(codes, ["unknown-field", "bad-duration", "bad-status"], "{}", render_text(&found));
}

#[test]
fn several_mistakes_are_found_in_one_run() {
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [reviews]\n  http:\n  - timeout: 5\n    retries: {attempts: many}\n    rout: []\n---\n: : bad\n  - x\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 99999999999}]}\n";
    let (_, found) = World::read(&[("case.yaml", text)]);
    let lines: Vec<(u32, &str)> =
        found.iter().map(|finding| (finding.at.as_ref().map_or(0, |at| at.line), finding.code)).collect();
    for expected in [(7, "bad-duration"), (8, "wrong-type"), (9, "unknown-field"), (17, "out-of-range")] {
        assert!(lines.contains(&expected), "{expected:?} of {lines:?}");
    }
    assert!(lines.iter().any(|(line, code)| *code == "syntax" && (11..=12).contains(line)), "{lines:?}");
}
