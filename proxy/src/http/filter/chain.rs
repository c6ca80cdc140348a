//! The filters of one exchange, in order on the request, in reverse on the response.

use super::hooks::{HttpFilter, RequestContext, ResponseContext, Shared, Step};
use crate::base::headers::HeaderBlock;
use crate::codec::message::{Part, ResponseHead};
use crate::failure::Failure;
use crate::http::exchange::{Chosen, End, Exchange, Interrupt};
use crate::http::manager::ManagerCell;
use crate::http::reply::{Reply, is_grpc};
use crate::model::plugin::{FilterOverride, PluginConfig, RouteFilterConfig};
use crate::observe::record::Record;
use std::future::poll_fn;
use std::task::Poll;

struct Running {
    filter: Box<dyn HttpFilter>,
    config: Option<RouteFilterConfig>,
}

/// What the filters do with a body.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum Touch {
    #[default]
    Nothing,
    /// One looks at it.
    Look,
    /// One changes it; the others look at what comes to their place.
    Change,
}

impl Touch {
    fn of(looks: bool, changes: bool) -> Touch {
        if changes {
            Touch::Change
        } else if looks {
            Touch::Look
        } else {
            Touch::Nothing
        }
    }
}

/// The running filters of an exchange.
#[derive(Default)]
pub struct Chain {
    all: Vec<Running>,
    /// What they do with the request's body.
    request: Touch,
    /// What they do with the response's body.
    response: Touch,
    /// What they tell each other.
    shared: Shared,
    /// Was it a gRPC request before they saw it?
    of_grpc: Option<bool>,
    /// Does one want the upstream's metadata?
    pub wants_upstream: bool,
}

/// What the levels say of a slot, most specific first.
fn overrides<'r>(chosen: &Chosen<'r>, slot: &str) -> impl Iterator<Item = &'r FilterOverride> {
    let levels = [
        chosen.entry.and_then(|e| e.filters.of(slot)),
        chosen.route.filters.of(slot),
        chosen.virtual_host.filters.of(slot),
        chosen.config.filters.of(slot),
    ];
    levels.into_iter().flatten()
}

fn is_on(chosen: &Chosen<'_>, slot: &PluginConfig) -> bool {
    match overrides(chosen, &slot.name).next() {
        Some(level) => !level.disabled,
        None => !slot.disabled,
    }
}

impl Chain {
    /// The filters that are on for this route.
    pub fn new(manager: &ManagerCell, chosen: &Chosen<'_>) -> Chain {
        let slots = manager.config.filters.iter().filter(|slot| is_on(chosen, slot));
        let running = slots.filter_map(|slot| {
            let filter = super::run(slot)?;
            let config = overrides(chosen, &slot.name).find_map(|level| level.config.clone());
            Some(Running { filter, config })
        });
        let all: Vec<Running> = running.collect();
        let wants_upstream = all.iter().any(|running| running.filter.wants_upstream());
        Chain { all, wants_upstream, ..Chain::default() }
    }

    /// Runs the request side; a reply of a filter ends it.
    pub async fn request(&mut self, x: &mut Exchange<'_>, chosen: &Chosen<'_>) -> Result<Option<Reply>, End> {
        self.of_grpc = Some(is_grpc(&x.request.headers));
        for running in &mut self.all {
            let mut step = hook(x, chosen, running, &mut self.shared, false);
            loop {
                match step {
                    Step::Continue => break,
                    Step::Reply(reply) => return Ok(Some(*reply)),
                    Step::Wait(mut future) => {
                        let interrupt = poll_fn(|cx| match future.as_mut().poll(cx) {
                            Poll::Ready(()) => Poll::Ready(None),
                            Poll::Pending => x.poll_waiting(cx).map(Some),
                        });
                        match interrupt.await {
                            None => step = hook(x, chosen, running, &mut self.shared, true),
                            Some(Interrupt::Failure(failure)) => return Ok(Some(failure.into())),
                            Some(_) => return Err(End::Gone),
                        }
                    }
                }
            }
        }
        let taps = self.all.iter().any(|running| running.filter.taps());
        self.request = Touch::of(taps, self.all.iter().any(|running| running.filter.changes_request()));
        self.response = Touch::of(taps, false);
        if x.manager.config.filters.is_empty() {
            // As in Envoy, nobody answers but the stream's times.
            return match poll_fn(|cx| x.poll_waiting(cx)).await {
                Interrupt::Failure(failure) => Ok(Some(failure.into())),
                _ => Err(End::Gone),
            };
        }
        Ok(None)
    }

