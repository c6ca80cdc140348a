//! The filters of one exchange, in order on the request, in reverse on the response.

use super::hooks::{HttpFilter, RequestContext, ResponseContext, Step};
use crate::codec::message::ResponseHead;
use crate::http::exchange::{Chosen, End, Exchange, Interrupt};
use crate::http::manager::ManagerCell;
use crate::http::reply::Reply;
use crate::model::plugin::{FilterOverride, PluginConfig, RouteFilterConfig};
use crate::observe::record::Record;
use std::future::poll_fn;
use std::task::Poll;

struct Running {
    filter: Box<dyn HttpFilter>,
    config: Option<RouteFilterConfig>,
}

/// The running filters of an exchange.
#[derive(Default)]
pub struct Chain {
    all: Vec<Running>,
    /// Does one look at the bodies?
    taps: bool,
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
        Chain { all, taps: false, wants_upstream }
    }

    /// Runs the request side; a reply of a filter ends it.
    pub async fn request(&mut self, x: &mut Exchange<'_>, chosen: &Chosen<'_>) -> Result<Option<Reply>, End> {
        for running in &mut self.all {
            let mut step = hook(x, chosen, running, false);
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
                            None => step = hook(x, chosen, running, true),
                            Some(Interrupt::Failure(failure)) => return Ok(Some(failure.into())),
                            Some(_) => return Err(End::Gone),
                        }
                    }
                }
            }
        }
        self.taps = self.all.iter().any(|running| running.filter.taps());
        if x.manager.config.filters.is_empty() {
            // As in Envoy, nobody answers but the stream's times.
            return match poll_fn(|cx| x.poll_waiting(cx)).await {
                Interrupt::Failure(failure) => Ok(Some(failure.into())),
                _ => Err(End::Gone),
            };
        }
        Ok(None)
    }

    /// Shows a part of the request's body to the filters that look.
    pub fn request_data(&mut self, bytes: &[u8]) {
        if self.taps {
            self.all.iter_mut().for_each(|running| running.filter.request_data(bytes));
        }
    }

    /// Shows a part of the response's body to the filters that look.
    pub fn response_data(&mut self, bytes: &[u8]) {
        if self.taps {
            self.all.iter_mut().for_each(|running| running.filter.response_data(bytes));
        }
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

    /// Runs the response side.
    pub fn response(&mut self, x: &mut Exchange<'_>, _chosen: &Chosen<'_>, head: &mut ResponseHead) {
        for running in self.all.iter_mut().rev() {
            running.filter.response(&mut ResponseContext {
                request: &x.request.headers,
                response: head,
                record: &mut x.record,
                route_config: running.config.as_ref(),
            });
        }
    }
}

fn hook(x: &mut Exchange<'_>, chosen: &Chosen<'_>, running: &mut Running, resumed: bool) -> Step {
    let mut cx = RequestContext {
        request: &mut x.request,
        record: &mut x.record,
        route_config: running.config.as_ref(),
        cluster: chosen.cluster.as_deref(),
        stats: &x.manager.stats,
        stat_prefix: &x.manager.config.stat_prefix,
    };
    if resumed { running.filter.resumed(&mut cx) } else { running.filter.request(&mut cx) }
}
