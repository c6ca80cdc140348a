//! `tls_inspector`: the server name and the protocols that a TLS client asks for, from its ClientHello (RFC 8446
//! section 4.1.2), which may come in several records.

use crate::observe::metrics::{Cells, Registry};
use crate::observe::stats::inspector::tls as stat;

/// Content type of a handshake record.
const HANDSHAKE: u8 = 22;
/// Major version of every TLS record.
const MAJOR: u8 = 3;
/// Handshake type of a ClientHello.
const CLIENT_HELLO: u8 = 1;
/// Longest record (RFC 8446 section 5.1).
const MAX_RECORD: usize = 1 << 14;
/// Bytes of a record's header, and of a handshake message's.
const RECORD_HEAD: usize = 5;
const MESSAGE_HEAD: usize = 4;
/// Extensions.
const SERVER_NAME: u16 = 0;
const PROTOCOLS: u16 = 16;

/// What the first bytes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hello {
    /// No TLS.
    NotTls,
    /// A record that holds no well-formed ClientHello.
    Malformed,
    /// A ClientHello over the limit.
    TooBig,
    /// A ClientHello.
    Found {
        /// The server's name, lower-case.
        server_name: Option<Box<str>>,
        /// ALPN protocols in the client's order.
        protocols: Vec<Box<str>>,
    },
}

impl Hello {
    /// Counts it.
    pub fn count(&self) {
        thread_local! {
            static STATS: Cells = Registry::global().cells(&stat::SCHEMA, "tls_inspector.");
        }
        STATS.with(|stats| match self {
            Hello::NotTls | Hello::Malformed => stats.inc(stat::TLS_NOT_FOUND),
            Hello::TooBig => stats.inc(stat::CLIENT_HELLO_TOO_BIG),
            Hello::Found { server_name, protocols } => {
                stats.inc(stat::TLS_FOUND);
                let (name, alpn) = (server_name.is_some(), !protocols.is_empty());
                stats.inc(if name { stat::SNI_FOUND } else { stat::SNI_NOT_FOUND });
                stats.inc(if alpn { stat::ALPN_FOUND } else { stat::ALPN_NOT_FOUND });
            }
        });
    }
}

/// Judges the first bytes; none while more are needed. `limit`: most bytes of a ClientHello.
pub fn sniff(bytes: &[u8], limit: usize) -> Option<Hello> {
    let (first, major) = (bytes.first(), bytes.get(1));
    if first.is_some_and(|b| *b != HANDSHAKE) || major.is_some_and(|b| *b != MAJOR) {
        return Some(Hello::NotTls);
    }
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        if let Some(length) = length(&message) {
            match length {
                None => return Some(Hello::Malformed),
                Some(length) if length > limit => return Some(Hello::TooBig),
                Some(length) => {
                    if let Some(body) = message.get(MESSAGE_HEAD..MESSAGE_HEAD.saturating_add(length)) {
                        return Some(hello(body).unwrap_or(Hello::Malformed));
                    }
                }
            }
        }
        let Some((head, behind)) = rest.split_first_chunk::<RECORD_HEAD>() else { break };
        let [kind, major, _, high, low] = *head;
        let size = usize::from(u16::from_be_bytes([high, low]));
        if kind != HANDSHAKE || major != MAJOR || size == 0 || size > MAX_RECORD {
            return Some(Hello::Malformed);
        }
        let part = behind.get(..size).unwrap_or(behind);
        message.extend_from_slice(part);
        if part.len() < size && length(&message).flatten().is_none_or(|l| l <= limit) {
            break;
        }
        rest = behind.get(size..).unwrap_or_default();
    }
    (bytes.len() >= limit.saturating_add(RECORD_HEAD)).then_some(Hello::TooBig)
}

/// Length of the handshake message; inner none: it is no ClientHello.
fn length(message: &[u8]) -> Option<Option<usize>> {
    let [kind, high, middle, low] = *message.first_chunk::<MESSAGE_HEAD>()?;
    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
    Some((kind == CLIENT_HELLO).then_some(length))
}

/// What is left of a message.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0usize, |n, b| (n << 8) | usize::from(*b)))
    }

    /// Bytes after their length, which has this many bytes.
    fn vector(&mut self, bytes: usize) -> Option<Rest<'a>> {
        let n = self.number(bytes)?;
        self.take(n).map(Rest)
    }
}

