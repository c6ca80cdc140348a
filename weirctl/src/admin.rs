//! A proxy's admin API, as a client.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// An answer is there within this time.
const WITHIN: Duration = Duration::from_secs(30);

/// An answer is read up to this size, in bytes: the dump of a proxy with 10,000 clusters has some 100 MiB.
const LARGEST: usize = 1 << 30;

/// An admin address from the command line.
///
/// # Errors
/// It is not `HOST:PORT`.
pub fn address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains('/'));
    match port.and_then(|(_, port)| port.parse::<u16>().ok()) {
        Some(1..) => Ok(text.to_owned()),
        _ => Err("write it as HOST:PORT, without http://, such as 127.0.0.1:15000".to_owned()),
    }
}

/// One GET on a connection of its own.
///
/// # Errors
/// Nobody answers there in time, or the answer is too large.
pub async fn get(address: &str, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let asked = tokio::time::timeout(WITHIN, ask(address, path)).await;
    asked.with_context(|| format!("{address}: no answer to {path} within {WITHIN:?}"))?
}

async fn ask(address: &str, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let stream = TcpStream::connect(address).await.with_context(|| {
        format!("{address}: nobody listens there; name the proxy's admin address (--admin HOST:PORT)")
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::get(path).header(http::header::HOST, address).body(Empty::<Bytes>::new())?;
    // The connection ends with the answer; what goes wrong on it shows there.
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.with_context(|| {
        format!(
            "{address}{path}: no answer over HTTP/1; is this the admin API of a proxy? (--admin HOST:PORT)"
        )
    })?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("{address}{path}: {error}"))?.to_bytes();
    connection.abort();
    Ok((status, body))
}

/// The same, of a page that must be there.
///
/// # Errors
/// As [`get`]; or the page is not there, for this is no proxy's admin API.
pub async fn page(address: &str, path: &str) -> anyhow::Result<Bytes> {
    let (status, body) = get(address, path).await?;
    if status != StatusCode::OK {
        bail!("{address}{path}: {status}; is this the admin API of a proxy?");
    }
    Ok(body)
}

/// A page in JSON.
///
/// # Errors
/// As [`page`]; or it is no JSON.
pub async fn json(address: &str, path: &str) -> anyhow::Result<Value> {
    let body = page(address, path).await?;
    serde_json::from_slice(&body).with_context(|| format!("{address}{path}"))
}
