//! What both protocols speak: heads, body events, errors of a stream.

use crate::base::headers::HeaderBlock;
use crate::failure::{Failure, Reset};
use crate::observe::record::{Protocol, WireBytes};
use bytes::Bytes;

/// Bytes of one direction of a stream, framing included.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Traffic {
    all: u64,
    headers: u64,
}

impl Traffic {
    /// Counts a head or trailers of `all` bytes, of which the fields are `headers`.
    pub fn head(&mut self, all: usize, headers: usize) {
        self.body(all);
        self.headers = self.headers.saturating_add(headers as u64);
    }

    /// Counts a part of a body.
    pub fn body(&mut self, bytes: usize) {
        self.all = self.all.saturating_add(bytes as u64);
    }

    /// Both directions for the log.
    pub fn wire(sent: Traffic, received: Traffic) -> WireBytes {
        WireBytes {
            sent: sent.all,
            received: received.all,
            header_sent: sent.headers,
            header_received: received.headers,
        }
    }
}

/// Head of a request. Method, path, authority and scheme are pseudo-header entries of the block.
#[derive(Debug)]
pub struct RequestHead {
    /// Version it came with.
    pub protocol: Protocol,
    /// All fields.
    pub headers: HeaderBlock,
    /// No body follows.
    pub end: bool,
}

/// Head of a response.
#[derive(Debug)]
pub struct ResponseHead {
    /// Status.
    pub status: u16,
    /// All fields, without `:status`.
    pub headers: HeaderBlock,
    /// No body follows.
    pub end: bool,
}

/// Body bytes, borrowed from the reader's buffer or shared.
#[derive(Debug)]
pub enum Data<'a> {
    /// In the reader's buffer until its `release`.
    Borrowed(&'a [u8]),
    /// Own reference.
    Shared(Bytes),
}

impl Data<'_> {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Data::Borrowed(bytes) => bytes,
            Data::Shared(bytes) => bytes,
        }
    }

    /// An own reference; copies borrowed bytes.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Data::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Data::Shared(bytes) => bytes,
        }
    }
}

/// What a body yields next.
#[derive(Debug)]
pub enum BodyEvent<'a> {
    /// Bytes; the flag: nothing follows.
    Data(Data<'a>, bool),
    /// Trailers; nothing follows.
    Trailers(HeaderBlock),
    /// The end without bytes.
    End,
}

/// A part of a body on its way through filters that may change it.
#[derive(Debug)]
pub struct Part<'a> {
    /// Bytes; none for an end without bytes.
    pub data: Data<'a>,
    /// Nothing follows, but for the trailers.
    pub end: bool,
    /// Trailers behind the bytes, which are the last then.
    pub trailers: Option<HeaderBlock>,
}

impl<'a> From<BodyEvent<'a>> for Part<'a> {
    fn from(event: BodyEvent<'a>) -> Self {
        match event {
            BodyEvent::Data(data, end) => Part { data, end, trailers: None },
            BodyEvent::Trailers(trailers) => {
                Part { data: Data::Borrowed(&[]), end: true, trailers: Some(trailers) }
            }
            BodyEvent::End => Part { data: Data::Borrowed(&[]), end: true, trailers: None },
        }
    }
}

/// Why the client's side of a stream failed.
#[derive(Debug)]
pub enum DownstreamError {
    /// The client went away or reset the stream.
    Gone,
    /// The client broke the protocol: answered with this failure and closed.
    Bad(Failure),
}

/// Why the upstream's side of a stream failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamError {
    /// The reason.
    pub reset: Reset,
    /// Was any byte of the response seen?
    pub response_started: bool,
}
