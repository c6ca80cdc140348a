//! The router: attempts at a cluster until one gives a response that is passed on (spec 2.3 to 2.6).

mod attempt;
mod headers;
mod intake;
mod mirror;
mod pass;
mod plan;
mod replay;
mod retry;
mod timeouts;

pub use headers::{matched_length, replace_prefix};
pub use pass::Broken;

use crate::base::clock;
use crate::base::names::Id;
use crate::base::rng;
use crate::codec::message::ResponseHead;
use crate::failure::{Failure, Flag, Reset, http_status};
use crate::http::exchange::{Chosen, End, Exchange, Interrupt};
use crate::http::reply::Reply;
use crate::live::host::{Host, Stat};
use crate::live::permit::{Kind, Permit};
use crate::model::route_action::Forward;
use crate::observe::stats::cluster as stat;
use crate::observe::stats::http as http_stat;
use crate::upstream::outlier::{self, Outcome as HostOutcome};
use crate::upstream::{ClusterCell, hash};
use attempt::{Attempt, Outcome};
use plan::Plan;
use replay::{REPLAY_LIMIT, Replay};
use retry::{Decision, Evidence, Retries};
use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use timeouts::Timeouts;

/// Forwards the request and passes the response on.
pub async fn run(x: &mut Exchange<'_>, chosen: &Chosen<'_>, forward: &Forward) -> Result<(), End> {
    let Some(cell) = chosen.cluster.as_deref().and_then(|name| x.worker.cluster(name)) else {
        x.manager.stats.inc(http_stat::NO_CLUSTER);
        let mut reply = Reply::from(Failure::ClusterNotFound);
        reply.status = forward.cluster_not_found_status;
        return Box::pin(x.reply_on(chosen, reply)).await;
    };
    let unfit = if cell.is_warm() { None } else { Box::pin(warm(x, &cell)).await? };
    if let Some(reply) = unfit.or_else(|| shed(x, &cell)) {
        x.note_cluster(chosen);
        return Box::pin(x.reply_on(chosen, reply)).await;
    }
    let mut plan = begin(x, chosen, forward, cell);
    let mut retry_permit = None;
    loop {
        stamp(x, chosen, &plan);
        plan.mirror(x);
        let (attempt, outcome) = match Attempt::start(x, &mut plan).await {
            Ok(mut attempt) => {
                let outcome = attempt.head(x, &mut plan).await;
                judge(&plan, &attempt.pool.host, &outcome);
                x.record.upstream.wire = attempt.up.wire();
                (Some(attempt), outcome)
            }
            Err(outcome) => (None, outcome),
        };
        drop(retry_permit.take());
        match decide(x, &mut plan, attempt, outcome) {
            Verdict::Again(wait, permit) => {
                retry_permit = permit;
                Box::pin(pause(x, chosen, &mut plan, wait)).await?;
            }
            Verdict::Pass(attempt, head) => {
                if plan.retries.made > 0 && head.status < 500 {
                    plan.cell.stats.inc(stat::UPSTREAM_RQ_RETRY_SUCCESS);
                }
                if plan.replayed.is_some() && head.status < 500 {
                    plan.cell.stats.inc(stat::WEIR_REPLAY_SUCCESS);
                }
                return pass::response(x, chosen, &mut plan, attempt, head).await;
            }
            Verdict::Reply(reply) => {
                charge(x, &plan, reply.status);
                return Box::pin(x.reply_on(chosen, *reply)).await;
            }
            Verdict::End(end) => return Err(end),
        }
    }
}

