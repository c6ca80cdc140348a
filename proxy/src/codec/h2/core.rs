//! The state of one connection, shared by its streams and by the task that moves its bytes. Streams write their frames
//! into the outbox themselves; at the end of the worker's turn all of them leave together.

use super::account::{Account, Flood};
use super::collect::{BadHead, HeadLimits};
use super::frames::{self, FIRST_WINDOW, Head, MAX_PAYLOAD, MAX_STREAM, Reason, kind, setting};
use super::hpack::{Decoder, Encoder};
use super::outbox::Outbox;
use super::receive::{Block, Body};
use super::streams::{Broken, Streams};
use super::windows::Window;
use crate::codec::message::RequestHead;
use crate::model::http::Http2Options;
use crate::observe::stats::codec_http2 as stat;
use crate::transport::turn::Due;
use bytes::Bytes;
use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};

/// Bytes that wait for the socket above which streams hand no more of their bodies over.
pub(super) const MAX_WAITING: usize = 256 << 10;

/// Streams that the peer may be thought to take before its SETTINGS say (RFC 9113 section 6.5.2 recommends no less than
/// 100).
const STREAMS_BEFORE_SETTINGS: u32 = 100;

/// Which end of the connection we are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Server,
    Client,
}

/// What ends a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fatal {
    /// The peer broke the protocol.
    Protocol(Reason),
    /// The peer overdid something.
    Flood(Flood),
}

impl From<Flood> for Fatal {
    fn from(flood: Flood) -> Fatal {
        Fatal::Flood(flood)
    }
}

impl Fatal {
    pub(super) const PROTOCOL: Fatal = Fatal::Protocol(Reason::PROTOCOL_ERROR);

    fn reason(self) -> Reason {
        match self {
            Fatal::Protocol(reason) => reason,
            Fatal::Flood(_) => Reason::ENHANCE_YOUR_CALM,
        }
    }
}

/// What the peer's SETTINGS say.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) window: u32,
    pub(super) streams: u32,
    pub(super) connect: bool,
    /// Its first SETTINGS have come, or never will.
    pub(super) settled: bool,
}

/// PING frames that we sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ping {
    /// To see whether the peer is there.
    Alive = 1,
    /// Behind the first GOAWAY: what comes before its answer was sent before that was seen.
    Going = 2,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) role: Role,
    pub(super) account: Rc<Account>,
    pub(super) limits: HeadLimits,
    /// We offer extended CONNECT.
    pub(super) offers_connect: bool,
    /// Streams that we take at once.
    pub(super) most_streams: u32,
    pub(super) streams: Streams,
    pub(super) encoder: Encoder,
    pub(super) decoder: Decoder,
    pub(super) out: Outbox,
    /// Control frames that answer the peer's since the outbox was last empty.
    answers: u64,
    pub(super) peer: Peer,
    pub(super) send_window: i64,
    pub(super) window: Window,
    /// Highest stream that the peer has opened (server), or that we have (client).
    pub(super) last: u32,
    /// Streams above this are not looked at: we said so.
    pub(super) last_served: u32,
    /// The peer looks at no stream above this.
    pub(super) peer_last: Option<u32>,
    /// Streams that wait to be given out, with their heads.
    pub(super) arrived: VecDeque<(usize, Result<RequestHead, BadHead>)>,
    pub(super) block: Option<Block>,
    pub(super) body: Option<Body>,
    /// Streams that wait for the connection's window, or for room in the outbox.
    waiting: VecDeque<usize>,
    /// Who waits for the peer's SETTINGS.
    unsettled: Vec<Waker>,
    /// The last PING that was answered.
    pub(super) answered: Option<Ping>,
    pub(super) over: bool,
    /// It ends with its last stream.
    pub(super) leaving: bool,
    driver: Option<Waker>,
    due: Due,
}

/// A connection, shared.
#[derive(Debug)]
pub(super) struct Link(RefCell<Core>);

impl Link {
    pub(super) fn core(&self) -> RefMut<'_, Core> {
        self.0.borrow_mut()
    }
}

