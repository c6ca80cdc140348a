//! Ports that nobody uses now, below the kernel's range for client sockets and apart from the oracle's.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 5_600;
const COUNT: u16 = 9_000;

/// A free port of 127.0.0.1; no port is given out twice by one process.
pub fn free() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let seed = u16::try_from(std::process::id() % 79)? * 100;
    for _ in 0..COUNT {
        let port = FIRST + (seed + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}

/// A listener of our own on a free port: one that another process takes between choice and bind is passed over.
pub fn listen() -> anyhow::Result<(TcpListener, u16)> {
    listen_on("127.0.0.1")
}

/// The same on another loopback address (all of 127.0.0.0/8 is the machine itself).
pub fn listen_on(address: &str) -> anyhow::Result<(TcpListener, u16)> {
    for _ in 0..100 {
        let port = free()?;
        if let Ok(listener) = TcpListener::bind((address, port)) {
            return Ok((listener, port));
        }
    }
    anyhow::bail!("100 free ports were taken before they could be bound")
}
