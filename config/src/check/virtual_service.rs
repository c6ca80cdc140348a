//! What a VirtualService's own fields must be together (Istio's validation).

use std::time::Duration;

use super::{Findings, Registry};
use crate::kinds::http_route::{HttpFault, HttpRedirect, HttpRetry, HttpRoute, Percent};
use crate::kinds::virtual_service::VirtualService;
use crate::read::{Matcher, nearest};
use crate::world::World;
use crate::yaml::{Span, Spanned};

/// Statuses of a redirect that data planes can send.
const REDIRECTS: [u32; 6] = [0, 301, 302, 303, 307, 308];

/// What `retryOn` may name (Istio's validation).
const RETRY_ON: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

pub(super) fn check(world: &World, _: &Registry<'_>, findings: &mut Findings<'_>) {
    for service in &world.virtual_services {
        let spec = &service.spec;
        let before = findings.len();
        if spec.http.is_empty() && spec.tcp.is_empty() && spec.tls.is_empty() {
            let message = format!("{} has no rules", service.meta.title());
            findings.error("no-rules", spec.span, message, "add `http:`, `tls:` or `tcp:`");
        }
        for rule in &spec.http {
            action(rule, findings);
            matches(rule, findings);
            settings(rule, findings);
        }
        opaque(spec, findings);
        findings.drop_consequences(before, &service.meta.mistakes);
    }
}

/// Rules of `tls` and `tcp`.
fn opaque(spec: &VirtualService, findings: &mut Findings<'_>) {
    for rule in &spec.tls {
        if rule.route.is_empty() {
            findings.error("no-route", rule.span, "this rule has no destination", "add `route:`");
        }
        for part in rule.matches.iter().filter(|part| part.sni_hosts.is_empty()) {
            findings.error("no-sni", part.span, "a TLS match needs SNI names", "add `sniHosts:`");
        }
        if rule.matches.is_empty() {
            findings.error(
                "no-match",
                rule.span,
                "a TLS rule needs a match",
                "add `match:` with `sniHosts:`",
            );
        }
        rule.matches.iter().filter_map(|part| part.port.as_ref()).for_each(|number| port(number, findings));
    }
    for rule in &spec.tcp {
        if rule.route.is_empty() {
            findings.error("no-route", rule.span, "this rule has no destination", "add `route:`");
        }
        rule.matches.iter().filter_map(|part| part.port.as_ref()).for_each(|number| port(number, findings));
    }
}

/// Exactly one of the things that a rule can do.
fn action(rule: &HttpRoute, findings: &mut Findings<'_>) {
    let actions = [
        ("route", !rule.route.is_empty()),
        ("redirect", rule.redirect.is_some()),
        ("directResponse", rule.direct_response.is_some()),
        ("delegate", rule.delegate.is_some()),
    ];
    let set: Vec<&str> = actions.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name).collect();
    match set.as_slice() {
        [] => {
            let message = "this rule does nothing";
            findings.error(
                "no-route",
                rule.span,
                message,
                "add one of: route, redirect, directResponse, delegate",
            );
        }
        [_] => {}
        several => {
            let message = format!("this rule does several things: {}", several.join(", "));
            findings.error("one-of", rule.span, message, "keep one of them, or make several rules");
        }
    }
    if (rule.redirect.is_some() || rule.direct_response.is_some())
        && (rule.rewrite.is_some() || rule.mirror.is_some())
    {
        let message = "a rule that answers by itself forwards nothing: rewrite and mirror have no effect";
        findings.error("no-effect", rule.span, message, "remove them");
    }
    if rule.mirror.is_some() && !rule.mirrors.is_empty() {
        findings.error("one-of", rule.span, "this rule has both mirror and mirrors", "keep `mirrors`");
    }
}

