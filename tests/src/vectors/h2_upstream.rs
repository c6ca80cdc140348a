//! An HTTP/2 upstream that answers with recorded header blocks, one after the other, on one connection.

use std::net::TcpStream;
use std::time::Duration;

use crate::wire::h2::{ACK, Connection, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, SETTINGS, Silence};

/// How long a connection may be silent before it is given up.
const IDLE: Duration = Duration::from_secs(20);

/// Serves `blocks` on a port of its own: the n-th request of a connection gets the n-th block and no body.
pub fn start(blocks: Vec<Vec<u8>>) -> anyhow::Result<u16> {
    let (listener, port) = crate::ports::listen()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A broken connection is the proxy's answer to a block; the client judges it.
            let _ = serve(stream, &blocks);
        }
    });
    Ok(port)
}

fn serve(mut stream: TcpStream, blocks: &[Vec<u8>]) -> std::io::Result<()> {
    let mut preface = vec![0u8; PREFACE.len()];
    std::io::Read::read_exact(&mut stream, &mut preface)?;
    let mut connection = Connection::over(stream)?;
    connection.send(SETTINGS, 0, 0, &[])?;
    let mut blocks = blocks.iter();
    loop {
        match connection.next(IDLE) {
            Ok(frame) if frame.kind == HEADERS => {
                let Some(block) = blocks.next() else { return Ok(()) };
                connection.send(HEADERS, END_HEADERS | END_STREAM, frame.stream, block)?;
            }
            Ok(frame) if frame.kind == PING && frame.flags & ACK == 0 => {
                connection.send(PING, ACK, 0, &frame.payload)?;
            }
            Ok(_) => {}
            Err(Silence::Quiet | Silence::Closed) => return Ok(()),
        }
    }
}