/// Everything that holds for all attempts.
fn begin<'r>(
    x: &mut Exchange<'_>,
    chosen: &'r Chosen<'_>,
    forward: &'r Forward,
    cell: Rc<ClusterCell>,
) -> Plan<'r> {
    let config = cell.config();
    x.record.upstream.cluster = Some(config.stat_name.clone());
    x.record.upstream.cluster_raw = Some(config.name.clone());
    if x.filters.wants_upstream {
        x.record.upstream.service.clone_from(&config.service);
    }
    let as_envoy =
        x.worker.with_snapshot(|s| s.runtime.get("weir.retry_as_envoy").is_some_and(|v| v == "true"));
    let policy = forward.retry.as_ref().or(chosen.virtual_host.retry.as_ref());
    let times = Timeouts::new(
        forward,
        policy.map(|p| &**p),
        &mut x.request.headers,
        x.manager.config.respect_expected_timeout,
    );
    let retries = Retries::new(policy, &mut x.request.headers, as_envoy);
    let limit = chosen.route.retry_buffer_limit.or(chosen.virtual_host.retry_buffer_limit);
    let mirrors = chosen.mirrors();
    let policy_limit = limit.map_or(x.buffer_limit, |l| (l as usize).min(x.buffer_limit));
    let replay = match (x.request.end, retries.has_policy() || !mirrors.is_empty()) {
        (true, _) => Replay::bodiless(),
        (false, true) => Replay::new(policy_limit),
        (false, false) => Replay::new(REPLAY_LIMIT),
    };
    let inputs = hash::Inputs::of(&x.request.headers, &x.record);
    let hash = hash::combine(&forward.hash, &inputs, &mut x.set_cookies);
    x.deadlines.set_stream(forward.idle_timeout, times.stream, x.record.start);
    headers::prepare(x, chosen, forward);
    let request_read = x.request.end && !x.wants_tunnel();
    let alt_response = x.request.headers.remove_id(Id::EnvoyTimeoutAltResponse);
    let mut plan = Plan {
        forward,
        config,
        cell,
        times,
        retries,
        replay,
        hash,
        mirrors,
        alt_response,
        replayed: None,
        request_read,
        sent_at: None,
        tried: smallvec::SmallVec::new(),
        priorities: smallvec::SmallVec::new(),
        passed_over: smallvec::SmallVec::new(),
    };
    if request_read {
        plan.request_ended(x);
    }
    plan
}

/// Waits for the hosts of a cold cluster (and the share of its requests to drop), bounded by the connect timeout.
async fn warm(x: &mut Exchange<'_>, cell: &ClusterCell) -> Result<Option<Reply>, End> {
    let live = cell.live().clone();
    let mut ready = pin!(tokio::time::timeout(cell.config().connect_timeout, live.ready()));
    let waited = poll_fn(|cx| match ready.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(None),
        Poll::Pending => x.poll_waiting(cx).map(Some),
    });
    match waited.await {
        None => Ok(None),
        Some(interrupt) => interrupted(x, interrupt).map(Some),
    }
}

/// Headers that differ from attempt to attempt.
fn stamp(x: &mut Exchange<'_>, chosen: &Chosen<'_>, plan: &Plan<'_>) {
    let headers = &mut x.request.headers;
    if !x.manager.suppress_envoy_headers {
        let elapsed = plan.sent_at.map(|at| clock::now().saturating_duration_since(at)).unwrap_or_default();
        if let Some(ms) = plan.times.expected(elapsed) {
            headers.set_id(Id::EnvoyExpectedTimeout, itoa::Buffer::new().format(ms).as_bytes());
        }
    }
    if chosen.virtual_host.attempt_count_in_request {
        let count = x.record.upstream.attempts.saturating_add(1);
        headers.set_id(Id::EnvoyAttemptCount, itoa::Buffer::new().format(count).as_bytes());
    }
}

