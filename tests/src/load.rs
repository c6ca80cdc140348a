//! Clients that keep their connections while something is done to the proxy, and are to notice nothing of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::reload::Socket;
use crate::restart::{Client, Ended};
use crate::streams::keep_open;

/// Pause of a client between two requests.
const BETWEEN_REQUESTS: Duration = Duration::from_millis(10);
/// Pause of a WebSocket between two messages.
const BETWEEN_MESSAGES: Duration = Duration::from_millis(50);

/// How many there are.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Keep-alive clients that send request after request.
    pub clients: usize,
    /// WebSockets whose messages come back.
    pub sockets: usize,
    /// gRPC streams whose messages come back.
    pub streams: usize,
}

#[derive(Default)]
struct Seen {
    over: AtomicBool,
    requests: AtomicU64,
    messages: AtomicU64,
    calls: AtomicU64,
    troubles: Mutex<BTreeMap<String, usize>>,
}

impl Load {
    /// Runs it on a port while `work` is done. Every kind must have been answered `least` times.
    ///
    /// # Errors
    /// Somebody noticed something, or the work failed.
    pub fn during(
        self,
        port: u16,
        least: u64,
        work: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let seen = Seen::default();
        let worked = std::thread::scope(|scope| {
            for _ in 0..self.clients {
                scope.spawn(|| seen.client(port));
            }
            for _ in 0..self.sockets {
                scope.spawn(|| seen.socket(port));
            }
            scope.spawn(|| {
                if let Err(error) = keep_open(port, self.streams, &seen.over, &seen.calls) {
                    seen.trouble(format!("{error:#}"));
                }
            });
            let worked = work();
            seen.over.store(true, Ordering::SeqCst);
            worked
        });
        let counts = [
            ("requests", self.clients, &seen.requests),
            ("WebSocket messages", self.sockets, &seen.messages),
            ("gRPC messages", self.streams, &seen.calls),
        ];
        let counts = counts.map(|(kind, clients, count)| (kind, clients, count.load(Ordering::Relaxed)));
        println!("{counts:?}");
        worked?;
        let troubles = seen.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        anyhow::ensure!(troubles.is_empty(), "{troubles:?}");
        for (kind, clients, count) in counts {
            anyhow::ensure!(clients == 0 || count > least, "hardly any load: {count} {kind}");
        }
        Ok(())
    }
}

impl Seen {
    fn trouble(&self, text: String) {
        *self.troubles.lock().unwrap_or_else(PoisonError::into_inner).entry(text).or_default() += 1;
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn client(&self, port: u16) {
        let mut client = Client::new(port);
        while !self.is_over() {
            match client.request("GET", "") {
                Ended::Status(200) => {
                    self.requests.fetch_add(1, Ordering::Relaxed);
                }
                other => self.trouble(format!("a request: {other:?}")),
            }
            std::thread::sleep(BETWEEN_REQUESTS);
        }
    }

    fn socket(&self, port: u16) {
        if let Err(error) = self.echoes(port) {
            self.trouble(format!("a WebSocket: {error:#}"));
        }
    }

    fn echoes(&self, port: u16) -> anyhow::Result<()> {
        let mut socket = Socket::open(port)?;
        while !self.is_over() {
            socket.ping(b"are you there?")?;
            self.messages.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(BETWEEN_MESSAGES);
        }
        Ok(())
    }
}