impl Core {
    /// For a new connection; our SETTINGS are ready to leave.
    pub(super) fn open(
        role: Role,
        options: &Http2Options,
        limits: HeadLimits,
        account: Rc<Account>,
    ) -> Rc<Link> {
        let (stream_window, connection_window) = account.windows();
        let mut core = Core {
            role,
            limits,
            offers_connect: role == Role::Server && options.allow_connect,
            most_streams: options.max_concurrent_streams,
            streams: Streams::default(),
            encoder: Encoder::new(),
            decoder: Decoder::new(options.hpack_table),
            out: Outbox::default(),
            answers: 0,
            peer: Peer {
                window: FIRST_WINDOW,
                streams: STREAMS_BEFORE_SETTINGS,
                connect: false,
                settled: false,
            },
            send_window: i64::from(FIRST_WINDOW),
            window: Window::new(FIRST_WINDOW),
            last: 0,
            last_served: MAX_STREAM,
            peer_last: None,
            arrived: VecDeque::new(),
            block: None,
            body: None,
            waiting: VecDeque::new(),
            unsettled: Vec::new(),
            answered: None,
            over: false,
            leaving: false,
            driver: None,
            due: Due::default(),
            account,
        };
        if role == Role::Client {
            core.out.write(|out| out.extend_from_slice(frames::PREFACE));
        }
        let mut settings = vec![
            (setting::HEADER_TABLE_SIZE, options.hpack_table),
            (setting::INITIAL_WINDOW_SIZE, stream_window),
            (setting::MAX_HEADER_LIST_SIZE, limits.told()),
        ];
        settings.push(match role {
            Role::Server => (setting::MAX_CONCURRENT_STREAMS, options.max_concurrent_streams),
            Role::Client => (setting::ENABLE_PUSH, 0),
        });
        if core.offers_connect {
            settings.push((setting::ENABLE_CONNECT_PROTOCOL, 1));
        }
        core.settings(&settings);
        core.grow_connection(connection_window);
        Rc::new(Link(RefCell::new(core)))
    }