/// Tells the host's record how an attempt at it ended. A replay that nobody asked for counts once for each host.
fn judge(plan: &Plan<'_>, host: &Host, outcome: &Outcome) {
    let counted = plan.replayed.is_some() && plan.tried.iter().filter(|id| **id == host.id).count() > 1;
    let told = match outcome {
        Outcome::Response(head) => {
            let grpc = head.headers.get_str(Id::GrpcStatus).and_then(|t| t.parse().ok()).map(http_status);
            let status = grpc.unwrap_or(head.status);
            host.inc(if status >= 500 { Stat::RqError } else { Stat::RqSuccess });
            HostOutcome::Status(status)
        }
        // The cluster's limits are not the host's fault.
        Outcome::Reset(Reset::Overflow, _) | Outcome::NoHost => return,
        Outcome::Reset(..) => {
            host.inc(Stat::RqError);
            HostOutcome::ConnectFailure
        }
        Outcome::Interrupted(Interrupt::Route | Interrupt::PerTry | Interrupt::PerTryIdle) => {
            host.inc(Stat::RqTimeout);
            HostOutcome::Timeout
        }
        Outcome::Interrupted(_) => return,
    };
    if counted && !matches!(told, HostOutcome::Status(_)) {
        return;
    }
    rng::with(|rng| outlier::report(&plan.config, host, told, rng));
}

enum Verdict {
    /// Another attempt after a while, with its permit when it is one by policy.
    Again(std::time::Duration, Option<Permit>),
    Pass(Box<Attempt>, ResponseHead),
    Reply(Box<Reply>),
    End(End),
}

fn decide(x: &mut Exchange<'_>, plan: &mut Plan<'_>, attempt: Option<Attempt>, outcome: Outcome) -> Verdict {
    match (outcome, attempt) {
        (Outcome::Response(head), Some(attempt)) => {
            let resendable = plan.resendable();
            let decision = plan.retries.after_response(head.status, &head.headers, head.end, resendable);
            match decision {
                Decision::Retry => match again(x, plan, Some(&head)) {
                    Some(verdict) => {
                        plan.cell.stats.response_code_in(stat::RETRY, head.status);
                        verdict
                    }
                    None => Verdict::Pass(Box::new(attempt), head),
                },
                Decision::Replay | Decision::No(_) => {
                    no_more(x, plan, decision);
                    Verdict::Pass(Box::new(attempt), head)
                }
            }
        }
        (Outcome::Response(_), None) | (Outcome::NoHost, _) => Verdict::Reply(Box::new(nobody(x, plan))),
        (Outcome::Reset(reset, reason), attempt) => after_reset(x, plan, attempt, reset, reason),
        (Outcome::Interrupted(interrupt), attempt) => after_interrupt(x, plan, attempt, interrupt),
    }
}

/// Nobody to try. Where that befalls a replay that nobody asked for, the first failure is told.
fn nobody(x: &mut Exchange<'_>, plan: &mut Plan<'_>) -> Reply {
    if let Some((reset, reason)) = plan.replayed.take() {
        let reply = reset_reply(plan, reset, &reason);
        x.record.upstream.transport_failure = Some(reason).filter(|reason| !reason.is_empty());
        return reply;
    }
    plan.cell.stats.inc(stat::UPSTREAM_CX_NONE_HEALTHY);
    Failure::NoHealthyUpstream.into()
}

/// A retry by policy; the answer that is retried may say how long to wait.
///
/// None when the retry breaker is open: what came is passed on.
fn again(x: &mut Exchange<'_>, plan: &Plan<'_>, head: Option<&ResponseHead>) -> Option<Verdict> {
    let permit = retry_slot(plan);
    if permit.is_none() {
        x.record.flags.set(Flag::UO);
        x.record.no_retry = Some("retry_breaker_open");
        return None;
    }
    let (wait, asked) = plan.retries.back_off(head.map(|h| &h.headers));
    let kind = if asked {
        stat::UPSTREAM_RQ_RETRY_BACKOFF_RATELIMITED
    } else {
        stat::UPSTREAM_RQ_RETRY_BACKOFF_EXPONENTIAL
    };
    plan.cell.stats.inc(kind);
    Some(Verdict::Again(wait, permit))
}

fn no_more(x: &mut Exchange<'_>, plan: &Plan<'_>, decision: Decision) {
    if let Decision::No(why) = decision {
        x.record.no_retry = Some(why);
        if why == "limit_reached" {
            x.record.flags.set(Flag::URX);
            plan.cell.stats.inc(stat::UPSTREAM_RQ_RETRY_LIMIT_EXCEEDED);
        }
    }
}

