//! The HTTP server of the admin interface.

use super::call::{Call, Query, Reply};
use super::connections::{Connections, IDLE, Place};
use super::state::AdminState;
use super::{ENDPOINTS, help};
use crate::base::addr::Address;
use crate::observe::metrics::{Cells, Registry};
use crate::observe::stats::{http as stat, listener};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, SERVER, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

/// How long an answer may take to leave before what follows it (the exit) happens.
const AFTER: Duration = Duration::from_millis(50);

/// Pause after a failed accept (out of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket.
#[derive(Debug)]
pub enum Listening {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// Binds the admin address (Envoy's `admin.address`).
///
/// # Errors
/// The address cannot be bound.
pub fn bind(address: &Address) -> io::Result<Listening> {
    match address {
        Address::Ip(at) => std::net::TcpListener::bind(at).map(Listening::Tcp),
        Address::Unix(path) => std::os::unix::net::UnixListener::bind(path).map(Listening::Unix),
    }
}

/// Settings of the admin thread.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How often histograms are brought up to date (`stats_flush_interval`).
    pub flush_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options { flush_interval: Duration::from_secs(5) }
    }
}

/// The running admin interface; it ends when this is dropped.
#[derive(Debug)]
pub struct Admin {
    /// Where it listens; none for a Unix socket.
    pub address: Option<std::net::SocketAddr>,
    _stop: oneshot::Sender<Infallible>,
}

/// Starts the admin thread.
///
/// # Errors
/// The socket cannot be used, or no thread can be made.
pub fn start(listening: Listening, state: Arc<dyn AdminState>, options: Options) -> io::Result<Admin> {
    let address = match &listening {
        Listening::Tcp(listener) => Some(listener.local_addr()?),
        Listening::Unix(_) => None,
    };
    match &listening {
        Listening::Tcp(listener) => listener.set_nonblocking(true)?,
        Listening::Unix(listener) => listener.set_nonblocking(true)?,
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    std::thread::Builder::new().name("admin".into()).spawn(move || {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            tokio::select! {
                _ = stopped => {}
                result = serve(listening, state, options) => if let Err(error) = result {
                    tracing::error!(target: "admin", %error, "the admin interface stops");
                }
            }
        });
    })?;
    Ok(Admin { address, _stop: stop })
}

async fn serve(listening: Listening, state: Arc<dyn AdminState>, options: Options) -> io::Result<()> {
    tokio::task::spawn_local(async move {
        let mut tick = tokio::time::interval(options.flush_interval.max(Duration::from_millis(1)));
        loop {
            tick.tick().await;
            Registry::global().flush();
        }
    });
    let registry = Registry::global();
    let cells = Rc::new(Counts {
        http: registry.cells(&stat::SCHEMA, "http.admin."),
        listener: registry.cells(&listener::SCHEMA, "listener.admin."),
    });
    let open = Rc::new(Connections::default());
    match listening {
        Listening::Tcp(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                match listener.accept().await {
                    Ok((io, _)) => drop(tokio::task::spawn_local(connection(
                        io,
                        state.clone(),
                        cells.clone(),
                        open.enter(),
                    ))),
                    Err(error) => pause(&error).await,
                }
            }
        }
        Listening::Unix(listener) => {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            loop {
                match listener.accept().await {
                    Ok((io, _)) => drop(tokio::task::spawn_local(connection(
                        io,
                        state.clone(),
                        cells.clone(),
                        open.enter(),
                    ))),
                    Err(error) => pause(&error).await,
                }
            }
        }
    }
}

async fn pause(error: &io::Error) {
    tracing::warn!(target: "admin", %error, "accept");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// What the interface counts of itself.
struct Counts {
    http: Cells,
    listener: Cells,
}

/// Serves one connection until it closes.
async fn connection<S>(io: S, state: Arc<dyn AdminState>, cells: Rc<Counts>, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Counts { http, listener } = &*cells;
    listener.inc(listener::DOWNSTREAM_CX_TOTAL);
    listener.gauge_add(listener::DOWNSTREAM_CX_ACTIVE, 1);
    http.inc(stat::DOWNSTREAM_CX_TOTAL);
    http.inc(stat::DOWNSTREAM_CX_HTTP1_TOTAL);
    http.gauge_add(stat::DOWNSTREAM_CX_ACTIVE, 1);
    http.gauge_add(stat::DOWNSTREAM_CX_HTTP1_ACTIVE, 1);
    let counted = cells.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        counted.http.inc(stat::DOWNSTREAM_RQ_TOTAL);
        counted.http.inc(stat::DOWNSTREAM_RQ_HTTP1_TOTAL);
        let reply =
            answer(&state, request.method(), request.uri().path(), request.uri().query().unwrap_or_default());
        counted.http.response_code(reply.status.as_u16());
        std::future::ready(Ok::<_, Infallible>(response(reply)))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(place.watch(io)), service);
    tokio::select! {
        done = served => if let Err(error) = done {
            tracing::debug!(target: "admin", %error, "connection");
        },
        () = place.lost() => {
            tracing::debug!(target: "admin", "a connection on which nothing moves is closed");
        }
    }
    http.gauge_sub(stat::DOWNSTREAM_CX_ACTIVE, 1);
    http.gauge_sub(stat::DOWNSTREAM_CX_HTTP1_ACTIVE, 1);
    http.inc(stat::DOWNSTREAM_CX_DESTROY);
    listener.gauge_sub(listener::DOWNSTREAM_CX_ACTIVE, 1);
    listener.inc(listener::DOWNSTREAM_CX_DESTROY);
}

/// Answers one request.
fn answer(state: &Arc<dyn AdminState>, method: &Method, path: &str, query: &str) -> Reply {
    let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| endpoint.path == path) else {
        return Reply::refused(StatusCode::NOT_FOUND, format!("invalid path. {}", help::text()));
    };
    if endpoint.changes && *method != Method::POST {
        let body = format!("Method {method} not allowed, POST required.");
        return Reply::refused(StatusCode::METHOD_NOT_ALLOWED, body);
    }
    (endpoint.answer)(&Call { state, registry: Registry::global(), query: Query::parse(query) })
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    if let Some(after) = reply.after {
        tokio::task::spawn_local(async move {
            tokio::time::sleep(AFTER).await;
            after();
        });
    }
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(SERVER, HeaderValue::from_static("envoy"));
    response
}
