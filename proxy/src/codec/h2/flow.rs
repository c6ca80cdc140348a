//! One stream as its exchange holds it. Bytes that came in give their window back when the other side has taken them;
//! bytes that go out never exceed the granted window, and wait while the socket is full.

use super::core::{Link, Payload};
use super::frames::{HEAD, Reason};
use super::headers;
use super::streams::Broken;
use crate::base::headers::HeaderBlock;
use crate::codec::message::{BodyEvent, Data, ResponseHead, Traffic};
use crate::observe::record::WireBytes;
use crate::transport::scratch;
use bytes::Bytes;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

/// When the worker retains more than this, a stream whose peer grants no window is given up, where its connection
/// holds more than [`STALLED_SHARE`] in such streams.
pub(super) const STALLED_BUDGET: usize = scratch::RETENTION_BUDGET / 4 * 3;

/// What the stalled streams of a connection may hold whatever the worker retains.
pub(super) const STALLED_SHARE: usize = 64 << 10;

/// A stream. Dropping it resets what is not complete.
#[derive(Debug)]
pub(super) struct Flow {
    link: Rc<Link>,
    key: usize,
    sent: Traffic,
    received: Traffic,
    /// Bytes lent whose window is not given back yet.
    lent: usize,
    /// Bytes that wait for window or socket; the flag: nothing follows.
    kept: Option<(Bytes, bool)>,
    trailers: Option<HeaderBlock>,
    /// Everything was handed over.
    ended: bool,
    /// We gave it up, stalled, because the worker held too much.
    dropped: bool,
}

fn broken() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

/// Counts a block of fields of so many bytes in a frame.
fn fields(traffic: &mut Traffic, bytes: usize) {
    let frame = bytes.saturating_add(HEAD);
    traffic.head(frame, frame);
}

/// What a status line stands for.
const STATUS: usize = ":status200".len();

impl Flow {
    /// The stream of a key, which nobody else holds.
    pub(super) fn new(link: Rc<Link>, key: usize) -> Flow {
        Flow {
            link,
            key,
            sent: Traffic::default(),
            received: Traffic::default(),
            lent: 0,
            kept: None,
            trailers: None,
            ended: false,
            dropped: false,
        }
    }

    /// A head of so many bytes came before.
    pub(super) fn received_head(&mut self, bytes: usize) {
        fields(&mut self.received, bytes);
    }

    /// Bytes of the stream.
    pub(super) fn wire(&self) -> WireBytes {
        Traffic::wire(self.sent, self.received)
    }

    /// Why it failed, if it did.
    pub(super) fn broken(&self) -> Option<Broken> {
        self.link.core().streams.entry(self.key).map_or(Some(Broken::Ended), |entry| entry.broken)
    }

    /// Did we give it up, stalled?
    pub(super) fn was_dropped(&self) -> bool {
        self.dropped
    }

    /// Has all of the peer's half come and been taken?
    pub(super) fn is_done(&self) -> bool {
        self.link.core().streams.entry(self.key).is_some_and(|entry| entry.inbox.is_done())
    }

    /// Was everything handed over, and taken?
    pub(super) fn is_ended(&self) -> bool {
        self.ended && self.kept.is_none()
    }

    /// Where our HEADERS stand: have they begun to leave?
    pub(super) fn has_begun(&self) -> bool {
        let core = &mut *self.link.core();
        let place = core.streams.entry(self.key).map(|entry| entry.place);
        place.is_some_and(|place| core.out.has_left(place))
    }

