//! `envoy.filters.http.local_ratelimit`: so many requests in a time, for all workers together.

use super::hooks::{HttpFilter, RequestContext, Step};
use super::{Factory, decode};
use crate::base::clock::{self, Instant};
use crate::base::ledger::At;
use crate::base::rng;
use crate::failure::Flag;
use crate::http::reply::Reply;
use crate::model::matcher::Fraction;
use crate::model::mutation::HeaderOps;
use crate::model::plugin::{Compile, PluginConfig, RouteFilterConfig};
use crate::observe::metrics;
use crate::observe::stats::local_ratelimit as stat;
use prost::Message;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use weir_proto::envoy::config::core::v3::{HeaderValueOption, RuntimeFractionalPercent};
use weir_proto::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use weir_proto::envoy::r#type::v3::{HttpStatus, TokenBucket};

const TYPE: &str = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";

/// The table's line.
pub const FACTORY: Factory = Factory {
    type_name: TYPE,
    name: "envoy.filters.http.local_ratelimit",
    terminal: false,
    config: compile,
    route_config: Some((TYPE, compile_route)),
    run: Some(run),
};

/// Shortest `fill_interval` (Envoy's).
const LEAST_INTERVAL: Duration = Duration::from_millis(50);
/// gRPC's RESOURCE_EXHAUSTED.
const EXHAUSTED: u32 = 8;

/// Tokens that grow with time. One number holds it all: when the bucket would have been empty, in seconds since it was
/// made; a token is taken by moving that on.
#[derive(Debug)]
struct Bucket {
    empty_at: AtomicU64,
    made: Instant,
    /// Seconds for one token, and for all.
    one: f64,
    full: f64,
}

impl Bucket {
    fn new(most: u32, per_fill: u32, interval: Duration) -> Bucket {
        let one = interval.as_secs_f64() / f64::from(per_fill);
        let full = one * f64::from(most);
        Bucket { empty_at: AtomicU64::new((-full).to_bits()), made: clock::now(), one, full }
    }

    /// Takes a token, if there is one.
    fn take(&self, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.made).as_secs_f64();
        let taken = self.empty_at.fetch_update(Relaxed, Relaxed, |bits| {
            let from = f64::from_bits(bits).max(now - self.full);
            // A rounding error must not cost the last token.
            (now - from >= self.one * (1.0 - 1e-9)).then(|| (from + self.one).to_bits())
        });
        taken.is_ok()
    }
}

/// The limit, for the chain or for a route.
#[derive(Debug)]
struct Config {
    /// `<prefix>.http_local_rate_limit.` in statistics.
    prefix: String,
    status: u16,
    /// None: nothing is limited.
    bucket: Option<Bucket>,
    enabled: Fraction,
    enforced: Fraction,
    when_not_enforced: HeaderOps,
    response: HeaderOps,
    exhausted: bool,
}

fn compile(cx: &dyn Compile, at: &At<'_>, bytes: &[u8]) -> Option<Arc<dyn Any + Send + Sync>> {
    config(cx, at, bytes).map(|config| Arc::new(config) as _)
}

fn compile_route(cx: &dyn Compile, at: &At<'_>, bytes: &[u8]) -> Option<RouteFilterConfig> {
    config(cx, at, bytes).map(|config| Arc::new(config) as _)
}

