//! Passing a response on: its head through filters and mutations, its body with back-pressure, upgrades as tunnels.

use super::attempt::Attempt;
use super::plan::Plan;
use crate::base::clock;
use crate::base::names::Id;
use crate::codec::h1::framing::is_upgrade;
use crate::codec::message::{BodyEvent, Data, DownstreamError, Part, ResponseHead};
use crate::failure::{Flag, Reset};
use crate::http::exchange::{Chosen, End, Exchange, Interrupt};
use crate::http::reply::Reply;
use crate::http::respond;
use crate::http::throttle::Throttle;
use crate::observe::record::Protocol;
use crate::observe::stats::cluster as stat;
use crate::observe::stats::http as http_stat;
use std::future::poll_fn;
use std::task::{Context, Poll};

/// Passes a response on to its end.
pub async fn response(
    x: &mut Exchange<'_>,
    chosen: &Chosen<'_>,
    plan: &mut Plan<'_>,
    mut attempt: Box<Attempt>,
    mut head: ResponseHead,
) -> Result<(), End> {
    respond::strip_keep_alive(&mut head.headers);
    x.record.moments.response_headers_received = Some(clock::now().saturating_duration_since(x.record.start));
    x.record.status = head.status;
    x.record.details = "via_upstream".into();
    count(x, plan, &attempt, head.status);
    decorate(x, chosen, plan, &attempt, &mut head);
    let upgraded = head.status == 101 && is_upgrade(&x.request.headers);
    let gathered = match x.filters.gathers(&head) {
        Some(most) => match Box::pin(gather(x, plan, &mut attempt, most)).await {
            Ok(body) => Some(body),
            Err(broken) => {
                drop(attempt);
                return Box::pin(unfinished(x, broken)).await;
            }
        },
        None => None,
    };
    x.run_response_filters(&mut head, gathered.as_deref());
    respond::complete(x, &mut head, false);
    x.deadlines.response_begins();
    if upgraded {
        x.send_head(head, true);
        x.manager.stats.inc(http_stat::DOWNSTREAM_CX_UPGRADES_TOTAL);
        x.deadlines.tunnel();
        let result = poll_fn(|cx| tunnel(x, &mut attempt, cx)).await;
        if attempt.client_first && x.request.protocol != Protocol::Http2 {
            x.record.flags.set(Flag::DC);
            x.record.details = "downstream_remote_disconnect".into();
        }
        x.record.upstream.wire = attempt.up.wire();
        return settle(x, result);
    }
    let end = head.end;
    x.send_head(head, false);
    let mut throttle = x.throttle();
    let result = match (&mut throttle, end) {
        (_, true) => poll_fn(|cx| x.poll_drain(cx)).await,
        (None, false) => poll_fn(|cx| poll_body(x, plan, &mut attempt, cx)).await,
        (Some(throttle), false) => poll_fn(|cx| poll_slowly(x, throttle, &mut attempt, cx)).await,
    };
    if result.is_ok() {
        x.record.moments.response_received = Some(clock::now().saturating_duration_since(x.record.start));
    }
    x.record.upstream.wire = attempt.up.wire();
    drop(attempt);
    settle(x, result)
}

/// Reads the body of a response that a filter turns into something else: at most so many bytes are kept.
async fn gather(
    x: &mut Exchange<'_>,
    plan: &mut Plan<'_>,
    attempt: &mut Attempt,
    most: usize,
) -> Result<Vec<u8>, Broken> {
    let mut kept = Vec::new();
    let all = poll_fn(|cx| {
        if !attempt.request_sent()
            && let Err(interrupt) = attempt.poll_request(x, plan, cx)
        {
            return Poll::Ready(Err(Broken::Interrupted(interrupt)));
        }
        loop {
            let Part { data, end, .. } = match attempt.up.poll_body(cx) {
                Poll::Ready(Ok(event)) => Part::from(event),
                Poll::Ready(Err(reset)) => return Poll::Ready(Err(Broken::Upstream(reset))),
                Poll::Pending => return x.poll_waiting(cx).map(|i| Err(Broken::Interrupted(i))),
            };
            let room = most.saturating_sub(kept.len());
            kept.extend(data.as_slice().iter().take(room));
            drop(data);
            attempt.up.release();
            x.deadlines.moved();
            if end {
                return Poll::Ready(Ok(()));
            }
        }
    });
    all.await.map(|()| kept)
}

/// A response that was not gathered to its end: nothing of it has gone, so it is answered, past the filters.
async fn unfinished(x: &mut Exchange<'_>, broken: Broken) -> Result<(), End> {
    let reply = match broken {
        Broken::Interrupted(interrupt) => super::interrupted(x, interrupt)?,
        Broken::Upstream(reset) => {
            x.manager.stats.inc(http_stat::RQ_RESET_AFTER_DOWNSTREAM_RESPONSE_STARTED);
            let row = reset.row();
            let text = crate::failure::details(row.text);
            let words = format!(
                "upstream connect error or disconnect/reset before headers. reset reason: {}",
                row.text
            );
            let details = format!("upstream_reset_after_response_started{{{text}}}");
            Reply { flag: Some(row.flag), ..Reply::new(row.status, details).with_body(words) }
        }
    };
    x.reply(reply).await
}

