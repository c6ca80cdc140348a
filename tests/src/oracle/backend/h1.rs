//! HTTP/1.1 upstream.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{PATIENCE, Shared, arm_reset};
use crate::oracle::case::ReplyFields;
use crate::oracle::content;
use crate::oracle::wire::{End, Message, Role, Wire, printable};

/// Serves one connection until either side ends it.
pub(super) fn serve(stream: TcpStream, shared: &Shared) {
    let mut wire = Wire::new(stream);
    loop {
        let mut message = match wire.head(Instant::now() + PATIENCE) {
            Ok(message) => message,
            Err(End::Garbage) => {
                shared.record(json!({ "garbage": printable(&wire.rest) }));
                return;
            }
            Err(_) => return,
        };
        let at = shared.record(seen(&message));
        let reply = shared.next_reply();
        if !reply.early {
            wire.body(&mut message, Role::Request, Instant::now() + PATIENCE);
            shared.amend(at, seen(&message));
            if message.cut.is_some() {
                return;
            }
        }
        if !answer(&mut wire, &message, &reply) {
            return;
        }
        if reply.early {
            wire.body(&mut message, Role::Request, Instant::now() + PATIENCE);
            shared.amend(at, seen(&message));
        }
    }
}

/// The record of a request.
fn seen(message: &Message) -> Value {
    let mut record = json!({
        "line": message.start,
        "headers": message.headers,
        "body": content::text(&message.headers, &message.body),
        "trailers": message.trailers,
    });
    if let (Some(end), Some(map)) = (message.cut, record.as_object_mut()) {
        map.insert("cut".to_owned(), json!(end.word()));
    }
    record
}

/// Sends a reply; whether the connection goes on.
fn answer(wire: &mut Wire, request: &Message, reply: &ReplyFields) -> bool {
    pause(reply.delay);
    let sent = match &reply.raw {
        Some(raw) => wire.stream.write_all(raw.as_bytes()),
        None => send(&mut wire.stream, request, reply),
    };
    if sent.is_err() {
        return false;
    }
    let bare_end = if reply.bare { "close" } else { "keep" };
    match reply.then.as_deref().unwrap_or(bare_end) {
        "keep" => true,
        "rst" => {
            arm_reset(&wire.stream);
            false
        }
        "hang" => {
            while wire.more(Instant::now() + PATIENCE).is_none() {}
            false
        }
        "echo" => {
            echo(wire);
            false
        }
        // "close", and the end of a reply whose length is the connection's.
        _ => {
            let _ = wire.stream.shutdown(Shutdown::Both);
            false
        }
    }
}

/// Writes back what comes until the peer ends.
pub(super) fn echo(wire: &mut Wire) {
    loop {
        let bytes = std::mem::take(&mut wire.rest);
        if wire.stream.write_all(&bytes).is_err() || wire.more(Instant::now() + PATIENCE).is_some() {
            return;
        }
    }
}

fn send(stream: &mut TcpStream, request: &Message, reply: &ReplyFields) -> std::io::Result<()> {
    for interim in &reply.interim {
        let lines = interim.trim_end().replace('\n', "\r\n");
        write!(stream, "HTTP/1.1 {lines}\r\n\r\n")?;
    }
    let status = reply.status.unwrap_or(200);
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for line in &reply.headers {
        head.push_str(line);
        head.push_str("\r\n");
    }
    let body = if reply.body_size > 0 { "x".repeat(reply.body_size) } else { reply.body.clone() };
    let told = |name: &str| reply.headers.iter().any(|h| h.to_ascii_lowercase().starts_with(name));
    let chunked = !reply.chunks.is_empty() || !reply.trailers.is_empty();
    let bodiless = status < 200 || status == 204 || status == 304;
    if chunked && !told("transfer-encoding:") {
        head.push_str("transfer-encoding: chunked\r\n");
    } else if !chunked && !bodiless && !reply.bare && !told("content-length:") {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    if request.start.starts_with("HEAD ") || bodiless {
        return Ok(());
    }
    pause(reply.body_delay);
    if !chunked {
        return stream.write_all(body.as_bytes());
    }
    for chunk in &reply.chunks {
        write!(stream, "{:x}\r\n{chunk}\r\n", chunk.len())?;
        pause(reply.body_delay);
    }
    let trailers: String = reply.trailers.iter().map(|t| format!("{t}\r\n")).collect();
    write!(stream, "0\r\n{trailers}\r\n")
}

pub(super) fn pause(milliseconds: u64) {
    if milliseconds > 0 {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Unnamed")
}
