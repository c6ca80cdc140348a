//! Inbound PROXY protocol, versions 1 and 2 (HAProxy's specification of 2020-03-05). TLVs are skipped.

use crate::base::Name;
use crate::observe::metrics::{Cells, Registry};
use crate::observe::stats::proxy_protocol as stat;
use crate::transport::{Input, Io};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::task::{Poll, ready};

/// Longest version 1 line with its CRLF.
const MAX_V1: usize = 107;

/// Longest version 2 header: 16 bytes and what its length field can say.
const MAX_V2: usize = 16 + 65_535;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What a header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Header {
    /// Source and destination of the original connection.
    Proxied(SocketAddr, SocketAddr),
    /// `LOCAL` or `UNKNOWN`: the socket's own addresses count.
    Local,
}

/// A version of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// The line of text.
    V1,
    /// The binary header.
    V2,
}

/// What the filter is configured to take.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// A connection without header is served.
    pub allow_without: bool,
    /// Version 1 is refused.
    pub refuse_v1: bool,
    /// Version 2 is refused.
    pub refuse_v2: bool,
}

/// Why the connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no header, and one is needed.
    Absent,
    /// A header that breaks the rules of its version.
    Broken(Version),
    /// A version that the filter does not take.
    Disallowed(Version),
    /// The client went away before its header was complete.
    Gone,
}

enum Step {
    More,
    None,
    Found(Version, Header, usize),
}

/// Reads the header off the stream; what follows stays in `input`. `None`: there is none, and none is needed.
pub async fn read(
    io: &mut Io,
    input: &mut Input,
    rules: Rules,
) -> Result<Option<(Version, Header)>, Refused> {
    poll_fn(|cx| {
        loop {
            match step(input.bytes(), rules)? {
                Step::Found(version, header, used) => {
                    input.consume(used);
                    input.stash();
                    return Poll::Ready(Ok(Some((version, header))));
                }
                Step::None if rules.allow_without => return Poll::Ready(Ok(None)),
                Step::None => return Poll::Ready(Err(Refused::Absent)),
                Step::More => {}
            }
            let n = ready!(input.poll_fill(io, cx, MAX_V2)).map_err(|_| Refused::Gone)?;
            input.stash();
            if n == 0 {
                return Poll::Ready(Err(Refused::Gone));
            }
        }
    })
    .await
}

thread_local! {
    /// A worker's cells by prefix; there are as many as listeners have been configured with.
    static CELLS: RefCell<HashMap<Name, (Cells, Cells)>> = RefCell::default();
}

/// Counts what was read.
pub fn count(prefix: &Name, read: &Result<Option<(Version, Header)>, Refused>) {
    CELLS.with_borrow_mut(|cells| {
        let (cells, all) = cells.entry(prefix.clone()).or_insert_with(|| {
            let registry = Registry::global();
            let dot = if prefix.is_empty() { "" } else { "." };
            let own = registry.cells(&stat::SCHEMA, &format!("proxy_proto.{prefix}{dot}"));
            (own, registry.cells(&stat::errors::SCHEMA, ""))
        });
        cells.inc(match read {
            Ok(Some((Version::V1, _))) => stat::V1_FOUND,
            Ok(Some((Version::V2, _))) => stat::V2_FOUND,
            Ok(None) => stat::NOT_FOUND_ALLOWED,
            Err(Refused::Gone) => return,
            Err(Refused::Absent) => stat::NOT_FOUND_DISALLOWED,
            Err(Refused::Broken(Version::V1)) => stat::V1_ERROR,
            Err(Refused::Broken(Version::V2)) => stat::V2_ERROR,
            // As in Envoy, a header that is not taken was found all the same, and is no error.
            Err(Refused::Disallowed(version)) => {
                let (found, disallowed) = match version {
                    Version::V1 => (stat::V1_FOUND, stat::V1_DISALLOWED),
                    Version::V2 => (stat::V2_FOUND, stat::V2_DISALLOWED),
                };
                cells.inc(found);
                return cells.inc(disallowed);
            }
        });
        if read.is_err() {
            all.inc(stat::errors::DOWNSTREAM_CX_PROXY_PROTO_ERROR);
        }
    });
}

fn step(bytes: &[u8], rules: Rules) -> Result<Step, Refused> {
    let starts = |want: &[u8]| {
        let n = bytes.len().min(want.len());
        bytes.get(..n) == want.get(..n)
    };
    if starts(SIGNATURE) && !rules.refuse_v2 {
        return if bytes.len() < 16 { Ok(Step::More) } else { v2(bytes) };
    }
    if starts(b"PROXY ") && !rules.refuse_v1 {
        return if bytes.len() < 6 { Ok(Step::More) } else { v1(bytes) };
    }
    match bytes.len() {
        // Too short to tell the one that is refused from no header at all.
        12.. if starts(SIGNATURE) => Err(Refused::Disallowed(Version::V2)),
        6.. if starts(b"PROXY ") => Err(Refused::Disallowed(Version::V1)),
        _ if starts(SIGNATURE) || starts(b"PROXY ") => Ok(Step::More),
        _ => Ok(Step::None),
    }
}

const BROKEN_V1: Refused = Refused::Broken(Version::V1);
const BROKEN_V2: Refused = Refused::Broken(Version::V2);

