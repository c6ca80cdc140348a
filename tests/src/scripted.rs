//! An HTTP/2 upstream that does with its nth stream what a script says, frame by frame.

use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::wire::h2::{
    ACK, Connection, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, RST_STREAM, Silence,
};

/// `:status: 200` in the static table (RFC 7541 appendix A).
const STATUS_200: &[u8] = &[0x88];
/// REFUSED_STREAM (RFC 9113 section 7).
const REFUSED: u32 = 7;
/// How often a connection looks whether something is due.
const TICK: Duration = Duration::from_millis(5);
/// A connection ends after this long in any case.
const LIFE: Duration = Duration::from_secs(60);

/// What is done with a stream. The last act of a script repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// 200 at once.
    Answer,
    /// 200 after a while.
    AnswerAfter(Duration),
    /// RST_STREAM with REFUSED_STREAM.
    Refuse,
    /// GOAWAY that names the stream before it as the last one looked at.
    GoawayBelow,
    /// GOAWAY that names it as the last one, and 200 after a while.
    GoawayThenAnswer(Duration),
    /// Nothing, to it and to every PING that follows.
    Silence,
}

/// What the upstream has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Connections.
    pub connections: u32,
    /// Streams.
    pub streams: u32,
    /// Streams that were answered.
    pub answered: u32,
    /// PINGs that are no answers.
    pub pings: u32,
}

#[derive(Debug)]
struct Shared {
    script: Vec<Act>,
    seen: Mutex<Seen>,
}

/// A running upstream; it lives as long as the test's process.
#[derive(Debug)]
pub struct Upstream {
    /// Its port on 127.0.0.1.
    pub port: u16,
    shared: Arc<Shared>,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upstream {
    /// Starts it.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(script: &[Act]) -> anyhow::Result<Self> {
        let (listener, port) = crate::ports::listen()?;
        let shared = Arc::new(Shared { script: script.to_vec(), seen: Mutex::default() });
        let own = Arc::clone(&shared);
        std::thread::Builder::new().spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&own);
                std::thread::spawn(move || {
                    // A connection that breaks is the peer's affair.
                    let _ = serve(stream, &shared);
                });
            }
        })?;
        Ok(Self { port, shared })
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        *self.shared.seen()
    }
}

/// One connection.
struct Served<'a> {
    connection: Connection,
    shared: &'a Shared,
    due: Vec<(Instant, u32)>,
    last: u32,
    silent: bool,
}

fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let connection = Connection::accept(stream)?;
    shared.seen().connections += 1;
    let mut served = Served { connection, shared, due: Vec::new(), last: 0, silent: false };
    let end = Instant::now() + LIFE;
    while Instant::now() < end {
        match served.connection.next(TICK) {
            Ok(frame) => served.take(&frame)?,
            Err(Silence::Quiet) => {}
            Err(Silence::Closed) => return Ok(()),
        }
        served.answer_what_is_due()?;
    }
    Ok(())
}

impl Served<'_> {
    fn take(&mut self, frame: &Frame) -> std::io::Result<()> {
        match frame.kind {
            PING if frame.flags & ACK == 0 => {
                self.shared.seen().pings += 1;
                if !self.silent {
                    self.connection.send(PING, ACK, 0, &frame.payload)?;
                }
            }
            HEADERS => self.act(frame.stream)?,
            _ => {}
        }
        Ok(())
    }

    fn act(&mut self, stream: u32) -> std::io::Result<()> {
        let act = {
            let mut seen = self.shared.seen();
            let at = (seen.streams as usize).min(self.shared.script.len().saturating_sub(1));
            seen.streams += 1;
            self.shared.script.get(at).copied().unwrap_or(Act::Answer)
        };
        let now = Instant::now();
        match act {
            Act::Answer => self.due.push((now, stream)),
            Act::AnswerAfter(time) => self.due.push((now + time, stream)),
            Act::Refuse => self.connection.send(RST_STREAM, 0, stream, &REFUSED.to_be_bytes())?,
            Act::GoawayBelow => self.goaway(self.last)?,
            Act::GoawayThenAnswer(time) => {
                self.goaway(stream)?;
                self.due.push((now + time, stream));
            }
            Act::Silence => self.silent = true,
        }
        self.last = stream;
        Ok(())
    }

    fn goaway(&mut self, last: u32) -> std::io::Result<()> {
        let mut payload = last.to_be_bytes().to_vec();
        payload.extend_from_slice(&[0; 4]);
        self.connection.send(GOAWAY, 0, 0, &payload)
    }

    fn answer_what_is_due(&mut self) -> std::io::Result<()> {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.due).into_iter().partition(|(at, _)| *at <= now);
        self.due = later;
        let due: Vec<(Instant, u32)> = due;
        for (_, stream) in due {
            self.shared.seen().answered += 1;
            self.connection.send(HEADERS, END_HEADERS | END_STREAM, stream, STATUS_200)?;
        }
        Ok(())
    }
}
