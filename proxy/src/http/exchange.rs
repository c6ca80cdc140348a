//! One request, from its head to its log line. Read this file first: prepare, choose a route, filters, then forward
//! (`forward/`), redirect or answer; the record is logged when the exchange drops.

pub use super::chosen::Chosen;
use super::deadlines::Deadlines;
use super::filter::chain::Chain;
use super::forward;
use super::manager::ManagerCell;
use super::prepare::{self, Refusal};
use super::reply::{self, Reply};
use super::respond;
use super::route_reply;
use crate::base::clock;
use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::base::rng;
use crate::codec::h1::framing::is_upgrade;
use crate::codec::message::{BodyEvent, Data, Part, RequestHead, ResponseHead};
use crate::codec::stream::Downstream;
use crate::failure::{Failure, Flag};
use crate::model::route::{RequireTls, RouteConfig, VirtualHost};
use crate::model::route_action::Action;
use crate::observe::record::{Protocol, Record};
use crate::observe::stats::http as stat;
use crate::route;
use crate::transport::Alarm;
use crate::upstream::Worker;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Why an exchange ends without a complete response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It is answered all the same.
    Done,
    /// The client went away.
    Gone,
    /// The stream is reset.
    Reset,
}

/// What can happen while something is awaited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupt {
    /// The client went away.
    Gone,
    /// The route's timeout.
    Route,
    /// The try's timeout.
    PerTry,
    /// The try's idle timeout.
    PerTryIdle,
    /// Another failure with a row of its own.
    Failure(Failure),
}

/// One request and its response.
pub struct Exchange<'d> {
    /// The client's side.
    pub down: Downstream<'d>,
    /// The request head; headers move to the record at the end.
    pub request: RequestHead,
    /// What is remembered; boxed, for it is large and the exchange moves.
    pub record: Box<Record>,
    /// The connection manager.
    pub manager: Rc<ManagerCell>,
    /// The worker.
    pub worker: Rc<Worker>,
    /// The connection's timer.
    pub alarm: &'d mut Alarm,
    /// All deadlines.
    pub deadlines: Deadlines,
    /// Most bytes that a retry policy keeps.
    pub buffer_limit: usize,
    /// 100 was answered already.
    pub continued: bool,
    /// The response body is complete.
    pub response_ended: bool,
    /// Cookies that the hash policy makes.
    pub set_cookies: Vec<Vec<u8>>,
    /// The running filters.
    pub filters: Chain,
    /// Nobody cut it off.
    served: bool,
}

