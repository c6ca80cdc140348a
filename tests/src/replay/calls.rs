//! A client that comes from a node's address.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::expect::{Answered, Call, Speaks, Way};
use super::ground::mark;
use crate::wire::h2;

/// Longest wait for an answer.
const WITHIN: Duration = Duration::from_secs(20);

/// A call that was made.
#[derive(Debug)]
pub struct Made {
    /// Where it came from.
    pub own: SocketAddr,
    /// What came back.
    pub answered: Answered,
}

/// First and last of the ports that calls come from, each from one of its own: for a second connection of a port the
/// redirection would choose another one, which stands in the log then.
const PORTS: (u16, u16) = (10_000, 32_000);

fn bind(socket: &Socket, from: IpAddr) -> anyhow::Result<()> {
    static NEXT: AtomicU16 = AtomicU16::new(PORTS.0);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        anyhow::ensure!(port < PORTS.1, "every port from {} to {} was used", PORTS.0, PORTS.1);
        match socket.bind(&SocketAddr::new(from, port).into()) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            bound => return Ok(bound?),
        }
    }
}

/// Connects from an address.
pub fn connect(way: Way, to: SocketAddr, from: IpAddr) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_mark(mark(way))?;
    bind(&socket, from)?;
    socket.connect_timeout(&to.into(), WITHIN)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(WITHIN))?;
    Ok(stream)
}

/// Makes a call from an address.
pub fn call(call: &Call, from: IpAddr) -> anyhow::Result<Made> {
    let mut stream = connect(call.way, call.to, from)?;
    let own = stream.local_addr()?;
    let host = call.host.clone().unwrap_or_else(|| call.to.to_string());
    let answered = match call.speaks {
        Speaks::Http => {
            let mut head = format!("GET {} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n", call.path);
            call.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
            head.push_str("\r\n");
            read(&mut stream, head.as_bytes())
        }
        Speaks::Tcp => read(&mut stream, b"\x01not HTTP\xff\n"),
        Speaks::H2 => return Ok(Made { own, answered: over_h2(stream, &host, &call.path)? }),
    };
    Ok(Made { own, answered: parse(&answered) })
}

/// Sends, and collects what comes back until the other side closes or the backend's answer is whole.
fn read(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    // A server that closes early shows in what is read.
    let _ = stream.write_all(bytes);
    let mut all = Vec::new();
    let mut buffer = [0u8; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        all.extend_from_slice(&buffer[..n]);
        if all.ends_with(b" END\n") {
            break;
        }
    }
    all
}

fn parse(bytes: &[u8]) -> Answered {
    let text = String::from_utf8_lossy(bytes);
    let code = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let mut words = text.split_once("BACKEND ").map(|(_, rest)| rest.split(' ').map(str::to_owned));
    let mut word = || words.as_mut().and_then(Iterator::next);
    Answered { code, reached: word(), peer: word() }
}

fn over_h2(stream: TcpStream, host: &str, path: &str) -> anyhow::Result<Answered> {
    let mut connection = h2::Connection::over(stream)?;
    let mut first = h2::PREFACE.to_vec();
    first.extend(h2::frame(h2::SETTINGS, 0, 0, &h2::settings(&[(h2::TABLE_SIZE, 0)])));
    let mut block = vec![0x82, 0x86];
    for (index, value) in [(4u8, path), (1, host)] {
        block.extend([index, u8::try_from(value.len())?]);
        block.extend(value.as_bytes());
    }
    first.extend(h2::frame(h2::HEADERS, h2::END_STREAM | h2::END_HEADERS, 1, &block));
    connection.write(&first)?;
    let mut answered = Answered::default();
    while let Ok(frame) = connection.next(WITHIN) {
        if frame.stream != 1 {
            continue;
        }
        if frame.kind == h2::HEADERS && answered.code.is_none() {
            answered.code = crate::wire::hpack::status(&frame.payload);
        }
        if frame.kind == h2::DATA {
            let told = parse(&frame.payload);
            (answered.reached, answered.peer) = (told.reached, told.peer);
        }
        if frame.kind == h2::RST_STREAM || frame.flags & h2::END_STREAM != 0 {
            break;
        }
    }
    Ok(answered)
}