    pub(super) fn settings(&mut self, settings: &[(u16, u32)]) {
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| name.to_be_bytes().into_iter().chain(value.to_be_bytes()))
            .collect();
        self.control(kind::SETTINGS, 0, 0, &payload);
    }

    /// Sends a frame that is no part of a message.
    pub(super) fn control(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.out.write(|out| frames::put(out, kind, flags, stream, payload));
        self.leave();
    }

    /// Sends a frame that answers one of the peer's; a peer that asks and does not read is a flood.
    pub(super) fn answer(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<(), Fatal> {
        self.answers = self.answers.saturating_add(1);
        self.account.control_waits(self.answers)?;
        self.control(kind, flags, stream, payload);
        Ok(())
    }

    /// What is in the outbox leaves at the end of the turn.
    fn leave(&mut self) {
        if let Some(driver) = &self.driver
            && !self.out.is_full()
        {
            self.due.ask(driver);
        }
    }

    /// The task that moves the bytes is the one that polls.
    pub(super) fn driven_by(&mut self, cx: &Context<'_>) {
        match &mut self.driver {
            Some(driver) if driver.will_wake(cx.waker()) => {}
            driver => {
                *driver = Some(cx.waker().clone());
                self.due = Due::default();
            }
        }
    }

    /// Wakes the task that moves the bytes.
    pub(super) fn wake_driver(&self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }

    /// Is it time to write?
    pub(super) fn is_due(&self) -> bool {
        !self.out.is_empty() && (self.out.is_full() || self.due.is_over())
    }

    /// The outbox has taken what it could.
    pub(super) fn wrote(&mut self) {
        if self.out.is_empty() {
            self.answers = 0;
        }
        self.wake_next();
    }

    /// May streams hand more of their bodies over?
    pub(super) fn has_room(&self) -> bool {
        !self.out.is_full() && self.out.len() < MAX_WAITING
    }

    /// The stream's task is woken when it may send: its own window's growth tells it, or its turn when the connection's
    /// window and the outbox have room.
    pub(super) fn wait(&mut self, key: usize, cx: &Context<'_>) {
        let shared = self.send_window <= 0 || !self.has_room();
        let Some(entry) = self.streams.entry(key) else { return };
        entry.wait(cx);
        if !shared {
            // Others may have what this one cannot use.
            self.wake_next();
        } else if !std::mem::replace(&mut entry.listed, true) {
            self.waiting.push_back(key);
        }
    }

    /// Wakes the first stream that waits, if there is window and room; it wakes the next when it has used or left what
    /// it could. So a peer that widens the window byte by byte does not make all of them look each time.
    pub(super) fn wake_next(&mut self) {
        if self.send_window <= 0 || !self.has_room() {
            return;
        }
        while let Some(key) = self.waiting.pop_front() {
            if let Some(entry) = self.streams.entry(key)
                && std::mem::take(&mut entry.listed)
            {
                return entry.wake();
            }
        }
    }

    /// Waits until the peer's SETTINGS have come, or never will.
    pub(super) fn is_settled(&mut self, cx: &Context<'_>) -> bool {
        if self.peer.settled || self.over {
            return true;
        }
        if !self.unsettled.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.unsettled.push(cx.waker().clone());
        }
        false
    }

    pub(super) fn settle(&mut self) {
        self.peer.settled = true;
        self.unsettled.drain(..).for_each(Waker::wake);
    }

    /// Sends a header block; where it stands in what the connection sends.
    pub(super) fn fields(
        &mut self,
        stream: u32,
        end: bool,
        encode: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) -> u64 {
        let place = self.out.place();
        let encoder = &mut self.encoder;
        self.out.write(|out| {
            let start = out.len();
            out.extend_from_slice(&[0; frames::HEAD]);
            let body = out.len();
            encode(encoder, out);
            let len = out.len().saturating_sub(body);
            let end = if end { frames::END_STREAM } else { 0 };
            let whole = len <= MAX_PAYLOAD;
            let flags = if whole { end | frames::END_HEADERS } else { end };
            let head = Head { len: len.min(MAX_PAYLOAD), kind: kind::HEADERS, flags, stream };
            if let Some(room) = out.get_mut(start..body) {
                room.copy_from_slice(&head.bytes());
            }
            if whole {
                return;
            }
            let rest = out.split_off(body.saturating_add(MAX_PAYLOAD));
            let mut parts = rest.chunks(MAX_PAYLOAD).peekable();
            while let Some(part) = parts.next() {
                let flags = if parts.peek().is_none() { frames::END_HEADERS } else { 0 };
                frames::put(out, kind::CONTINUATION, flags, stream, part);
            }
        });
        self.leave();
        place
    }

    /// Sends bytes of a body, which the windows allow.
    pub(super) fn data(&mut self, key: usize, bytes: Payload<'_>, end: bool) {
        let Some(entry) = self.streams.entry(key) else { return };
        let stream = entry.id;
        let len = bytes.len();
        entry.send_window = entry.send_window.saturating_sub(len as i64);
        self.send_window = self.send_window.saturating_sub(len as i64);
        let mut at = 0usize;
        loop {
            let size = len.saturating_sub(at).min(MAX_PAYLOAD);
            let next = at.saturating_add(size);
            let flags = if end && next == len { frames::END_STREAM } else { 0 };
            let head = Head { len: size, kind: kind::DATA, flags, stream };
            match &bytes {
                Payload::Lent(bytes) => {
                    self.out.frame(head.bytes(), bytes.get(at..next).unwrap_or_default());
                }
                Payload::Own(bytes) => self.out.own_frame(head.bytes(), bytes.slice(at..next)),
            }
            self.account.sends_data();
            at = next;
            if at >= len {
                break;
            }
        }
        if end {
            self.ends(key);
        }
        self.leave();
    }

    /// We have ended our half of a stream.
    pub(super) fn ends(&mut self, key: usize) {
        if let Some(entry) = self.streams.entry(key) {
            entry.sent_all = true;
        }
        self.streams.settle(key);
    }

    /// Resets a stream, unless it has ended.
    pub(super) fn reset(&mut self, key: usize, reason: Reason, broken: Broken) {
        let Some(entry) = self.streams.entry(key) else { return };
        let over = entry.is_over();
        let stream = entry.id;
        entry.fail(broken);
        self.streams.settle(key);
        if !over && !self.over {
            self.rst(stream, reason);
        }
    }

    /// Sends RST_STREAM.
    pub(super) fn rst(&mut self, stream: u32, reason: Reason) {
        self.account.stats().inc(stat::TX_RESET);
        self.control(kind::RST_STREAM, 0, stream, &reason.0.to_be_bytes());
    }

    /// Sends GOAWAY: streams above `last` are not looked at.
    pub(super) fn goaway(&mut self, last: u32, reason: Reason) {
        self.last_served = self.last_served.min(last);
        self.account.stats().inc(stat::GOAWAY_SENT);
        let [a, b, c, d] = last.to_be_bytes();
        let [e, f, g, h] = reason.0.to_be_bytes();
        self.control(kind::GOAWAY, 0, 0, &[a, b, c, d, e, f, g, h]);
    }

    /// Sends a PING.
    pub(super) fn ping(&mut self, ping: Ping) {
        self.answered = self.answered.filter(|answered| *answered != ping);
        self.control(kind::PING, 0, 0, &(ping as u64).to_be_bytes());
    }

    /// Do we serve?
    pub(super) fn is_server(&self) -> bool {
        self.role == Role::Server
    }

    /// The last stream has ended: a connection that goes away is done.
    pub(super) fn last_stream_is_gone(&self) {
        if self.leaving {
            self.wake_driver();
        }
    }

    /// The highest stream of the peer's that was looked at.
    pub(super) fn last_of_peer(&self) -> u32 {
        if self.role == Role::Server { self.last.min(self.last_served) } else { 0 }
    }

    /// The connection ends: GOAWAY tells the peer why, its streams learn of it.
    pub(super) fn fatal(&mut self, fatal: Fatal) {
        self.goaway(self.last_of_peer(), fatal.reason());
        self.end(Broken::Protocol);
    }

    /// The connection is over.
    pub(super) fn end(&mut self, broken: Broken) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        self.streams.each().for_each(|entry| entry.fail(broken));
        self.settle();
    }
}

/// Bytes of a body to be sent.
pub(super) enum Payload<'a> {
    Lent(&'a [u8]),
    Own(Bytes),
}

impl Payload<'_> {
    fn len(&self) -> usize {
        match self {
            Payload::Lent(bytes) => bytes.len(),
            Payload::Own(bytes) => bytes.len(),
        }
    }
}