fn v1(bytes: &[u8]) -> Result<Step, Refused> {
    let Some(end) = bytes.windows(2).take(MAX_V1).position(|w| w == b"\r\n") else {
        return if bytes.len() < MAX_V1 { Ok(Step::More) } else { Err(BROKEN_V1) };
    };
    let line = std::str::from_utf8(bytes.get(..end).unwrap_or_default()).map_err(|_| BROKEN_V1)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or(BROKEN_V1)?;
    if family == "UNKNOWN" {
        return Ok(Step::Found(Version::V1, Header::Local, end + 2));
    }
    let all: Vec<&str> = words.collect();
    let [from, to, from_port, to_port] = all.as_slice() else { return Err(BROKEN_V1) };
    let ip = |text: &str| text.parse::<IpAddr>().map_err(|_| BROKEN_V1);
    let port = |text: &str| text.parse::<u16>().map_err(|_| BROKEN_V1);
    let (from, to) = (ip(from)?, ip(to)?);
    if !matches!((family, from.is_ipv4(), to.is_ipv4()), ("TCP4", true, true) | ("TCP6", false, false)) {
        return Err(BROKEN_V1);
    }
    let header =
        Header::Proxied(SocketAddr::new(from, port(from_port)?), SocketAddr::new(to, port(to_port)?));
    Ok(Step::Found(Version::V1, header, end + 2))
}

fn v2(bytes: &[u8]) -> Result<Step, Refused> {
    let (&[command, family, high, low], rest) =
        bytes.get(12..).and_then(|b| b.split_first_chunk::<4>()).ok_or(BROKEN_V2)?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 {
        return Err(BROKEN_V2);
    }
    let Some(body) = rest.get(..length) else { return Ok(Step::More) };
    let used = 16 + length;
    match (command & 15, family) {
        (0, _) => Ok(Step::Found(Version::V2, Header::Local, used)),
        (1, 0x11) => Ok(Step::Found(Version::V2, addresses::<4>(body, IpAddr::from)?, used)),
        (1, 0x21) => Ok(Step::Found(
            Version::V2,
            addresses::<16>(body, |b: [u8; 16]| IpAddr::V6(Ipv6Addr::from(b)))?,
            used,
        )),
        // UDP and Unix sockets come no other way than by mistake.
        _ => Err(BROKEN_V2),
    }
}

fn addresses<const N: usize>(body: &[u8], ip: impl Fn([u8; N]) -> IpAddr) -> Result<Header, Refused> {
    let (from, rest) = body.split_first_chunk::<N>().ok_or(BROKEN_V2)?;
    let (to, rest) = rest.split_first_chunk::<N>().ok_or(BROKEN_V2)?;
    let (&[a, b, c, d], _) = rest.split_first_chunk::<4>().ok_or(BROKEN_V2)?;
    let from = SocketAddr::new(ip(*from), u16::from_be_bytes([a, b]));
    Ok(Header::Proxied(from, SocketAddr::new(ip(*to), u16::from_be_bytes([c, d]))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { allow_without: false, refuse_v1: false, refuse_v2: false };

    fn found(bytes: &[u8]) -> Result<Option<(Header, usize)>, Refused> {
        Ok(match step(bytes, RULES)? {
            Step::Found(_, header, used) => Some((header, used)),
            Step::More | Step::None => None,
        })
    }

    #[test]
    fn version_1() {
        let line = b"PROXY TCP4 1.2.3.4 5.6.7.8 11 22\r\nGET";
        let want = Header::Proxied("1.2.3.4:11".parse().unwrap(), "5.6.7.8:22".parse().unwrap());
        assert_eq!(found(line), Ok(Some((want, line.len() - 3))));
        assert_eq!(found(b"PROXY UNKNOWN\r\n"), Ok(Some((Header::Local, 15))));
        for bad in [
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n",
        ] {
            assert_eq!(found(bad.as_bytes()), Err(BROKEN_V1), "{bad}");
        }
        assert_eq!(found(&[&b"PROXY "[..], &[b'x'; 200]].concat()), Err(BROKEN_V1));
        assert_eq!(found(b"PRO"), Ok(None));
    }

    #[test]
    fn a_version_that_is_not_taken() {
        let rules = Rules { allow_without: true, refuse_v1: true, refuse_v2: false };
        let found = |bytes: &[u8]| step(bytes, rules).map(|step| matches!(step, Step::More));
        assert_eq!(found(b"PROXY TCP4 1.2.3.4"), Err(Refused::Disallowed(Version::V1)));
        assert_eq!((found(b"PRO"), found(b"PROXX")), (Ok(true), Ok(false)));
    }

    #[test]
    fn version_2() {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend_from_slice(&[0x21, 0x11, 0, 15, 1, 2, 3, 4, 5, 6, 7, 8, 0, 11, 0, 22, 4, 0, 0]);
        let want = Header::Proxied("1.2.3.4:11".parse().unwrap(), "5.6.7.8:22".parse().unwrap());
        assert_eq!(found(&bytes), Ok(Some((want, bytes.len()))));
        assert_eq!(found(&bytes[..20]), Ok(None));
        let local = [&SIGNATURE[..], &[0x20, 0, 0, 0]].concat();
        assert_eq!(found(&local), Ok(Some((Header::Local, 16))));
        let unix = [&SIGNATURE[..], &[0x21, 0x31, 0, 216], &[0; 216]].concat();
        assert_eq!(found(&unix), Err(BROKEN_V2));
        let short = [&SIGNATURE[..], &[0x21, 0x11, 0, 2, 0, 0]].concat();
        assert_eq!(found(&short), Err(BROKEN_V2));
    }
}
