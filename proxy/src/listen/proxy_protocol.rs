//! Inbound PROXY protocol, versions 1 and 2 (HAProxy's specification of 2020-03-05). TLVs are skipped.

use crate::transport::{Input, Io};
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

/// The connection is to be closed.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused;

enum Step {
    More,
    None,
    Found(Header, usize),
}

/// Reads the header off the stream; what follows stays in `input`. `None`: there is none, and none is needed.
pub async fn read(io: &mut Io, input: &mut Input, rules: Rules) -> Result<Option<Header>, Refused> {
    poll_fn(|cx| {
        loop {
            match step(input.bytes(), rules)? {
                Step::Found(header, used) => {
                    input.consume(used);
                    input.stash();
                    return Poll::Ready(Ok(Some(header)));
                }
                Step::None if rules.allow_without => return Poll::Ready(Ok(None)),
                Step::None => return Poll::Ready(Err(Refused)),
                Step::More => {}
            }
            let n = ready!(input.poll_fill(io, cx, MAX_V2)).map_err(|_| Refused)?;
            input.stash();
            if n == 0 {
                return Poll::Ready(Err(Refused));
            }
        }
    })
    .await
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
    if starts(SIGNATURE) || starts(b"PROXY ") {
        return Err(Refused);
    }
    Ok(Step::None)
}

fn v1(bytes: &[u8]) -> Result<Step, Refused> {
    let Some(end) = bytes.windows(2).take(MAX_V1).position(|w| w == b"\r\n") else {
        return if bytes.len() < MAX_V1 { Ok(Step::More) } else { Err(Refused) };
    };
    let line = std::str::from_utf8(bytes.get(..end).unwrap_or_default()).map_err(|_| Refused)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or(Refused)?;
    if family == "UNKNOWN" {
        return Ok(Step::Found(Header::Local, end + 2));
    }
    let all: Vec<&str> = words.collect();
    let [from, to, from_port, to_port] = all.as_slice() else { return Err(Refused) };
    let ip = |text: &str| text.parse::<IpAddr>().map_err(|_| Refused);
    let port = |text: &str| text.parse::<u16>().map_err(|_| Refused);
    let (from, to) = (ip(from)?, ip(to)?);
    if !matches!((family, from.is_ipv4(), to.is_ipv4()), ("TCP4", true, true) | ("TCP6", false, false)) {
        return Err(Refused);
    }
    let header =
        Header::Proxied(SocketAddr::new(from, port(from_port)?), SocketAddr::new(to, port(to_port)?));
    Ok(Step::Found(header, end + 2))
}

fn v2(bytes: &[u8]) -> Result<Step, Refused> {
    let (&[command, family, high, low], rest) =
        bytes.get(12..).and_then(|b| b.split_first_chunk::<4>()).ok_or(Refused)?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 {
        return Err(Refused);
    }
    let Some(body) = rest.get(..length) else { return Ok(Step::More) };
    let used = 16 + length;
    match (command & 15, family) {
        (0, _) => Ok(Step::Found(Header::Local, used)),
        (1, 0x11) => Ok(Step::Found(addresses::<4>(body, IpAddr::from)?, used)),
        (1, 0x21) => {
            Ok(Step::Found(addresses::<16>(body, |b: [u8; 16]| IpAddr::V6(Ipv6Addr::from(b)))?, used))
        }
        // UDP and Unix sockets come no other way than by mistake.
        _ => Err(Refused),
    }
}

fn addresses<const N: usize>(body: &[u8], ip: impl Fn([u8; N]) -> IpAddr) -> Result<Header, Refused> {
    let (from, rest) = body.split_first_chunk::<N>().ok_or(Refused)?;
    let (to, rest) = rest.split_first_chunk::<N>().ok_or(Refused)?;
    let (&[a, b, c, d], _) = rest.split_first_chunk::<4>().ok_or(Refused)?;
    let from = SocketAddr::new(ip(*from), u16::from_be_bytes([a, b]));
    Ok(Header::Proxied(from, SocketAddr::new(ip(*to), u16::from_be_bytes([c, d]))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { allow_without: false, refuse_v1: false, refuse_v2: false };

    fn found(bytes: &[u8]) -> Result<Option<(Header, usize)>, Refused> {
        Ok(match step(bytes, RULES)? {
            Step::Found(header, used) => Some((header, used)),
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
            assert_eq!(found(bad.as_bytes()), Err(Refused), "{bad}");
        }
        assert_eq!(found(&[&b"PROXY "[..], &[b'x'; 200]].concat()), Err(Refused));
        assert_eq!(found(b"PRO"), Ok(None));
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
        assert_eq!(found(&unix), Err(Refused));
        let short = [&SIGNATURE[..], &[0x21, 0x11, 0, 2, 0, 0]].concat();
        assert_eq!(found(&short), Err(Refused));
    }
}
