//! Fields into a header block (RFC 7541 section 6). What comes again and again goes into the peer's table: a field is
//! added when it is seen the second time, so that what differs in every message pushes nothing out. Strings are not
//! Huffman coded: within a mesh their bytes cost less than the coding.

use super::table::{ENTRY, STATIC};
use crate::base::names::Id;
use std::collections::VecDeque;

/// Largest table that we keep, whatever the peer offers (RFC 9113 section 6.5.2: its default).
const LARGEST_TABLE: u32 = 4096;

/// Largest value that is worth an entry.
const LARGEST_VALUE: usize = 256;

/// Buckets of the memory of fields seen and entries made.
const BUCKETS: usize = 128;

/// Is a field worth an entry of the peer's table?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::codec::h2) enum Worth {
    /// Once it is seen again.
    Keeping,
    /// It differs from message to message.
    Nothing,
    /// A secret: no proxy on the way may keep it either (RFC 7541 section 7.1.3).
    Never,
}

#[derive(Debug)]
struct Entry {
    /// The name, then the value.
    bytes: Box<[u8]>,
    name_len: usize,
}

impl Entry {
    fn cost(&self) -> usize {
        self.bytes.len().saturating_add(ENTRY)
    }

    fn is(&self, name: &[u8], value: &[u8]) -> bool {
        self.bytes.split_at_checked(self.name_len) == Some((name, value))
    }
}

/// What a bucket remembers: hash of the field last seen, and the number of the entry made of it (0: none).
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    hash: u32,
    entry: u64,
}

/// One connection's encoder.
#[derive(Debug)]
pub(in crate::codec::h2) struct Encoder {
    /// Newest first.
    entries: VecDeque<Entry>,
    /// Entries made so far: the number of the newest.
    made: u64,
    size: usize,
    most: usize,
    /// Sizes to be told at the next block's start: the least since the last one, and the present one.
    resized: Option<(usize, usize)>,
    seen: Option<Box<[Seen; BUCKETS]>>,
    hasher: foldhash::fast::FixedState,
}

