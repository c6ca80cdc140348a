//! One HTTP/2 request and its reply, on the `h2` crate.

use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use serde_json::{Value, json};

use super::{PATIENCE, h1::HOST};
use crate::oracle::backend::h2::send_all;
use crate::oracle::case::Send;
use crate::oracle::observe;

/// Largest body that goes out with its head, within any peer's first window.
const TOGETHER: usize = 256;

/// An HTTP/2 connection with the runtime that drives it.
pub struct Connection {
    runtime: tokio::runtime::Runtime,
    sender: SendRequest<Bytes>,
}

impl Connection {
    /// Opens a connection by prior knowledge.
    ///
    /// # Errors
    /// The handshake failed.
    pub fn open(stream: TcpStream) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sender = runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream)?;
            let (sender, connection) = h2::client::handshake(stream).await?;
            tokio::spawn(async move {
                // Its error reaches the streams as well.
                let _ = connection.await;
            });
            anyhow::Ok(sender)
        })?;
        Ok(Self { runtime, sender })
    }

    /// Sends a request and reads its reply.
    pub fn exchange(&mut self, item: &Send) -> Value {
        let sender = self.sender.clone();
        let seen = self.runtime.block_on(async {
            match tokio::time::timeout(PATIENCE, exchange(sender, item)).await {
                Ok(Ok(seen)) => seen,
                Ok(Err(error)) => failure(&error),
                Err(_) => json!({ "none": "open" }),
            }
        });
        if item.until_end {
            return self.until_end(seen);
        }
        seen
    }

    /// Waits for GOAWAY or the connection's end.
    fn until_end(&mut self, mut seen: Value) -> Value {
        let mut sender = self.sender.clone();
        let end = self.runtime.block_on(async {
            for _ in 0..80 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let ready = std::future::poll_fn(|cx| sender.poll_ready(cx)).await;
                if ready.is_err() {
                    return "closed";
                }
            }
            "open"
        });
        if let Some(map) = seen.as_object_mut() {
            map.insert("end".to_owned(), json!(end));
        }
        seen
    }
}

async fn exchange(sender: SendRequest<Bytes>, item: &Send) -> anyhow::Result<Value> {
    let mut sender = sender.ready().await?;
    let body = body_of(item);
    let chunked = !item.chunks.is_empty();
    let plain = body.is_empty() && !chunked && item.trailers.is_empty() && !item.unfinished;
    let (reply, mut stream) = sender.send_request(request(item)?, plain)?;
    let sending = async {
        if plain {
            return;
        }
        let open = !item.trailers.is_empty() || item.unfinished;
        // A refused send is a stream that was answered early; the reply tells.
        if body.len() <= TOGETHER && !body.is_empty() && !chunked {
            // Not asking for window leaves it in one write with the head: a proxy whose upstream fails at once counts
            // the same bytes each time.
            let _ = stream.send_data(body, !open);
        } else {
            let _ = send_all(&mut stream, body, !open && !chunked).await;
        }
        for (index, chunk) in item.chunks.iter().enumerate() {
            let last = index + 1 == item.chunks.len();
            let _ = send_all(&mut stream, Bytes::from(chunk.clone()), last && !open).await;
        }
        if !item.trailers.is_empty()
            && let Ok(trailers) = parse_headers(&item.trailers)
        {
            let _ = stream.send_trailers(trailers);
        }
        if item.unfinished {
            // The stream must stay open while the reply is awaited; the timeout above ends this.
            std::future::pending::<()>().await;
        }
    };
    let receiving = receive(reply);
    if let Some(milliseconds) = item.abandon {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(milliseconds)) => {}
            () = async { sending.await; std::future::pending().await } => {}
        }
        stream.send_reset(Reason::CANCEL);
        tokio::time::sleep(Duration::from_millis(100)).await;
        return Ok(json!({ "abandoned": true }));
    }
    tokio::pin!(receiving);
    tokio::select! {
        seen = &mut receiving => seen,
        () = sending => receiving.await,
    }
}

async fn receive(reply: h2::client::ResponseFuture) -> anyhow::Result<Value> {
    let response = reply.await?;
    let (parts, mut body) = response.into_parts();
    let (bytes, trailers, reset) = read(&mut body).await;
    let mut seen = json!({
        "version": "HTTP/2",
        "status": parts.status.as_u16(),
        "headers": observe::headers(&header_list(&parts.headers)),
        "order": order(&parts.headers),
        "body": observe::body(&header_list(&parts.headers), &bytes),
        "trailers": observe::headers(&trailers.as_ref().map(header_list).unwrap_or_default()),
    });
    if let (Some(reset), Some(map)) = (reset, seen.as_object_mut()) {
        map.insert("cut".to_owned(), json!(reset));
    }
    Ok(seen)
}

