//! The upstream behind a proxy under attack: small answers, and `/big` of 1 MiB.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use super::SMALL_STACK;
use crate::wire::h1::{Step, read};

/// A running upstream; it lives as long as the test's process.
pub struct Upstream {
    /// Its port on 127.0.0.1.
    pub port: u16,
}

impl Upstream {
    /// Starts it.
    pub fn start() -> anyhow::Result<Self> {
        let (listener, port) = crate::ports::listen()?;
        let big: Arc<[u8]> = answer(1 << 20).into();
        let small: Arc<[u8]> = answer(64).into();
        std::thread::Builder::new().spawn(move || {
            for stream in listener.incoming().flatten() {
                let (big, small) = (Arc::clone(&big), Arc::clone(&small));
                let serve = move || serve(stream, &big, &small);
                // Out of threads: the connection is dropped, as an overloaded server would.
                let _ = std::thread::Builder::new().stack_size(SMALL_STACK).spawn(serve);
            }
        })?;
        Ok(Self { port })
    }
}

fn answer(size: usize) -> Vec<u8> {
    let mut out =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {size}\r\n\r\n").into_bytes();
    out.resize(out.len() + size, b'x');
    out
}

fn serve(mut stream: TcpStream, big: &[u8], small: &[u8]) {
    let mut bytes = Vec::new();
    let mut chunk = vec![0u8; 16_384];
    loop {
        while let Step::Request(request, used) = read(&bytes) {
            bytes.drain(..used);
            let reply = if request.target.starts_with("/big") { big } else { small };
            let length = if request.method == "HEAD" {
                reply.windows(4).position(|end| end == b"\r\n\r\n").map_or(reply.len(), |at| at + 4)
            } else {
                reply.len()
            };
            if stream.write_all(reply.get(..length).unwrap_or(reply)).is_err() {
                return;
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}