fn config(cx: &dyn Compile, at: &At<'_>, bytes: &[u8]) -> Option<Config> {
    let message = &decode::<LocalRateLimit>(at, bytes)?;
    crate::ledger!(at, message => LocalRateLimit { stat_prefix, status, token_bucket, filter_enabled, filter_enforced,
        request_headers_to_add_when_not_enforced, response_headers_to_add, rate_limited_as_resource_exhausted }
        refuse { descriptors, local_rate_limit_per_downstream_connection, local_cluster_rate_limit,
            enable_x_ratelimit_headers, enable_retry_after_header, rate_limits }
        ignore { stage, vh_rate_limits, always_consume_default_token_bucket, max_dynamic_descriptors });
    let share = |field: &str, value: &Option<RuntimeFractionalPercent>| match value {
        Some(message) => cx.runtime_fraction(&at.field(field), &message.encode_to_vec()),
        None => Some(Fraction(0)),
    };
    let headers = |field: &str, list: &[HeaderValueOption]| HeaderOps {
        remove: Box::default(),
        add: cx.header_additions(at, field, &list.iter().map(Message::encode_to_vec).collect::<Vec<_>>()),
    };
    let (enabled, enforced) =
        (share("filter_enabled", filter_enabled), share("filter_enforced", filter_enforced));
    // A status below 400 counts as 429, as in Envoy.
    let status = status.as_ref().map_or(0, |HttpStatus { code }| *code);
    Some(Config {
        prefix: format!("{}.http_local_rate_limit.", at.non_empty("stat_prefix", stat_prefix)?),
        status: u16::try_from(status).ok().filter(|code| (400..600).contains(code)).unwrap_or(429),
        bucket: token_bucket.as_ref().and_then(|message| bucket(&at.field("token_bucket"), message)),
        enabled: enabled?,
        enforced: enforced?,
        when_not_enforced: headers(
            "request_headers_to_add_when_not_enforced",
            request_headers_to_add_when_not_enforced,
        ),
        response: headers("response_headers_to_add", response_headers_to_add),
        exhausted: *rate_limited_as_resource_exhausted,
    })
}

fn bucket(at: &At<'_>, message: &TokenBucket) -> Option<Bucket> {
    crate::ledger!(at, message => TokenBucket { max_tokens, tokens_per_fill, fill_interval });
    if *max_tokens == 0 {
        at.bad("max_tokens", "must be greater than 0");
    }
    let per_fill = tokens_per_fill.as_ref().map_or(1, |v| v.value);
    if per_fill == 0 {
        at.bad("tokens_per_fill", "must be greater than 0");
    }
    let interval = match weir_proto::any::optional_duration(fill_interval.as_ref()) {
        Ok(found) => at.required("fill_interval", found)?,
        Err(error) => {
            at.bad("fill_interval", format!("is {error}"));
            return None;
        }
    };
    if interval < LEAST_INTERVAL {
        at.bad("fill_interval", "must be at least 50ms");
    }
    Some(Bucket::new(*max_tokens, per_fill.max(1), interval))
}

struct Running(Arc<dyn Any + Send + Sync>);

fn run(slot: &PluginConfig) -> Option<Box<dyn HttpFilter>> {
    slot.config.is::<Config>().then(|| Box::new(Running(slot.config.clone())) as _)
}

impl HttpFilter for Running {
    fn request(&mut self, cx: &mut RequestContext<'_>) -> Step {
        let config = cx.route_config.unwrap_or(&self.0).downcast_ref::<Config>();
        let Some((config, bucket)) = config.and_then(|config| Some((config, config.bucket.as_ref()?))) else {
            return Step::Continue;
        };
        let random = || rng::with(|r| r.next_u64());
        if !config.enabled.hit(random()) {
            return Step::Continue;
        }
        let stats = metrics::at_hand(&stat::SCHEMA, &config.prefix, || config.prefix.to_string());
        stats.inc(stat::ENABLED);
        if bucket.take(clock::now()) {
            stats.inc(stat::OK);
            return Step::Continue;
        }
        stats.inc(stat::RATE_LIMITED);
        if !config.enforced.hit(random()) {
            config.when_not_enforced.apply_request(&mut cx.request.headers, cx.record);
            return Step::Continue;
        }
        stats.inc(stat::ENFORCED);
        let mut reply = Reply::new(config.status, "local_rate_limited").with_body("local_rate_limited");
        reply.flag = Some(Flag::RL);
        reply.grpc_status = config.exhausted.then_some(EXHAUSTED);
        config.response.apply_response(&mut reply.headers, &cx.request.headers, cx.record);
        Step::Reply(Box::new(reply))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_what_it_holds_and_what_time_adds() {
        let bucket = Bucket::new(3, 2, Duration::from_secs(10));
        let at = |seconds: f64| bucket.made + Duration::from_secs_f64(seconds);
        let taken = |seconds: f64| (0..9).take_while(|_| bucket.take(at(seconds))).count();
        assert_eq!(taken(0.0), 3);
        assert_eq!(taken(4.9), 0);
        assert_eq!(taken(5.0), 1);
        assert_eq!(taken(100.0), 3);
    }
}