fn order(headers: &HeaderMap) -> Vec<String> {
    headers.keys().map(|name| name.as_str().to_owned()).collect()
}

async fn read(body: &mut RecvStream) -> (Vec<u8>, Option<HeaderMap>, Option<String>) {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        match chunk {
            Ok(chunk) => {
                // Given back at once: this client never holds a proxy up.
                let _ = body.flow_control().release_capacity(chunk.len());
                bytes.extend_from_slice(&chunk);
            }
            Err(error) => return (bytes, None, Some(word(&error))),
        }
    }
    match body.trailers().await {
        Ok(trailers) => (bytes, trailers, None),
        Err(error) => (bytes, None, Some(word(&error))),
    }
}

fn failure(error: &anyhow::Error) -> Value {
    match error.downcast_ref::<h2::Error>() {
        Some(error) => json!({ "none": word(error) }),
        None => json!({ "error": error.to_string() }),
    }
}

fn word(error: &h2::Error) -> String {
    match (error.reason(), error.is_go_away()) {
        (Some(reason), true) => format!("goaway {reason:?}"),
        (Some(reason), false) => format!("reset {reason:?}"),
        (None, _) => "closed".to_owned(),
    }
}

fn request(item: &Send) -> anyhow::Result<Request<()>> {
    let (method, path) = item.req.split_once(' ').unwrap_or((item.req.as_str(), "/"));
    let host = item.host.as_deref().unwrap_or(HOST);
    let mut request = Request::builder().method(method).version(http::Version::HTTP_2);
    request = match (method, host) {
        ("CONNECT", _) if !item.headers.iter().any(|h| h.starts_with(":protocol")) => request.uri(host),
        (_, "") => request.version(http::Version::HTTP_11).uri(path),
        (_, host) => request.uri(format!("http://{host}{path}")),
    };
    let mut request = request.body(())?;
    let plain: Vec<String> = item.headers.iter().filter(|h| !h.starts_with(':')).cloned().collect();
    *request.headers_mut() = parse_headers(&plain)?;
    if let Some(line) = item.headers.iter().find_map(|h| h.strip_prefix(":protocol:")) {
        request.extensions_mut().insert(h2::ext::Protocol::from(line.trim()));
    }
    if let Some(body) = &item.body {
        request.headers_mut().entry("content-length").or_insert(HeaderValue::from(body.len()));
    }
    Ok(request)
}

fn body_of(item: &Send) -> Bytes {
    if !item.grpc.is_empty() {
        return Bytes::from(item.grpc.iter().flat_map(|m| frame_grpc(m)).collect::<Vec<u8>>());
    }
    if item.body_size > 0 {
        return Bytes::from(vec![b'x'; item.body_size]);
    }
    Bytes::from(item.body.clone().unwrap_or_default())
}

/// One uncompressed gRPC message: flag, length in 4 bytes, content.
pub fn frame_grpc(message: &str) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = vec![0];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message.as_bytes());
    framed
}

/// Header lines as a map.
///
/// # Errors
/// A line is no header.
pub fn parse_headers(lines: &[String]) -> anyhow::Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for line in lines {
        let (name, value) =
            line.split_once(':').ok_or_else(|| anyhow::anyhow!("header without colon: {line}"))?;
        map.append(
            HeaderName::from_bytes(name.trim().to_ascii_lowercase().as_bytes())?,
            HeaderValue::from_bytes(value.trim().as_bytes())?,
        );
    }
    Ok(map)
}

/// A map as header lines.
pub fn header_list(map: &HeaderMap) -> Vec<(String, String)> {
    map.iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), value.as_bytes().iter().map(|b| char::from(*b)).collect())
        })
        .collect()
}

/// A reset code by its name in RFC 9113 section 7.
///
/// # Errors
/// No code has that name.
pub fn reason_named(name: &str) -> anyhow::Result<Reason> {
    (0..14)
        .map(Reason::from)
        .find(|reason| format!("{reason:?}") == name)
        .ok_or_else(|| anyhow::anyhow!("no HTTP/2 error code is named {name}"))
}
