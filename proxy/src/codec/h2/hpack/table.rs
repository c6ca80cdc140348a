//! The tables of HPACK (RFC 7541 section 2.3).

use crate::base::names::{Id, is_token, is_value};
use std::collections::VecDeque;

/// What an entry costs beside its bytes (RFC 7541 section 4.1).
pub(super) const ENTRY: usize = 32;

/// The static table, index 1 first (RFC 7541 appendix A).
#[rustfmt::skip]
pub(super) const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""),
    ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""),
    ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""),
    ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""),
    ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""),
    ("server", ""), ("set-cookie", ""), ("strict-transport-security", ""), ("transfer-encoding", ""),
    ("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", ""),
];

/// What is known of a name: its id, and whether it may stand in a message (RFC 9113 section 8.2.1: a lower-case token;
/// RFC 9110 section 5.6.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    pub(super) id: Id,
    pub(super) valid: bool,
}

impl Name {
    pub(super) fn of(name: &[u8]) -> Name {
        let id = Id::of(name);
        // A known name in lower case is a token.
        let known = id != Id::Other && (name == id.as_str().as_bytes() || name == b"host");
        let token = name.strip_prefix(b":").unwrap_or(name);
        let valid =
            known || !token.is_empty() && token.iter().all(|b| is_token(*b) && !b.is_ascii_uppercase());
        Name { id, valid }
    }
}

/// May it be a field's value (RFC 9110 section 5.5)? Without a way out of the loop many bytes are tested at once.
pub(super) fn is_good_value(value: &[u8]) -> bool {
    value.iter().fold(true, |good, b| good & is_value(*b))
}

/// An entry of the dynamic table.
#[derive(Debug)]
struct Entry {
    /// The name, then the value.
    bytes: Box<[u8]>,
    name_len: usize,
    name: Name,
    value_is_good: bool,
}

/// An entry, static or dynamic.
pub(super) struct Found<'a> {
    pub(super) name_bytes: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) name: Name,
    pub(super) value_is_good: bool,
}

/// Names of the static table.
#[derive(Debug)]
pub(super) struct Statics([Name; STATIC.len()]);

impl Statics {
    pub(super) fn get() -> &'static Statics {
        static NAMES: std::sync::LazyLock<Statics> =
            std::sync::LazyLock::new(|| Statics(STATIC.map(|(name, _)| Name::of(name.as_bytes()))));
        &NAMES
    }
}

/// The tables of a decoder.
#[derive(Debug)]
pub(super) struct Table {
    statics: &'static Statics,
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    most: usize,
}

impl Table {
    pub(super) fn new(most: usize) -> Table {
        Table { statics: Statics::get(), entries: VecDeque::new(), size: 0, most }
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The entry of an index; 1 is the first static one.
    pub(super) fn find(&self, index: usize) -> Option<Found<'_>> {
        let at = index.checked_sub(1)?;
        if let (Some((name, value)), Some(known)) = (STATIC.get(at), self.statics.0.get(at)) {
            let (name_bytes, value) = (name.as_bytes(), value.as_bytes());
            return Some(Found { name_bytes, value, name: *known, value_is_good: true });
        }
        let entry = self.entries.get(at.checked_sub(STATIC.len())?)?;
        let (name_bytes, value) = entry.bytes.split_at_checked(entry.name_len)?;
        Some(Found { name_bytes, value, name: entry.name, value_is_good: entry.value_is_good })
    }

    /// Changes the table's size.
    pub(super) fn resize(&mut self, most: usize) {
        self.most = most;
        self.make_room(0);
    }

    fn make_room(&mut self, wanted: usize) {
        while self.size.saturating_add(wanted) > self.most {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size = self.size.saturating_sub(oldest.bytes.len().saturating_add(ENTRY));
        }
    }

    /// Adds an entry; one that is larger than the table empties it (RFC 7541 section 4.4).
    pub(super) fn add(&mut self, name_bytes: &[u8], value: &[u8], name: Name, value_is_good: bool) {
        let cost = name_bytes.len().saturating_add(value.len()).saturating_add(ENTRY);
        self.make_room(cost);
        if cost > self.most {
            return;
        }
        let mut bytes = Vec::with_capacity(name_bytes.len().saturating_add(value.len()));
        bytes.extend_from_slice(name_bytes);
        bytes.extend_from_slice(value);
        let name_len = name_bytes.len();
        self.entries.push_front(Entry { bytes: bytes.into(), name_len, name, value_is_good });
        self.size = self.size.saturating_add(cost);
    }
}
