//! Heads and trailers that are received: every field is checked before it may go to HTTP/1.

use super::headers::hop;
use super::hpack::Field;
use crate::base::headers::HeaderBlock;
use crate::base::names::{Id, is_token};
use crate::codec::message::{RequestHead, ResponseHead};
use crate::observe::record::Protocol;
use smallvec::SmallVec;

/// Limits of a header block (Envoy's `max_request_headers_kb`, `max_headers_count`).
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Most bytes of names and values.
    pub bytes: usize,
    /// Most fields, pseudo-headers and cookie crumbs included.
    pub fields: usize,
}

impl HeadLimits {
    /// What the peer is told (RFC 9113 section 6.5.2: with 32 bytes for each field).
    pub fn told(&self) -> u32 {
        u32::try_from(self.bytes.saturating_add(self.fields.saturating_mul(32))).unwrap_or(u32::MAX)
    }

    /// Most bytes of a block as it comes, in all its frames; more end the connection, since nothing of a block can be
    /// passed over.
    pub fn block(&self) -> usize {
        (self.told() as usize).saturating_mul(4)
    }
}

/// Why a head is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadHead {
    /// More fields than `max_headers_count`.
    TooManyFields,
    /// More bytes than the limit.
    TooLarge,
    /// Not an HTTP message.
    Malformed,
    /// Reset by its client before it was looked at.
    Reset,
}

impl BadHead {
    /// `%RESPONSE_CODE_DETAILS%`, in Envoy's words.
    pub const fn details(self) -> &'static str {
        match self {
            BadHead::TooManyFields => "http2.too_many_headers",
            BadHead::TooLarge => "http2.header_list_size_too_large",
            BadHead::Malformed => "http2.violation.of.messaging.rule",
            BadHead::Reset => "http2.remote_reset",
        }
    }
}

/// What a block is the head of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Request,
    Response,
    Trailers,
}

/// Room for a usual head and what a proxy adds.
const USUAL: usize = 768;

/// The fields of a block as they come.
#[derive(Debug)]
pub(super) struct Collector {
    part: Part,
    limits: HeadLimits,
    block: HeaderBlock,
    bytes: usize,
    fields: usize,
    bad: Option<BadHead>,
    /// A field that is no pseudo-header has come.
    regular: bool,
    status: Option<u16>,
    protocol: Option<SmallVec<[u8; 24]>>,
    host: bool,
    crumbs: usize,
    length: Option<u64>,
}

impl Collector {
    pub(super) fn new(part: Part, limits: HeadLimits) -> Collector {
        Collector {
            part,
            limits,
            block: HeaderBlock::over(Vec::with_capacity(USUAL)),
            bytes: 0,
            fields: 0,
            bad: None,
            regular: false,
            status: None,
            protocol: None,
            host: false,
            crumbs: 0,
            length: None,
        }
    }

    /// The next field. After the first fault nothing more is kept.
    pub(super) fn take(&mut self, field: &Field<'_>) {
        self.fields = self.fields.saturating_add(1);
        self.bytes = self.bytes.saturating_add(field.name.len()).saturating_add(field.value.len());
        if self.bad.is_none() {
            self.bad = self.check(field).err();
        }
    }

    fn check(&mut self, field: &Field<'_>) -> Result<(), BadHead> {
        if self.fields > self.limits.fields {
            return Err(BadHead::TooManyFields);
        }
        if self.bytes > self.limits.bytes {
            return Err(BadHead::TooLarge);
        }
        if !field.valid {
            return Err(BadHead::Malformed);
        }
        if field.name.first() == Some(&b':') {
            return if self.pseudo(field) { Ok(()) } else { Err(BadHead::Malformed) };
        }
        self.regular = true;
        if self.part == Part::Trailers { self.trailer(field) } else { self.regular(field) }
    }

    fn pseudo(&mut self, field: &Field<'_>) -> bool {
        let value = field.value;
        if self.regular || self.block.has(field.id) {
            return false;
        }
        match (self.part, field.id) {
            (Part::Request, Id::Method) if is_method(value) => {}
            (Part::Request, Id::Scheme) if is_scheme(value) => {}
            (Part::Request, Id::Path) if is_path(value) => {}
            (Part::Request, Id::Authority) if is_authority(value) => {}
            (Part::Request, Id::Protocol) if self.protocol.is_none() && is_method(value) => {
                self.protocol = Some(value.into());
                return true;
            }
            (Part::Response, Id::Status) if self.status.is_none() => {
                self.status = status(value);
                return self.status.is_some();
            }
            _ => return false,
        }
        self.block.append_known(field.id, field.name, value);
        true
    }

