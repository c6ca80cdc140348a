//! The ground that a replay runs on: a namespace in which every address is local, redirection by marks, and one
//! backend for all hosts.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::Context;
use socket2::SockRef;

use super::expect::Way;
use crate::namespace;
use crate::wire::h2;

/// Where all that is sent to no listener of the proxy ends.
const CATCH: u16 = 9001;

/// Where questions for names end.
const DNS: u16 = 9053;

/// The address of every name.
const NAMED: [u8; 4] = [10, 6, 6, 6];

/// Every IPv4 address is local. What has a mark is redirected to the proxy, or left alone; what has none and does not
/// stay on 127.0.0.0/8 is the proxy's to a host, and ends at the backend.
const RULES: &str = "ip link set lo up
ip route add local 0.0.0.0/0 dev lo
nft -f - <<'END'
table ip replay {
chain out {
type nat hook output priority -100;
udp dport 53 redirect to :9053
ip daddr 127.0.0.0/8 return
meta mark 3 return
meta mark 4 return
meta l4proto tcp meta mark 1 redirect to :15001
meta l4proto tcp meta mark 2 redirect to :15006
meta l4proto tcp redirect to :9001
}
chain before {
type filter hook prerouting priority mangle;
meta l4proto tcp meta mark 4 tproxy to :15006 accept
}
}
END";

/// Makes the namespace's addresses and rules.
pub fn prepare() -> anyhow::Result<()> {
    namespace::script(RULES).context("the namespace")
}

/// The mark of a client's packets.
pub(super) fn mark(way: Way) -> u32 {
    match way {
        Way::Outbound => 1,
        Way::Inbound => 2,
        Way::Direct => 3,
        Way::Tproxy => 4,
    }
}

/// Answers whatever comes with the address that was meant and the address that it came from. It ends with the process.
pub struct Backend;

impl Backend {
    /// Starts to answer.
    pub fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, CATCH))?;
        std::thread::Builder::new().name("backend".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                // A connection that breaks, or a thread that cannot be had, shows as an answer that does not come.
                let _ = std::thread::Builder::new().spawn(move || answer(stream));
            }
        })?;
        let questions = UdpSocket::bind((Ipv4Addr::LOCALHOST, DNS))?;
        std::thread::Builder::new().name("names".into()).spawn(move || {
            let mut buffer = [0u8; 1024];
            while let Ok((n, peer)) = questions.recv_from(&mut buffer) {
                let answer = resolve(&buffer[..n]);
                // An answer that is lost is asked for again.
                let _ = questions.send_to(&answer.unwrap_or_default(), peer);
            }
        })?;
        Ok(Self)
    }
}

/// The answer to a question for an address (RFC 1035 section 4.1): one IPv4 address, no IPv6 address.
fn resolve(question: &[u8]) -> Option<Vec<u8>> {
    let name = question.get(12..)?.iter().position(|byte| *byte == 0)?;
    let asked = question.get(12..12 + name + 5)?;
    let v4 = asked.get(name + 2) == Some(&1);
    let mut answer = question.get(..2)?.to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(v4), 0, 0, 0, 0]);
    answer.extend(asked);
    if v4 {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(NAMED);
    }
    Some(answer)
}

fn meant(stream: &TcpStream) -> std::io::Result<SocketAddr> {
    let found = SockRef::from(stream).original_dst_v4()?;
    found.as_socket().ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let peer: IpAddr = stream.peer_addr()?.ip();
    let line = format!("BACKEND {} {peer} END\n", meant(&stream)?);
    let mut first = [0u8; 3];
    while stream.peek(&mut first)? < first.len() {
        if stream.peek(&mut first)? == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    match &first {
        b"PRI" => return over_h2(h2::Connection::accept(stream)?, &line),
        b"GET" => {
            let mut head = Vec::new();
            let mut buffer = [0u8; 4096];
            while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                let n = stream.read(&mut buffer)?;
                if n == 0 {
                    return Ok(());
                }
                head.extend_from_slice(&buffer[..n]);
            }
            let head =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", line.len());
            stream.write_all(head.as_bytes())?;
            stream.write_all(line.as_bytes())?;
        }
        _ => stream.write_all(line.as_bytes())?,
    }
    // The peer closes first, so that what was sent is read.
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut rest = [0u8; 1024];
    while stream.read(&mut rest)? > 0 {}
    Ok(())
}

fn over_h2(mut connection: h2::Connection, line: &str) -> std::io::Result<()> {
    while let Ok(frame) = connection.next(Duration::from_secs(20)) {
        if frame.kind == h2::HEADERS {
            // `:status: 200` is the static table's field 8.
            connection.send(h2::HEADERS, h2::END_HEADERS, frame.stream, &[0x88])?;
            connection.send(h2::DATA, h2::END_STREAM, frame.stream, line.as_bytes())?;
        }
    }
    Ok(())
}
