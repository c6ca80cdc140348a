//! Answers without an upstream: redirects and fixed ones.

use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::config::route::v3 as route;

use super::super::context::Context;
use crate::diag::Diagnostic;
use crate::kinds::http_route::{DerivePort, DirectResponse, HttpRedirect};
use route::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};

/// A redirect from a listener of `port`. `None`, with a diagnostic, for a status that Envoy does not have.
pub(super) fn redirect(
    ctx: &Context<'_>,
    rule: &HttpRedirect,
    port: u32,
    tls: bool,
) -> Option<route::RedirectAction> {
    let text = |field: &Option<crate::yaml::Spanned<String>>| {
        field.as_ref().map_or_else(String::new, |value| value.value.clone())
    };
    let scheme = rule.scheme.as_ref().map(|scheme| scheme.value.clone()).filter(|scheme| !scheme.is_empty());
    let wanted = match (&rule.port, rule.derive_port.as_ref().map(|derive| derive.value)) {
        (Some(port), _) => port.value,
        (None, Some(DerivePort::FromRequestPort)) => port,
        (None, Some(DerivePort::FromProtocolDefault) | None) => 0,
    };
    let to_tls = scheme.as_deref().map_or(tls, |scheme| scheme == "https");
    let default = if to_tls { 443 } else { 80 };
    let given = rule.redirect_code.as_ref().map_or(301, |code| code.value);
    let code = match given {
        0 | 301 => RedirectResponseCode::MovedPermanently,
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => {
            let message = format!("{given} is no status of a redirect: the rule is left out");
            let span = rule.redirect_code.as_ref().map_or(rule.span, |code| code.span);
            let remedy = "allowed are: 301, 302, 303, 307, 308";
            ctx.report(Diagnostic::error("unknown-value", message).remedy(remedy), span);
            return None;
        }
    };
    Some(route::RedirectAction {
        host_redirect: text(&rule.authority),
        port_redirect: if wanted == default { 0 } else { wanted },
        response_code: code.into(),
        strip_query: false,
        scheme_rewrite_specifier: scheme.map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: Some(PathRewriteSpecifier::PathRedirect(text(&rule.uri))),
    })
}

/// A fixed answer. `None`, with a diagnostic, if its body is not base64.
pub(super) fn direct_response(
    ctx: &Context<'_>,
    rule: &DirectResponse,
) -> Option<route::DirectResponseAction> {
    let body = match &rule.body {
        None => None,
        Some(body) => match (&body.string, &body.bytes) {
            (Some(text), _) => Some(core::data_source::Specifier::InlineString(text.value.clone())),
            (None, Some(encoded)) => match decode_base64(encoded) {
                Some(bytes) => Some(core::data_source::Specifier::InlineBytes(bytes)),
                None => {
                    let message = "the body is not base64: the rule is left out";
                    let remedy = "encode it (RFC 4648 section 4), or write it as `string`";
                    ctx.report(Diagnostic::error("bad-base64", message).remedy(remedy), encoded.span);
                    return None;
                }
            },
            (None, None) => None,
        },
    };
    Some(route::DirectResponseAction {
        status: rule.status.value,
        body: body
            .map(|specifier| core::DataSource { specifier: Some(specifier), ..core::DataSource::default() }),
        ..route::DirectResponseAction::default()
    })
}

/// Base64 with padding (RFC 4648 section 4); white space between is left out.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if !digits.len().is_multiple_of(4) {
        return None;
    }
    let padding = digits.iter().rev().take_while(|byte| **byte == b'=').count();
    let content = digits.get(..digits.len().checked_sub(padding)?)?;
    if padding > 2 {
        return None;
    }
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0_u32);
    for digit in content {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = ((bits << 6) | u32::from(value)) & 0xff_ffff;
        count = count.saturating_add(6);
        if count >= 8 {
            count = count.saturating_sub(8);
            bytes.push(((bits >> count) & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded_or_refused() {
        assert_eq!(decode_base64("c2hvcnQ=").unwrap(), b"short");
        assert_eq!(decode_base64("c2hv\ncnRz").unwrap(), b"shorts");
        assert_eq!(decode_base64("").unwrap(), b"");
        for bad in ["c2hvcnQ", "c2h=cnQ=", "====", "c2hvc-Q="] {
            assert_eq!(decode_base64(bad), None, "{bad}");
        }
    }
}