fn matches(rule: &HttpRoute, findings: &mut Findings<'_>) {
    for part in &rule.matches {
        part.port.iter().for_each(|number| port(number, findings));
        for text in part.uri.iter().chain(&part.authority).chain(&part.method).chain(&part.scheme) {
            match &text.matcher {
                Matcher::Present => {
                    findings.error(
                        "empty-match",
                        text.span,
                        "this match compares nothing",
                        "add one of: exact, prefix, regex",
                    );
                }
                Matcher::Regex(regex) if regex == "*" => {
                    let message = "`*` is not a regular expression";
                    findings.error("bad-regex", text.span, message, "write `.*`");
                }
                _ => {}
            }
        }
        for name in part.headers.keys().chain(part.without_headers.keys()).filter(|name| name.is_empty()) {
            findings.error("bad-header", part.span, format!("`{name}` is no header"), "name the header");
        }
        for name in part.headers.keys().filter(|name| name.bytes().any(|byte| byte.is_ascii_uppercase())) {
            if !name.starts_with('@') {
                let message =
                    format!("the header `{name}` is matched without regard to case; Istio wants lower case");
                findings.note(
                    "header-case",
                    part.span,
                    message,
                    format!("write `{}`", name.to_ascii_lowercase()),
                );
            }
        }
    }
}

fn settings(rule: &HttpRoute, findings: &mut Findings<'_>) {
    rule.retries.iter().for_each(|retries| self::retries(rule, retries, findings));
    rule.fault.iter().for_each(|fault| self::fault(fault, findings));
    rule.redirect.iter().for_each(|redirect| self::redirect(redirect, findings));
    for share in
        rule.mirror_percentage.iter().chain(rule.mirrors.iter().filter_map(|copy| copy.percentage.as_ref()))
    {
        percent(share, findings);
    }
    if rule.mirror.is_none() && (rule.mirror_percentage.is_some() || rule.mirror_percent.is_some()) {
        findings.error(
            "no-effect",
            rule.span,
            "a mirrorPercentage without a mirror",
            "add `mirror:`, or remove it",
        );
    }
    if let Some(response) =
        rule.direct_response.as_ref().filter(|response| !(200..=599).contains(&response.status.value))
    {
        let message = format!("{} is no status of a response", response.status);
        findings.error("bad-status", response.status.span, message, "write a number between 200 and 599");
    }
    if let Some(body) = rule.direct_response.as_ref().and_then(|response| response.body.as_ref())
        && body.string.is_some() == body.bytes.is_some()
    {
        findings.error("one-of", body.span, "a body is one of string, bytes", "keep one of them");
    }
    if let Some(rewrite) =
        rule.rewrite.as_ref().filter(|rewrite| rewrite.uri.is_some() && rewrite.uri_regex_rewrite.is_some())
    {
        findings.error(
            "one-of",
            rewrite.span,
            "a rewrite is one of uri, uriRegexRewrite",
            "keep one of them",
        );
    }
}

fn retries(rule: &HttpRoute, retries: &HttpRetry, findings: &mut Findings<'_>) {
    if let Some(attempts) = retries.attempts.as_ref().filter(|attempts| attempts.value < 0) {
        findings.error(
            "out-of-range",
            attempts.span,
            "attempts cannot be negative",
            "write 0 for no retries",
        );
    }
    if let Some(words) = &retries.retry_on {
        let known = |word: &str| word.parse::<u16>().is_ok() || RETRY_ON.contains(&word);
        for word in words.split(',').map(str::trim).filter(|word| !word.is_empty() && !known(word)) {
            let remedy = match nearest(word, &RETRY_ON) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("allowed are status codes and: {}", RETRY_ON.join(", ")),
            };
            let message = format!("`{word}` is nothing that can be retried on");
            findings.error("unknown-value", words.span, message, remedy);
        }
    }
    let none = retries.attempts.as_ref().is_none_or(|attempts| attempts.value == 0);
    let detailed = retries.per_try_timeout.is_some() || retries.retry_on.is_some();
    if none && detailed {
        let message = "with no attempts nothing is retried: the other settings have no effect";
        findings.warning("no-effect", retries.span, message, "write `attempts:` with a number above 0");
    }
    if let Some(timeout) = &retries.per_try_timeout {
        if timeout.value < Duration::from_millis(1) {
            findings.error(
                "out-of-range",
                timeout.span,
                "perTryTimeout must be 1ms or more",
                "write 1ms or more",
            );
        }
        if let Some(whole) =
            rule.timeout.as_ref().filter(|whole| !whole.is_zero() && whole.value < timeout.value)
        {
            let message = "the time of one attempt is longer than that of the whole request";
            findings.warning(
                "timeouts-cross",
                whole.span,
                message,
                "raise `timeout`, or lower `perTryTimeout`",
            );
        }
    }
}

