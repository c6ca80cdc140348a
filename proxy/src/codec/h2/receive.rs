//! Frames that arrive (RFC 9113 section 6), in any pieces. What is against the rules ends the stream where the rule is
//! one of streams, the connection otherwise.

use super::collect::{BadHead, Collector, Part};
use super::core::{Core, Fatal, Role};
use super::frames::{self, Head, MAX_PAYLOAD, Reason, kind, number};
use super::streams::{Broken, Entry};
use crate::observe::stats::codec_http2 as stat;
use crate::transport::scratch;

/// Streams that wait to be given out before more frames are read.
const MOST_ARRIVED: usize = 64;

/// Interim responses of one stream that wait.
const MOST_INTERIM: usize = 32;

/// A header block that is not complete.
#[derive(Debug)]
pub(super) struct Block {
    stream: u32,
    end: bool,
    bytes: Vec<u8>,
}

impl Drop for Block {
    fn drop(&mut self) {
        scratch::refund(self.bytes.len());
    }
}

/// A DATA frame that is not complete.
#[derive(Debug)]
pub(super) struct Body {
    stream: u32,
    left: usize,
    padding: usize,
    end: bool,
}

/// The payload of HEADERS or PUSH_PROMISE without padding and priority.
fn fragment(head: Head, payload: &[u8]) -> Option<&[u8]> {
    let mut rest = payload;
    let mut padding = 0;
    if head.has(frames::PADDED) {
        let (length, after) = rest.split_first()?;
        (padding, rest) = (usize::from(*length), after);
    }
    if head.has(frames::PRIORITY) {
        let (parent, after) = rest.split_at_checked(5)?;
        if depends_on_itself(head, parent) {
            return None;
        }
        rest = after;
    }
    rest.get(..rest.len().checked_sub(padding)?)
}

/// RFC 7540 section 5.3.1.
fn depends_on_itself(head: Head, priority: &[u8]) -> bool {
    priority.get(..4).and_then(number).is_some_and(|parent| parent & 0x7fff_ffff == head.stream)
}