    fn regular(&mut self, field: &Field<'_>) -> Result<(), BadHead> {
        let Field { id, name, value, .. } = *field;
        match id {
            Id::Te if value.eq_ignore_ascii_case(b"trailers") => {}
            Id::Te => return Err(BadHead::Malformed),
            // Host of a request: as :authority, if that is missing.
            Id::Authority if self.part == Part::Request => {
                if std::mem::replace(&mut self.host, true) || !is_authority(value) {
                    return Err(BadHead::Malformed);
                }
                if self.block.has(Id::Authority) {
                    return Ok(());
                }
            }
            Id::ContentLength => {
                let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
                let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                match length {
                    Some(length) if digits && self.length.is_none() => self.length = Some(length),
                    _ => return Err(BadHead::Malformed),
                }
            }
            Id::Cookie => self.crumbs = self.crumbs.saturating_add(1),
            id if hop(id) && id != Id::Http2Settings => return Err(BadHead::Malformed),
            _ => {}
        }
        self.block.append_known(id, name, value);
        Ok(())
    }

    /// Trailers leave out what would frame or route an HTTP/1 message.
    fn trailer(&mut self, field: &Field<'_>) -> Result<(), BadHead> {
        let id = field.id;
        if !hop(id) && !matches!(id, Id::Authority | Id::ContentLength | Id::Te | Id::Trailer) {
            self.block.append_known(id, field.name, field.value);
        }
        Ok(())
    }

    /// The request, and the length that it gives its body. `connect`: extended CONNECT was offered.
    pub(super) fn request(mut self, end: bool, connect: bool) -> Result<(RequestHead, Option<u64>), BadHead> {
        if let Some(bad) = self.bad {
            return Err(bad);
        }
        let method = self.block.get(Id::Method).ok_or(BadHead::Malformed)?;
        let is_connect = method == b"CONNECT";
        let complete = self.block.has(Id::Scheme) && self.block.has(Id::Path);
        let good = match (&self.protocol, is_connect) {
            (Some(_), true) => connect && complete && self.block.has(Id::Authority),
            (Some(_), false) => false,
            (None, true) => {
                !self.block.has(Id::Scheme) && !self.block.has(Id::Path) && self.block.has(Id::Authority)
            }
            (None, false) => complete && self.path_fits(method == b"OPTIONS"),
        };
        if !good || end && self.length.is_some_and(|length| length > 0) {
            return Err(BadHead::Malformed);
        }
        if self.crumbs > 1 {
            // RFC 9113 section 8.2.3.
            let all = self.block.joined(&Id::Cookie.into(), b"; ").unwrap_or_default();
            self.block.set_id(Id::Cookie, &all);
        }
        let upgrade = self.protocol.take();
        if let Some(protocol) = &upgrade {
            self.block.set_id(Id::Method, b"GET");
            self.block.append_id(Id::Connection, b"upgrade");
            self.block.append_id(Id::Upgrade, protocol);
        }
        if !self.block.has(Id::Scheme) {
            self.block.append_id(Id::Scheme, b"http");
        }
        // What follows an upgrade is no body: it waits for the answer.
        let end = end || upgrade.is_some();
        Ok((RequestHead { protocol: Protocol::Http2, headers: self.block, end }, self.length))
    }

    /// RFC 9113 section 8.3.1: a path of http and https begins with '/', or is the '*' of OPTIONS.
    fn path_fits(&self, options: bool) -> bool {
        let web = self.block.get(Id::Scheme).is_some_and(|s| matches!(s, b"http" | b"https"));
        let path = self.block.get(Id::Path).unwrap_or_default();
        !web || path.first() == Some(&b'/') || options && path == b"*"
    }

    /// The response, and the length that it gives its body.
    pub(super) fn response(self, end: bool) -> Result<(ResponseHead, Option<u64>), BadHead> {
        match (self.bad, self.status) {
            (Some(bad), _) => Err(bad),
            // RFC 9113 section 8.6: HTTP/2 has no 101; an interim response ends nothing.
            (None, None | Some(101)) => Err(BadHead::Malformed),
            (None, Some(status)) if status < 200 && end => Err(BadHead::Malformed),
            (None, Some(status)) => Ok((ResponseHead { status, headers: self.block, end }, self.length)),
        }
    }

    /// The trailers.
    pub(super) fn trailers(self) -> Result<HeaderBlock, BadHead> {
        match self.bad {
            Some(bad) => Err(bad),
            None => Ok(self.block),
        }
    }
}

pub(super) fn is_method(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|b| is_token(*b))
}

fn is_scheme(value: &[u8]) -> bool {
    let tail = |b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
    value.first().is_some_and(u8::is_ascii_alphabetic) && value.iter().all(tail)
}

fn is_path(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().fold(true, |good, b| good & (*b > b' ') & (*b != 0x7f))
}

/// Characters of an authority (RFC 3986 section 3.2, without percent-encoding's own meaning).
fn is_authority(value: &[u8]) -> bool {
    value.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~:[]@!$&'()*+,;=%".contains(b))
}

fn status(value: &[u8]) -> Option<u16> {
    let digits = value.len() == 3 && value.iter().all(u8::is_ascii_digit);
    let number: u16 = std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()?;
    (number >= 100).then_some(number)
}