fn fault(fault: &HttpFault, findings: &mut Findings<'_>) {
    if fault.delay.is_none() && fault.abort.is_none() {
        findings.error(
            "one-of",
            fault.span,
            "a fault is a delay, an abort, or both",
            "add one of: delay, abort",
        );
    }
    if let Some(delay) = &fault.delay {
        delay.percentage.iter().for_each(|share| percent(share, findings));
        if delay.fixed_delay.is_none() {
            findings.error("missing-field", delay.span, "a delay needs a time", "add `fixedDelay:`");
        }
        whole_percent(delay.percent.as_ref(), findings);
    }
    if let Some(abort) = &fault.abort {
        abort.percentage.iter().for_each(|share| percent(share, findings));
        let set = usize::from(abort.http_status.is_some())
            + usize::from(abort.grpc_status.is_some())
            + usize::from(abort.http2_error.is_some());
        if set != 1 {
            let message = "an abort is exactly one of httpStatus, grpcStatus";
            findings.error("one-of", abort.span, message, "keep or add one of them");
        }
        if let Some(status) = abort.http_status.as_ref().filter(|status| !(200..=599).contains(&status.value))
        {
            findings.error(
                "bad-status",
                status.span,
                format!("{status} is no status"),
                "write a number between 200 and 599",
            );
        }
    }
}

fn redirect(redirect: &HttpRedirect, findings: &mut Findings<'_>) {
    if let Some(code) = redirect.redirect_code.as_ref().filter(|code| !REDIRECTS.contains(&code.value)) {
        let message = format!("{code} is no status of a redirect");
        findings.error("bad-status", code.span, message, "allowed are: 301, 302, 303, 307, 308");
    }
    if let (Some(port), Some(_)) = (&redirect.port, &redirect.derive_port) {
        findings.error("one-of", port.span, "a redirect has one of port, derivePort", "keep one of them");
    }
    redirect.port.iter().for_each(|number| port(number, findings));
    if let Some(scheme) =
        redirect.scheme.as_ref().filter(|scheme| !matches!(scheme.as_str(), "http" | "https"))
    {
        findings.error(
            "unknown-value",
            scheme.span,
            format!("`{scheme}` is no scheme"),
            "allowed are: http, https",
        );
    }
}

fn port(number: &Spanned<u32>, findings: &mut Findings<'_>) {
    if !(1..=65535).contains(&number.value) {
        findings.error(
            "bad-port",
            number.span,
            format!("{number} is no port"),
            "write a number between 1 and 65535",
        );
    }
}

fn percent(share: &Percent, findings: &mut Findings<'_>) {
    if let Some(value) = share.value.as_ref().filter(|value| !(0.0..=100.0).contains(&value.value)) {
        out_of_percent(value.span, findings);
    }
}

fn whole_percent(share: Option<&Spanned<i32>>, findings: &mut Findings<'_>) {
    if let Some(value) = share.filter(|value| !(0..=100).contains(&value.value)) {
        out_of_percent(value.span, findings);
    }
}

fn out_of_percent(span: Span, findings: &mut Findings<'_>) {
    findings.error(
        "out-of-range",
        span,
        "a percentage must be between 0 and 100",
        "write a number between 0 and 100",
    );
}
