//! The header block: one flat, order- and case-preserving list of fields.
//!
//! Entries are offsets into one buffer. What arrived on the wire keeps its spelling and order; what is set or
//! appended later is written behind it in the same form, so that a run of untouched lines is forwarded as one copy.
//! Pseudo-headers (`:method`, `:path`, `:authority`, `:scheme`, `:protocol`) are entries too; HTTP/1's `Host` is
//! the `:authority` entry with its own spelling and place.

use super::names::{HeaderName, Id, is_token, is_value};
use std::ops::Range;

/// Fields of a usual message, pseudo-headers and what a proxy adds included.
const USUAL_FIELDS: usize = 20;

/// Bytes that a proxy usually adds to a head.
const USUAL_ADDED: usize = 384;

/// Largest block in bytes; offsets are `u32`, and the codecs' limits are far below (Envoy's
/// `max_request_headers_kb` is at most 8192 KiB).
pub const MAX_BLOCK: usize = 64 << 20;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Offset of the name in the buffer.
    name: u32,
    name_len: u32,
    value: u32,
    value_len: u32,
    /// End of the line in the buffer (after CRLF) when it stands there as `name: value\r\n`, else 0.
    line_end: u32,
    id: Id,
}

/// An ordered list of header fields. Lookups ignore case.
#[derive(Clone, Default, Debug)]
pub struct HeaderBlock {
    buf: Vec<u8>,
    entries: Vec<Entry>,
    /// The ids among the entries: most lookups are for what is absent.
    present: u128,
}

fn range(start: u32, len: u32) -> Range<usize> {
    let start = start as usize;
    start..start.saturating_add(len as usize)
}

impl Entry {
    fn is(&self, block: &HeaderBlock, name: &HeaderName) -> bool {
        match name {
            HeaderName::Known(id) => self.id == *id,
            HeaderName::Other(text) => {
                self.id == Id::Other
                    && block.slice(self.name, self.name_len).eq_ignore_ascii_case(text.as_bytes())
            }
        }
    }
}

impl HeaderBlock {
    /// An empty block.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty block over bytes that were received; entries are then added with [`HeaderBlock::index`].
    pub fn over(buf: Vec<u8>) -> Self {
        HeaderBlock { buf, entries: Vec::with_capacity(USUAL_FIELDS), present: 0 }
    }

    /// [`HeaderBlock::over`] a copy, with room for what a proxy adds.
    pub fn copied(bytes: &[u8]) -> Self {
        let mut buf = Vec::with_capacity(bytes.len().saturating_add(USUAL_ADDED));
        buf.extend_from_slice(bytes);
        Self::over(buf)
    }

    /// Adds a field that already stands in the buffer. `canonical_end` is the end of its line when the bytes from
    /// `name` on are exactly `name: value\r\n`. Ranges outside the buffer read as empty.
    pub fn index(&mut self, id: Id, name: Range<usize>, value: Range<usize>, canonical_end: Option<usize>) {
        self.push(Entry {
            name: name.start as u32,
            name_len: name.len() as u32,
            value: value.start as u32,
            value_len: value.len() as u32,
            line_end: canonical_end.unwrap_or(0) as u32,
            id,
        });
    }

    fn push(&mut self, entry: Entry) {
        self.present |= entry.id.bit();
        self.entries.push(entry);
    }

    /// After fields have gone.
    fn look_again(&mut self) {
        self.present = self.entries.iter().fold(0, |present, e| present | e.id.bit());
    }

    fn slice(&self, start: u32, len: u32) -> &[u8] {
        self.buf.get(range(start, len)).unwrap_or_default()
    }

    /// Number of fields, pseudo-headers included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Has it no field?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes as Envoy counts them for limits: names and values, without separators.
    pub fn byte_size(&self) -> usize {
        // An HTTP/1 request line and its Host are the pseudo-headers that they stand for.
        let name = |e: &Entry| if e.id.is_pseudo() { e.id.as_str().len() } else { e.name_len as usize };
        self.entries.iter().map(|e| name(e).saturating_add(e.value_len as usize)).sum()
    }

