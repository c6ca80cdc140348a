//! `envoy.filters.http.fault`: delays, aborts and slows a share of the requests.

use super::hooks::{HttpFilter, RequestContext, Step};
use super::{Factory, decode};
use crate::base::Name;
use crate::base::headers::HeaderBlock;
use crate::base::ledger::At;
use crate::base::names::{HeaderName, Id};
use crate::base::rng;
use crate::failure::{Failure, Flag};
use crate::http::reply::Reply;
use crate::model::matcher::{Fraction, HeaderMatch};
use crate::model::plugin::{Compile, PluginConfig, RouteFilterConfig};
use crate::observe::metrics::{Cells, Registry};
use crate::observe::stats::fault as stat;
use prost::Message;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
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
    type_name: "envoy.extensions.filters.http.fault.v3.HTTPFault",
    name: "envoy.filters.http.fault",
    terminal: false,
    config: compile,
    route_config: Some(("envoy.extensions.filters.http.fault.v3.HTTPFault", compile_route)),
    run: Some(run),
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
        upstream_cluster: Some(upstream_cluster)
            .filter(|name| !name.is_empty())
            .map(|name| name.as_str().into()),
        headers: headers.collect(),
        downstream_nodes: downstream_nodes.iter().map(|node| node.as_str().into()).collect(),
        max_active: max_active_faults.as_ref().map(|v| u64::from(v.value)),
        no_downstream_stats: *disable_downstream_cluster_stats,
    })
}

