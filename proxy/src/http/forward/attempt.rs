//! One attempt: a host, a connection, the request on it, the response head. Request and response flow at the same
//! time; nothing is read that cannot be written on.

use super::plan::Plan;
use crate::base::clock;
use crate::codec::message::{Data, ResponseHead};
use crate::failure::Reset;
use crate::http::exchange::{Exchange, Interrupt};
use crate::live::host::Stat;
use crate::live::permit::{Kind, Permit};
use crate::observe::record::Protocol;
use crate::observe::stats::cluster as stat;
use crate::upstream::pool::HostPool;
use crate::upstream::stream::Wanted;
use crate::upstream::{ClusterCell, ConnectError, Upstream};
use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll};

/// How an attempt ended.
pub enum Outcome {
    /// With a response head.
    Response(ResponseHead),
    /// Without; the words are the transport's.
    Reset(Reset, Cow<'static, str>),
    /// No host to try.
    NoHost,
    /// A timer, or the client.
    Interrupted(Interrupt),
}

/// Counts an attempt as active, at cluster and host.
pub struct Active {
    cell: Rc<ClusterCell>,
    pool: Rc<HostPool>,
    _permit: Permit,
}

impl Active {
    fn new(cell: &Rc<ClusterCell>, pool: &Rc<HostPool>, permit: Permit) -> Active {
        cell.stats.inc(stat::UPSTREAM_RQ_TOTAL);
        cell.stats.gauge_add(stat::UPSTREAM_RQ_ACTIVE, 1);
        pool.host.inc(Stat::RqTotal);
        pool.host.inc(Stat::RqActive);
        Active { cell: cell.clone(), pool: pool.clone(), _permit: permit }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.cell.stats.gauge_sub(stat::UPSTREAM_RQ_ACTIVE, 1);
        self.pool.host.dec(Stat::RqActive);
    }
}

/// A running attempt.
pub struct Attempt {
    /// The stream.
    pub up: Upstream,
    /// The host.
    pub pool: Rc<HostPool>,
    _active: Active,
    /// Bytes of the kept body handed over.
    fed: usize,
    /// The whole request is handed over.
    sent: bool,
    /// The upstream takes no more bytes; its answer may still come.
    deaf: bool,
    /// The tunnel's directions that have ended: ours, theirs.
    pub half: (bool, bool),
    /// The client's direction ended first.
    pub client_first: bool,
}

impl Attempt {
    /// Gets a connection to a host and hands the request head over.
    pub async fn start(x: &mut Exchange<'_>, plan: &mut Plan<'_>) -> Result<Attempt, Outcome> {
        let cell = plan.cell.clone();
        x.record.upstream.attempts = x.record.upstream.attempts.saturating_add(1);
        x.record.upstream.transport_failure = None;
        let Some(pool) = plan.pick(x) else { return Err(Outcome::NoHost) };
        x.record.upstream.host = Some(pool.host.address.clone());
        if x.filters.wants_upstream {
            x.record.upstream.metadata = pool.host.attributes().metadata.clone();
        }
        if x.record.upstream.tried.len() < MAX_TRIED {
            x.record.upstream.tried.push(pool.host.address.clone());
        }
        let Some(permit) = cell.lender(plan.forward.high_priority).take(Kind::Requests) else {
            cell.stats.inc(stat::UPSTREAM_RQ_ACTIVE_OVERFLOW);
            return Err(Outcome::Reset(Reset::Overflow, Cow::Borrowed("")));
        };
        let up = Self::connect(x, plan, &cell, &pool).await.inspect_err(|outcome| {
            if let Outcome::Reset(..) = outcome {
                super::judge(plan, &pool.host, outcome);
            }
        })?;
        let active = Active::new(&cell, &pool, permit);
        let mut attempt = Attempt {
            up,
            pool,
            _active: active,
            fed: 0,
            sent: false,
            deaf: false,
            half: (false, false),
            client_first: false,
        };
        let (id, local, protocol) = attempt.up.facts();
        let facts = &mut x.record.upstream;
        (facts.connection_id, facts.local, facts.protocol) = (id, local, Some(protocol));
        super::headers::auto_host(
            &mut x.request.headers,
            plan.forward,
            &attempt.pool.host,
            x.manager.suppress_envoy_headers,
        );
        attempt.up.send_head(&x.request);
        attempt.sent = x.request.end;
        x.deadlines.attempt_begins(
            plan.times.per_try,
            plan.times.per_try_idle,
            plan.config.http.max_stream_duration,
        );
        Ok(attempt)
    }

