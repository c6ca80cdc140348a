//! `envoy.filters.http.cors`: answers preflights and marks responses for allowed origins. All settings are per route.

use super::{Factory, decode};
use crate::base::ledger::At;
use crate::model::matcher::{Fraction, StringMatch};
use crate::model::plugin::{Compile, RouteFilterConfig};
use prost::Message;
use std::any::Any;
use std::sync::Arc;
use weir_proto::envoy::extensions::filters::http::cors::v3::{Cors, CorsPolicy as Proto};

/// The table's line.
pub const FACTORY: Factory = Factory {
    type_name: "envoy.extensions.filters.http.cors.v3.Cors",
    name: "envoy.filters.http.cors",
    terminal: false,
    config: compile,
    route_config: Some(("envoy.extensions.filters.http.cors.v3.CorsPolicy", compile_policy)),
    run: None,
};

/// The filter itself has no settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorsConfig;

/// What a route allows other origins.
#[derive(Clone, Debug)]
pub struct CorsPolicy {
    /// Allowed origins.
    pub allow_origin: Box<[StringMatch]>,
    /// `access-control-allow-methods`; empty: absent.
    pub allow_methods: Box<str>,
    /// `access-control-allow-headers`; empty: absent.
    pub allow_headers: Box<str>,
    /// `access-control-expose-headers`; empty: absent.
    pub expose_headers: Box<str>,
    /// `access-control-max-age` in seconds as text; empty: absent.
    pub max_age: Box<str>,
    /// `access-control-allow-credentials: true`.
    pub allow_credentials: bool,
    /// Share of requests that it holds for.
    pub enabled: Fraction,
    /// Share of requests that are only counted, when it does not hold for them.
    pub shadow: Fraction,
    /// Answer `access-control-request-private-network`.
    pub allow_private_network: bool,
    /// Forward preflights whose origin is not allowed, instead of answering them without headers.
    pub forward_not_matching_preflights: bool,
}

fn compile(_: &dyn Compile, at: &At<'_>, bytes: &[u8]) -> Option<Arc<dyn Any + Send + Sync>> {
    let Cors {} = decode::<Cors>(at, bytes)?;
    Some(Arc::new(CorsConfig))
}

fn compile_policy(cx: &dyn Compile, at: &At<'_>, bytes: &[u8]) -> Option<RouteFilterConfig> {
    let message = &decode::<Proto>(at, bytes)?;
    crate::ledger!(at, message => Proto { allow_origin_string_match, allow_methods, allow_headers, expose_headers,
        max_age, allow_credentials, filter_enabled, shadow_enabled, allow_private_network_access,
        forward_not_matching_preflights });
    let origins = allow_origin_string_match.iter().enumerate();
    let origins = origins.filter_map(|(i, origin)| {
        cx.string_match(&at.item("allow_origin_string_match", i), &origin.encode_to_vec())
    });
    let share = |field, value: &Option<_>, default| match value {
        Some(message) => share(cx, &at.field(field), message),
        None => default,
    };
    Some(Arc::new(CorsPolicy {
        allow_origin: origins.collect(),
        allow_methods: header_text(at, "allow_methods", allow_methods),
        allow_headers: header_text(at, "allow_headers", allow_headers),
        expose_headers: header_text(at, "expose_headers", expose_headers),
        max_age: header_text(at, "max_age", max_age),
        allow_credentials: allow_credentials.as_ref().is_some_and(|v| v.value),
        enabled: share("filter_enabled", filter_enabled, Fraction::ALL),
        shadow: share("shadow_enabled", shadow_enabled, Fraction(0)),
        allow_private_network: allow_private_network_access.as_ref().is_some_and(|v| v.value),
        forward_not_matching_preflights: forward_not_matching_preflights.as_ref().is_none_or(|v| v.value),
    }))
}

fn share(
    cx: &dyn Compile,
    at: &At<'_>,
    message: &weir_proto::envoy::config::core::v3::RuntimeFractionalPercent,
) -> Fraction {
    cx.runtime_fraction(at, &message.encode_to_vec()).unwrap_or(Fraction(0))
}

fn header_text(at: &At<'_>, field: &str, text: &str) -> Box<str> {
    if !text.bytes().all(crate::base::names::is_value) {
        at.bad(field, "has control characters");
    }
    text.into()
}