/// A response that was begun cannot be replaced: the stream ends, and the log says why.
fn settle(x: &mut Exchange<'_>, result: Result<(), Broken>) -> Result<(), End> {
    let broken = match result {
        Ok(()) => return Ok(()),
        Err(broken) => broken,
    };
    x.down.abort();
    match broken {
        Broken::Upstream(reset) => {
            x.record.flags.set(reset.row().flag);
            let text = crate::failure::details(reset.row().text);
            x.record.details = format!("upstream_reset_after_response_started{{{text}}}").into();
            x.manager.stats.inc(http_stat::RQ_RESET_AFTER_DOWNSTREAM_RESPONSE_STARTED);
            Err(End::Reset)
        }
        Broken::Interrupted(Interrupt::Gone) => Err(End::Gone),
        Broken::Interrupted(Interrupt::Route | Interrupt::PerTry | Interrupt::PerTryIdle) => {
            x.record.flags.set(Flag::UT);
            x.record.details = "response_timeout".into();
            Err(End::Reset)
        }
        Broken::Interrupted(Interrupt::Failure(failure)) => {
            let row = failure.row();
            if let Some(flag) = row.flag {
                x.record.flags.set(flag);
            }
            x.record.details = row.details.into();
            Err(End::Reset)
        }
    }
}

/// Why a response did not come to its end.
#[derive(Debug)]
pub enum Broken {
    /// The upstream.
    Upstream(Reset),
    /// The client or a timer.
    Interrupted(Interrupt),
}

/// Statistics of the final response.
fn count(x: &mut Exchange<'_>, plan: &Plan<'_>, attempt: &Attempt, status: u16) {
    let stats = &plan.cell.stats;
    stats.response_code(status);
    let internal = x.request.headers.has(Id::EnvoyInternal);
    stats.response_code_in(if internal { stat::INTERNAL } else { stat::EXTERNAL }, status);
    if attempt.pool.host.is_canary() {
        stats.response_code_in(stat::CANARY, status);
    }
    if let Some(ms) = attempt.service_time(plan) {
        stats.record(stat::UPSTREAM_RQ_TIME, ms);
        stats.record(
            if internal { stat::INTERNAL_UPSTREAM_RQ_TIME } else { stat::EXTERNAL_UPSTREAM_RQ_TIME },
            ms,
        );
    }
}

/// The router's own response headers, then the mutations of all levels.
fn decorate(
    x: &mut Exchange<'_>,
    chosen: &Chosen<'_>,
    plan: &Plan<'_>,
    attempt: &Attempt,
    head: &mut ResponseHead,
) {
    if !x.manager.suppress_envoy_headers
        && let Some(ms) = attempt.service_time(plan)
    {
        head.headers.set_id(Id::EnvoyServiceTime, itoa::Buffer::new().format(ms).as_bytes());
    }
    if attempt.pool.host.is_canary() {
        head.headers.set_id(Id::EnvoyUpstreamCanary, b"true");
    }
    x.attempt_count(chosen, &mut head.headers);
    chosen.each_level(|m| m.response.apply_response(&mut head.headers, &x.request.headers, &x.record));
    x.add_cookies(&mut head.headers);
}

/// Moves the body on as far as the client takes it; the request too, when it is still coming.
fn poll_body(
    x: &mut Exchange<'_>,
    plan: &mut Plan<'_>,
    attempt: &mut Attempt,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Broken>> {
    if !attempt.request_sent()
        && let Err(interrupt) = attempt.poll_request(x, plan, cx)
    {
        return Poll::Ready(Err(Broken::Interrupted(interrupt)));
    }
    loop {
        if !x.down.drained() {
            match x.down.poll_flush(cx) {
                Poll::Ready(Ok(())) => x.deadlines.moved(),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Interrupted(Interrupt::Gone))),
                Poll::Pending => return x.poll_waiting(cx).map(|i| Err(Broken::Interrupted(i))),
            }
        }
        if x.response_ended {
            return x.poll_drain(cx);
        }
        match attempt.up.poll_body(cx) {
            Poll::Ready(Ok(event)) => {
                let passed = x.pass_event(cx, event);
                attempt.up.release();
                if passed.is_err() {
                    return Poll::Ready(passed);
                }
            }
            Poll::Ready(Err(reset)) => return Poll::Ready(Err(Broken::Upstream(reset))),
            Poll::Pending if !x.down.drained() => {}
            Poll::Pending => return poll_pending(x, cx),
        }
    }
}