    /// Completes when the peer resets the stream or the connection ends; never once everything was handed over.
    pub(super) fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        if self.is_ended() {
            return Poll::Pending;
        }
        match self.link.core().streams.entry(self.key) {
            Some(entry) => match entry.broken {
                Some(broken) => Poll::Ready(broken),
                None => {
                    entry.wait(cx);
                    Poll::Pending
                }
            },
            None => Poll::Ready(Broken::Ended),
        }
    }

    /// The response head; interim ones come one by one. Cancel safe.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Broken>> {
        let core = &mut *self.link.core();
        let Some(entry) = core.streams.entry(self.key) else { return Poll::Ready(Err(Broken::Ended)) };
        if let Some(interim) = entry.inbox.interim.pop_front() {
            return Poll::Ready(Ok(interim));
        }
        if let Some(mut head) = entry.inbox.head.take() {
            head.end = entry.inbox.is_done() || entry.bodiless;
            fields(&mut self.received, head.headers.byte_size().saturating_add(STATUS));
            return Poll::Ready(Ok(head));
        }
        match entry.broken {
            Some(broken) => Poll::Ready(Err(broken)),
            None => {
                entry.wait(cx);
                Poll::Pending
            }
        }
    }

    /// The next part of the body. What was lent before has been taken by now: its window is given back. Cancel safe.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent<'static>, Broken>> {
        let core = &mut *self.link.core();
        if self.lent > 0 {
            core.release(self.key, std::mem::take(&mut self.lent));
        }
        let Some(entry) = core.streams.entry(self.key) else { return Poll::Ready(Err(Broken::Ended)) };
        if let Some(part) = entry.inbox.pop() {
            self.lent = part.len();
            self.received.body(self.lent.saturating_add(HEAD));
            return Poll::Ready(Ok(BodyEvent::Data(Data::Shared(part.into()), entry.inbox.is_done())));
        }
        if let Some(trailers) = entry.inbox.trailers.take() {
            fields(&mut self.received, trailers.byte_size());
            return Poll::Ready(Ok(BodyEvent::Trailers(trailers)));
        }
        match entry.broken {
            _ if entry.inbox.ended => Poll::Ready(Ok(BodyEvent::End)),
            Some(broken) => Poll::Ready(Err(broken)),
            None => {
                entry.wait(cx);
                Poll::Pending
            }
        }
    }

    /// Sends an interim response.
    pub(super) fn send_interim(&mut self, head: &ResponseHead) {
        self.fields(false, |encoder, out| headers::encode_response(head, encoder, out));
    }

    /// Sends a response head; `end`: nothing follows.
    pub(super) fn send_response(&mut self, head: &ResponseHead, end: bool) {
        fields(&mut self.sent, head.headers.byte_size().saturating_add(STATUS));
        self.ended = end;
        self.fields(end, |encoder, out| headers::encode_response(head, encoder, out));
    }

    /// Sends a request head; `end`: nothing follows.
    pub(super) fn send_request(&mut self, headers: &HeaderBlock, end: bool) {
        fields(&mut self.sent, headers.byte_size());
        self.ended = end;
        self.fields(end, |encoder, out| headers::encode_request(headers, encoder, out));
    }

    fn fields(&mut self, end: bool, encode: impl FnOnce(&mut super::hpack::Encoder, &mut Vec<u8>)) {
        let core = &mut *self.link.core();
        let Some(entry) = core.streams.entry(self.key) else { return };
        if entry.broken.is_some() {
            return;
        }
        let id = entry.id;
        let place = core.fields(id, end, encode);
        if let Some(entry) = core.streams.entry(self.key) {
            entry.place = entry.place.min(place);
        }
        if end {
            core.ends(self.key);
        }
    }

    /// Sends as much as windows and socket allow; the rest is kept.
    pub(super) fn send_data(&mut self, cx: &mut Context<'_>, data: Data<'_>, end: bool) -> io::Result<()> {
        let len = data.as_slice().len();
        if self.ended || len == 0 && !end {
            return Ok(());
        }
        self.ended = end;
        if self.kept.is_none() && self.granted() >= len.max(1) || len == 0 && self.kept.is_none() {
            let payload = match data {
                Data::Borrowed(bytes) => Payload::Lent(bytes),
                Data::Shared(bytes) => Payload::Own(bytes),
            };
            return self.pass(payload, len, end);
        }
        let bytes: Bytes = match &self.kept {
            Some((kept, _)) => [kept, data.as_slice()].concat().into(),
            None => data.into_bytes(),
        };
        self.settle();
        self.link.core().account.keep(bytes.len());
        self.kept = Some((bytes, end));
        match self.poll_flush(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    /// Bytes that may leave now.
    fn granted(&self) -> usize {
        let core = &mut *self.link.core();
        let connection = core.send_window;
        if !core.has_room() {
            return 0;
        }
        let stream = core.streams.entry(self.key).map_or(0, |entry| entry.send_window);
        usize::try_from(connection.min(stream)).unwrap_or(0)
    }

    fn pass(&mut self, payload: Payload<'_>, len: usize, end: bool) -> io::Result<()> {
        let core = &mut *self.link.core();
        if core.streams.entry(self.key).is_none_or(|entry| entry.broken.is_some()) {
            return Err(broken());
        }
        self.sent.body(len.saturating_add(HEAD));
        core.data(self.key, payload, end);
        Ok(())
    }

    /// Nothing is kept any more.
    fn settle(&mut self) {
        if let Some((kept, _)) = self.kept.take() {
            self.link.core().account.unkeep(kept.len());
        }
    }

    /// Has everything been taken that was handed over?
    pub(super) fn drained(&self) -> bool {
        self.kept.is_none() && self.broken().is_none()
    }

    /// Sends what is kept, as the windows and the socket allow.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // RFC 9113 section 8.1: a response that is complete stands although its request was not wanted whole.
            if self.broken().is_some() {
                self.settle();
                return Poll::Ready(Err(broken()));
            }
            let Some((bytes, _)) = &self.kept else { return Poll::Ready(Ok(())) };
            let room = self.granted().min(bytes.len());
            if room == 0 && !bytes.is_empty() {
                if self.is_stalled() {
                    self.dropped = true;
                    self.reset(Reason::ENHANCE_YOUR_CALM);
                    continue;
                }
                self.link.core().wait(self.key, cx);
                return Poll::Pending;
            }
            let Some((mut bytes, end)) = self.kept.take() else { return Poll::Ready(Ok(())) };
            let part = bytes.split_to(room.min(bytes.len()));
            let (last, len) = (bytes.is_empty(), part.len());
            self.link.core().account.unkeep(len);
            if !last {
                self.kept = Some((bytes, end));
            }
            self.pass(Payload::Own(part), len, end && last)?;
            self.link.core().wake_next();
            if last {
                if let Some(trailers) = self.trailers.take() {
                    self.send_trailers_now(&trailers);
                }
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Does its peer grant no window while too much is held for such streams?
    fn is_stalled(&self) -> bool {
        let core = &mut *self.link.core();
        scratch::retained() > STALLED_BUDGET
            && core.account.kept() > STALLED_SHARE
            && (core.send_window <= 0
                || core.streams.entry(self.key).is_some_and(|entry| entry.send_window <= 0))
    }

    fn send_trailers_now(&mut self, trailers: &HeaderBlock) {
        fields(&mut self.sent, trailers.byte_size());
        self.fields(true, |encoder, out| headers::encode_trailers(trailers, encoder, out));
    }

    /// Ends the body with trailers, after what is kept of it.
    pub(super) fn send_trailers(&mut self, cx: &mut Context<'_>, trailers: &HeaderBlock) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        if trailers.is_empty() {
            return self.send_data(cx, Data::Borrowed(&[]), true);
        }
        self.ended = true;
        if self.kept.is_some() {
            self.trailers = Some(trailers.clone());
            return Ok(());
        }
        if self.broken().is_some() {
            return Err(broken());
        }
        self.send_trailers_now(trailers);
        Ok(())
    }

    /// Resets the stream, unless it has come to its end.
    pub(super) fn reset(&mut self, reason: Reason) {
        self.settle();
        self.link.core().reset(self.key, reason, Broken::Ours);
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.settle();
        let core = &mut *self.link.core();
        // A response that is complete needs no more of its request (RFC 9113 section 8.1).
        let reason = if core.streams.entry(self.key).is_some_and(|entry| entry.sent_all) && core.is_server() {
            Reason::NO_ERROR
        } else {
            Reason::CANCEL
        };
        core.reset(self.key, reason, Broken::Ours);
        let held = core.streams.entry(self.key).map_or(0, |entry| entry.inbox.held);
        let back = held.saturating_add(self.lent);
        if back > 0 {
            core.release(self.key, back);
        }
        core.streams.remove(self.key);
        core.wake_next();
        if core.streams.is_empty() {
            core.last_stream_is_gone();
        }
    }
}
