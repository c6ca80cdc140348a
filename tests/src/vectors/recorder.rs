//! An upstream that keeps what it was sent, reads it strictly, and answers every complete request.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::wire::h1::{Request, Step, read};

/// Something the upstream saw.
#[derive(Clone, Debug)]
pub enum Event {
    /// A complete request.
    Request(Request),
    /// Bytes that no proxy may send, with the reason.
    Odd(String),
}

/// How long the upstream takes to accept an upgrade: anything that comes meanwhile was sent too early.
const UPGRADE_DELAY: Duration = Duration::from_millis(120);

/// A recording upstream on a port of its own.
#[derive(Clone)]
pub struct Recorder {
    /// Its port on 127.0.0.1.
    pub port: u16,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Recorder {
    /// Starts it.
    pub fn start() -> anyhow::Result<Self> {
        let (listener, port) = crate::ports::listen()?;
        let recorder = Self { port, events: Arc::default() };
        let own = recorder.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = own.clone();
                std::thread::spawn(move || own.serve(stream));
            }
        });
        Ok(recorder)
    }

    /// What was seen since the last call.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        let mut chunk = vec![0u8; 65_536];
        loop {
            match read(&bytes) {
                Step::Request(request, used) => {
                    bytes.drain(..used);
                    if !self.answer(&mut stream, &bytes, *request) {
                        return;
                    }
                    continue;
                }
                Step::Odd(reason) => {
                    let shown = bytes.get(..bytes.len().min(200)).unwrap_or_default().escape_ascii();
                    self.push(Event::Odd(format!("{reason} in '{shown}'")));
                    return;
                }
                Step::Partial => {}
            }
            match stream.read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            }
        }
    }

    /// Records and answers; false when the connection is finished.
    fn answer(&self, stream: &mut TcpStream, following: &[u8], request: Request) -> bool {
        let upgrade = !request.values("upgrade").is_empty() && request.target.starts_with("/accept-upgrade");
        let head = request.method == "HEAD";
        self.push(Event::Request(request));
        if !upgrade {
            let body = if head { "" } else { "ok" };
            let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-upstream: recorder\r\n\r\n{body}");
            return stream.write_all(reply.as_bytes()).is_ok();
        }
        if !following.is_empty() || early(stream) {
            self.push(Event::Odd("bytes of the tunnel before 101".into()));
            return false;
        }
        let reply = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        // The tunnel's bytes are nobody's requests: the connection ends here.
        let _ = stream.write_all(reply);
        std::thread::sleep(UPGRADE_DELAY);
        false
    }
}

/// Whether a byte arrives within [`UPGRADE_DELAY`].
fn early(stream: &mut TcpStream) -> bool {
    if stream.set_read_timeout(Some(UPGRADE_DELAY)).is_err() {
        return false;
    }
    let arrived = stream.read(&mut [0u8; 1]).is_ok_and(|n| n > 0);
    // Reads after this wait again without limit; a socket that refuses that is broken and shows it there.
    let _ = stream.set_read_timeout(None);
    arrived
}
