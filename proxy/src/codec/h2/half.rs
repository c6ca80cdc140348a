//! The two halves of a stream. Bytes that came in give their window back when the other side has taken them; bytes
//! that go out never exceed the granted window, and wait while the socket is full.

use super::account::Account;
use super::frames;
use super::headers::{self, HeadLimits};
use crate::base::headers::HeaderBlock;
use crate::codec::message::{BodyEvent, Data, Traffic};
use crate::transport::scratch;
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// When the worker retains more than this, a stream whose peer grants no window is given up, where its connection
/// holds more than [`STALLED_SHARE`] in such streams.
pub const STALLED_BUDGET: usize = scratch::RETENTION_BUDGET / 4 * 3;

/// What the stalled streams of a connection may hold whatever the worker retains.
pub const STALLED_SHARE: usize = 64 << 10;

/// Why a half failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// RST_STREAM by the peer, with its code.
    Reset(Reason),
    /// GOAWAY below our stream: the peer did not look at it.
    Unprocessed,
    /// The peer broke the protocol; the crate has answered.
    Protocol,
    /// The connection ended.
    Ended,
}

impl From<&h2::Error> for Broken {
    fn from(error: &h2::Error) -> Broken {
        let flood =
            error.get_io().is_some_and(|e| e.get_ref().is_some_and(|e| e.is::<super::account::Flood>()));
        if flood || error.is_library() {
            return Broken::Protocol;
        }
        match error.reason() {
            Some(reason) if error.is_reset() && error.is_remote() => Broken::Reset(reason),
            Some(_) if error.is_go_away() && error.is_remote() => Broken::Unprocessed,
            _ => Broken::Ended,
        }
    }
}

/// Bytes in.
#[derive(Debug)]
pub struct Incoming {
    stream: RecvStream,
    account: Rc<Account>,
    /// Bytes that came, fields before their compression.
    pub received: Traffic,
    /// Bytes lent whose window is not given back yet.
    lent: usize,
    done: bool,
}

impl Incoming {
    /// Of a stream whose head has arrived.
    pub fn new(stream: RecvStream, account: Rc<Account>) -> Incoming {
        let done = stream.is_end_stream();
        Incoming { stream, account, received: Traffic::default(), lent: 0, done }
    }

    /// Is it complete?
    pub fn is_done(&self) -> bool {
        self.done
    }

    fn give_back(&mut self) {
        if self.lent > 0 {
            // Fails only when the stream is gone, and its window with it.
            let _ = self.stream.flow_control().release_capacity(self.lent);
            self.account.drop_body(self.lent);
            self.lent = 0;
        }
    }

    /// The next part. What was lent before has been taken by now: its window is given back. Cancel safe.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        limits: &HeadLimits,
    ) -> Poll<Result<BodyEvent<'static>, Broken>> {
        self.give_back();
        if self.done {
            return Poll::Ready(Ok(BodyEvent::End));
        }
        loop {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    self.lent = bytes.len();
                    self.received.body(self.lent.saturating_add(frames::HEAD));
                    self.done = self.stream.is_end_stream();
                    if bytes.is_empty() && !self.done {
                        continue;
                    }
                    let end = self.done;
                    return Poll::Ready(Ok(BodyEvent::Data(Data::Shared(bytes), end)));
                }
                Some(Err(error)) => return Poll::Ready(Err(Broken::from(&error))),
                None => break,
            }
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => {
                self.done = true;
                Poll::Ready(match trailers.map(|map| headers::trailers(&map, limits)) {
                    Some(Ok(block)) => {
                        fields(&mut self.received, block.byte_size());
                        Ok(BodyEvent::Trailers(block))
                    }
                    Some(Err(_)) => Err(Broken::Protocol),
                    None => Ok(BodyEvent::End),
                })
            }
            Err(error) => Poll::Ready(Err(Broken::from(&error))),
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // The crate gives the window back itself.
        self.account.drop_body(self.stream.flow_control().used_capacity());
    }
}

/// Counts a block of fields of so many bytes in a frame.
pub fn fields(traffic: &mut Traffic, bytes: usize) {
    let frame = bytes.saturating_add(frames::HEAD);
    traffic.head(frame, frame);
}

/// Bytes out.
#[derive(Debug)]
pub struct Outgoing {
    stream: SendStream<Bytes>,
    account: Rc<Account>,
    /// Bytes that were handed over, fields before their compression.
    pub sent: Traffic,
    kept: Option<(Bytes, bool)>,
    charged: usize,
    trailers: Option<HeaderBlock>,
    round: u64,
    ended: bool,
    broken: bool,
    dropped: bool,
}

