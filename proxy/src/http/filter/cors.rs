//! `envoy.filters.http.cors`: answers preflights and marks responses for allowed origins. All settings are per route.

use super::hooks::{HttpFilter, RequestContext, ResponseContext, Step};
use super::{Factory, decode};
use crate::base::headers::HeaderBlock;
use crate::base::ledger::At;
use crate::base::names::{HeaderName, Id};
use crate::base::rng;
use crate::http::reply::Reply;
use crate::model::matcher::{Fraction, StringMatch};
use crate::model::plugin::{Compile, PluginConfig, RouteFilterConfig};
use crate::observe::metrics::Registry;
use crate::observe::stats::cors as stat;
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
    run: Some(run),
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

/// One exchange: whether its origin is allowed.
#[derive(Default)]
struct Running {
    allowed: Option<Vec<u8>>,
}

fn run(_: &PluginConfig) -> Option<Box<dyn HttpFilter>> {
    Some(Box::new(Running::default()))
}

fn policy(config: Option<&RouteFilterConfig>) -> Option<&CorsPolicy> {
    config.and_then(|config| config.downcast_ref::<CorsPolicy>())
}

fn set(headers: &mut HeaderBlock, name: &str, value: &[u8]) {
    if let (false, Ok(name)) = (value.is_empty(), HeaderName::parse(name)) {
        headers.set(&name, value);
    }
}

impl HttpFilter for Running {
    fn request(&mut self, cx: &mut RequestContext<'_>) -> Step {
        let headers = &cx.request.headers;
        let (Some(policy), Some(origin)) = (policy(cx.route_config), headers.get(Id::Origin)) else {
            return Step::Continue;
        };
        let random = rng::with(|r| r.next_u64());
        let (enabled, shadow) = (policy.enabled.hit(random), policy.shadow.hit(random));
        if !enabled && !shadow {
            return Step::Continue;
        }
        let fits = policy.allow_origin.iter().any(|test| test.matches(origin));
        let stats = Registry::global().cells(&stat::SCHEMA, &format!("http.{}.cors.", cx.stat_prefix));
        stats.inc(if fits { stat::ORIGIN_VALID } else { stat::ORIGIN_INVALID });
        if !enabled {
            return Step::Continue;
        }
        let preflight = headers.get(Id::Method) == Some(b"OPTIONS")
            && headers.get(Id::AccessControlRequestMethod).is_some_and(|method| !method.is_empty());
        if fits {
            self.allowed = Some(origin.to_vec());
        }
        if !preflight || (!fits && policy.forward_not_matching_preflights) {
            return Step::Continue;
        }
        let mut reply = Reply { from_route: true, ..Reply::new(200, "cors_response") };
        if fits {
            preflight_headers(&mut reply.headers, policy, origin, headers);
        }
        Step::Reply(Box::new(reply))
    }

    fn response(&mut self, cx: &mut ResponseContext<'_>) {
        let (Some(policy), Some(origin)) = (policy(cx.route_config), &self.allowed) else { return };
        let headers = &mut cx.response.headers;
        set(headers, "access-control-allow-origin", origin);
        if policy.allow_credentials {
            set(headers, "access-control-allow-credentials", b"true");
        }
        set(headers, "access-control-expose-headers", policy.expose_headers.as_bytes());
    }
}

fn preflight_headers(out: &mut HeaderBlock, policy: &CorsPolicy, origin: &[u8], request: &HeaderBlock) {
    set(out, "access-control-allow-origin", origin);
    if policy.allow_credentials {
        set(out, "access-control-allow-credentials", b"true");
    }
    set(out, "access-control-allow-methods", policy.allow_methods.as_bytes());
    set(out, "access-control-allow-headers", policy.allow_headers.as_bytes());
    set(out, "access-control-max-age", policy.max_age.as_bytes());
    let asks =
        |name: &str| HeaderName::parse(name).ok().and_then(|name| request.find(&name)) == Some(b"true");
    if policy.allow_private_network && asks("access-control-request-private-network") {
        set(out, "access-control-allow-private-network", b"true");
    }
}