    async fn connect(
        x: &mut Exchange<'_>,
        plan: &mut Plan<'_>,
        cell: &Rc<ClusterCell>,
        pool: &Rc<HostPool>,
    ) -> Result<Upstream, Outcome> {
        let wanted = Wanted {
            http2: plan.config.http.is_http2(x.request.protocol == Protocol::Http2),
            high: plan.forward.high_priority,
            fresh: plan.replayed.as_ref().map(|_| x.record.start),
        };
        if let Some(up) = Upstream::ready(cell, pool, wanted) {
            return Ok(up);
        }
        // Boxed: most requests find a connection, and their tasks need no room for making one.
        let mut opening = Box::pin(Upstream::open(cell, pool, wanted));
        let result = poll_fn(|cx| match opening.as_mut().poll(cx) {
            Poll::Ready(opened) => Poll::Ready(Ok(opened)),
            Poll::Pending => plan.poll_waiting(x, cx).map(Err),
        });
        match result.await {
            Ok(Ok(up)) => Ok(up),
            Ok(Err(ConnectError { reset, reason })) => Err(Outcome::Reset(reset, reason)),
            Err(interrupt) => Err(Outcome::Interrupted(interrupt)),
        }
    }

    /// Sends the request until the response head is there.
    pub async fn head(&mut self, x: &mut Exchange<'_>, plan: &mut Plan<'_>) -> Outcome {
        poll_fn(|cx| self.poll_response(x, plan, cx)).await
    }

    fn poll_response(
        &mut self,
        x: &mut Exchange<'_>,
        plan: &mut Plan<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome> {
        if let Err(interrupt) = self.poll_request(x, plan, cx) {
            return Poll::Ready(Outcome::Interrupted(interrupt));
        }
        if self.up.is_due() {
            return Poll::Pending;
        }
        loop {
            match self.up.poll_head(cx) {
                Poll::Ready(Ok(head)) if head.status < 200 && head.status != 101 => {
                    if matches!(head.status, 100 | 103) && x.manager.config.proxy_100_continue {
                        plan.replay.seal(std::mem::take(&mut self.fed));
                        x.down.send_interim(head.status, &head.headers);
                        if let Poll::Ready(Err(_)) = x.down.poll_flush(cx) {
                            return Poll::Ready(Outcome::Interrupted(Interrupt::Gone));
                        }
                    }
                }
                Poll::Ready(Ok(head)) => return Poll::Ready(Outcome::Response(head)),
                Poll::Ready(Err(reset)) => return Poll::Ready(Outcome::Reset(reset, Cow::Borrowed(""))),
                Poll::Pending => break,
            }
        }
        x.poll_waiting(cx).map(Outcome::Interrupted)
    }

    /// Moves the request on as far as both sides allow.
    pub fn poll_request(
        &mut self,
        x: &mut Exchange<'_>,
        plan: &mut Plan<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), Interrupt> {
        while !self.deaf {
            if !self.up.drained() {
                match self.up.poll_flush(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(())) => x.deadlines.moved(),
                    // What it had to say may still arrive.
                    Poll::Ready(Err(_)) => self.deaf = true,
                }
                continue;
            }
            if self.sent {
                self.deaf |= matches!(self.up.poll_flush(cx), Poll::Ready(Err(_)));
                break;
            }
            if self.fed < plan.replay.bytes().len() || (plan.replay.is_complete() && plan.request_read) {
                self.feed(plan, cx);
                continue;
            }
            if !self.forward_some(x, plan, cx)? {
                // The head leaves now: the body may be long in coming.
                self.deaf |= matches!(self.up.poll_flush(cx), Poll::Ready(Err(_)));
                break;
            }
        }
        Ok(())
    }

    /// Hands over what was kept of the body for another attempt.
    fn feed(&mut self, plan: &mut Plan<'_>, cx: &mut Context<'_>) {
        let rest = plan.replay.bytes().get(self.fed..).unwrap_or_default();
        let all = plan.replay.is_complete() && plan.request_read;
        self.fed = plan.replay.bytes().len();
        let end = all && plan.replay.trailers.is_none();
        self.deaf |= self.up.send_data(cx, Data::Borrowed(rest), end).is_err();
        if let (true, Some(trailers)) = (all, &plan.replay.trailers) {
            self.deaf |= self.up.send_trailers(cx, trailers).is_err();
        }
        self.sent = all;
        if !plan.replay.is_active() {
            plan.replay.forget();
            self.fed = 0;
        }
    }

    /// Reads one part of the body and hands it over; false when nothing is there.
    fn forward_some(
        &mut self,
        x: &mut Exchange<'_>,
        plan: &mut Plan<'_>,
        cx: &mut Context<'_>,
    ) -> Result<bool, Interrupt> {
        let Poll::Ready(taken) = plan.poll_part(x, cx, usize::MAX, Some(&mut self.up)) else {
            return Ok(false);
        };
        self.deaf |= !taken?;
        self.fed = plan.replay.bytes().len();
        self.sent = plan.request_read;
        Ok(true)
    }

    /// Is the request handed over and taken?
    pub fn request_sent(&self) -> bool {
        self.sent || self.deaf
    }

    /// Milliseconds since the request was complete, for `x-envoy-upstream-service-time`.
    pub fn service_time(&self, plan: &Plan<'_>) -> Option<u64> {
        let since = plan.sent_at.filter(|_| plan.request_read)?;
        u64::try_from(clock::now().saturating_duration_since(since).as_millis()).ok()
    }
}

/// Hosts kept in a record.
const MAX_TRIED: usize = 16;
