//! Accept loops of one worker: one per listening socket.

use super::conn::{self, Accepted};
use crate::base::Name;
use crate::base::addr::Address;
use crate::live::limit;
use crate::observe::stats::listener as stat;
use crate::transport::Io;
use crate::transport::io::{ip, set_keepalive, unix};
use crate::upstream::Worker;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

/// Pause after an accept that failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);

/// Connections accepted in one turn of the loop, before others get their turn (Envoy:
/// `max_connections_to_accept_per_socket_event`, 1 by default there).
const BURST: u32 = 16;

/// A listening socket as a worker gets it.
pub enum Listening {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// Unix.
    Unix(std::os::unix::net::UnixListener),
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    async fn accept(&self) -> io::Result<(Io, Address)> {
        match self {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Without it a response of two writes waits for the peer's delayed ACK; a refusal costs latency only.
                let _ = stream.set_nodelay(true);
                Ok((Io::Tcp(stream), ip(peer)))
            }
            Socket::Unix(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Io::Unix(stream), unix(&peer)))
            }
        }
    }
}

/// The accept loops of a worker.
#[derive(Default)]
pub struct Acceptors {
    loops: RefCell<HashMap<(Name, Address), JoinHandle<()>>>,
}

impl Acceptors {
    /// Starts to accept. A second socket for the same listener and address replaces the first.
    pub fn open(&self, listener: Name, address: Address, socket: Listening) -> io::Result<()> {
        let socket = match socket {
            Listening::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Socket::Tcp(TcpListener::from_std(listener)?)
            }
            Listening::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Socket::Unix(UnixListener::from_std(listener)?)
            }
        };
        let task = tokio::task::spawn_local(run(listener.clone(), socket));
        if let Some(old) = self.loops.borrow_mut().insert((listener, address), task) {
            old.abort();
        }
        Ok(())
    }

    /// Stops to accept on an address of a listener; connections go on.
    pub fn close(&self, listener: &Name, address: &Address) {
        if let Some(task) = self.loops.borrow_mut().remove(&(listener.clone(), address.clone())) {
            task.abort();
        }
    }
}

/// Accepts until the task is aborted.
async fn run(name: Name, socket: Socket) {
    let mut burst = 0;
    let mut failing = false;
    loop {
        let accepted = socket.accept().await;
        if accepted.as_ref().is_err_and(transient) {
            continue;
        }
        let listener = Worker::current().and_then(|w| w.with_snapshot(|s| s.listeners.get(&name).cloned()));
        let Some(listener) = listener else { continue };
        let cells = conn::stats(&listener).all;
        let (io, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                cells.inc(stat::DOWNSTREAM_CX_ACCEPT_ERROR);
                // Once until it works again: the counter tells how often.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(listener = %name, %error, "cannot accept; it is tried again and again");
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        failing = false;
        let Some(place) = limit::Slot::take(listener.ignore_global_limit) else {
            cells.inc(stat::DOWNSTREAM_GLOBAL_CX_OVERFLOW);
            io.reset_on_drop();
            continue;
        };
        if let (Some(keepalive), Io::Tcp(stream)) = (&listener.keepalive, &io) {
            set_keepalive(stream, keepalive.probes, keepalive.time, keepalive.interval);
        }
        conn::start(Accepted { io, peer, listener, place });
        burst += 1;
        if burst >= BURST {
            burst = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// Errors of the connection that was to be accepted, not of the socket.
fn transient(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
}
