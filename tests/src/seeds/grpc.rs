//! A gRPC backend and client over cleartext HTTP/2.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};

/// A request with this header is answered after so many milliseconds.
const DELAY: &str = "x-delay-ms";
/// Longest delay that is granted.
const MAX_DELAY_MS: u64 = 30_000;
/// A call that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Serves on `listener` for as long as the program runs: every call is answered with `answer` and status 0.
pub fn backend(listener: TcpListener, answer: &'static str) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    std::thread::spawn(move || {
        runtime.block_on(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A connection that breaks is seen by the client at the other end.
                tokio::spawn(async move { serve(stream, answer).await.ok() });
            }
        });
    });
    Ok(())
}

async fn serve(stream: tokio::net::TcpStream, answer: &'static str) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        tokio::spawn(async move { reply(request, respond, answer).await.ok() });
    }
    Ok(())
}

async fn reply(
    mut request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    answer: &'static str,
) -> anyhow::Result<()> {
    while let Some(data) = request.body_mut().data().await {
        let length = data?.len();
        request.body_mut().flow_control().release_capacity(length)?;
    }
    let delay = request.headers().get(DELAY).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if let Some(delay) = delay {
        tokio::time::sleep(Duration::from_millis(delay.min(MAX_DELAY_MS))).await;
    }
    let head = Response::builder().header("content-type", "application/grpc").body(())?;
    let mut stream = respond.send_response(head, false)?;
    stream.send_data(Bytes::from_static(answer.as_bytes()), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)?;
    Ok(())
}

/// One call through `port` of 127.0.0.1: HTTP status, `grpc-status` and the bytes of the answer.
pub fn call(
    port: u16,
    uri: &str,
    agent: &str,
    message: &'static [u8],
) -> anyhow::Result<(u16, Option<String>, Vec<u8>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, exchange(port, uri, agent, message))
            .await
            .context("no answer in time")?
    })
}

async fn exchange(
    port: u16,
    uri: &str,
    agent: &str,
    message: &'static [u8],
) -> anyhow::Result<(u16, Option<String>, Vec<u8>)> {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(connection);
    let request = Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", agent)
        .body(())?;
    let (response, mut stream) = sender.ready().await?.send_request(request, false)?;
    stream.send_data(Bytes::from_static(message), true)?;
    let response = response.await?;
    let status = response.status().as_u16();
    let early = response.headers().get("grpc-status").cloned();
    let mut body = response.into_body();
    let mut got = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        got.extend_from_slice(&data);
    }
    let late = body.trailers().await?.and_then(|trailers| trailers.get("grpc-status").cloned());
    let code = late.or(early).map(|value| value.to_str().map(str::to_owned)).transpose()?;
    Ok((status, code, got))
}
