//! HTTP/1.1 load: closed loop, or a fixed rate whose latencies count from when a request was due.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::histogram::Histogram;
use crate::poll::Poll;

const READ_SIZE: usize = 256 * 1024;
/// Longest a wait may be, so that the end of the window is seen.
const TICK: Duration = Duration::from_millis(50);

/// What to send and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Request path.
    pub path: String,
    /// Host header.
    pub host: String,
    /// Open connections, one request each at a time.
    pub connections: usize,
    /// Requests per second; 0 for a closed loop.
    pub rate: f64,
    /// Time before the counted window.
    pub warm: Duration,
    /// Length of the counted window.
    pub window: Duration,
}

/// What was seen in the counted window.
#[derive(Default)]
pub struct Outcome {
    /// Latencies of the finished requests.
    pub latency: Histogram,
    /// Bytes received.
    pub bytes: u64,
    /// Responses other than 200.
    pub bad: u64,
}

struct Connection {
    socket: TcpStream,
    head: Vec<u8>,
    body_left: usize,
    ok: bool,
    due: Instant,
}

enum Progress {
    Waiting,
    Done { ok: bool },
}

/// Runs the plan. `edge` is called with `true` when the counted window begins and `false` when it ends.
///
/// A connection that the server closes is an error: keep-alive is part of what is measured.
pub fn run(plan: &Plan, mut edge: impl FnMut(bool)) -> io::Result<Outcome> {
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: {}\r\nuser-agent: lg/1.0\r\naccept: */*\r\n\
         x-trace: 0123456789abcdef\r\n\r\n",
        plan.path, plan.host
    )
    .into_bytes();
    let mut poll = Poll::new()?;
    let mut connections = connect(plan, &poll)?;
    let mut idle: Vec<usize> = (0..connections.len()).rev().collect();
    let begin = Instant::now();
    let (start, end) = (begin + plan.warm, begin + plan.warm + plan.window);
    let gap = (plan.rate > 0.0).then(|| Duration::from_secs_f64(1.0 / plan.rate));
    let mut next = begin;
    let mut counting = false;
    let mut outcome = Outcome::default();
    let mut scratch = vec![0u8; READ_SIZE];
    let mut ready = Vec::new();
    loop {
        let now = Instant::now();
        if now >= end {
            break;
        }
        if !counting && now >= start {
            counting = true;
            edge(true);
        }
        let wait = send_due(&mut connections, &mut idle, &request, gap, &mut next)?;
        ready.clear();
        ready.extend(poll.wait(Some(wait))?.filter(|event| event.readable || event.dead));
        for event in &ready {
            let Some(connection) = connections.get_mut(event.key) else { continue };
            while let Some((progress, bytes, drained)) = connection.receive(&mut scratch)? {
                outcome.bytes += if counting { bytes as u64 } else { 0 };
                if let Progress::Done { ok } = progress {
                    if counting {
                        outcome.latency.record(nanos(connection.due.elapsed()));
                        outcome.bad += u64::from(!ok);
                    }
                    if gap.is_none() {
                        connection.due = Instant::now();
                        connection.send(&request)?;
                    } else {
                        idle.push(event.key);
                    }
                }
                if drained {
                    break;
                }
            }
        }
    }
    edge(false);
    Ok(outcome)
}

fn connect(plan: &Plan, poll: &Poll) -> io::Result<Vec<Connection>> {
    let mut out = Vec::with_capacity(plan.connections);
    for key in 0..plan.connections {
        let socket = TcpStream::connect(("127.0.0.1", plan.port))?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        poll.add(&socket, key)?;
        out.push(Connection { socket, head: Vec::new(), body_left: 0, ok: true, due: Instant::now() });
    }
    Ok(out)
}

/// Sends what is due on idle connections; how long until the next is due.
fn send_due(
    connections: &mut [Connection],
    idle: &mut Vec<usize>,
    request: &[u8],
    gap: Option<Duration>,
    next: &mut Instant,
) -> io::Result<Duration> {
    loop {
        let now = Instant::now();
        if gap.is_some() && *next > now {
            return Ok((*next - now).min(TICK));
        }
        let Some(key) = idle.pop() else { return Ok(TICK) };
        let Some(connection) = connections.get_mut(key) else { continue };
        connection.due = if gap.is_some() { *next } else { now };
        *next += gap.unwrap_or_default();
        connection.send(request)?;
    }
}

impl Connection {
    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        // A request is far smaller than an idle socket's buffer.
        self.socket.write_all(request)
    }

    /// Reads once: the progress made, bytes read, and whether the socket was drained; `None` when nothing was there.
    fn receive(&mut self, scratch: &mut [u8]) -> io::Result<Option<(Progress, usize, bool)>> {
        let n = match self.socket.read(scratch) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the proxy closed a connection")),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        let drained = n < scratch.len();
        if self.body_left > 0 {
            self.body_left = self.body_left.saturating_sub(n);
            let done = self.body_left == 0;
            return Ok(Some((
                if done { Progress::Done { ok: self.ok } } else { Progress::Waiting },
                n,
                drained,
            )));
        }
        let progress = if self.head.is_empty() {
            head(&scratch[..n])
        } else {
            self.head.extend_from_slice(&scratch[..n]);
            head(&self.head)
        };
        let progress = match progress {
            None if self.head.is_empty() => {
                self.head.extend_from_slice(&scratch[..n]);
                Progress::Waiting
            }
            None => Progress::Waiting,
            Some((ok, left)) => {
                self.head.clear();
                self.body_left = left;
                self.ok = ok;
                if left == 0 { Progress::Done { ok } } else { Progress::Waiting }
            }
        };
        Ok(Some((progress, n, drained)))
    }
}

/// A response's head: whether it is a 200, and the bytes of its body not among `data`. `None`: not complete yet.
fn head(data: &[u8]) -> Option<(bool, usize)> {
    let end = data.windows(4).position(|w| w == b"\r\n\r\n")?;
    let ok = data.get(9..12) == Some(b"200".as_slice());
    for line in data[..end].split(|&b| b == b'\n') {
        let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = value.iter().filter(|b| b.is_ascii_digit());
            let length = length.fold(0usize, |sum, b| sum * 10 + usize::from(b - b'0'));
            return Some((ok, length.saturating_sub(data.len() - end - 4)));
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return data.ends_with(b"0\r\n\r\n").then_some((ok, 0));
        }
    }
    Some((ok, 0))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
