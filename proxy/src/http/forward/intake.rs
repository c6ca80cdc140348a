//! Reading the request's body: one place for all who read it, while an upstream takes it and while none is there yet.

use super::plan::Plan;
use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::codec::message::{BodyEvent, Data, DownstreamError, Part};
use crate::http::exchange::{Exchange, Interrupt};
use crate::observe::stats::cluster as stat;
use crate::transport::scratch::{MIN_READ, RETENTION_BUDGET, retained};
use crate::upstream::Upstream;
use std::io;
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
        if let BodyEvent::Trailers(trailers) = &event {
            x.record.request_trailers = trailers.clone();
        }
        let mut part = Part::from(event);
        let received = part.data.as_slice().len() as u64;
        x.record.bytes_received = x.record.bytes_received.saturating_add(received);
        if let Err(failure) = x.filters.request_part(&mut part) {
            x.down.release();
            return Poll::Ready(Err(Interrupt::Failure(failure)));
        }
        let Part { data, end, trailers } = part;
        self.replay.trailers = trailers.clone().filter(|_| self.replay.is_active());
        if up.is_none() {
            self.replay.hold(data.as_slice(), end);
        } else if self.replay.keep(data.as_slice(), end) && self.retries.has_policy() {
            self.cell.stats.inc(stat::RETRY_OR_SHADOW_ABANDONED);
        }
        let taken = up.is_none_or(|up| hand_over(up, cx, data, end, trailers.as_ref()).is_ok());
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

/// Hands a part to the upstream.
fn hand_over(
    up: &mut Upstream,
    cx: &mut Context<'_>,
    data: Data<'_>,
    end: bool,
    trailers: Option<&HeaderBlock>,
) -> io::Result<()> {
    if !data.as_slice().is_empty() || (end && trailers.is_none()) {
        up.send_data(cx, data, end && trailers.is_none())?;
    }
    trailers.map_or(Ok(()), |trailers| up.send_trailers(cx, trailers))
}
