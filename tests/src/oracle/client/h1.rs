//! One HTTP/1 request and its reply.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::PATIENCE;
use crate::oracle::case::Send;
use crate::oracle::observe;
use crate::oracle::wire::{End, Message, Role, Wire};

/// Host of a request that names none.
pub const HOST: &str = "foo.test";

/// Sends a request and reads its reply.
pub fn exchange(wire: &mut Wire, item: &Send) -> Value {
    // The proxy may answer and close before it has read everything; the reply tells.
    let written = wire.stream.write_all(&render(item));
    if let Some(milliseconds) = item.abandon {
        std::thread::sleep(Duration::from_millis(milliseconds));
        let _ = wire.stream.shutdown(std::net::Shutdown::Both);
        return json!({ "abandoned": true });
    }
    let method = item.req.split(' ').next().unwrap_or_default();
    let (interim, reply) = reply(wire, method);
    let mut seen = match reply {
        Ok(message) => observe::reply(&message, &interim),
        Err(End::Garbage) => json!({ "garbage": observe::text(&wire.rest) }),
        Err(end) => json!({ "none": end.word() }),
    };
    if let (Err(error), true) = (written, seen.get("none").is_some()) {
        // A refused write is a reset whose time of arrival is chance.
        let _ = error;
        return json!({ "none": "reset" });
    }
    if item.until_end
        && let Some(map) = seen.as_object_mut()
    {
        map.insert("end".to_owned(), json!(until_end(wire, Duration::from_secs(4)).word()));
    }
    seen
}

/// Reads interim heads and the final reply.
pub fn reply(wire: &mut Wire, method: &str) -> (Vec<Message>, Result<Message, End>) {
    let deadline = Instant::now() + PATIENCE;
    let mut interim = Vec::new();
    loop {
        let mut message = match wire.head(deadline) {
            Ok(message) => message,
            Err(end) => return (interim, Err(end)),
        };
        let status = message.status().unwrap_or(0);
        if (100..200).contains(&status) && status != 101 {
            interim.push(message);
            continue;
        }
        let role = if method == "HEAD" { Role::ReplyToHead } else { Role::Reply };
        if method != "CONNECT" || status >= 300 {
            wire.body(&mut message, role, deadline);
        }
        return (interim, Ok(message));
    }
}

/// Reads until the peer ends.
pub fn until_end(wire: &mut Wire, within: Duration) -> End {
    let deadline = Instant::now() + within;
    loop {
        match wire.more(deadline) {
            Some(end) => return end,
            None if wire.rest.len() > 1 << 20 => return End::Garbage,
            None => {}
        }
    }
}

fn render(item: &Send) -> Vec<u8> {
    let version = if item.proto == "h1.0" { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut out = format!("{} {version}\r\n", item.req);
    match item.host.as_deref() {
        Some("") => {}
        host => out.push_str(&format!("host: {}\r\n", host.unwrap_or(HOST))),
    }
    for line in &item.headers {
        out.push_str(line);
        out.push_str("\r\n");
    }
    let generated = (item.body_size > 0).then(|| "x".repeat(item.body_size));
    let body = item.body.clone().or(generated);
    let told = item.headers.iter().any(|h| h.to_ascii_lowercase().starts_with("content-length:"));
    if !item.chunks.is_empty() || !item.trailers.is_empty() {
        out.push_str("transfer-encoding: chunked\r\n\r\n");
        for chunk in &item.chunks {
            out.push_str(&format!("{:x}\r\n{chunk}\r\n", chunk.len()));
        }
        if !item.unfinished {
            out.push_str("0\r\n");
            for line in &item.trailers {
                out.push_str(line);
                out.push_str("\r\n");
            }
            out.push_str("\r\n");
        }
    } else if let Some(body) = body {
        if !told {
            out.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        out.push_str("\r\n");
        out.push_str(&body);
    } else {
        out.push_str("\r\n");
    }
    out.into_bytes()
}