/// Index of a name's first entry in the static table; 0 where it has none.
const fn static_names() -> [u8; Id::ALL.len() + 1] {
    let mut names = [0; Id::ALL.len() + 1];
    let mut id = 0;
    while id < Id::ALL.len() {
        let mut at = STATIC.len();
        while at > 0 {
            at -= 1;
            if same(Id::ALL[id].as_str().as_bytes(), STATIC[at].0.as_bytes()) {
                names[id + 1] = at as u8 + 1;
            }
        }
        id += 1;
    }
    names
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    if a.len() != b.len() {
        return false;
    }
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

static STATIC_NAMES: [u8; Id::ALL.len() + 1] = static_names();

/// An integer (RFC 7541 section 5.1) behind a pattern that leaves `prefix` bits.
fn integer(out: &mut Vec<u8>, pattern: u8, prefix: u32, value: usize) {
    let mask = (1usize << prefix).saturating_sub(1);
    if value < mask {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | mask as u8);
    let mut rest = value.saturating_sub(mask);
    while rest >= 0x80 {
        out.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    integer(out, 0, 7, bytes.len());
    out.extend_from_slice(bytes);
}

impl Encoder {
    /// For a connection whose peer has the default table.
    pub(in crate::codec::h2) fn new() -> Encoder {
        Encoder {
            entries: VecDeque::new(),
            made: 0,
            size: 0,
            most: LARGEST_TABLE as usize,
            resized: None,
            seen: None,
            hasher: foldhash::fast::FixedState::default(),
        }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE.
    pub(in crate::codec::h2) fn set_table_size(&mut self, size: u32) {
        let size = size.min(LARGEST_TABLE) as usize;
        if size != self.most {
            let least = self.resized.map_or(size, |(least, _)| least.min(size));
            self.resized = Some((least, size));
            self.most = size;
            self.make_room(0);
        }
    }

    fn make_room(&mut self, wanted: usize) {
        while self.size.saturating_add(wanted) > self.most {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size = self.size.saturating_sub(oldest.cost());
        }
    }

    /// Begins a block.
    pub(in crate::codec::h2) fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some((least, size)) = self.resized.take() {
            if least < size {
                integer(out, 0x20, 5, least);
            }
            integer(out, 0x20, 5, size);
        }
    }

    /// Adds a field with a lower-case name.
    #[inline]
    pub(in crate::codec::h2) fn field(
        &mut self,
        out: &mut Vec<u8>,
        id: Id,
        name: &[u8],
        value: &[u8],
        worth: Worth,
    ) {
        let index = STATIC_NAMES.get(id as usize).map_or(0, |index| usize::from(*index));
        match worth {
            Worth::Keeping if value.len() <= LARGEST_VALUE => {
                let hash = self.hash(name, value);
                if let Some(found) = self.known(hash, name, value) {
                    integer(out, 0x80, 7, found);
                } else if self.is_seen_again(hash, name, value) {
                    literal(out, (0x40, 6), index, name, value);
                } else {
                    literal(out, (0, 4), index, name, value);
                }
            }
            Worth::Keeping | Worth::Nothing => literal(out, (0, 4), index, name, value),
            Worth::Never => literal(out, (0x10, 4), index, name, value),
        }
    }

    /// A field of the static table.
    pub(in crate::codec::h2) fn indexed(&mut self, out: &mut Vec<u8>, index: u8) {
        integer(out, 0x80, 7, usize::from(index));
    }

    fn hash(&self, name: &[u8], value: &[u8]) -> u32 {
        use std::hash::{BuildHasher, Hasher};
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name);
        hasher.write(value);
        hasher.finish() as u32
    }

    /// Index of the entry of a field.
    fn known(&self, hash: u32, name: &[u8], value: &[u8]) -> Option<usize> {
        let seen = self.seen.as_ref()?.get(hash as usize % BUCKETS)?;
        let age = self.made.checked_sub(seen.entry).filter(|_| seen.entry > 0 && seen.hash == hash)?;
        let age = usize::try_from(age).ok()?;
        let entry = self.entries.get(age).filter(|entry| entry.is(name, value))?;
        debug_assert_eq!(entry.name_len, name.len());
        Some(age.saturating_add(STATIC.len()).saturating_add(1))
    }

    /// Was the field seen before? Then it becomes an entry.
    fn is_seen_again(&mut self, hash: u32, name: &[u8], value: &[u8]) -> bool {
        let cost = name.len().saturating_add(value.len()).saturating_add(ENTRY);
        let buckets = self.seen.get_or_insert_with(|| Box::new([Seen::default(); BUCKETS]));
        let Some(seen) = buckets.get_mut(hash as usize % BUCKETS) else { return false };
        if seen.hash != hash || cost > self.most {
            *seen = Seen { hash, entry: 0 };
            return false;
        }
        self.made = self.made.saturating_add(1);
        seen.entry = self.made;
        self.make_room(cost);
        let name_len = name.len();
        self.entries.push_front(Entry { bytes: [name, value].concat().into(), name_len });
        self.size = self.size.saturating_add(cost);
        true
    }
}

fn literal(out: &mut Vec<u8>, (pattern, prefix): (u8, u32), index: usize, name: &[u8], value: &[u8]) {
    out.reserve(name.len().saturating_add(value.len()).saturating_add(16));
    integer(out, pattern, prefix, index);
    if index == 0 {
        string(out, name);
    }
    string(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_kept_when_it_comes_again() {
        let mut encoder = Encoder::new();
        let mut sizes = Vec::new();
        for _ in 0..3 {
            let mut out = Vec::new();
            encoder.field(&mut out, Id::UserAgent, b"user-agent", b"curl/8", Worth::Keeping);
            sizes.push((out.len(), out[0]));
        }
        assert_eq!(sizes, [(9, 0x0f), (8, 0x40 | 58), (1, 0x80 | 62)]);
        let mut out = Vec::new();
        encoder.field(&mut out, Id::Authorization, b"authorization", b"s", Worth::Never);
        assert_eq!(out, [0x1f, 23 - 15, 1, b's']);
    }

    #[test]
    fn a_smaller_table_is_told() {
        let mut encoder = Encoder::new();
        encoder.set_table_size(0);
        encoder.set_table_size(100_000);
        let mut out = Vec::new();
        encoder.begin(&mut out);
        assert_eq!(out, [0x20, 0x3f, 0xe1, 0x1f]);
        encoder.begin(&mut out);
        assert_eq!(out.len(), 4);
    }
}
