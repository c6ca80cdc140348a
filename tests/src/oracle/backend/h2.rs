//! HTTP/2 upstream on the `h2` crate.

use std::future::Future;
use std::net::TcpStream;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use serde_json::{Value, json};

use super::{PATIENCE, Shared};
use crate::oracle::case::ReplyFields;
use crate::oracle::client::h2::{frame_grpc, header_list, parse_headers, reason_named};
use crate::oracle::content;

/// Serves one connection on a runtime of its own.
pub(super) fn serve(stream: TcpStream, shared: &Shared) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    // Errors of a connection are part of what a case provokes; what was seen is recorded already.
    let _ = runtime.block_on(async {
        stream.set_nonblocking(true)?;
        let stream = tokio::net::TcpStream::from_std(stream)?;
        tokio::time::timeout(PATIENCE * 2, connection(stream, shared)).await??;
        anyhow::Ok(())
    });
}

async fn connection(stream: tokio::net::TcpStream, shared: &Shared) -> anyhow::Result<()> {
    let mut connection =
        h2::server::Builder::new().enable_connect_protocol().handshake::<_, Bytes>(stream).await?;
    let mut streams = Streams::default();
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    let reply = shared.next_reply();
                    if reply.reset.as_deref() == Some("GOAWAY") {
                        connection.abrupt_shutdown(Reason::NO_ERROR);
                        continue;
                    }
                    let goaway = reply.then.as_deref() == Some("goaway");
                    streams.push(exchange(request, respond, reply, shared));
                    if goaway {
                        connection.graceful_shutdown();
                    }
                }
                Some(Err(_)) | None => return Ok(()),
            },
            () = streams.next() => {}
        }
    }
}

async fn exchange(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    reply: ReplyFields,
    shared: &Shared,
) {
    let (parts, mut body) = request.into_parts();
    let at = shared.record(seen(&parts, &[], None, None));
    if reply.then.as_deref() == Some("echo") {
        // How the tunnel ends is seen by the client; what the upstream saw of it is chance.
        let _ = echo(&mut body, &mut respond, &reply).await;
        return;
    }
    if !reply.early {
        let (bytes, trailers, error) = read_body(&mut body).await;
        shared.amend(at, seen(&parts, &bytes, trailers.as_ref(), error.as_deref()));
        if error.is_some() {
            return;
        }
    }
    tokio::time::sleep(Duration::from_millis(reply.delay)).await;
    let head = parts.method == http::Method::HEAD;
    if let Err(error) = answer(&mut respond, &reply, head).await
        && reply.reset.is_none()
    {
        shared.record(json!({ "error": error.to_string() }));
    }
    if reply.early {
        let (bytes, trailers, error) = read_body(&mut body).await;
        shared.amend(at, seen(&parts, &bytes, trailers.as_ref(), error.as_deref()));
    }
}

/// Accepts a tunnel and sends back what comes, to its end.
async fn echo(
    body: &mut RecvStream,
    respond: &mut SendResponse<Bytes>,
    reply: &ReplyFields,
) -> anyhow::Result<()> {
    let mut response = Response::builder().status(reply.status.unwrap_or(200)).body(())?;
    *response.headers_mut() = parse_headers(&reply.headers)?;
    let mut stream = respond.send_response(response, false)?;
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        send_all(&mut stream, chunk, false).await?;
    }
    stream.send_data(Bytes::new(), true)?;
    Ok(())
}

fn seen(
    parts: &http::request::Parts,
    body: &[u8],
    trailers: Option<&HeaderMap>,
    error: Option<&str>,
) -> Value {
    let mut headers: Vec<(String, String)> = Vec::new();
    let uri = &parts.uri;
    headers.extend(uri.scheme_str().map(|s| (":scheme".to_owned(), s.to_owned())));
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    headers.extend(protocol.map(|p| (":protocol".to_owned(), p.as_str().to_owned())));
    headers.extend(uri.authority().map(|a| (":authority".to_owned(), a.to_string())));
    headers.extend(header_list(&parts.headers));
    let path = uri.path_and_query().map_or("", |p| p.as_str());
    let mut record = json!({
        "line": format!("{} {path} HTTP/2", parts.method),
        "headers": headers,
        "body": content::text(&header_list(&parts.headers), body),
        "trailers": trailers.map(header_list).unwrap_or_default(),
    });
    if let (Some(error), Some(map)) = (error, record.as_object_mut()) {
        map.insert("cut".to_owned(), json!(error));
    }
    record
}

