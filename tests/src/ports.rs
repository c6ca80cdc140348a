//! Ports for tests. One that is given out stays held until long after it is used, so that no client socket, test or
//! program takes it between its choice and the bind of the proxy that it is for.

use socket2::{Domain, Socket, Type};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Ports are looked for from here on, where few services are and most kernels choose none for clients.
const FIRST: u16 = 5_600;
const COUNT: u16 = 26_000;

/// The newest that are held: more than the sections of the oracle that run at once need.
const MAX_HELD: usize = 400;

struct Ports {
    next: u16,
    held: VecDeque<Socket>,
}

static PORTS: Mutex<Option<Ports>> = Mutex::new(None);

/// A port that nobody uses on any IPv4 address; none is given out twice by one process before all had their turn.
///
/// # Errors
/// All are in use.
pub fn free() -> anyhow::Result<u16> {
    let mut ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    let ports = ports.get_or_insert_with(|| Ports { next: somewhere(), held: VecDeque::new() });
    for _ in 0..COUNT {
        ports.next = (ports.next + 1) % COUNT;
        let port = FIRST + ports.next;
        if let Ok(socket) = hold(port) {
            if ports.held.len() == MAX_HELD {
                ports.held.pop_front();
            }
            ports.held.push_back(socket);
            return Ok(port);
        }
    }
    anyhow::bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}

/// Processes that run at once begin at different places.
fn somewhere() -> u16 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_micros());
    let seed = u64::from(now) + u64::from(std::process::id()) * 7_919;
    u16::try_from(seed % u64::from(COUNT)).unwrap_or(0)
}

/// Binds without sharing, which fails when anybody has the port, and shares only then: Linux lets those bind that ask
/// for `SO_REUSEADDR` or `SO_REUSEPORT`, as every server does, and gives the port to no client.
fn hold(port: u16) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    Ok(socket)
}

/// A listener of our own on a free port.
///
/// # Errors
/// All ports are in use.
pub fn listen() -> anyhow::Result<(TcpListener, u16)> {
    listen_on("127.0.0.1")
}

/// The same on another loopback address (all of 127.0.0.0/8 is the machine itself).
///
/// # Errors
/// All ports are in use, or the address is not the machine's.
pub fn listen_on(address: &str) -> anyhow::Result<(TcpListener, u16)> {
    let port = free()?;
    Ok((TcpListener::bind((address, port))?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_given_out_is_nobody_elses() {
        let port = free().unwrap();
        assert!(hold(port).is_err(), "another test finds it taken");
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        assert!(std::net::TcpStream::connect(listener.local_addr().unwrap()).is_ok());
    }
}