fn hello(body: &[u8]) -> Option<Hello> {
    let mut rest = Rest(body);
    rest.take(2 + 32)?;
    rest.vector(1)?;
    rest.vector(2)?;
    rest.vector(1)?;
    let (mut server_name, mut protocols) = (None, Vec::new());
    if !rest.0.is_empty() {
        let mut extensions = rest.vector(2)?;
        while !extensions.0.is_empty() {
            let kind = extensions.number(2)? as u16;
            let extension = extensions.vector(2)?;
            match kind {
                SERVER_NAME => server_name = name(extension)?,
                PROTOCOLS => protocols = alpn(extension)?,
                _ => {}
            }
        }
    }
    Some(Hello::Found { server_name, protocols })
}

/// The first host name of the list; inner none: it is no text.
fn name(mut extension: Rest<'_>) -> Option<Option<Box<str>>> {
    let mut list = extension.vector(2)?;
    while !list.0.is_empty() {
        let kind = list.number(1)?;
        let name = list.vector(2)?;
        if kind == 0 {
            let text =
                std::str::from_utf8(name.0).ok().filter(|text| !text.is_empty() && !text.contains('\0'));
            return Some(text.map(|text| text.to_ascii_lowercase().into()));
        }
    }
    Some(None)
}

fn alpn(mut extension: Rest<'_>) -> Option<Vec<Box<str>>> {
    let mut list = extension.vector(2)?;
    let mut found = Vec::new();
    while !list.0.is_empty() {
        let protocol = list.vector(1)?;
        if protocol.0.is_empty() {
            return None;
        }
        found.push(String::from_utf8_lossy(protocol.0).into());
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vector(bytes: usize, of: &[u8]) -> Vec<u8> {
        let length = (of.len() as u32).to_be_bytes();
        [&length[4 - bytes..], of].concat()
    }

    fn client_hello(name: Option<&str>, protocols: &[&str]) -> Vec<u8> {
        let mut extensions = Vec::new();
        if let Some(name) = name {
            let entry = [&[0][..], &vector(2, name.as_bytes())].concat();
            extensions.extend([&[0, 0][..], &vector(2, &vector(2, &entry))].concat());
        }
        if !protocols.is_empty() {
            let list: Vec<u8> = protocols.iter().flat_map(|p| vector(1, p.as_bytes())).collect();
            extensions.extend([&[0, 16][..], &vector(2, &vector(2, &list))].concat());
        }
        let body =
            [&[3, 3][..], &[7; 32], &[0], &vector(2, &[0x13, 1]), &vector(1, &[0]), &vector(2, &extensions)];
        [&[CLIENT_HELLO][..], &vector(3, &body.concat())].concat()
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        message
            .chunks(size)
            .flat_map(|part| [&[HANDSHAKE, MAJOR, 1][..], &vector(2, part)].concat())
            .collect()
    }

    #[test]
    fn names_and_protocols_are_found_whatever_the_records() {
        let message = client_hello(Some("A.Test"), &["istio", "h2"]);
        for size in [1, 3, 7, message.len()] {
            let bytes = records(&message, size);
            for cut in 0..bytes.len() {
                assert_eq!(sniff(&bytes[..cut], 16_384), None, "{size} {cut}");
            }
            let want = Hello::Found {
                server_name: Some("a.test".into()),
                protocols: vec!["istio".into(), "h2".into()],
            };
            assert_eq!(sniff(&bytes, 16_384), Some(want));
        }
        let bare = records(&client_hello(None, &[]), 1000);
        assert_eq!(sniff(&bare, 16_384), Some(Hello::Found { server_name: None, protocols: vec![] }));
    }

    #[test]
    fn other_bytes_are_told_apart() {
        assert_eq!(sniff(b"", 512), None);
        assert_eq!(sniff(b"G", 512), Some(Hello::NotTls));
        assert_eq!(sniff(&[22, 2], 512), Some(Hello::NotTls));
        assert_eq!(sniff(&[22, 3, 1, 0, 0], 512), Some(Hello::Malformed));
        assert_eq!(sniff(&[22, 3, 1, 0, 4, 2, 0, 0, 0], 512), Some(Hello::Malformed));
        let big = records(&client_hello(Some(&"a".repeat(600)), &[]), 4000);
        assert_eq!(sniff(&big, 512), Some(Hello::TooBig));
        let mut cut = client_hello(Some("a"), &[]);
        let last = cut.len() - 1;
        cut[last - 1] = 200;
        assert_eq!(sniff(&records(&cut, 4000), 512), Some(Hello::Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_cost_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..200) {
            let mut all = records(&client_hello(Some("a.test"), &["h2"]), 50);
            let at = at.min(all.len());
            all.splice(at.., bytes.iter().copied());
            let _ = (sniff(&all, 512), sniff(&bytes, 512));
            prop_assert!(sniff(&vec![22; 600], 512).is_some());
        }
    }
}
