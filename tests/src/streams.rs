//! gRPC streams that stay open: a server that echoes every message, and clients that see when one breaks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet, spawn_local};

/// Streams on one connection.
const PER_CONNECTION: usize = 10;
/// Pause between two messages of a stream.
const PAUSE: Duration = Duration::from_millis(50);
/// An echo is there within this time.
const WITHIN: Duration = Duration::from_secs(10);
/// A message of the protocol: not compressed, five bytes.
const MESSAGE: &[u8] = b"\0\0\0\0\x05hello";

/// Starts a server on a port of its own that echoes every message of every stream; the port.
///
/// # Errors
/// There is no port.
pub fn echoes() -> anyhow::Result<u16> {
    let (listener, port) = crate::ports::listen()?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        LocalSet::new().block_on(&runtime, async {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                // A connection that breaks is seen by the client at the other end.
                spawn_local(async { serve(stream).await.ok() });
            }
        });
    });
    Ok(port)
}

async fn serve(stream: TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted?;
        spawn_local(async move {
            let head = Response::builder().header("content-type", "application/grpc").body(())?;
            let mut out = respond.send_response(head, false)?;
            let mut body = request.into_body();
            while let Some(piece) = body.data().await {
                let piece = piece?;
                body.flow_control().release_capacity(piece.len())?;
                // Frames without anything in them are taken for a flood.
                if !piece.is_empty() {
                    out.send_data(piece, false)?;
                }
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            out.send_trailers(trailers)?;
            anyhow::Ok(())
        });
    }
    Ok(())
}

/// Keeps `count` streams open through the proxy on `port` until `over`, each with a message every [`PAUSE`]. Every
/// echo is counted; the streams are then ended in order.
///
/// # Errors
/// The first stream that broke, and why.
pub fn keep_open(port: u16, count: usize, over: &AtomicBool, echoes: &AtomicU64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let (told, ends) = tokio::sync::watch::channel(false);
        let mut streams = JoinSet::new();
        for first in (0..count).step_by(PER_CONNECTION) {
            let socket = TcpStream::connect(("127.0.0.1", port)).await?;
            socket.set_nodelay(true)?;
            let (sender, connection) = h2::client::handshake(socket).await?;
            spawn_local(connection);
            for number in first..count.min(first + PER_CONNECTION) {
                let (sender, mut ends) = (sender.clone(), ends.clone());
                streams.spawn_local(async move {
                    let spoken = speak(sender, &mut ends).await;
                    spoken.with_context(|| format!("stream {number}"))
                });
            }
        }
        while !over.load(Ordering::SeqCst) && streams.len() == count {
            tokio::time::sleep(PAUSE).await;
            if let Some(early) = streams.try_join_next() {
                anyhow::bail!("a stream ended by itself: {:?}", early?);
            }
        }
        told.send_replace(true);
        while let Some(ended) = streams.join_next().await {
            echoes.fetch_add(ended??, Ordering::Relaxed);
        }
        Ok(())
    })
}

/// One stream; the number of echoes.
async fn speak(
    sender: h2::client::SendRequest<Bytes>,
    ends: &mut tokio::sync::watch::Receiver<bool>,
) -> anyhow::Result<u64> {
    let head = Request::post("http://live.test/grpc.Echo/Stream")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (answer, mut out) = sender.ready().await?.send_request(head, false)?;
    let mut count = 0;
    // The head of the response may come with the first message.
    out.send_data(Bytes::from_static(MESSAGE), false)?;
    let answer = tokio::time::timeout(WITHIN, answer).await.context("no head of a response")??;
    anyhow::ensure!(answer.status() == 200, "status {}", answer.status());
    let mut body = answer.into_body();
    loop {
        echo(&mut body).await?;
        count += 1;
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = ends.wait_for(|over| *over) => break,
        }
        out.send_data(Bytes::from_static(MESSAGE), false)?;
    }
    finish(out, body).await?;
    Ok(count)
}

async fn echo(body: &mut RecvStream) -> anyhow::Result<()> {
    let mut got = 0;
    while got < MESSAGE.len() {
        let piece = tokio::time::timeout(WITHIN, body.data()).await.context("no echo")?;
        let piece = piece.context("the stream ended")??;
        body.flow_control().release_capacity(piece.len())?;
        got += piece.len();
    }
    anyhow::ensure!(got == MESSAGE.len(), "an echo of {got} bytes");
    Ok(())
}

async fn finish(mut out: SendStream<Bytes>, mut body: RecvStream) -> anyhow::Result<()> {
    out.send_data(Bytes::new(), true)?;
    let last = tokio::time::timeout(WITHIN, body.data()).await.context("no end of the stream")?;
    anyhow::ensure!(last.is_none(), "more than was asked for: {last:?}");
    let trailers = body.trailers().await?.context("no trailers")?;
    anyhow::ensure!(trailers.get("grpc-status").is_some_and(|status| status == "0"), "{trailers:?}");
    Ok(())
}
