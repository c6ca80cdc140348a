//! Scripted upstreams that record what they saw.
//!
//! | module | protocol |
//! | --- | --- |
//! | [`h1`] | HTTP/1.1, answering exactly as told, whatever the protocol would say |
//! | [`h2`] | HTTP/2 by prior knowledge |
//! | [`tcp`] | bytes, and the condition "accept queue full" |

pub mod h1;
pub mod h2;
pub mod tcp;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;

use super::case::{BackendScript, Kind, ReplyFields};

/// A connection of a backend is given up after this long without progress.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What all connections of a backend share.
pub struct Shared {
    script: BackendScript,
    seen: Mutex<Vec<Value>>,
    attempts: AtomicUsize,
    connections: AtomicUsize,
    stop: AtomicBool,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Vec<Value>> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Adds a record and gives its place.
    pub(crate) fn record(&self, value: Value) -> usize {
        let mut seen = self.seen();
        seen.push(value);
        seen.len() - 1
    }

    /// Replaces a record once more of it is known.
    pub(crate) fn amend(&self, at: usize, value: Value) {
        if let Some(slot) = self.seen().get_mut(at) {
            *slot = value;
        }
    }

    /// The reply that the next attempt gets.
    pub(crate) fn next_reply(&self) -> ReplyFields {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        let replies = &self.script.replies;
        match replies.get(attempt).or(replies.last()) {
            Some(reply) => reply.0.clone(),
            None => ReplyFields { body: "ok".to_owned(), ..ReplyFields::default() },
        }
    }
}

/// A running backend; its listening socket closes when it is dropped.
pub struct Backend {
    /// Its name in the case.
    pub name: String,
    /// Its address.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    /// Sockets that keep an accept queue full.
    _held: Vec<TcpStream>,
}

impl Backend {
    /// Starts a backend on `port`.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub fn start(name: &str, port: u16, script: BackendScript) -> anyhow::Result<Self> {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let kind = script.kind;
        let shared = Arc::new(Shared {
            script,
            seen: Mutex::default(),
            attempts: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let mut held = Vec::new();
        match kind {
            Kind::Refused => {}
            Kind::Blackhole => held = tcp::fill_queue(addr, &shared)?,
            Kind::H1 => serve(addr, &shared, h1::serve)?,
            Kind::Tcp => serve(addr, &shared, tcp::serve)?,
            Kind::H2 => serve(addr, &shared, h2::serve)?,
        }
        Ok(Self { name: name.to_owned(), addr, shared, _held: held })
    }

    /// What was seen: records in order of arrival, and the number of connections.
    pub fn observed(&self) -> (Vec<Value>, usize) {
        (self.shared.seen().clone(), self.shared.connections.load(Ordering::Relaxed))
    }

    /// Forgets what was seen: the next side begins.
    pub fn reset(&self) {
        self.shared.seen().clear();
        self.shared.attempts.store(0, Ordering::Relaxed);
        self.shared.connections.store(0, Ordering::Relaxed);
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the accept loop, which then ends; a refused connection means that it has ended.
        let _ = TcpStream::connect_timeout(&self.addr, Duration::from_millis(100));
    }
}

/// One thread that accepts and one per connection.
fn serve(addr: SocketAddr, shared: &Arc<Shared>, talk: fn(TcpStream, &Shared)) -> anyhow::Result<()> {
    let listener = TcpListener::bind(addr).map_err(|e| anyhow::anyhow!("backend on {addr}: {e}"))?;
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if shared.stop.load(Ordering::Relaxed) {
                return;
            }
            let Ok(stream) = stream else { continue };
            shared.connections.fetch_add(1, Ordering::Relaxed);
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || talk(stream, &shared));
        }
    });
    Ok(())
}

/// Makes the coming close of a socket a reset.
pub(crate) fn arm_reset(stream: &TcpStream) {
    // Failing here would make a FIN of the reset, which the case then shows.
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