impl Core {
    /// Takes what the bytes hold; how many of them were used. Stops while [`MOST_ARRIVED`] streams wait.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<usize, Fatal> {
        let mut rest = bytes;
        while self.arrived.len() < MOST_ARRIVED {
            if self.body.is_some() {
                rest = self.body_part(rest);
                if self.body.is_some() {
                    break;
                }
            }
            let Some((head, after)) = Head::split(rest) else { break };
            self.fits(head)?;
            if head.kind == kind::DATA {
                let Some(after) = self.data_begins(head, after)? else { break };
                rest = after;
                continue;
            }
            let Some((payload, after)) = after.split_at_checked(head.len) else { break };
            self.account.arrives(head)?;
            self.frame(head, payload)?;
            rest = after;
        }
        Ok(bytes.len().saturating_sub(rest.len()))
    }

    /// May a frame with this head come now?
    fn fits(&self, head: Head) -> Result<(), Fatal> {
        if head.len > MAX_PAYLOAD {
            return Err(Fatal::Protocol(Reason::FRAME_SIZE_ERROR));
        }
        let goes_on = match &self.block {
            Some(block) => head.kind == kind::CONTINUATION && head.stream == block.stream,
            None => head.kind != kind::CONTINUATION,
        };
        let settled = self.peer.settled || head.kind == kind::SETTINGS;
        if goes_on && settled { Ok(()) } else { Err(Fatal::PROTOCOL) }
    }

    fn frame(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        match head.kind {
            kind::HEADERS => self.headers(head, payload),
            kind::CONTINUATION => self.continuation(head, payload),
            kind::RST_STREAM => self.rst_stream(head, payload),
            kind::SETTINGS => self.settings_come(head, payload),
            kind::PING => self.ping_comes(head, payload),
            kind::GOAWAY => self.goaway_comes(head, payload),
            kind::WINDOW_UPDATE => self.window_update(head, payload),
            kind::PRIORITY if head.stream == 0 || depends_on_itself(head, payload) => Err(Fatal::PROTOCOL),
            kind::PRIORITY if payload.len() != 5 => Err(Fatal::Protocol(Reason::FRAME_SIZE_ERROR)),
            // We take no pushes.
            kind::PUSH_PROMISE => Err(Fatal::PROTOCOL),
            // RFC 9113 section 5.5: what is unknown is passed over.
            _ => Ok(()),
        }
    }

    /// Was the stream never opened?
    pub(super) fn is_idle(&self, stream: u32) -> bool {
        stream > self.last || stream.is_multiple_of(2)
    }

    /// A DATA frame begins; what follows its head. None: the length of its padding has not come.
    fn data_begins<'a>(&mut self, head: Head, rest: &'a [u8]) -> Result<Option<&'a [u8]>, Fatal> {
        if self.is_idle(head.stream) {
            return Err(Fatal::PROTOCOL);
        }
        let (mut padding, mut room, mut rest) = (0, head.len, rest);
        if head.has(frames::PADDED) {
            room = head.len.checked_sub(1).ok_or(Fatal::Protocol(Reason::FRAME_SIZE_ERROR))?;
            let Some((length, after)) = rest.split_first() else { return Ok(None) };
            (padding, rest) = (usize::from(*length), after);
        }
        let left = room.checked_sub(padding).ok_or(Fatal::PROTOCOL)?;
        self.account.arrives(head)?;
        if !self.window.takes(head.len) {
            return Err(Fatal::Protocol(Reason::FLOW_CONTROL_ERROR));
        }
        let overhead = head.len.saturating_sub(left);
        self.release_connection(overhead);
        let end = head.has(frames::END_STREAM);
        match self.streams.find(head.stream) {
            Some((key, entry)) if entry.broken.is_none() => {
                if let Some(reason) = refuses(entry, head.len, left) {
                    self.reset(key, reason, Broken::Protocol);
                } else if let Some(granted) = entry.window.gives(overhead)
                    && !end
                {
                    self.control(kind::WINDOW_UPDATE, 0, head.stream, &granted.to_be_bytes());
                }
            }
            Some((_, entry)) if !matches!(entry.broken, Some(Broken::Reset(_))) => {}
            _ => self.body_of_no_stream(head.stream)?,
        }
        self.body = Some(Body { stream: head.stream, left, padding, end });
        Ok(Some(rest))
    }

    /// A body's bytes come for a stream that is over.
    fn body_of_no_stream(&mut self, stream: u32) -> Result<(), Fatal> {
        if self.streams.was_ended(stream) || self.streams.find(stream).is_some() {
            return self.answer(kind::RST_STREAM, 0, stream, &Reason::STREAM_CLOSED.0.to_be_bytes());
        }
        // Sent before our RST_STREAM had arrived.
        Ok(())
    }

    /// The next bytes of a DATA frame; what is left behind it.
    fn body_part<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(body) = &mut self.body else { return bytes };
        let (part, rest) = bytes.split_at(body.left.min(bytes.len()));
        body.left = body.left.saturating_sub(part.len());
        let skipped = if body.left == 0 { body.padding.min(rest.len()) } else { 0 };
        body.padding = body.padding.saturating_sub(skipped);
        let rest = rest.get(skipped..).unwrap_or_default();
        let (stream, end) = (body.stream, body.end);
        let done = body.left == 0 && body.padding == 0;
        match self.streams.find(stream) {
            Some((_, entry)) if entry.broken.is_none() => {
                if !part.is_empty() {
                    entry.inbox.push(part);
                    self.account.hold_body(part.len());
                }
                if done && end {
                    self.half_ends(stream);
                } else if !part.is_empty() {
                    entry.wake();
                }
            }
            _ => self.release_connection(part.len()),
        }
        if done {
            self.body = None;
        }
        rest
    }

    /// The peer has ended its half of a stream.
    fn half_ends(&mut self, stream: u32) {
        let Some((key, entry)) = self.streams.find(stream) else { return };
        if entry.length.is_some_and(|left| left > 0) {
            self.account.stats().inc(stat::RX_MESSAGING_ERROR);
            return self.reset(key, Reason::PROTOCOL_ERROR, Broken::Protocol);
        }
        entry.inbox.ended = true;
        entry.wake();
        self.streams.settle(key);
    }

    fn headers(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        let opens = self.role == Role::Server && !head.stream.is_multiple_of(2);
        if !opens && self.is_idle(head.stream) {
            return Err(Fatal::PROTOCOL);
        }
        let bytes = fragment(head, payload).ok_or(Fatal::PROTOCOL)?;
        let end = head.has(frames::END_STREAM);
        if head.has(frames::END_HEADERS) {
            return self.block_is_whole(head.stream, end, bytes);
        }
        scratch::charge(bytes.len());
        self.block = Some(Block { stream: head.stream, end, bytes: bytes.to_vec() });
        Ok(())
    }

    fn continuation(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        let most = self.limits.block();
        let Some(block) = &mut self.block else { return Err(Fatal::PROTOCOL) };
        if block.bytes.len().saturating_add(payload.len()) > most {
            self.account.stats().inc(stat::HEADER_OVERFLOW);
            return Err(Fatal::Protocol(Reason::ENHANCE_YOUR_CALM));
        }
        scratch::charge(payload.len());
        block.bytes.extend_from_slice(payload);
        if !head.has(frames::END_HEADERS) {
            return Ok(());
        }
        match self.block.take() {
            Some(block) => self.block_is_whole(block.stream, block.end, &block.bytes),
            None => Ok(()),
        }
    }

    fn block_is_whole(&mut self, stream: u32, end: bool, bytes: &[u8]) -> Result<(), Fatal> {
        let Some((key, entry)) = self.streams.find(stream) else {
            return self.block_of_no_stream(stream, end, bytes);
        };
        if matches!(entry.broken, Some(Broken::Reset(_))) {
            return Err(Fatal::Protocol(Reason::STREAM_CLOSED));
        }
        if entry.broken.is_some() {
            return self.decode(bytes, Part::Trailers).map(drop);
        }
        if entry.inbox.ended {
            self.reset(key, Reason::STREAM_CLOSED, Broken::Protocol);
            return self.decode(bytes, Part::Trailers).map(drop);
        }
        if !entry.has_head {
            return self.response(key, end, bytes);
        }
        let trailers = self.decode(bytes, Part::Trailers)?.trailers();
        match trailers {
            Ok(trailers) if end => {
                if let Some(entry) = self.streams.entry(key) {
                    entry.inbox.trailers = Some(trailers);
                }
                self.half_ends(stream);
            }
            // RFC 9113 section 8.1: trailers end the message.
            _ => {
                self.account.stats().inc(stat::RX_MESSAGING_ERROR);
                self.reset(key, Reason::PROTOCOL_ERROR, Broken::Protocol);
            }
        }
        Ok(())
    }

    /// A block of a stream that is not there: it opens one, or comes too late.
    fn block_of_no_stream(&mut self, stream: u32, end: bool, bytes: &[u8]) -> Result<(), Fatal> {
        if self.role == Role::Server && stream > self.last {
            self.request(stream, end, bytes)
        } else if self.streams.was_ended(stream) {
            Err(Fatal::Protocol(Reason::STREAM_CLOSED))
        } else if self.streams.was_skipped(stream) {
            Err(Fatal::PROTOCOL)
        } else {
            // Sent before our RST_STREAM had arrived: decoded for the table's sake.
            self.decode(bytes, Part::Trailers).map(drop)
        }
    }

    fn decode(&mut self, bytes: &[u8], part: Part) -> Result<Collector, Fatal> {
        let mut collector = Collector::new(part, self.limits);
        self.decoder
            .decode(bytes, |field| collector.take(&field))
            .map_err(|_| Fatal::Protocol(Reason::COMPRESSION_ERROR))?;
        Ok(collector)
    }

    /// A client opens a stream.
    fn request(&mut self, stream: u32, end: bool, bytes: &[u8]) -> Result<(), Fatal> {
        self.streams.skip(self.last, stream);
        self.last = stream;
        self.account.opens();
        let collector = self.decode(bytes, Part::Request)?;
        if stream > self.last_served {
            return Ok(());
        }
        // Those that were reset and are not through yet count too, less strictly.
        let most = self.most_streams as usize;
        if self.streams.open as usize >= most || self.streams.len() >= most.saturating_mul(2) {
            self.account.stats().inc(stat::STREAM_REFUSED_ERRORS);
            return self.answer(kind::RST_STREAM, 0, stream, &Reason::REFUSED_STREAM.0.to_be_bytes());
        }
        let mut entry = Entry::new(stream, self.account.windows().0, self.peer.window);
        entry.has_head = true;
        entry.inbox.ended = end;
        let head = collector.request(end, self.offers_connect).map(|(head, length)| {
            entry.length = length;
            head
        });
        let bad = head.as_ref().err().copied();
        let key = self.streams.add(entry);
        self.arrived.push_back((key, head));
        if let Some(bad) = bad {
            self.refuse(key, bad);
        }
        Ok(())
    }

    /// Resets a stream for its head.
    pub(super) fn refuse(&mut self, key: usize, bad: BadHead) {
        let (counter, reason) = match bad {
            BadHead::TooManyFields | BadHead::TooLarge => (stat::HEADER_OVERFLOW, Reason::INTERNAL_ERROR),
            BadHead::Malformed | BadHead::Reset => (stat::RX_MESSAGING_ERROR, Reason::PROTOCOL_ERROR),
        };
        self.account.stats().inc(counter);
        self.reset(key, reason, Broken::Protocol);
    }

    /// An upstream answers.
    fn response(&mut self, key: usize, end: bool, bytes: &[u8]) -> Result<(), Fatal> {
        let collected = self.decode(bytes, Part::Response)?.response(end);
        let Some(entry) = self.streams.entry(key) else { return Ok(()) };
        let stream = entry.id;
        match collected {
            Ok((head, _)) if head.status < 200 && entry.inbox.interim.len() < MOST_INTERIM => {
                entry.inbox.interim.push_back(head);
                entry.wake();
            }
            Ok((head, length)) if head.status >= 200 => {
                entry.has_head = true;
                let bodiless = entry.bodiless || matches!(head.status, 204 | 304);
                entry.length = length.filter(|_| !bodiless);
                entry.inbox.head = Some(head);
                entry.wake();
                if end {
                    self.half_ends(stream);
                }
            }
            Ok(_) => self.reset(key, Reason::ENHANCE_YOUR_CALM, Broken::Protocol),
            Err(bad) => self.refuse(key, bad),
        }
        Ok(())
    }

    fn rst_stream(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        let code = number(payload).ok_or(Fatal::Protocol(Reason::FRAME_SIZE_ERROR))?;
        if self.is_idle(head.stream) {
            return Err(Fatal::PROTOCOL);
        }
        if let Some((key, entry)) = self.streams.find(head.stream) {
            entry.fail(Broken::Reset(Reason(code)));
            self.streams.settle(key);
        }
        Ok(())
    }
}

/// Why a stream does not take a DATA frame of `len` bytes, of which `body` are its body.
fn refuses(entry: &mut Entry, len: usize, body: usize) -> Option<Reason> {
    if entry.inbox.ended {
        return Some(Reason::STREAM_CLOSED);
    }
    if !entry.has_head || entry.bodiless && body > 0 {
        return Some(Reason::PROTOCOL_ERROR);
    }
    if !entry.window.takes(len) {
        return Some(Reason::FLOW_CONTROL_ERROR);
    }
    if let Some(left) = &mut entry.length {
        match left.checked_sub(body as u64) {
            Some(rest) => *left = rest,
            None => return Some(Reason::PROTOCOL_ERROR),
        }
    }
    None
}
