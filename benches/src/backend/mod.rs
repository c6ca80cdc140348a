//! The bench's backend: HTTP/1.1 with keep-alive and pipelining, and HTTP/2 by prior knowledge, on the same port.
//!
//! HTTP/1 chooses the body by the path's first letter: `/s` 100 B, `/m` 16 KiB, `/l` 1 MiB, `/h` 10 MiB. On HTTP/2
//! the body's size is the listener's (reading the path would cost an HPACK decoder, and the point is to cost nothing).
//! It trusts its one client, the proxy under test: it reads what a correct peer sends, and closes on anything else.

mod h1;
mod h2;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::poll::Poll;

/// Unsent bytes above which a connection takes no more work until the socket drains.
const MAX_UNSENT: usize = 256 * 1024;
/// Unparsed bytes a peer may leave; more means that it does not speak what we speak.
const MAX_UNPARSED: usize = 4 << 20;
const READ_SIZE: usize = 256 * 1024;

/// One port and the size of its HTTP/2 bodies.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// TCP port on 127.0.0.1.
    pub port: u16,
    /// Bytes of an HTTP/2 response body.
    pub h2_body: usize,
}

enum Protocol {
    Unknown,
    H1(h1::Connection),
    H2(h2::Connection),
}

struct Client {
    socket: TcpStream,
    input: Vec<u8>,
    protocol: Protocol,
    h2_body: usize,
}

/// Serves the ports until the process is ended; returns only on an error of the listening sockets.
pub fn serve(ports: &[Port]) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listeners = Vec::new();
    for (key, port) in ports.iter().enumerate() {
        let listener = TcpListener::bind(("127.0.0.1", port.port))?;
        listener.set_nonblocking(true)?;
        poll.add_listener(&listener, key)?;
        listeners.push((listener, port.h2_body));
    }
    let bodies = h1::Responses::new();
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut scratch = vec![0u8; READ_SIZE];
    let mut ready = Vec::new();
    loop {
        ready.clear();
        ready.extend(poll.wait(None)?);
        for event in &ready {
            if let Some((listener, h2_body)) = listeners.get(event.key) {
                accept(listener, *h2_body, &poll, &mut clients, &mut free, listeners.len());
                continue;
            }
            let slot = event.key - listeners.len();
            let Some(Some(client)) = clients.get_mut(slot) else { continue };
            if event.dead || client.turn(event.readable, &mut scratch, &bodies).is_err() {
                clients[slot] = None;
                free.push(slot);
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    h2_body: usize,
    poll: &Poll,
    clients: &mut Vec<Option<Client>>,
    free: &mut Vec<usize>,
    first_key: usize,
) {
    while let Ok((socket, _)) = listener.accept() {
        if socket.set_nonblocking(true).is_err() || socket.set_nodelay(true).is_err() {
            continue;
        }
        let slot = free.pop().unwrap_or_else(|| {
            clients.push(None);
            clients.len() - 1
        });
        if poll.add(&socket, slot + first_key).is_ok() {
            clients[slot] = Some(Client { socket, input: Vec::new(), protocol: Protocol::Unknown, h2_body });
        } else {
            free.push(slot);
        }
    }
}

impl Client {
    /// Reads what is there, answers what is complete, writes what fits. An error means that the connection is done.
    fn turn(&mut self, readable: bool, scratch: &mut [u8], bodies: &h1::Responses) -> io::Result<()> {
        let mut closed = false;
        while readable && self.input.len() < MAX_UNPARSED {
            match self.socket.read(scratch) {
                Ok(0) => {
                    closed = true;
                    break;
                }
                Ok(n) => {
                    self.input.extend_from_slice(&scratch[..n]);
                    if n < scratch.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if matches!(self.protocol, Protocol::Unknown) && self.input.len() >= 4 {
            self.protocol = if self.input.starts_with(b"PRI ") {
                Protocol::H2(h2::Connection::new(self.h2_body))
            } else {
                Protocol::H1(h1::Connection::default())
            };
        }
        match &mut self.protocol {
            Protocol::Unknown => {}
            Protocol::H1(h1) => h1.turn(&mut self.socket, &mut self.input, bodies)?,
            Protocol::H2(h2) => h2.turn(&mut self.socket, &mut self.input)?,
        }
        if closed || self.input.len() >= MAX_UNPARSED { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

/// Writes as much of `data` as the socket takes; the number of bytes taken.
fn write_some(socket: &mut TcpStream, data: &[u8]) -> io::Result<usize> {
    match socket.write(data) {
        Ok(n) => Ok(n),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error),
    }
}
