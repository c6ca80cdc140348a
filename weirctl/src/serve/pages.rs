//! What an operator looks at: the state of every proxy, the counters, whether we are ready.
//!
//! | path | what it tells |
//! | --- | --- |
//! | `/debug/syncz` | every proxy: type by type whether it has what it is to have, and what it refused |
//! | `/debug/folder` | the folder's state in force, and the mistakes that keep a newer one from it |
//! | `/metrics` | counters for Prometheus |
//! | `/ready` | 200 once a state without mistakes was read, 503 before |

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use weir_config::diag::{Diagnostic, Severity};

use super::Plane;
use super::fleet::Entry;

/// A client has this long for its request's head.
const HEAD: Duration = Duration::from_secs(10);

/// Diagnostics that are shown; standard error has all.
const MOST_MISTAKES: usize = 1000;

/// Serves the pages.
///
/// # Errors
/// None that it does not outlive; it runs until it is dropped.
pub async fn serve(listener: TcpListener, plane: Arc<Plane>) -> anyhow::Result<()> {
    loop {
        let Ok((io, _)) = listener.accept().await else {
            // Out of descriptors: some may come back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let plane = plane.clone();
        let service = service_fn(move |request: http::Request<Incoming>| {
            let answer = page(&plane, request.method(), request.uri().path());
            async move { Ok::<_, Infallible>(answer) }
        });
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(HEAD);
        tokio::spawn(server.serve_connection(TokioIo::new(io), service));
    }
}

fn page(plane: &Plane, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let state = plane.state.borrow().clone();
    let (status, kind, text) = match path {
        _ if method != Method::GET && method != Method::HEAD => {
            (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET and HEAD only\n".to_owned())
        }
        "/debug/syncz" => {
            let all: Vec<Value> = plane.fleet.streams().iter().map(proxy).collect();
            (StatusCode::OK, "application/json", format!("{:#}\n", Value::from(all)))
        }
        "/debug/folder" => {
            let (number, since) = state.map_or((0, None), |state| (state.number, Some(seconds(state.since))));
            let mistakes = plane.mistakes.now();
            let shown = mistakes.get(..MOST_MISTAKES).unwrap_or(&mistakes);
            let told =
                json!({"state": number, "since": since, "errors": errors(&mistakes), "diagnostics": shown});
            (StatusCode::OK, "application/json", format!("{told:#}\n"))
        }
        "/metrics" => (StatusCode::OK, "text/plain; version=0.0.4", metrics(plane)),
        "/ready" if state.is_some() => (StatusCode::OK, "text/plain", "ready\n".to_owned()),
        "/ready" => {
            let text = "the folder was never free of mistakes\n".to_owned();
            (StatusCode::SERVICE_UNAVAILABLE, "text/plain", text)
        }
        _ => {
            let text = "pages: /debug/syncz /debug/folder /metrics /ready\n".to_owned();
            (StatusCode::NOT_FOUND, "text/plain", text)
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let value = http::HeaderValue::from_static(kind);
    response.headers_mut().insert(http::header::CONTENT_TYPE, value);
    response
}

fn errors(diagnostics: &[Diagnostic]) -> u64 {
    diagnostics.iter().filter(|one| one.severity == Severity::Error).count() as u64
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn proxy(entry: &Entry) -> Value {
    let kinds: serde_json::Map<String, Value> = entry
        .kinds
        .iter()
        .map(|(name, kind)| {
            let told = json!({
                "status": kind.word(), "resources": kind.resources, "sent": kind.sent,
                "acks": kind.acks, "nacks": kind.nacks, "refusal": kind.refusal,
                "waiting_since": kind.waiting.map(seconds),
            });
            (name.clone(), told)
        })
        .collect();
    json!({
        "proxy": entry.id, "agent": entry.agent, "peer": entry.peer, "dialect": entry.dialect,
        "left_out": entry.left_out,
        "connected_since": seconds(entry.since), "state": entry.state, "types": kinds,
    })
}

fn metrics(plane: &Plane) -> String {
    let counts = plane.fleet.counts();
    let streams = plane.fleet.streams();
    let refused = streams.iter().flat_map(|one| one.kinds.values()).filter(|kind| kind.refusal.is_some());
    let state = plane.state.borrow().as_ref().map_or(0, |state| state.number);
    let mistakes = errors(&plane.mistakes.now());
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let rows = [
        ("weirctl_xds_streams", "gauge", "Streams that are open", streams.len() as u64),
        ("weirctl_xds_refused_types", "gauge", "Types of open streams last refused", refused.count() as u64),
        ("weirctl_folder_state", "gauge", "Number of the folder's state in force", state),
        ("weirctl_folder_mistakes", "gauge", "Mistakes that keep a newer state of the folder out", mistakes),
        ("weirctl_xds_streams_total", "counter", "Streams opened", read(&counts.streams)),
        (
            "weirctl_xds_streams_refused_total",
            "counter",
            "Streams refused by the control plane",
            read(&counts.refused),
        ),
        ("weirctl_xds_pushes_total", "counter", "Responses sent", read(&counts.pushes)),
        ("weirctl_xds_resources_total", "counter", "Resources sent", read(&counts.resources)),
        ("weirctl_xds_acks_total", "counter", "Responses taken", read(&counts.acks)),
        ("weirctl_xds_nacks_total", "counter", "Responses refused", read(&counts.nacks)),
    ];
    rows.map(|(name, kind, help, value)| {
        format!("# HELP {name} {help}.\n# TYPE {name} {kind}\n{name} {value}\n")
    })
    .concat()
}
