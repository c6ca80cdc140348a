//! Upstream of bytes, and the condition "accept queue full".

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::Shared;
use crate::oracle::client::script;
use crate::oracle::wire::{Wire, printable};

/// Follows the script of the backend on one connection and records what came.
pub(super) fn serve(stream: TcpStream, shared: &Shared) {
    let mut wire = Wire::new(stream);
    let at = shared.record(json!({ "received": "", "end": "open" }));
    let heard = script::follow(&mut wire, &shared.script.steps, "GET");
    shared.amend(
        at,
        json!({ "received": printable(&heard.bytes), "end": heard.end.map_or("open", |e| e.word()) }),
    );
}

/// Listens with an empty queue and fills it, so that further connects are left without an answer.
pub(super) fn fill_queue(addr: SocketAddr, shared: &Arc<Shared>) -> anyhow::Result<Vec<TcpStream>> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(0)?;
    let mut held = Vec::new();
    for _ in 0..4 {
        match TcpStream::connect_timeout(&addr, Duration::from_millis(50)) {
            Ok(stream) => held.push(stream),
            Err(_) => break,
        }
    }
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let socket = socket;
        while !shared.stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
        }
        drop(socket);
    });
    Ok(held)
}