fn broken() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl Outgoing {
    /// Of a stream whose head was sent. `ended`: nothing follows.
    pub fn new(stream: SendStream<Bytes>, account: Rc<Account>, ended: bool) -> Outgoing {
        Outgoing {
            stream,
            account,
            sent: Traffic::default(),
            kept: None,
            charged: 0,
            trailers: None,
            round: 0,
            ended,
            broken: false,
            dropped: false,
        }
    }

    /// Stream number.
    pub fn id(&self) -> u32 {
        self.stream.stream_id().as_u32()
    }

    /// Was everything handed over, and taken?
    pub fn is_ended(&self) -> bool {
        self.ended && self.kept.is_none()
    }

    /// Did we give it up, stalled, because the worker held too much?
    pub fn was_dropped(&self) -> bool {
        self.dropped
    }

    /// Has everything been taken?
    pub fn drained(&self) -> bool {
        self.kept.is_none() && !self.broken
    }

    /// Sends as much as the window allows; the rest is kept.
    pub fn data(&mut self, cx: &mut Context<'_>, data: Data<'_>, end: bool) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        if data.as_slice().is_empty() && !end {
            return Ok(());
        }
        self.ended = end;
        let bytes = match self.kept.take() {
            Some((kept, _)) => [&kept, data.as_slice()].concat().into(),
            None => data.into_bytes(),
        };
        self.keep(bytes, end);
        match self.poll_flush(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    fn keep(&mut self, bytes: Bytes, end: bool) {
        self.settle();
        self.charged = bytes.len();
        self.account.keep(self.charged);
        self.kept = Some((bytes, end));
    }

    fn settle(&mut self) {
        self.account.unkeep(self.charged);
        self.charged = 0;
        self.kept = None;
    }

    /// Sends what is kept, as the window and the socket allow.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.broken {
                return Poll::Ready(Err(broken()));
            }
            let Some((bytes, end)) = &mut self.kept else { return Poll::Ready(Ok(())) };
            if bytes.is_empty() {
                let end = *end;
                self.settle();
                self.broken = end && self.stream.send_data(Bytes::new(), true).is_err();
                continue;
            }
            ready!(self.account.poll_room(cx, &mut self.round));
            self.stream.reserve_capacity(bytes.len());
            let mut room = self.stream.capacity();
            if room == 0 {
                room = match self.stream.poll_capacity(cx) {
                    Poll::Pending
                        if scratch::retained() > STALLED_BUDGET && self.account.kept() > STALLED_SHARE =>
                    {
                        self.dropped = true;
                        self.reset(Reason::ENHANCE_YOUR_CALM);
                        continue;
                    }
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(room))) => room,
                    Poll::Ready(Some(Err(_)) | None) => {
                        self.broken = true;
                        continue;
                    }
                };
                if room == 0 {
                    continue;
                }
            }
            let part = bytes.split_to(room.min(bytes.len()));
            let (last, size) = (bytes.is_empty(), part.len());
            let end = last && *end;
            if last {
                self.settle();
            }
            self.account.hand(size);
            self.sent.body(size.saturating_add(frames::HEAD));
            self.broken = self.stream.send_data(part, end).is_err();
            if last && !self.broken {
                return Poll::Ready(self.late_trailers());
            }
        }
    }

    /// Trailers that waited for the body.
    fn late_trailers(&mut self) -> io::Result<()> {
        match self.trailers.take() {
            Some(trailers) => self.send_trailers(&trailers),
            None => Ok(()),
        }
    }

    fn send_trailers(&mut self, trailers: &HeaderBlock) -> io::Result<()> {
        fields(&mut self.sent, trailers.byte_size());
        let sent = headers::to_trailers(trailers).is_some_and(|map| self.stream.send_trailers(map).is_ok());
        self.broken |= !sent;
        if sent { Ok(()) } else { Err(broken()) }
    }

    /// Ends the body with trailers, after what is kept of it.
    pub fn trailers(&mut self, cx: &mut Context<'_>, trailers: &HeaderBlock) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        if trailers.is_empty() {
            self.ended = false;
            return self.data(cx, Data::Borrowed(&[]), true);
        }
        if self.kept.is_some() {
            self.trailers = Some(trailers.clone());
            return Ok(());
        }
        self.send_trailers(trailers)
    }

    /// Completes when the peer resets the stream or the connection ends.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        match ready!(self.stream.poll_reset(cx)) {
            Ok(reason) => Poll::Ready(Broken::Reset(reason)),
            Err(error) => Poll::Ready(Broken::from(&error)),
        }
    }

    /// Resets the stream.
    pub fn reset(&mut self, reason: Reason) {
        self.settle();
        self.broken = true;
        self.stream.send_reset(reason);
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.settle();
    }
}
