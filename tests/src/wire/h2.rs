//! HTTP/2 frames on a blocking socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::hpack;

/// Frame types (RFC 9113 6).
pub const DATA: u8 = 0;
/// HEADERS.
pub const HEADERS: u8 = 1;
/// PRIORITY.
pub const PRIORITY: u8 = 2;
/// RST_STREAM.
pub const RST_STREAM: u8 = 3;
/// SETTINGS.
pub const SETTINGS: u8 = 4;
/// PING.
pub const PING: u8 = 6;
/// GOAWAY.
pub const GOAWAY: u8 = 7;
/// WINDOW_UPDATE.
pub const WINDOW_UPDATE: u8 = 8;
/// CONTINUATION.
pub const CONTINUATION: u8 = 9;

/// Flag of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// Flag of SETTINGS and PING.
pub const ACK: u8 = 1;
/// Flag of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;

/// The client's first bytes.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// SETTINGS_HEADER_TABLE_SIZE.
pub const TABLE_SIZE: u16 = 1;
/// SETTINGS_INITIAL_WINDOW_SIZE.
pub const INITIAL_WINDOW: u16 = 4;

/// A received frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Type.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream; 0 is the connection.
    pub stream: u32,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of a GOAWAY or RST_STREAM.
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            GOAWAY => 4,
            RST_STREAM => 0,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload.get(at..at + 4)?.try_into().ok()?))
    }
}

/// Why no frame came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Nothing within the time.
    Quiet,
    /// The peer has closed or reset the connection.
    Closed,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this status (0: none could be read).
    Status(u16),
    /// By RST_STREAM with this code.
    Reset(u32),
    /// With the connection, by GOAWAY with this code.
    Goaway(u32),
    /// With the connection.
    Closed,
    /// Not within the time.
    Quiet,
}

/// A frame as bytes. The length is the payload's, whatever the rest claims.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// The payload of a SETTINGS frame.
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (id, value) in values {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
    out
}

/// A request's header block with the four pseudo-headers and `more`.
pub fn request(method: &str, path: &str, more: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut fields: Vec<(&[u8], &[u8])> = vec![
        (b":method", method.as_bytes()),
        (b":scheme", b"http"),
        (b":authority", b"live.test"),
        (b":path", path.as_bytes()),
    ];
    fields.extend_from_slice(more);
    hpack::block(&fields)
}

/// One side of a connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    closed: bool,
}

impl Connection {
    /// A client: sends the preface and SETTINGS (always with a header table of 0, so that statuses can be read).
    pub fn connect(port: u16, values: &[(u16, u32)]) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        let mut all = vec![(TABLE_SIZE, 0)];
        all.extend_from_slice(values);
        let mut connection = Self::over(stream)?;
        let mut first = PREFACE.to_vec();
        first.extend_from_slice(&frame(SETTINGS, 0, 0, &settings(&all)));
        connection.write(&first)?;
        Ok(connection)
    }

    /// A server: reads the client's preface and sends SETTINGS.
    pub fn accept(stream: TcpStream) -> std::io::Result<Self> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut connection = Self::over(stream)?;
        let mut preface = [0u8; PREFACE.len()];
        connection.stream.read_exact(&mut preface)?;
        if preface != PREFACE {
            return Err(ErrorKind::InvalidData.into());
        }
        connection.send(SETTINGS, 0, 0, &[])?;
        Ok(connection)
    }

    /// Over a stream that exists.
    pub fn over(stream: TcpStream) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self { stream, buffer: Vec::new(), closed: false })
    }

    /// Writes raw bytes.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Writes a frame.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        self.write(&frame(kind, flags, stream, payload))
    }

    /// Closes the sending side.
    pub fn finish(&mut self) {
        // A connection that the peer has closed needs no closing.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next frame, waited for at most `within`. SETTINGS are acknowledged on the way.
    pub fn next(&mut self, within: Duration) -> Result<Frame, Silence> {
        let end = Instant::now() + within;
        loop {
            if let Some(frame) = self.buffered() {
                if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                    // If the peer is gone, the next read says so.
                    let _ = self.send(SETTINGS, ACK, 0, &[]);
                }
                return Ok(frame);
            }
            self.fill(end)?;
        }
    }

    fn buffered(&mut self) -> Option<Frame> {
        let head = self.buffer.get(..9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let payload = self.buffer.get(9..9 + length)?.to_vec();
        self.buffer.drain(..9 + length);
        Some(Frame { kind, flags, stream, payload })
    }

    fn fill(&mut self, end: Instant) -> Result<(), Silence> {
        if self.closed {
            return Err(Silence::Closed);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Silence::Quiet);
        }
        let mut chunk = [0u8; 16_384];
        if self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).is_err() {
            self.closed = true;
            return Err(Silence::Closed);
        }
        match self.stream.read(&mut chunk) {
            Ok(0) => self.closed = true,
            Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(Silence::Quiet);
            }
            Err(_) => self.closed = true,
        }
        if self.closed { Err(Silence::Closed) } else { Ok(()) }
    }

    /// Reads the server's preface: its SETTINGS. Fails when something else comes, or nothing.
    pub fn greet(&mut self) -> anyhow::Result<()> {
        match self.next(Duration::from_secs(3)) {
            Ok(frame) if frame.kind == SETTINGS => Ok(()),
            other => anyhow::bail!("no SETTINGS from the server: {other:?}"),
        }
    }

    /// Follows a stream to its end, granting window as data comes.
    pub fn response(&mut self, stream: u32, within: Duration) -> End {
        let end = Instant::now() + within;
        let mut status = 0;
        let mut goaway = None;
        loop {
            let frame = match self.next(end.saturating_duration_since(Instant::now())) {
                Ok(frame) => frame,
                Err(Silence::Quiet) => return goaway.map_or(End::Quiet, End::Goaway),
                Err(Silence::Closed) => return goaway.map_or(End::Closed, End::Goaway),
            };
            match frame.kind {
                GOAWAY => goaway = frame.code(),
                RST_STREAM if frame.stream == stream => return End::Reset(frame.code().unwrap_or(0)),
                HEADERS if frame.stream == stream => {
                    let found = hpack::status(&frame.payload).unwrap_or(0);
                    if status == 0 && !(100..200).contains(&found) {
                        status = found;
                    }
                    if frame.flags & END_STREAM != 0 {
                        return End::Status(status);
                    }
                }
                DATA if frame.stream == stream => {
                    if frame.flags & END_STREAM != 0 {
                        return End::Status(status);
                    }
                    let length = (frame.payload.len() as u32).to_be_bytes();
                    for id in [0, stream] {
                        // A lost grant shows as a response that never ends.
                        let _ = self.send(WINDOW_UPDATE, 0, id, &length);
                    }
                }
                _ => {}
            }
        }
    }

    /// A GET on a stream, followed to its end.
    pub fn get(&mut self, stream: u32, path: &str, within: Duration) -> End {
        if self.send(HEADERS, END_STREAM | END_HEADERS, stream, &request("GET", path, &[])).is_err() {
            return End::Closed;
        }
        self.response(stream, within)
    }
}