async fn read_body(body: &mut RecvStream) -> (Vec<u8>, Option<HeaderMap>, Option<String>) {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        match chunk {
            Ok(chunk) => {
                // The window is given back at once: a backend never holds a case up.
                let _ = body.flow_control().release_capacity(chunk.len());
                bytes.extend_from_slice(&chunk);
            }
            Err(error) => return (bytes, None, Some(reset_word(&error))),
        }
    }
    match body.trailers().await {
        Ok(trailers) => (bytes, trailers, None),
        Err(error) => (bytes, None, Some(reset_word(&error))),
    }
}

fn reset_word(error: &h2::Error) -> String {
    error.reason().map_or_else(|| "connection ended".to_owned(), |r| format!("reset {r:?}"))
}

async fn answer(respond: &mut SendResponse<Bytes>, reply: &ReplyFields, head: bool) -> anyhow::Result<()> {
    if reply.then.as_deref() == Some("hang") && reply.status.is_none() {
        tokio::time::sleep(PATIENCE).await;
        return Ok(());
    }
    if let (Some(name), None) = (&reply.reset, reply.status) {
        respond.send_reset(reason_named(name)?);
        return Ok(());
    }
    let body = body_of(reply);
    let mut response = Response::builder().status(reply.status.unwrap_or(200)).body(())?;
    *response.headers_mut() = parse_headers(&reply.headers)?;
    let chunked = !reply.chunks.is_empty();
    let empty = body.is_empty() && !chunked || head;
    let more = reply.reset.is_some() || !reply.trailers.is_empty() || reply.then.as_deref() == Some("hang");
    let mut stream = respond.send_response(response, empty && !more)?;
    if empty && !more {
        return Ok(());
    }
    tokio::time::sleep(Duration::from_millis(reply.body_delay)).await;
    let last = reply.trailers.is_empty() && !more;
    if !body.is_empty() {
        send_all(&mut stream, body, last && !chunked).await?;
    }
    for (index, chunk) in reply.chunks.iter().enumerate() {
        let end = last && index + 1 == reply.chunks.len();
        send_all(&mut stream, Bytes::from(chunk.clone()), end).await?;
        tokio::time::sleep(Duration::from_millis(reply.body_delay)).await;
    }
    if let Some(name) = &reply.reset {
        // The head must be on the wire before the reset overtakes it.
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.send_reset(reason_named(name)?);
    } else if reply.then.as_deref() == Some("hang") {
        tokio::time::sleep(PATIENCE).await;
    } else if !reply.trailers.is_empty() {
        stream.send_trailers(parse_headers(&reply.trailers)?)?;
    }
    Ok(())
}

fn body_of(reply: &ReplyFields) -> Bytes {
    if !reply.grpc.is_empty() {
        return Bytes::from(reply.grpc.iter().flat_map(|m| frame_grpc(m)).collect::<Vec<u8>>());
    }
    if reply.body_size > 0 {
        return Bytes::from(vec![b'x'; reply.body_size]);
    }
    Bytes::from(reply.body.clone())
}

/// Sends within the window that the peer grants.
pub(crate) async fn send_all(
    stream: &mut h2::SendStream<Bytes>,
    mut data: Bytes,
    end: bool,
) -> anyhow::Result<()> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let granted = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let granted = granted.ok_or_else(|| anyhow::anyhow!("stream is closed"))??;
        let now = data.split_to(granted.min(data.len()));
        let finished = data.is_empty();
        stream.send_data(now, end && finished)?;
    }
    Ok(())
}

/// The unfinished streams of a connection: futures of one task, polled together.
#[derive(Default)]
struct Streams<'a> {
    running: Vec<Pin<Box<dyn Future<Output = ()> + 'a>>>,
}

impl<'a> Streams<'a> {
    fn push(&mut self, stream: impl Future<Output = ()> + 'a) {
        self.running.push(Box::pin(stream));
    }

    /// Polls every stream; ready when one has finished.
    async fn next(&mut self) {
        std::future::poll_fn(|cx| {
            let before = self.running.len();
            self.running.retain_mut(|stream| stream.as_mut().poll(cx).is_pending());
            if self.running.len() < before { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
