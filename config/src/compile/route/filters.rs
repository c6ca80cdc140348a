//! What rules say to HTTP filters: faults and cross-origin policy.

use std::collections::HashMap;

use weir_proto::envoy::extensions::filters::common::fault::v3 as common;
use weir_proto::envoy::extensions::filters::http::cors::v3 as cors;
use weir_proto::envoy::extensions::filters::http::fault::v3 as fault;
use weir_proto::envoy::r#type::v3::FractionalPercent;
use weir_proto::google::protobuf as pb;

use super::super::context::Context;
use super::super::wire;
use super::matches;
use crate::diag::Diagnostic;
use crate::kinds::http_route::{
    CorsPolicy, FaultAbort, FaultDelay, HttpFault, HttpRoute, Percent, UnmatchedPreflights,
};
use crate::yaml::Spanned;

/// Name of the fault filter's slot.
pub(crate) const FAULT: &str = "envoy.filters.http.fault";
/// Name of the CORS filter's slot.
pub(crate) const CORS: &str = "envoy.filters.http.cors";

/// Names of the gRPC status codes in the order of their numbers (grpc.io, status codes).
const GRPC_CODES: &[&str] = &[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The settings of a rule for its filters, by slot.
pub(super) fn per_route(ctx: &Context<'_>, rule: &HttpRoute) -> HashMap<String, pb::Any> {
    let mut settings = HashMap::new();
    if let Some(fault) = &rule.fault {
        settings.insert(FAULT.to_owned(), wire::any(&translate_fault(ctx, fault)));
    }
    if let Some(policy) = &rule.cors_policy {
        settings.insert(CORS.to_owned(), wire::any(&translate_cors(policy)));
    }
    settings
}

fn translate_fault(ctx: &Context<'_>, rule: &HttpFault) -> fault::HttpFault {
    fault::HttpFault {
        delay: rule.delay.as_ref().and_then(|delay| translate_delay(ctx, delay)),
        abort: rule.abort.as_ref().and_then(|abort| translate_abort(ctx, abort)),
        ..fault::HttpFault::default()
    }
}

fn translate_delay(ctx: &Context<'_>, delay: &FaultDelay) -> Option<common::FaultDelay> {
    if let Some(curve) = &delay.exponential_delay {
        ctx.not_yet("fault.delay.exponentialDelay", "there is no delay; write fixedDelay", curve.span);
    }
    let fixed = delay.fixed_delay.as_ref()?;
    let percentage = match (&delay.percentage, &delay.percent) {
        (Some(percentage), _) => million(Some(percentage)),
        (None, Some(percent)) => wire::per_hundred(u32::try_from(percent.value).unwrap_or(0).min(100)),
        (None, None) => million(None),
    };
    Some(common::FaultDelay {
        percentage: Some(percentage),
        fault_delay_secifier: Some(common::fault_delay::FaultDelaySecifier::FixedDelay(wire::duration(
            fixed.value,
        ))),
    })
}

fn translate_abort(ctx: &Context<'_>, abort: &FaultAbort) -> Option<fault::FaultAbort> {
    let error = if let Some(status) = &abort.http_status {
        fault::fault_abort::ErrorType::HttpStatus(u32::try_from(status.value).ok()?)
    } else if let Some(status) = &abort.grpc_status {
        fault::fault_abort::ErrorType::GrpcStatus(grpc_code(ctx, status)?)
    } else {
        let what = "fault.abort without httpStatus or grpcStatus";
        ctx.not_yet(what, "requests are not aborted", abort.span);
        return None;
    };
    Some(fault::FaultAbort {
        percentage: Some(million(abort.percentage.as_ref())),
        error_type: Some(error),
        ..fault::FaultAbort::default()
    })
}

fn grpc_code(ctx: &Context<'_>, status: &Spanned<String>) -> Option<u32> {
    let by_name = GRPC_CODES.iter().position(|name| name.eq_ignore_ascii_case(status));
    let code = by_name.and_then(|index| u32::try_from(index).ok()).or_else(|| status.parse().ok());
    if code.is_none() {
        let message = format!("`{status}` is no gRPC status: requests are not aborted");
        let remedy = format!("allowed are: {}", GRPC_CODES.join(", "));
        ctx.report(Diagnostic::error("unknown-value", message).remedy(remedy), status.span);
    }
    code
}

/// A share in parts of a million; all if none is given.
fn million(percent: Option<&Percent>) -> FractionalPercent {
    let value = percent.map_or(100.0, |percent| percent.value.as_ref().map_or(0.0, |value| value.value));
    wire::per_million(value)
}

fn translate_cors(policy: &CorsPolicy) -> cors::CorsPolicy {
    let join =
        |names: &[Spanned<String>]| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(",");
    let mut origins: Vec<_> = policy.allow_origins.iter().filter_map(matches::string).collect();
    if origins.is_empty() {
        origins = policy.allow_origin.iter().map(|origin| wire::exact(origin)).collect();
    }
    let ignore =
        policy.unmatched_preflights.as_ref().map(|what| what.value) == Some(UnmatchedPreflights::Ignore);
    cors::CorsPolicy {
        allow_origin_string_match: origins,
        allow_methods: join(&policy.allow_methods),
        allow_headers: join(&policy.allow_headers),
        expose_headers: join(&policy.expose_headers),
        max_age: policy.max_age.as_ref().map_or_else(String::new, |age| age.as_secs().to_string()),
        allow_credentials: policy.allow_credentials.as_ref().map(|allow| wire::boolv(allow.value)),
        filter_enabled: Some(wire::runtime_fraction(wire::per_hundred(100))),
        forward_not_matching_preflights: Some(wire::boolv(!ignore)),
        ..cors::CorsPolicy::default()
    }
}