/// A share whose runtime key the filter names; absent is 0 percent.
fn share(
    cx: &dyn Compile,
    at: &At<'_>,
    percentage: &Option<FractionalPercent>,
    runtime_key: String,
) -> Fraction {
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

/// Faults going on in the process (`max_active_faults` bounds them).
static ACTIVE: AtomicU64 = AtomicU64::new(0);

/// One exchange.
struct Running {
    chain: Arc<dyn Any + Send + Sync>,
    active: Option<Active>,
    rate: Option<u64>,
}

/// A fault that is going on.
struct Active(Cells);

impl Active {
    fn begin(stats: &Cells, most: Option<u64>) -> Option<Active> {
        let below = |active: u64| (active < most.unwrap_or(u64::MAX)).then(|| active.saturating_add(1));
        if ACTIVE.fetch_update(Relaxed, Relaxed, below).is_err() {
            stats.inc(stat::FAULTS_OVERFLOW);
            return None;
        }
        stats.gauge_add(stat::ACTIVE_FAULTS, 1);
        Some(Active(stats.clone()))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        ACTIVE.fetch_sub(1, Relaxed);
        self.0.gauge_sub(stat::ACTIVE_FAULTS, 1);
    }
}

fn run(slot: &PluginConfig) -> Option<Box<dyn HttpFilter>> {
    Some(Box::new(Running { chain: slot.config.clone(), active: None, rate: None }))
}

fn named<T: std::str::FromStr>(headers: &HeaderBlock, name: &str) -> Option<T> {
    let value = headers.find(&HeaderName::parse(name).ok()?)?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The share, lowered by a percentage that the request names.
fn hits(share: Fraction, headers: &HeaderBlock, by_header: bool, name: &str) -> bool {
    let wanted = by_header.then(|| named::<u32>(headers, name)).flatten();
    let share = wanted.map_or(share, |percent| Fraction(share.0.min(percent.saturating_mul(10_000))));
    share.hit(rng::with(|r| r.next_u64()))
}

impl FaultConfig {
    fn applies(&self, cx: &RequestContext<'_>) -> bool {
        let headers = &cx.request.headers;
        let node = headers.get_str(Id::EnvoyDownstreamNode);
        self.upstream_cluster.as_deref().is_none_or(|name| cx.cluster == Some(name))
            && self.headers.iter().all(|test| test.matches(headers))
            && (self.downstream_nodes.is_empty() || self.downstream_nodes.iter().any(|n| node == Some(&**n)))
    }

    fn delay_for(&self, headers: &HeaderBlock) -> Option<Duration> {
        let delay = self.delay.as_ref()?;
        let wanted = || named(headers, "x-envoy-fault-delay-request").map(Duration::from_millis);
        let time = delay.fixed.or_else(wanted).filter(|time| !time.is_zero())?;
        hits(delay.share, headers, delay.fixed.is_none(), "x-envoy-fault-delay-request-percentage")
            .then_some(time)
    }

    fn abort_for(&self, headers: &HeaderBlock) -> Option<Reply> {
        let abort = self.abort.as_ref()?;
        let by_header = abort.status == AbortStatus::Header;
        let status = match abort.status {
            AbortStatus::Header => match named(headers, "x-envoy-fault-abort-request") {
                Some(status) => AbortStatus::Http(status),
                None => AbortStatus::Grpc(named(headers, "x-envoy-fault-abort-grpc-request")?),
            },
            fixed => fixed,
        };
        if !hits(abort.share, headers, by_header, "x-envoy-fault-abort-request-percentage") {
            return None;
        }
        let mut reply = Reply::from(Failure::FaultAbort);
        match status {
            AbortStatus::Http(status) if (200..600).contains(&status) => reply.status = status,
            AbortStatus::Grpc(code) => {
                reply.status = 200;
                reply.grpc_status = Some(code);
            }
            _ => return None,
        }
        if !abort.body.is_empty() {
            reply = reply.with_body(abort.body.to_string());
        }
        Some(reply)
    }

    fn rate_for(&self, headers: &HeaderBlock) -> Option<u64> {
        let limit = self.rate_limit.as_ref()?;
        let by_header = limit.kib_per_second.is_none();
        let kib = limit.kib_per_second.or_else(|| named(headers, "x-envoy-fault-throughput-response"))?;
        let hit = hits(limit.share, headers, by_header, "x-envoy-fault-throughput-response-percentage");
        (hit && kib > 0).then(|| kib.saturating_mul(1024))
    }
}

impl Running {
    fn config<'a>(&'a self, route: Option<&'a RouteFilterConfig>) -> Option<&'a FaultConfig> {
        let own = route.and_then(|config| config.downcast_ref::<FaultConfig>());
        own.or_else(|| self.chain.downcast_ref::<FaultConfig>())
    }

    fn abort(&self, cx: &mut RequestContext<'_>, stats: &Cells) -> Step {
        let reply = self.config(cx.route_config).and_then(|config| config.abort_for(&cx.request.headers));
        match reply {
            Some(reply) => {
                stats.inc(stat::ABORTS_INJECTED);
                Step::Reply(Box::new(reply))
            }
            None => Step::Continue,
        }
    }
}

fn cells(cx: &RequestContext<'_>) -> Cells {
    Registry::global().cells(&stat::SCHEMA, &format!("http.{}.fault.", cx.stat_prefix))
}

impl HttpFilter for Running {
    fn request(&mut self, cx: &mut RequestContext<'_>) -> Step {
        let Some(config) = self.config(cx.route_config).filter(|config| config.applies(cx)) else {
            return Step::Continue;
        };
        let idle = config.delay.is_none() && config.abort.is_none() && config.rate_limit.is_none();
        if idle {
            return Step::Continue;
        }
        let stats = cells(cx);
        let headers = &cx.request.headers;
        let (rate, delay, most) = (config.rate_for(headers), config.delay_for(headers), config.max_active);
        if rate.is_some()
            && let Some(active) = Active::begin(&stats, most)
        {
            stats.inc(stat::RESPONSE_RL_INJECTED);
            self.rate = rate;
            self.active = Some(active);
        }
        if let Some(time) = delay
            && let Some(active) = Active::begin(&stats, most)
        {
            self.active = Some(active);
            stats.inc(stat::DELAYS_INJECTED);
            cx.record.flags.set(Flag::DI);
            return Step::Wait(Box::pin(tokio::time::sleep(time)));
        }
        self.abort(cx, &stats)
    }

    fn resumed(&mut self, cx: &mut RequestContext<'_>) -> Step {
        if self.rate.is_none() {
            self.active = None;
        }
        self.abort(cx, &cells(cx))
    }

    fn response_rate(&self) -> Option<u64> {
        self.rate
    }
}