/// Like `poll_body`, but no faster than the throttle.
fn poll_slowly(
    x: &mut Exchange<'_>,
    throttle: &mut Throttle,
    attempt: &mut Attempt,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Broken>> {
    loop {
        if !x.down.drained() && x.down.poll_flush(cx).is_pending() {
            return x.poll_waiting(cx).map(|i| Err(Broken::Interrupted(i)));
        }
        if x.response_ended {
            return x.poll_drain(cx);
        }
        if !throttle.is_empty() {
            let Poll::Ready((slice, end)) = throttle.poll_slice(cx) else { return poll_pending(x, cx) };
            x.pass_event(cx, BodyEvent::Data(Data::Shared(slice), end))?;
            continue;
        }
        match attempt.up.poll_body(cx) {
            Poll::Ready(Ok(BodyEvent::Data(data, end))) => {
                throttle.push(data.into_bytes(), end);
                attempt.up.release();
            }
            Poll::Ready(Ok(event)) => x.pass_event(cx, event)?,
            Poll::Ready(Err(reset)) => return Poll::Ready(Err(Broken::Upstream(reset))),
            Poll::Pending => return poll_pending(x, cx),
        }
    }
}

/// The upstream has nothing now: what was handed over leaves, then we wait.
fn poll_pending(x: &mut Exchange<'_>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
    if let Poll::Ready(Err(_)) = x.down.poll_flush(cx) {
        return Poll::Ready(Err(Broken::Interrupted(Interrupt::Gone)));
    }
    x.poll_waiting(cx).map(|interrupt| Err(Broken::Interrupted(interrupt)))
}

/// Passes bytes both ways until both sides have ended.
fn tunnel(x: &mut Exchange<'_>, attempt: &mut Attempt, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
    match (up(x, attempt, cx), down(x, attempt, cx)) {
        (Err(broken), _) | (_, Err(broken)) => Poll::Ready(Err(broken)),
        (Ok(()), Ok(())) if attempt.half == (true, true) => Poll::Ready(Ok(())),
        (Ok(()), Ok(())) => x.poll_waiting(cx).map(|interrupt| Err(Broken::Interrupted(interrupt))),
    }
}

fn up(x: &mut Exchange<'_>, attempt: &mut Attempt, cx: &mut Context<'_>) -> Result<(), Broken> {
    let broken = |_| Broken::Upstream(Reset::Termination);
    while !attempt.half.0 {
        if !attempt.up.drained() {
            match attempt.up.poll_flush(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(result) => result.map_err(broken)?,
            }
        }
        match x.down.poll_body(cx, usize::MAX) {
            Poll::Pending => {
                return match attempt.up.poll_flush(cx) {
                    Poll::Ready(Err(error)) => Err(broken(error)),
                    Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
                };
            }
            Poll::Ready(Ok(BodyEvent::Data(data, _))) => {
                x.record.bytes_received =
                    x.record.bytes_received.saturating_add(data.as_slice().len() as u64);
                attempt.up.send_data(cx, data, false).map_err(broken)?;
                x.down.release();
                x.deadlines.moved();
            }
            Poll::Ready(Ok(BodyEvent::Trailers(_) | BodyEvent::End)) => match attempt.up.poll_shutdown(cx) {
                Poll::Ready(_) => {
                    attempt.half.0 = true;
                    attempt.client_first = !attempt.half.1;
                }
                Poll::Pending => return Ok(()),
            },
            Poll::Ready(Err(DownstreamError::Gone | DownstreamError::Bad(_))) => {
                return Err(Broken::Interrupted(Interrupt::Gone));
            }
        }
    }
    Ok(())
}

fn down(x: &mut Exchange<'_>, attempt: &mut Attempt, cx: &mut Context<'_>) -> Result<(), Broken> {
    let gone = |_| Broken::Interrupted(Interrupt::Gone);
    loop {
        if !x.down.drained() {
            match x.down.poll_flush(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(result) => result.map_err(gone)?,
            }
        }
        if attempt.half.1 {
            return Ok(());
        }
        match attempt.up.poll_body(cx) {
            Poll::Pending => {
                return match x.down.poll_flush(cx) {
                    Poll::Ready(Err(error)) => Err(gone(error)),
                    Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
                };
            }
            Poll::Ready(Ok(BodyEvent::Data(data, _))) => {
                x.record.bytes_sent = x.record.bytes_sent.saturating_add(data.as_slice().len() as u64);
                x.down.send_data(cx, data, false).map_err(gone)?;
                attempt.up.release();
                x.deadlines.moved();
            }
            Poll::Ready(Ok(BodyEvent::Trailers(_) | BodyEvent::End)) => {
                x.down.send_data(cx, Data::Borrowed(&[]), true).map_err(gone)?;
                match x.down.poll_shutdown(cx) {
                    Poll::Ready(_) => attempt.half.1 = true,
                    Poll::Pending => return Ok(()),
                }
            }
            Poll::Ready(Err(reset)) => return Err(Broken::Upstream(reset)),
        }
    }
}