fn after_reset(
    x: &mut Exchange<'_>,
    plan: &mut Plan<'_>,
    attempt: Option<Attempt>,
    reset: Reset,
    reason: Cow<'static, str>,
) -> Verdict {
    let mut attempt = attempt;
    let evidence = Evidence {
        reset,
        request_started: attempt.as_mut().is_some_and(|a| a.up.request_started()),
        response_started: attempt.as_mut().is_some_and(|a| a.up.response_started()),
    };
    let resendable = plan.resendable();
    drop(attempt);
    if reset == Reset::Overflow {
        if !reason.is_empty() {
            // Refused before a host mattered: the queue was full.
            x.record.upstream.host = None;
        }
    } else {
        x.record.upstream.transport_failure = (!reason.is_empty()).then(|| reason.clone());
        if !matches!(reset, Reset::ConnectFailure | Reset::ConnectTimeout) {
            plan.cell.stats.inc(stat::UPSTREAM_RQ_RX_RESET);
        }
    }
    let decision = plan.retries.after_reset(&evidence, resendable);
    match decision {
        Decision::Retry => {
            if let Some(verdict) = again(x, plan, None) {
                return verdict;
            }
        }
        Decision::Replay => {
            plan.cell.stats.inc(stat::WEIR_REPLAYS);
            plan.replayed = Some((reset, reason));
            x.manager.stats.inc(http_stat::WEIR_REPLAYS);
            return Verdict::Again(std::time::Duration::ZERO, None);
        }
        Decision::No(_) => no_more(x, plan, decision),
    }
    Verdict::Reply(Box::new(reset_reply(plan, reset, &reason)))
}

/// The local reply for a reset, in Envoy's words.
fn reset_reply(plan: &Plan<'_>, reset: Reset, reason: &str) -> Reply {
    let row = reset.row();
    let retried = if plan.retries.made > 0 { "retried and the latest " } else { "" };
    let body = format!(
        "upstream connect error or disconnect/reset before headers. {retried}reset reason: {}",
        row.text
    );
    let mut details =
        format!("upstream_reset_before_response_started{{{}", crate::failure::details(row.text));
    if !reason.is_empty() && reset != Reset::Overflow {
        details.push('|');
        details.push_str(reason);
    }
    details.push('}');
    let mut reply = Reply::new(row.status, details).with_body(body);
    reply.flag = Some(row.flag);
    if reset == Reset::Overflow {
        reply.headers.append_id(Id::EnvoyOverloaded, b"true");
    }
    reply
}

fn after_interrupt(
    x: &mut Exchange<'_>,
    plan: &mut Plan<'_>,
    attempt: Option<Attempt>,
    interrupt: Interrupt,
) -> Verdict {
    drop(attempt);
    let failure = match interrupt {
        Interrupt::Gone => {
            plan.cell.stats.inc(stat::UPSTREAM_RQ_CANCELLED);
            return Verdict::End(End::Gone);
        }
        Interrupt::PerTry | Interrupt::PerTryIdle => {
            let (counter, failure) = match interrupt {
                Interrupt::PerTry => (stat::UPSTREAM_RQ_PER_TRY_TIMEOUT, Failure::PerTryTimeout),
                _ => (stat::UPSTREAM_RQ_PER_TRY_IDLE_TIMEOUT, Failure::PerTryIdleTimeout),
            };
            plan.cell.stats.inc(counter);
            let resendable = plan.resendable();
            let decision = plan.retries.after_try_timeout(resendable);
            if decision == Decision::Retry
                && let Some(verdict) = again(x, plan, None)
            {
                return verdict;
            }
            no_more(x, plan, decision);
            failure
        }
        Interrupt::Route => {
            plan.cell.stats.inc(stat::UPSTREAM_RQ_TIMEOUT);
            Failure::ResponseTimeout
        }
        Interrupt::Failure(failure) => failure,
    };
    if failure == Failure::UpstreamMaxDuration {
        plan.cell.stats.inc(stat::UPSTREAM_RQ_MAX_DURATION_REACHED);
    }
    let mut reply = Reply::from(failure);
    if failure == Failure::ResponseTimeout && plan.alt_response {
        reply = Reply { flag: reply.flag, ..Reply::new(204, "response_timeout") };
    }
    Verdict::Reply(Box::new(reply))
}

