//! `envoy.filters.http.fault`: delays, aborts and slows a share of the requests.

use super::{Factory, decode};
use crate::base::Name;
use crate::base::ledger::At;
use crate::model::matcher::{Fraction, HeaderMatch};
use crate::model::plugin::{Compile, RouteFilterConfig};
use prost::Message;
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;
use weir_proto::envoy::config::core::v3::RuntimeFractionalPercent;
use weir_proto::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use weir_proto::envoy::extensions::filters::common::fault::v3::fault_rate_limit::{FixedLimit, LimitType};
use weir_proto::envoy::extensions::filters::common::fault::v3::{FaultDelay, FaultRateLimit};
use weir_proto::envoy::extensions::filters::http::fault::v3::fault_abort::ErrorType;
use weir_proto::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault};
use weir_proto::envoy::r#type::v3::FractionalPercent;

/// The table's line.
pub const FACTORY: Factory = Factory {
    type_name: "envoy.extensions.filters.http.fault.v3.HttpFault",
    name: "envoy.filters.http.fault",
    terminal: false,
    config: compile,
    route_config: Some(("envoy.extensions.filters.http.fault.v3.HttpFault", compile_route)),
    run: None,
};

/// A delay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// Share of the requests.
    pub share: Fraction,
    /// How long; none: named by `x-envoy-fault-delay-request` (milliseconds).
    pub fixed: Option<Duration>,
}

/// What an abort answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortStatus {
    /// An HTTP status.
    Http(u16),
    /// A gRPC status.
    Grpc(u32),
    /// Named by `x-envoy-fault-abort-request` or `x-envoy-fault-abort-grpc-request`.
    Header,
}

/// An abort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abort {
    /// Share of the requests.
    pub share: Fraction,
    /// The answer.
    pub status: AbortStatus,
    /// Body of the answer; empty: Envoy's text.
    pub body: Box<str>,
}

/// A bound on the response's rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Share of the requests.
    pub share: Fraction,
    /// KiB a second; none: named by `x-envoy-fault-throughput-response`.
    pub kib_per_second: Option<u64>,
}

/// The filter's configuration, for the chain or for a route.
#[derive(Clone, Debug)]
pub struct FaultConfig {
    /// Delay.
    pub delay: Option<Delay>,
    /// Abort.
    pub abort: Option<Abort>,
    /// Slow responses.
    pub rate_limit: Option<RateLimit>,
    /// Only requests for this cluster.
    pub upstream_cluster: Option<Name>,
    /// Only requests that match all of these.
    pub headers: Box<[HeaderMatch]>,
    /// Only requests from these nodes (`x-envoy-downstream-service-node`); all when empty.
    pub downstream_nodes: Box<[Box<str>]>,
    /// Most faults at once; none: unbounded.
    pub max_active: Option<u64>,
    /// No statistics by downstream cluster.
    pub no_downstream_stats: bool,
}

fn compile(cx: &dyn Compile, at: &At<'_>, bytes: &[u8]) -> Option<Arc<dyn Any + Send + Sync>> {
    config(cx, at, bytes).map(|config| Arc::new(config) as _)
}

fn compile_route(cx: &dyn Compile, at: &At<'_>, bytes: &[u8]) -> Option<RouteFilterConfig> {
    config(cx, at, bytes).map(|config| Arc::new(config) as _)
}