    /// Bytes held in memory.
    pub fn retained(&self) -> usize {
        self.buf.capacity()
    }

    /// First value of a well-known name.
    pub fn get(&self, id: Id) -> Option<&[u8]> {
        if !self.has(id) {
            return None;
        }
        self.entries.iter().find(|e| e.id == id).map(|e| self.slice(e.value, e.value_len))
    }

    /// First value of a well-known name as text; none when it is not UTF-8.
    pub fn get_str(&self, id: Id) -> Option<&str> {
        self.get(id).and_then(|v| std::str::from_utf8(v).ok())
    }

    /// First value of a name.
    pub fn find(&self, name: &HeaderName) -> Option<&[u8]> {
        self.entries.iter().find(|e| e.is(self, name)).map(|e| self.slice(e.value, e.value_len))
    }

    /// All values of a name, in order.
    pub fn all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.entries.iter().filter(move |e| e.is(self, name)).map(move |e| self.slice(e.value, e.value_len))
    }

    /// All values of a well-known name, in order.
    pub fn all_of(&self, id: Id) -> impl Iterator<Item = &[u8]> + '_ {
        let entries: &[Entry] = if self.has(id) { &self.entries } else { &[] };
        entries.iter().filter(move |e| e.id == id).map(move |e| self.slice(e.value, e.value_len))
    }

    /// Is the name present?
    pub fn has(&self, id: Id) -> bool {
        self.present & id.bit() != 0
    }

    /// Every field in order: id, name as spelled, value.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &[u8], &[u8])> + '_ {
        self.entries.iter().map(|e| (e.id, self.slice(e.name, e.name_len), self.slice(e.value, e.value_len)))
    }

    /// The values of a name joined by `separator`; none when absent.
    pub fn joined(&self, name: &HeaderName, separator: &[u8]) -> Option<Vec<u8>> {
        let mut out: Option<Vec<u8>> = None;
        for value in self.all(name) {
            match &mut out {
                None => out = Some(value.to_vec()),
                Some(out) => {
                    out.extend_from_slice(separator);
                    out.extend_from_slice(value);
                }
            }
        }
        out
    }

    /// Makes one line of several, divided by commas, where the first one stands.
    pub fn join_lines(&mut self, id: Id) {
        if self.all_of(id).nth(1).is_some() {
            let all = self.joined(&HeaderName::Known(id), b",").unwrap_or_default();
            self.set_id(id, &all);
        }
    }

    fn write(&mut self, id: Id, name: &[u8], value: &[u8]) -> Option<Entry> {
        let added = name.len().checked_add(value.len())?.checked_add(4)?;
        if self.buf.len().checked_add(added)? > MAX_BLOCK {
            return None;
        }
        let start = self.buf.len() as u32;
        self.buf.reserve(added);
        self.buf.extend_from_slice(name);
        self.buf.extend_from_slice(b": ");
        let value_start = self.buf.len() as u32;
        self.buf.extend_from_slice(value);
        self.buf.extend_from_slice(b"\r\n");
        Some(Entry {
            name: start,
            name_len: name.len() as u32,
            value: value_start,
            value_len: value.len() as u32,
            line_end: self.buf.len() as u32,
            id,
        })
    }

    /// Adds a field at the end. Values from configuration and code must be free of CR, LF and NUL; such bytes are
    /// replaced by spaces here, so that no caller can split a message. A block at [`MAX_BLOCK`] drops the field.
    pub fn append(&mut self, name: &HeaderName, value: &[u8]) {
        let clean = clean(value);
        if let Some(entry) = self.write(name.id(), name.as_str().as_bytes(), &clean) {
            self.push(entry);
        }
    }

    /// Adds a field with the spelling that the peer used; false (and nothing added) unless name and value are
    /// valid (RFC 9110 sections 5.1, 5.5).
    pub fn append_received(&mut self, name: &[u8], value: &[u8]) -> bool {
        let token = name.strip_prefix(b":").unwrap_or(name);
        if token.is_empty() || !token.iter().all(|b| is_token(*b)) || !value.iter().all(|b| is_value(*b)) {
            return false;
        }
        self.append_valid(name, value);
        true
    }

    /// [`HeaderBlock::append_received`] for name and value that are known to be valid.
    pub fn append_valid(&mut self, name: &[u8], value: &[u8]) {
        if let Some(entry) = self.write(Id::of(name), name, value) {
            self.push(entry);
        }
    }

    /// [`HeaderBlock::append_valid`] for a name whose id is known too.
    pub fn append_known(&mut self, id: Id, name: &[u8], value: &[u8]) {
        if let Some(entry) = self.write(id, name, value) {
            self.push(entry);
        }
    }

    /// Sets a field: the first one keeps its place and spelling, others of the name go; appended when absent.
    pub fn set(&mut self, name: &HeaderName, value: &[u8]) {
        let place = || self.entries.iter().position(|e| e.is(self, name));
        let Some(at) = self.has(name.id()).then(place).flatten() else {
            return self.append(name, value);
        };
        let clean = clean(value);
        let spelled: smallvec::SmallVec<[u8; 40]> = match self.entries.get(at) {
            Some(e) => self.slice(e.name, e.name_len).into(),
            None => return,
        };
        let Some(entry) = self.write(name.id(), &spelled, &clean) else { return };
        if let Some(slot) = self.entries.get_mut(at) {
            *slot = entry;
        }
        let again = self.entries.iter().skip(at + 1).any(|e| e.is(self, name));
        if again {
            let keep = std::mem::take(&mut self.entries);
            let kept = keep.into_iter().enumerate().filter(|(i, e)| *i <= at || !e.is(self, name));
            self.entries = kept.map(|(_, e)| e).collect();
        }
    }

    /// [`HeaderBlock::set`] for a well-known name.
    pub fn set_id(&mut self, id: Id, value: &[u8]) {
        self.set(&HeaderName::Known(id), value);
    }

    /// [`HeaderBlock::append`] for a well-known name.
    pub fn append_id(&mut self, id: Id, value: &[u8]) {
        self.append(&HeaderName::Known(id), value);
    }

    /// Removes every field of a name; true when one was there.
    pub fn remove(&mut self, name: &HeaderName) -> bool {
        let before = self.entries.len();
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|e| !e.is(self, name));
        self.entries = entries;
        self.look_again();
        self.entries.len() != before
    }

    /// Removes every field of a well-known name; true when one was there.
    pub fn remove_id(&mut self, id: Id) -> bool {
        if !self.has(id) {
            return false;
        }
        self.entries.retain(|e| e.id != id);
        self.present &= !id.bit();
        true
    }

    /// Removes every field of some well-known names.
    #[inline]
    pub fn remove_ids(&mut self, ids: &[Id]) {
        let gone = ids.iter().fold(0, |set, id| set | id.bit());
        if self.present & gone != 0 {
            self.entries.retain(|e| gone & e.id.bit() == 0);
            self.present &= !gone;
        }
    }

    /// Keeps the fields for which `keep(id, name, value)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(Id, &[u8], &[u8]) -> bool) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|e| keep(e.id, self.slice(e.name, e.name_len), self.slice(e.value, e.value_len)));
        self.entries = entries;
        self.look_again();
    }

    /// Writes every field that is no pseudo-header as HTTP/1 lines (`Name: value\r\n`), keeping spelling and order;
    /// the `:authority` entry is written as `Host` (in its received spelling when it came as such). Untouched
    /// neighbours are copied as one run.
    pub fn write_h1(&self, out: &mut Vec<u8>) {
        let mut run: Range<usize> = 0..0;
        for e in &self.entries {
            let name = self.slice(e.name, e.name_len);
            if e.id.is_pseudo() && (e.id != Id::Authority || name.first() == Some(&b':')) {
                if e.id == Id::Authority {
                    self.flush(&mut run, out);
                    line(out, b"host", self.slice(e.value, e.value_len));
                }
                continue;
            }
            if e.line_end == 0 {
                self.flush(&mut run, out);
                line(out, name, self.slice(e.value, e.value_len));
            } else if run.end == e.name as usize && !run.is_empty() {
                run.end = e.line_end as usize;
            } else {
                self.flush(&mut run, out);
                run = e.name as usize..e.line_end as usize;
            }
        }
        self.flush(&mut run, out);
    }

    /// Respells every name that is no pseudo-header like `X-Custom-Header` (Envoy's `proper_case_words`).
    pub fn proper_case(&mut self) {
        for e in &self.entries {
            if e.id.is_pseudo() && self.buf.get(e.name as usize) == Some(&b':') {
                continue;
            }
            let mut start = true;
            for byte in self.buf.get_mut(range(e.name, e.name_len)).unwrap_or_default() {
                if start {
                    byte.make_ascii_uppercase();
                } else {
                    byte.make_ascii_lowercase();
                }
                start = !byte.is_ascii_alphanumeric();
            }
        }
    }

    fn flush(&self, run: &mut Range<usize>, out: &mut Vec<u8>) {
        out.extend_from_slice(self.buf.get(run.clone()).unwrap_or_default());
        *run = 0..0;
    }
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Bytes that would end a line become spaces.
fn clean(value: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let ends = |b: u8| (b == b'\r') | (b == b'\n') | (b == 0);
    // Without a way out of the loop many bytes are tested at once.
    if !value.iter().fold(false, |found, b| found | ends(*b)) {
        return value.into();
    }
    value.iter().map(|b| if ends(*b) { b' ' } else { *b }).collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HeaderName {
        HeaderName::parse(text).unwrap()
    }

    #[test]
    fn spelling_and_order_survive() {
        let mut block = HeaderBlock::new();
        assert!(block.append_received(b":method", b"GET"));
        assert!(block.append_received(b"HoSt", b"a"));
        assert!(block.append_received(b"X-B", b"1"));
        assert!(block.append_received(b"x-b", b"2"));
        block.set_id(Id::Authority, b"b");
        block.append(&name("x-new"), b"v\r\nbad: 1");
        let mut out = Vec::new();
        block.write_h1(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "HoSt: b\r\nX-B: 1\r\nx-b: 2\r\nx-new: v  bad: 1\r\n");
        assert_eq!(block.all(&name("X-b")).collect::<Vec<_>>(), [b"1", b"2"]);
        block.set(&name("x-b"), b"3");
        assert_eq!(block.joined(&name("x-b"), b",").unwrap(), b"3");
        assert!(block.remove(&name("x-b")) && !block.remove(&name("x-b")));
    }

    #[test]
    fn the_ids_are_those_of_the_fields() {
        let check = |block: &HeaderBlock| {
            for id in Id::ALL {
                assert_eq!(block.has(*id), block.iter().any(|(have, _, _)| have == *id), "{id:?}");
            }
        };
        let mut block = HeaderBlock::copied(b"te: x\r\n");
        block.index(Id::Te, 0..2, 4..5, Some(7));
        block.append_valid(b"Via", b"1");
        assert!(block.append_received(b"Cookie", b"2"));
        block.append_id(Id::Via, b"3");
        block.set_id(Id::Server, b"4");
        check(&block);
        block.set_id(Id::Via, b"5");
        assert!(block.remove_id(Id::Te) && block.remove(&name("server")));
        check(&block);
        block.append_id(Id::Expect, b"6");
        block.remove_ids(&[Id::Expect, Id::Te]);
        check(&block);
        block.retain(|id, _, _| id != Id::Via);
        check(&block);
        assert_eq!(block.len(), 1);
    }

    #[test]
    fn bad_bytes_are_refused() {
        let mut block = HeaderBlock::new();
        for (n, v) in [(&b""[..], &b"x"[..]), (b"a b", b"x"), (b"a", b"x\n"), (b"a", b"\0"), (b":", b"x")] {
            assert!(!block.append_received(n, v), "{n:?} {v:?}");
        }
        assert!(block.is_empty());
    }
}