fn retry_slot(plan: &Plan<'_>) -> Option<Permit> {
    let permit = plan.cell.lender(plan.forward.high_priority).take(Kind::Retries);
    plan.cell.stats.inc(if permit.is_some() {
        stat::UPSTREAM_RQ_RETRY
    } else {
        stat::UPSTREAM_RQ_RETRY_OVERFLOW
    });
    permit
}

/// Counts a local reply that stands for an upstream's (Envoy charges it to the cluster).
fn charge(x: &Exchange<'_>, plan: &Plan<'_>, status: u16) {
    let internal = x.request.headers.has(Id::EnvoyInternal);
    plan.cell.stats.response_code(status);
    plan.cell.stats.response_code_in(if internal { stat::INTERNAL } else { stat::EXTERNAL }, status);
}

/// Requests that the cluster does not want: maintenance by runtime, a share to be dropped.
fn shed(x: &Exchange<'_>, cell: &Rc<ClusterCell>) -> Option<Reply> {
    let share = x.worker.with_snapshot(|s| {
        if s.runtime.is_empty() {
            return 0;
        }
        let key = format!("upstream.maintenance_mode.{}", cell.name);
        s.runtime.get(key.as_str()).and_then(|v| v.parse::<u64>().ok()).unwrap_or(0)
    });
    if share > 0 && rng::with(|r| r.below(100)) < share {
        cell.stats.inc(stat::UPSTREAM_RQ_MAINTENANCE_MODE);
        let mut reply = Reply::from(Failure::Maintenance);
        reply.headers.append_id(Id::EnvoyOverloaded, b"true");
        return Some(reply);
    }
    let drops = cell.drops();
    if drops > 0 && rng::with(|r| r.below(1_000_000)) < u64::from(drops) {
        cell.stats.inc(stat::UPSTREAM_RQ_DROP_OVERLOAD);
        let all = drops >= 1_000_000;
        let mut reply = Reply::from(if all { Failure::UnconditionalDrop } else { Failure::DropOverload });
        let name = if all { "x-envoy-unconditional-drop-overload" } else { "x-envoy-drop-overload" };
        if let Ok(name) = crate::base::names::HeaderName::parse(name) {
            reply.headers.append(&name, b"true");
        }
        return Some(reply);
    }
    None
}

async fn pause(
    x: &mut Exchange<'_>,
    chosen: &Chosen<'_>,
    plan: &mut Plan<'_>,
    wait: std::time::Duration,
) -> Result<(), End> {
    x.deadlines.attempt_ends();
    if wait.is_zero() {
        return Ok(());
    }
    let mut sleep = pin!(tokio::time::sleep(wait));
    let woken = poll_fn(|cx| match sleep.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => plan.poll_waiting(x, cx).map(Some),
    });
    match woken.await {
        None => Ok(()),
        Some(interrupt) => {
            let reply = interrupted(x, interrupt)?;
            x.reply_on(chosen, reply).await?;
            Err(End::Done)
        }
    }
}

fn interrupted(_x: &Exchange<'_>, interrupt: Interrupt) -> Result<Reply, End> {
    match interrupt {
        Interrupt::Gone => Err(End::Gone),
        Interrupt::Failure(failure) => Ok(failure.into()),
        Interrupt::Route | Interrupt::PerTry | Interrupt::PerTryIdle => Ok(Failure::ResponseTimeout.into()),
    }
}