impl<'d> Exchange<'d> {
    /// A request has come.
    pub fn new(
        down: Downstream<'d>,
        request: RequestHead,
        record: Box<Record>,
        manager: Rc<ManagerCell>,
        worker: Rc<Worker>,
        alarm: &'d mut Alarm,
        buffer_limit: usize,
    ) -> Exchange<'d> {
        let stats = &manager.stats;
        stats.inc(stat::DOWNSTREAM_RQ_TOTAL);
        stats.inc(stat::RQ_TOTAL);
        stats.gauge_add(stat::DOWNSTREAM_RQ_ACTIVE, 1);
        stats.inc(if request.protocol == Protocol::Http2 {
            stat::DOWNSTREAM_RQ_HTTP2_TOTAL
        } else {
            stat::DOWNSTREAM_RQ_HTTP1_TOTAL
        });
        let deadlines = Deadlines::new(&manager.config, record.start, request.end);
        let filters = Chain::default();
        Exchange {
            down,
            request,
            record,
            manager,
            worker,
            alarm,
            deadlines,
            buffer_limit,
            continued: false,
            response_ended: false,
            set_cookies: Vec::new(),
            filters,
            served: false,
        }
    }

    /// Serves it to its end.
    pub async fn serve(&mut self) {
        self.record.protocol = Some(self.request.protocol);
        let result = self.run().await;
        if let Err(end) = result {
            self.ended(end);
        }
        self.served = true;
    }

    async fn run(&mut self) -> Result<(), End> {
        let manager = self.manager.clone();
        let routes = manager.routes(&self.worker);
        let config = routes.as_deref().map(|routes| &**routes);
        if let Err(refusal) = prepare::request(&mut self.request, &manager.config, config, &mut self.record) {
            return Box::pin(self.refuse(refusal)).await;
        }
        if self.request.headers.has(Id::Expect) {
            Box::pin(self.expect_continue()).await;
        }
        let Some(config) = config else { return Box::pin(self.no_route()).await };
        let authority = self.request.headers.get(Id::Authority).unwrap_or_default();
        let Some(host) = route::virtual_host(config, authority) else {
            return Box::pin(self.no_route()).await;
        };
        // Whatever its routes are.
        if self.wants_tls(host) {
            let reply = route_reply::to_https(self);
            return Box::pin(self.reply(reply)).await;
        }
        let Some(chosen) = self.choose(config, host) else { return Box::pin(self.no_route()).await };
        if let Some(failure) = self.upgrade(&chosen) {
            self.down.set_close();
            self.note_cluster(&chosen);
            return Box::pin(self.reply(failure.into())).await;
        }
        if manager.has_filters {
            self.filters = Chain::new(&manager, &chosen);
            if let Some(reply) = Box::pin(self.run_request_filters(&chosen)).await? {
                self.note_cluster(&chosen);
                return Box::pin(self.reply_on(&chosen, reply)).await;
            }
        }
        match &chosen.route.action {
            Action::Forward(forward) => forward::run(self, &chosen, forward).await,
            Action::Redirect(redirect) => {
                manager.stats.inc(stat::RQ_REDIRECT);
                let reply = route_reply::redirect(self, &chosen, redirect);
                Box::pin(self.reply_on(&chosen, reply)).await
            }
            Action::Direct(direct) => {
                manager.stats.inc(stat::RQ_DIRECT_RESPONSE);
                let reply = route_reply::direct(self, direct);
                Box::pin(self.reply_on(&chosen, reply)).await
            }
            Action::NonForwarding => Box::pin(self.no_route()).await,
        }
    }

    /// Route and cluster.
    fn choose<'r>(
        &mut self,
        config: &'r RouteConfig,
        virtual_host: &'r Arc<VirtualHost>,
    ) -> Option<Chosen<'r>> {
        let headers = &self.request.headers;
        let random = rng::with(|r| r.next_u64());
        let route = route::route(config, virtual_host, headers, random)?;
        if !route.name.is_empty() {
            self.record.route = Some(route.name.clone());
        }
        let mut chosen = Chosen { config, virtual_host, route, entry: None, cluster: None };
        if let Action::Forward(forward) = &route.action {
            chosen.choose_cluster(forward, headers, &self.record, random);
        }
        Some(chosen)
    }

    /// The route's cluster is logged although nothing is sent there.
    pub fn note_cluster(&mut self, chosen: &Chosen<'_>) {
        let Some(cell) = chosen.cluster.as_deref().and_then(|name| self.worker.cluster(name)) else { return };
        let config = cell.config();
        self.record.upstream.cluster = Some(config.stat_name.clone());
        self.record.upstream.cluster_raw = Some(config.name.clone());
    }

    /// Answers `Expect: 100-continue` (spec 1.1.5), unless it is to be forwarded.
    async fn expect_continue(&mut self) {
        let expects =
            self.request.headers.get(Id::Expect).is_some_and(|v| v.eq_ignore_ascii_case(b"100-continue"));
        if expects && !self.manager.config.proxy_100_continue {
            self.request.headers.remove_id(Id::Expect);
            self.continued = true;
            self.down.send_interim(100, &HeaderBlock::new());
            // A client that went away is noticed by what comes next.
            let _ = poll_fn(|cx| self.poll_drain(cx)).await;
        }
    }

    fn wants_tls(&self, host: &VirtualHost) -> bool {
        let plain = self.request.headers.get(Id::ForwardedProto) != Some(b"https");
        match host.require_tls {
            RequireTls::No => false,
            RequireTls::All => plain,
            RequireTls::ExternalOnly => plain && !self.request.headers.has(Id::EnvoyInternal),
        }
    }

    /// Is an upgrade asked for that is not enabled?
    fn upgrade(&mut self, chosen: &Chosen<'_>) -> Option<Failure> {
        if !is_upgrade(&self.request.headers) {
            return None;
        }
        let kind = self.request.headers.get(Id::Upgrade)?.to_ascii_lowercase();
        let find = |list: &[(Box<str>, bool)]| {
            list.iter().find(|(name, _)| name.as_bytes() == kind).map(|(_, on)| *on)
        };
        let on_route = match &chosen.route.action {
            Action::Forward(forward) => find(&forward.upgrades),
            _ => None,
        };
        let enabled = on_route.or_else(|| find(&self.manager.config.upgrades)).unwrap_or(false);
        if enabled {
            return None;
        }
        self.manager.stats.inc(stat::DOWNSTREAM_RQ_WS_ON_NON_WS_ROUTE);
        Some(Failure::UpgradeFailed)
    }

    async fn no_route(&mut self) -> Result<(), End> {
        self.manager.stats.inc(stat::NO_ROUTE);
        self.reply(Failure::RouteNotFound.into()).await
    }

    async fn refuse(&mut self, refusal: Refusal) -> Result<(), End> {
        match refusal {
            Refusal::RedirectPath(path) => {
                self.manager.stats.inc(stat::DOWNSTREAM_RQ_REDIRECTED_WITH_NORMALIZED_PATH);
                let mut reply = Reply::new(307, "path_normalization_failed");
                reply.headers.append_id(Id::Location, &path);
                self.reply(reply).await
            }
            Refusal::Failure(failure) => {
                if let Some(details) = self.down.refusal(failure) {
                    self.note((Flag::DPE, details));
                    return Err(End::Reset);
                }
                match failure {
                    Failure::AbsolutePath => self.manager.stats.inc(stat::DOWNSTREAM_RQ_NON_RELATIVE_PATH),
                    Failure::PathNormalization => {
                        self.manager.stats.inc(stat::DOWNSTREAM_RQ_FAILED_PATH_NORMALIZATION)
                    }
                    _ => {}
                }
                let mut reply = Reply::from(failure);
                reply.close = reply.status == 400 && !self.manager.config.http1.stream_error_on_invalid;
                let codec = matches!(
                    failure,
                    Failure::CodecError
                        | Failure::InvalidScheme
                        | Failure::Underscore
                        | Failure::ConnectionHeader
                );
                let result = self.reply(reply).await;
                if codec {
                    // Bytes that never became a request are not logged as one.
                    self.request.headers = HeaderBlock::new();
                }
                result
            }
        }
    }

    async fn run_request_filters(&mut self, chosen: &Chosen<'_>) -> Result<Option<Reply>, End> {
        let mut filters = std::mem::take(&mut self.filters);
        let result = filters.request(self, chosen).await;
        self.filters = filters;
        result
    }

    /// Holds the response to the rate that a filter asks for.
    pub fn throttle(&self) -> Option<super::throttle::Throttle> {
        self.filters.response_rate().map(super::throttle::Throttle::new)
    }

    /// The response side of the filters; `gathered`: the body that one of them asked for.
    pub fn run_response_filters(&mut self, head: &mut ResponseHead, gathered: Option<&[u8]>) {
        if self.manager.has_filters {
            let mut filters = std::mem::take(&mut self.filters);
            filters.response(self, head, gathered);
            self.filters = filters;
        }
    }

    /// A local reply of a route: its mutations and the response side of the filters apply.
    pub async fn reply_on(&mut self, chosen: &Chosen<'_>, mut reply: Reply) -> Result<(), End> {
        self.record.status = reply.status;
        let mut headers = std::mem::take(&mut reply.headers);
        self.attempt_count(chosen, &mut headers);
        chosen.each_level(|m| m.response.apply_response(&mut headers, &self.request.headers, &self.record));
        reply.headers = headers;
        let (mut head, mut body) = reply::render(self, reply);
        let gathered = self.filters.gathers(&head).map(|most| {
            body.truncate(most);
            std::mem::take(&mut body)
        });
        self.run_response_filters(&mut head, gathered.as_deref());
        self.send_own(head, body).await
    }

    /// A local reply without a route.
    pub async fn reply(&mut self, reply: Reply) -> Result<(), End> {
        let (head, body) = reply::render(self, reply);
        self.send_own(head, body).await
    }

    async fn send_own(&mut self, mut head: ResponseHead, body: Vec<u8>) -> Result<(), End> {
        respond::complete(self, &mut head, true);
        self.send_head(head, false);
        let mut body = Some(body).filter(|b| !b.is_empty());
        poll_fn(|cx| {
            if let Some(body) = body.take() {
                let event = BodyEvent::Data(Data::Shared(body.into()), true);
                if self.pass_event(cx, event).is_err() {
                    return Poll::Ready(Err(End::Gone));
                }
            }
            self.poll_drain(cx).map_err(|_| End::Gone)
        })
        .await
    }

    /// Hands a response head over and remembers it.
    pub fn send_head(&mut self, head: ResponseHead, upgraded: bool) {
        let open = !self.down.request_done() || self.wants_tunnel();
        if open && !upgraded && self.request.protocol != Protocol::Http2 {
            self.manager.stats.inc(stat::DOWNSTREAM_RQ_RESPONSE_BEFORE_RQ_COMPLETE);
            self.down.set_close();
        }
        self.record.status = head.status;
        self.record.moments.response_headers_sent =
            Some(clock::now().saturating_duration_since(self.record.start));
        self.down.send_head(&head, upgraded);
        self.response_ended = head.end;
        self.record.response = head.headers;
    }

    /// Has the request no end of its own (an upgrade, CONNECT)?
    pub fn wants_tunnel(&self) -> bool {
        is_upgrade(&self.request.headers) || self.request.headers.get(Id::Method) == Some(b"CONNECT")
    }

    /// Passes one part of a response body on.
    pub fn pass_event(&mut self, cx: &mut Context<'_>, event: BodyEvent<'_>) -> Result<(), forward::Broken> {
        self.deadlines.moved();
        let mut part = Part::from(event);
        self.filters
            .response_part(&mut part)
            .map_err(|failure| forward::Broken::Interrupted(Interrupt::Failure(failure)))?;
        self.send_part(cx, part).map_err(|_| forward::Broken::Interrupted(Interrupt::Gone))
    }

    fn send_part(&mut self, cx: &mut Context<'_>, part: Part<'_>) -> io::Result<()> {
        let Part { data, end, trailers } = part;
        let bytes = data.as_slice().len();
        self.record.bytes_sent = self.record.bytes_sent.saturating_add(bytes as u64);
        self.response_ended = end;
        if bytes > 0 || (end && trailers.is_none()) {
            self.down.send_data(cx, data, end && trailers.is_none())?;
        }
        let Some(trailers) = trailers else { return Ok(()) };
        let result = self.down.send_trailers(cx, &trailers, self.manager.config.http1.trailers);
        self.record.response_trailers = trailers;
        result
    }

    /// Waits until everything handed over is taken.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), forward::Broken>> {
        match self.down.poll_flush(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(_)) => Poll::Ready(Err(forward::Broken::Interrupted(Interrupt::Gone))),
            // It leaves at the end of the turn: an answer to a time that is over would else meet that time again.
            Poll::Pending if self.down.is_due() => Poll::Pending,
            Poll::Pending => self.poll_deadlines(cx).map(|i| Err(forward::Broken::Interrupted(i))),
        }
    }

    /// Completes when the client goes away (its request being complete) or a time is over.
    pub fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Interrupt> {
        if self.down.is_watchable() && self.down.poll_gone(cx).is_ready() {
            return Poll::Ready(Interrupt::Gone);
        }
        self.poll_deadlines(cx)
    }

    /// Completes when a time is over.
    pub fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<Interrupt> {
        loop {
            let (at, what) = self.deadlines.next();
            std::task::ready!(self.alarm.poll_at(cx, at));
            // The time may have moved on since.
            if self.deadlines.next() == (at, what) {
                return Poll::Ready(self.timed_out(what));
            }
        }
    }

    fn timed_out(&self, what: Option<Interrupt>) -> Interrupt {
        match what {
            Some(Interrupt::Failure(Failure::StreamIdleTimeout)) => {
                self.manager.stats.inc(stat::DOWNSTREAM_RQ_IDLE_TIMEOUT);
            }
            Some(Interrupt::Failure(Failure::RequestTimeout)) => {
                self.manager.stats.inc(stat::DOWNSTREAM_RQ_TIMEOUT)
            }
            Some(Interrupt::Failure(Failure::MaxDuration)) => {
                self.manager.stats.inc(stat::DOWNSTREAM_RQ_MAX_DURATION_REACHED);
            }
            _ => {}
        }
        let early = !self.down.request_done();
        match what {
            Some(Interrupt::Failure(Failure::StreamIdleTimeout)) if early => {
                Interrupt::Failure(Failure::RequestIdleTimeout)
            }
            Some(Interrupt::Failure(Failure::MaxDuration)) if early => {
                Interrupt::Failure(Failure::RequestMaxDuration)
            }
            what => what.unwrap_or(Interrupt::Gone),
        }
    }

    /// Notes an end without a complete response.
    fn ended(&mut self, end: End) {
        match end {
            End::Done => {}
            End::Gone => {
                self.note(self.down.gone());
                self.manager.stats.inc(stat::DOWNSTREAM_RQ_RX_RESET);
                self.down.abort();
            }
            End::Reset => {
                self.manager.stats.inc(stat::DOWNSTREAM_RQ_TX_RESET);
                self.down.abort();
            }
        }
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        let took = clock::now().saturating_duration_since(self.record.start);
        self.record.moments.end = Some(took);
        if !self.served {
            self.record.flags.set(Flag::DC);
            self.record.details = "downstream_local_disconnect".into();
        }
        self.record.request = std::mem::take(&mut self.request.headers);
        self.record.wire = self.down.wire();
        let stats = &self.manager.stats;
        stats.gauge_sub(stat::DOWNSTREAM_RQ_ACTIVE, 1);
        stats.record(stat::DOWNSTREAM_RQ_TIME, u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        if self.record.status > 0 {
            self.manager.response_code(self.record.status);
        }
        self.filters.ended(&mut self.record);
        for log in &self.manager.config.logs {
            log.log(&self.record);
        }
    }
}
