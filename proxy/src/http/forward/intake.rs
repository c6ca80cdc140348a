//! Reading the request's body: one place for all who read it, while an upstream takes it and while none is there yet.

use super::plan::Plan;
use crate::base::names::Id;
use crate::codec::message::{BodyEvent, Data, DownstreamError};
use crate::http::exchange::{Exchange, Interrupt};
use crate::observe::stats::cluster as stat;
use crate::transport::scratch::{MIN_READ, RETENTION_BUDGET, retained};
use crate::upstream::Upstream;
use std::task::{Context, Poll, ready};

impl Plan<'_> {
    /// Reads one part of the body, at most `most` bytes, and hands it to `up`; it is kept for another attempt, or for
    /// the first. False when `up` takes no more.
    pub fn poll_part(
        &mut self,
        x: &mut Exchange<'_>,
        cx: &mut Context<'_>,
        most: usize,
        up: Option<&mut Upstream>,
    ) -> Poll<Result<bool, Interrupt>> {
        let event = match ready!(x.down.poll_body(cx, most)) {
            Err(DownstreamError::Gone) => return Poll::Ready(Err(Interrupt::Gone)),
            Err(DownstreamError::Bad(failure)) => return Poll::Ready(Err(Interrupt::Failure(failure))),
            Ok(event) => event,
        };
        let (bytes, end) = match &event {
            BodyEvent::Data(data, end) => (data.as_slice(), *end),
            BodyEvent::Trailers(trailers) => {
                x.record.request_trailers = trailers.clone();
                self.replay.trailers = self.replay.is_active().then(|| trailers.clone());
                (&[][..], true)
            }
            BodyEvent::End => (&[][..], true),
        };
        x.filters.request_data(bytes);
        x.record.bytes_received = x.record.bytes_received.saturating_add(bytes.len() as u64);
        if up.is_none() {
            self.replay.hold(bytes, end);
        } else if self.replay.keep(bytes, end) && self.retries.has_policy() {
            self.cell.stats.inc(stat::RETRY_OR_SHADOW_ABANDONED);
        }
        let taken = up.is_none_or(|up| {
            match event {
                BodyEvent::Data(data, end) => up.send_data(cx, data, end),
                BodyEvent::Trailers(trailers) => up.send_trailers(cx, &trailers),
                BodyEvent::End => up.send_data(cx, Data::Borrowed(&[]), true),
            }
            .is_ok()
        });
        x.down.release();
        x.deadlines.moved();
        if end {
            self.request_read = true;
            self.request_ended(x);
            self.mirror(x);
        }
        Poll::Ready(Ok(taken))
    }

    /// Completes when the client goes away or a time is over. Meanwhile the body is read as far as it can be kept, so
    /// that a request is complete when it is answered, whether or not an upstream was found.
    pub fn poll_waiting(&mut self, x: &mut Exchange<'_>, cx: &mut Context<'_>) -> Poll<Interrupt> {
        while let Some(room) = self.room_for_more(x) {
            match self.poll_part(x, cx, room, None) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(interrupt)) => return Poll::Ready(interrupt),
                Poll::Pending => break,
            }
        }
        x.poll_waiting(cx)
    }

    /// Bytes of the body that may be read before anyone takes them; none for a body that is too long to be kept.
    fn room_for_more(&self, x: &Exchange<'_>) -> Option<usize> {
        if self.request_read || !self.replay.is_active() || x.wants_tunnel() || retained() >= RETENTION_BUDGET
        {
            return None;
        }
        let room = self.replay.room();
        let length = x.request.headers.get_str(Id::ContentLength).and_then(|n| n.parse::<usize>().ok());
        // A part of unknown length is as large as said, or a DATA frame: that is no larger than the least read.
        let fits = length.map_or(room >= MIN_READ, |n| room > 0 && n <= self.replay.limit());
        fits.then_some(room)
    }
}
