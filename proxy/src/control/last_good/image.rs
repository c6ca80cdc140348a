//! The file's format: a head that says whose it is, then one record a resource, its bytes as they were received.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | [`MAGIC`] |
//! | 4 | [`SCHEMA`] |
//! | 8 | checksum (XXH64) of all that follows |
//! | 8 | hash of the bootstrap |
//! | 8 | when it was saved, in milliseconds since 1970 |
//! | 4 + n | node id |
//! | 1, 4 + n, 4 + n, 4 + n | each record: type, name, version, message |
//!
//! Numbers are little-endian; a text has its length before it.

use super::super::update::Kind;
use xxhash_rust::xxh64::xxh64;

/// What every such file begins with.
const MAGIC: [u8; 8] = *b"weir-lg\n";

/// Version of the format; another one is not read.
const SCHEMA: u32 = 1;

/// Bytes before those that the checksum is of.
const HEAD: usize = 20;

/// Whose state it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) node: Box<str>,
    pub(super) bootstrap: u64,
}

/// One resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) kind: Kind,
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) body: &'a [u8],
}

/// The byte that stands for a type; secrets are never kept.
const fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Cluster => 1,
        Kind::Endpoints => 2,
        Kind::Listener => 3,
        Kind::Route => 4,
        Kind::Extension => 5,
        Kind::Runtime => 6,
        Kind::Secret => 0,
    }
}

impl Record<'_> {
    /// Hash of type and message.
    pub(super) fn hash(&self) -> u64 {
        xxh64(self.body, u64::from(code(self.kind)))
    }
}

/// Records one after another, as the file has them.
#[derive(Debug, Default)]
pub(super) struct Records(Vec<u8>);

impl Records {
    /// Adds one; false when its parts are too long for the format.
    pub(super) fn push(&mut self, record: Record<'_>) -> bool {
        let parts = [record.name.as_bytes(), record.version.as_bytes(), record.body];
        if parts.iter().any(|part| u32::try_from(part.len()).is_err()) {
            return false;
        }
        self.0.push(code(record.kind));
        parts.iter().for_each(|part| text(&mut self.0, part));
        true
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What it has, until the first that is broken.
    pub(super) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let mut from = Bytes(&self.0);
        std::iter::from_fn(move || from.record())
    }

    /// Hash of the content.
    pub(super) fn hash(&self) -> u64 {
        xxh64(&self.0, 0)
    }

    /// The file.
    pub(super) fn file(&self, key: &Key, saved: u64) -> Vec<u8> {
        let mut rest = Vec::with_capacity(self.0.len().saturating_add(key.node.len()).saturating_add(64));
        rest.extend_from_slice(&MAGIC);
        rest.extend_from_slice(&SCHEMA.to_le_bytes());
        rest.extend_from_slice(&[0; 8]);
        rest.extend_from_slice(&key.bootstrap.to_le_bytes());
        rest.extend_from_slice(&saved.to_le_bytes());
        text(&mut rest, key.node.as_bytes());
        rest.extend_from_slice(&self.0);
        let sum = rest.get(HEAD..).map_or(0, |summed| xxh64(summed, 0));
        if let Some(place) = rest.get_mut(12..HEAD) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
        rest
    }
}

fn text(into: &mut Vec<u8>, part: &[u8]) {
    // Longer ones were refused before.
    into.extend_from_slice(&u32::try_from(part.len()).unwrap_or_default().to_le_bytes());
    into.extend_from_slice(part);
}

/// Why a file is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it is no saved state of weir")]
    Alien,
    #[error("its format has version {0}, this release reads {SCHEMA}")]
    Schema(u32),
    #[error("it is cut off or corrupt (its checksum is wrong)")]
    Corrupt,
    #[error("it was saved by the node '{0}'")]
    OtherNode(Box<str>),
    #[error("it was saved under another bootstrap")]
    OtherBootstrap,
}

/// When the file was saved, and its records.
///
/// # Errors
/// It is not one of this node under this bootstrap.
pub(super) fn read<'a>(file: &'a [u8], key: &Key) -> Result<(u64, Vec<Record<'a>>), Fault> {
    let mut from = Bytes(file);
    if from.take(MAGIC.len()) != Some(&MAGIC) {
        return Err(Fault::Alien);
    }
    match from.number::<4>().map(u32::from_le_bytes) {
        Some(SCHEMA) => {}
        Some(other) => return Err(Fault::Schema(other)),
        None => return Err(Fault::Corrupt),
    }
    let sum = from.number::<8>().map(u64::from_le_bytes);
    if sum != Some(xxh64(from.0, 0)) {
        return Err(Fault::Corrupt);
    }
    let bootstrap = from.number::<8>().map(u64::from_le_bytes).ok_or(Fault::Corrupt)?;
    let saved = from.number::<8>().map(u64::from_le_bytes).ok_or(Fault::Corrupt)?;
    let node = from.text().ok_or(Fault::Corrupt)?;
    if *node != *key.node {
        return Err(Fault::OtherNode(node.into()));
    }
    if bootstrap != key.bootstrap {
        return Err(Fault::OtherBootstrap);
    }
    let mut records = Vec::new();
    while !from.0.is_empty() {
        records.push(from.record().ok_or(Fault::Corrupt)?);
    }
    Ok((saved, records))
}

/// What is left to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(part)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = self.number::<4>().map(u32::from_le_bytes)?;
        self.take(usize::try_from(count).ok()?)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn record(&mut self) -> Option<Record<'a>> {
        let [kind] = self.number::<1>()?;
        let kind = Kind::ALL.into_iter().find(|known| code(*known) == kind && *known != Kind::Secret)?;
        Some(Record { kind, name: self.text()?, version: self.text()?, body: self.bytes()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key { node: "sidecar~a".into(), bootstrap: 7 }
    }

    fn sample() -> Vec<u8> {
        let mut all = Records::default();
        for (kind, name) in [(Kind::Cluster, "c"), (Kind::Route, "r")] {
            assert!(all.push(Record { kind, name, version: "1", body: b"body" }));
        }
        all.file(&key(), 99)
    }

    #[test]
    fn what_was_written_is_read() {
        let file = sample();
        let (saved, records) = read(&file, &key()).unwrap();
        let names: Vec<_> = records.iter().map(|r| (r.kind, r.name, r.version, r.body)).collect();
        let body = &b"body"[..];
        assert_eq!(names, [(Kind::Cluster, "c", "1", body), (Kind::Route, "r", "1", body)]);
        assert_eq!(saved, 99);
    }

    #[test]
    fn anything_else_is_refused_by_its_fault() {
        let file = sample();
        for cut in 0..file.len() {
            assert!(read(file.get(..cut).unwrap(), &key()).is_err(), "cut at {cut}");
        }
        for place in 0..file.len() {
            let mut other = file.clone();
            *other.get_mut(place).unwrap() ^= 0x10;
            assert!(read(&other, &key()).is_err(), "a bit at {place}");
        }
        assert_eq!(read(b"", &key()), Err(Fault::Alien));
        assert_eq!(read(b"key: value, and more than that", &key()), Err(Fault::Alien));
        let mut old = file.clone();
        *old.get_mut(8).unwrap() = 0;
        assert_eq!(read(&old, &key()), Err(Fault::Schema(0)));
        let foreign = Key { node: "b".into(), ..key() };
        assert_eq!(read(&file, &foreign), Err(Fault::OtherNode("sidecar~a".into())));
        assert_eq!(read(&file, &Key { bootstrap: 8, ..key() }), Err(Fault::OtherBootstrap));
    }
}
