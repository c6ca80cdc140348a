//! The applications behind the sidecars: small servers that speak HTTP/1 and, by prior knowledge, HTTP/2 with gRPC.
//!
//! They answer with their service, their version and the headers they saw. A caller steers them: `x-delay-ms: N`
//! answers later, `x-fail-percent: N` answers 503 so often; a whole pod is made to fail by [`App::break_down`].

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

/// First bytes of an HTTP/2 connection (RFC 9113 3.4), as many as tell it from HTTP/1.
const PREFACE: &[u8; 4] = b"PRI ";
/// Longest delay that a caller may ask for.
const LONGEST_DELAY_MS: u64 = 10_000;
/// Ports tried after the one that the YAML names, when that is taken.
const PORTS_TRIED: u16 = 400;

/// One application: what it is and what it has seen.
pub struct App {
    /// Name of its Service.
    pub service: &'static str,
    /// Its version label.
    pub version: &'static str,
    /// The port of 127.0.0.1 that it listens on.
    pub port: u16,
    seen: AtomicU64,
    failed: AtomicU64,
    down: AtomicBool,
}

impl App {
    /// Requests seen so far, mirrored ones among them.
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Requests answered with 503 so far.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// From now on everything is answered with 503, or no longer.
    pub fn break_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    fn fails(&self, headers: &HeaderMap, number: u64) -> bool {
        let share = number_of(headers, "x-fail-percent").unwrap_or(0);
        // 37 and 100 have no common divisor: every value comes once in a hundred requests.
        self.down.load(Ordering::Relaxed) || number.wrapping_mul(37) % 100 < share
    }
}

/// Starts an application on a thread of its own; `wanted` is the port that it takes if it is free.
///
/// # Errors
/// No port is free.
pub fn start(service: &'static str, version: &'static str, wanted: u16) -> anyhow::Result<Arc<App>> {
    let listener = listen(wanted)?;
    let app = Arc::new(App {
        service,
        version,
        port: listener.local_addr()?.port(),
        seen: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        down: AtomicBool::new(false),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = Arc::clone(&app);
    let name = format!("{service}-{version}");
    std::thread::Builder::new().name(name).spawn(move || {
        if let Err(error) = runtime.block_on(serve(listener, served)) {
            eprintln!("weirctl: an application of the demo stopped: {error:#}");
        }
    })?;
    Ok(app)
}

fn listen(wanted: u16) -> anyhow::Result<TcpListener> {
    let ports = wanted..=wanted.saturating_add(PORTS_TRIED);
    let listener = ports.clone().step_by(10).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let listener = listener.with_context(|| format!("no free port of 127.0.0.1 in {ports:?}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn serve(listener: TcpListener, app: Arc<App>) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            // Out of descriptors, or the caller is gone already: the next one may fare better.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            // A connection that breaks is the caller's to report.
            let _ = connection(stream, app).await;
        });
    }
}

async fn connection(stream: tokio::net::TcpStream, app: Arc<App>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0; PREFACE.len()];
    loop {
        stream.readable().await?;
        match stream.peek(&mut first).await? {
            0 => return Ok(()),
            read if read < first.len() && PREFACE.starts_with(first.get(..read).unwrap_or_default()) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            _ => break,
        }
    }
    let service = service_fn(move |request| {
        let app = Arc::clone(&app);
        async move { Ok::<_, Infallible>(answer(&app, &request).await) }
    });
    let io = TokioIo::new(stream);
    if &first == PREFACE {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await?;
    } else {
        let mut http1 = hyper::server::conn::http1::Builder::new();
        http1.timer(TokioTimer::new()).serve_connection(io, service).await?;
    }
    Ok(())
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(app: &App, request: &Request<Incoming>) -> Response<Body> {
    let headers = request.headers();
    let number = app.seen.fetch_add(1, Ordering::Relaxed);
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let host =
        authority.or_else(|| headers.get("host").and_then(|host| host.to_str().ok())).unwrap_or_default();
    if let Some(delay) = number_of(headers, "x-delay-ms") {
        tokio::time::sleep(Duration::from_millis(delay.min(LONGEST_DELAY_MS))).await;
    }
    let fails = app.fails(headers, number);
    if fails {
        app.failed.fetch_add(1, Ordering::Relaxed);
    }
    let grpc =
        headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let mut response = if grpc { grpc_answer(app, fails) } else { plain_answer(app, request, host, fails) };
    response.headers_mut().insert("x-version", HeaderValue::from_static(app.version));
    response
}

fn plain_answer(app: &App, request: &Request<Incoming>, host: &str, fails: bool) -> Response<Body> {
    let headers: serde_json::Map<String, serde_json::Value> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let body = serde_json::json!({
        "service": app.service,
        "version": app.version,
        "host": host,
        "path": request.uri().path(),
        "headers": headers,
    });
    let mut response = Response::new(Full::new(Bytes::from(format!("{body}\n"))).boxed());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    if fails {
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

/// One message with one text field (`string text = 1`), then the status in trailers.
fn grpc_answer(app: &App, fails: bool) -> Response<Body> {
    let text = format!("{} {}", app.service, app.version);
    let length = u8::try_from(text.len()).unwrap_or(0);
    let mut message = vec![0, 0, 0, 0, length.saturating_add(2), 0x0a, length];
    message.extend_from_slice(text.as_bytes());
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(if fails { "14" } else { "0" }));
    let body = Full::new(Bytes::from(message)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn number_of(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