    /// A part of the request's body passes the filters that look at it or change it.
    pub fn request_part(&mut self, part: &mut Part<'_>) -> Result<(), Failure> {
        let mut all = self.all.iter_mut();
        match self.request {
            Touch::Nothing => {}
            Touch::Look => all.for_each(|running| running.filter.request_data(part.data.as_slice())),
            Touch::Change => return all.try_for_each(|running| running.filter.change_request(part)),
        }
        Ok(())
    }

    /// A part of the response's body passes the filters that look at it or change it.
    pub fn response_part(&mut self, part: &mut Part<'_>) -> Result<(), Failure> {
        let mut all = self.all.iter_mut().rev();
        match self.response {
            Touch::Nothing => {}
            Touch::Look => all.for_each(|running| running.filter.response_data(part.data.as_slice())),
            Touch::Change => return all.try_for_each(|running| running.filter.change_response(part)),
        }
        Ok(())
    }

    /// Tells the filters that the exchange is over.
    pub fn ended(&mut self, record: &mut Record) {
        self.all.iter_mut().for_each(|running| running.filter.finish(record));
        self.all.iter_mut().for_each(|running| running.filter.ended(record));
    }

    /// The least rate that a filter holds the response to, in bytes a second.
    pub fn response_rate(&self) -> Option<u64> {
        self.all.iter().filter_map(|running| running.filter.response_rate()).min()
    }

    /// Is it answered in gRPC's way? Filters may have made it a gRPC request, whose client does not know that.
    pub fn of_grpc(&self, request: &HeaderBlock) -> bool {
        self.of_grpc.unwrap_or_else(|| is_grpc(request))
    }

    /// Bytes of the response's body that a filter wants before the head goes on.
    pub fn gathers(&self, head: &ResponseHead) -> Option<usize> {
        if head.end { None } else { self.all.iter().filter_map(|running| running.filter.gathers(head)).max() }
    }

    /// Runs the response side; `gathered`: the body that a filter asked for.
    pub fn response(&mut self, x: &mut Exchange<'_>, head: &mut ResponseHead, gathered: Option<&[u8]>) {
        for running in self.all.iter_mut().rev() {
            running.filter.response(&mut ResponseContext {
                request: &x.request.headers,
                response: head,
                record: &mut x.record,
                route_config: running.config.as_ref(),
                gathered,
                stat_prefix: &x.manager.config.stat_prefix,
                shared: &mut self.shared,
            });
        }
        head.end |= gathered.is_some();
        let changes = self.all.iter().any(|running| running.filter.changes_response());
        self.response = Touch::of(self.response == Touch::Look, changes);
    }
}

fn hook(
    x: &mut Exchange<'_>,
    chosen: &Chosen<'_>,
    running: &mut Running,
    shared: &mut Shared,
    resumed: bool,
) -> Step {
    let mut cx = RequestContext {
        request: &mut x.request,
        record: &mut x.record,
        route_config: running.config.as_ref(),
        cluster: chosen.cluster.as_deref(),
        stats: &x.manager.stats,
        stat_prefix: &x.manager.config.stat_prefix,
        shared,
    };
    if resumed { running.filter.resumed(&mut cx) } else { running.filter.request(&mut cx) }
}