fn config(cx: &dyn Compile, at: &At<'_>, bytes: &[u8]) -> Option<FaultConfig> {
    let message = &decode::<HttpFault>(at, bytes)?;
    crate::ledger!(at, message => HttpFault { delay, abort, upstream_cluster, headers, downstream_nodes,
        max_active_faults, response_rate_limit, delay_percent_runtime, abort_percent_runtime,
        response_rate_limit_percent_runtime, disable_downstream_cluster_stats }
        refuse { delay_duration_runtime, abort_http_status_runtime, max_active_faults_runtime,
            abort_grpc_status_runtime, filter_metadata });
    let key = |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
    let delay_key = key(delay_percent_runtime, "fault.http.delay.fixed_delay_percent");
    let abort_key = key(abort_percent_runtime, "fault.http.abort.abort_percent");
    let rate_key = key(response_rate_limit_percent_runtime, "fault.http.rate_limit.response_percent");
    let headers = headers.iter().enumerate();
    let headers = headers.filter_map(|(i, m)| cx.header_match(&at.item("headers", i), &m.encode_to_vec()));
    Some(FaultConfig {
        delay: delay.as_ref().and_then(|m| compile_delay(cx, &at.field("delay"), m, delay_key)),
        abort: abort.as_ref().and_then(|m| compile_abort(cx, &at.field("abort"), m, abort_key)),
        rate_limit: response_rate_limit
            .as_ref()
            .and_then(|m| compile_rate(cx, &at.field("response_rate_limit"), m, rate_key)),
        upstream_cluster: Some(upstream_cluster).filter(|name| !name.is_empty()).map(|name| name.as_str().into()),
        headers: headers.collect(),
        downstream_nodes: downstream_nodes.iter().map(|node| node.as_str().into()).collect(),
        max_active: max_active_faults.as_ref().map(|v| u64::from(v.value)),
        no_downstream_stats: *disable_downstream_cluster_stats,
    })
}

/// A share whose runtime key the filter names; absent is 0 percent.
fn share(cx: &dyn Compile, at: &At<'_>, percentage: &Option<FractionalPercent>, runtime_key: String) -> Fraction {
    let default_value = Some(percentage.unwrap_or_default());
    let message = RuntimeFractionalPercent { default_value, runtime_key };
    cx.runtime_fraction(&at.field("percentage"), &message.encode_to_vec()).unwrap_or(Fraction(0))
}

fn compile_delay(cx: &dyn Compile, at: &At<'_>, message: &FaultDelay, key: String) -> Option<Delay> {
    crate::ledger!(at, message => FaultDelay { percentage, fault_delay_secifier });
    let share = share(cx, at, percentage, key);
    let fixed = match at.required("fault_delay_secifier", fault_delay_secifier.as_ref())? {
        FaultDelaySecifier::HeaderDelay(_) => None,
        FaultDelaySecifier::FixedDelay(delay) => match weir_proto::any::duration(delay) {
            Ok(delay) if !delay.is_zero() => Some(delay),
            Ok(_) => {
                at.bad("fixed_delay", "must be greater than 0s");
                return None;
            }
            Err(error) => {
                at.bad("fixed_delay", format!("is {error}"));
                return None;
            }
        },
    };
    Some(Delay { share, fixed })
}

fn compile_abort(cx: &dyn Compile, at: &At<'_>, message: &FaultAbort, key: String) -> Option<Abort> {
    crate::ledger!(at, message => FaultAbort { percentage, response_body, error_type });
    let share = share(cx, at, percentage, key);
    let status = match at.required("error_type", error_type.as_ref())? {
        ErrorType::HeaderAbort(_) => AbortStatus::Header,
        ErrorType::GrpcStatus(status) => AbortStatus::Grpc(*status),
        ErrorType::HttpStatus(status) => {
            let found = u16::try_from(*status).ok().filter(|s| (200..600).contains(s));
            let Some(found) = found else {
                at.bad("http_status", format!("is {status}, must be between 200 and 599"));
                return None;
            };
            AbortStatus::Http(found)
        }
    };
    Some(Abort { share, status, body: response_body.as_str().into() })
}

fn compile_rate(cx: &dyn Compile, at: &At<'_>, message: &FaultRateLimit, key: String) -> Option<RateLimit> {
    crate::ledger!(at, message => FaultRateLimit { percentage, limit_type });
    let share = share(cx, at, percentage, key);
    let kib_per_second = match at.required("limit_type", limit_type.as_ref())? {
        LimitType::HeaderLimit(_) => None,
        LimitType::FixedLimit(FixedLimit { limit_kbps }) => {
            if *limit_kbps == 0 {
                at.field("fixed_limit").bad("limit_kbps", "must be at least 1");
            }
            Some(*limit_kbps)
        }
    };
    Some(RateLimit { share, kib_per_second })
}
