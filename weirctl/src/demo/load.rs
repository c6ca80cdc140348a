//! The callers: a closed loop over a few keep-alive connections, and what it saw.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Latencies kept of one load; a longer one overwrites its oldest.
const LATENCIES: usize = 16_384;
/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after a connection that could not be opened.
const RECONNECT: Duration = Duration::from_millis(20);

/// What to send.
#[derive(Clone)]
pub struct Plan {
    /// Port of 127.0.0.1.
    pub port: u16,
    /// Host header, or `:authority`.
    pub host: &'static str,
    /// Headers of every request, or of every `n`th: name, value, n.
    pub headers: Vec<(&'static str, &'static str, u64)>,
    /// Connections, with one request at a time each.
    pub connections: usize,
    /// Requests in all; without it, until stopped.
    pub requests: Option<u64>,
    /// Pause between the requests of a connection.
    pub gap: Duration,
    /// gRPC over HTTP/2 instead of GET over HTTP/1.1.
    pub grpc: bool,
}

/// What was seen.
#[derive(Clone, Default)]
pub struct Tally {
    /// Finished requests, broken ones among them.
    pub requests: u64,
    /// By status; a gRPC answer that is not OK counts as its status.
    pub statuses: BTreeMap<u16, u64>,
    /// Successful ones by the version that answered.
    pub versions: BTreeMap<String, u64>,
    /// Requests with the optional header by the version that answered.
    pub marked: BTreeMap<String, u64>,
    /// No answer: the connection or the stream broke, or patience ended.
    pub broken: u64,
    /// Answers with `x-envoy-overloaded`.
    pub overloaded: u64,
    micros: Vec<u32>,
}

impl Tally {
    /// Answers with this status.
    pub fn status(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    /// Successful answers of this version.
    pub fn version(&self, version: &str) -> u64 {
        self.versions.get(version).copied().unwrap_or(0)
    }

    /// Requests that were not answered with 200.
    pub fn failed(&self) -> u64 {
        self.requests.saturating_sub(self.status(200))
    }

    /// The latency below which this share of the requests stayed.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        // Truncation is what is wanted: an index.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let index = (share * last as f64).round() as usize;
        Duration::from_micros(sorted.get(index.min(last)).copied().unwrap_or(0).into())
    }

    fn record(&mut self, seen: &Seen, marked: bool, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let at = usize::try_from(self.requests).unwrap_or(0) % LATENCIES;
        match self.micros.get_mut(at) {
            Some(slot) => *slot = micros,
            None => self.micros.push(micros),
        }
        self.requests = self.requests.saturating_add(1);
        let add = |map: &mut BTreeMap<String, u64>, key: &str| *map.entry(key.to_owned()).or_default() += 1;
        match seen {
            Seen::Broken => self.broken = self.broken.saturating_add(1),
            Seen::Answer { status, version, overloaded } => {
                *self.statuses.entry(*status).or_default() += 1;
                self.overloaded = self.overloaded.saturating_add(u64::from(*overloaded));
                if *status == 200 {
                    add(&mut self.versions, version);
                }
                if marked {
                    add(&mut self.marked, version);
                }
            }
        }
    }
}

enum Seen {
    Broken,
    Answer { status: u16, version: String, overloaded: bool },
}

/// The tally of a load while it runs.
pub type Live = Arc<Mutex<Tally>>;

/// The tally now.
pub fn look(live: &Live) -> MutexGuard<'_, Tally> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A load that runs; it ends when dropped.
pub struct Running {
    /// What it has seen since the last [`Running::restart`].
    pub live: Live,
    over: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Begins a new tally and gives the old one back.
    pub fn restart(&self) -> Tally {
        std::mem::take(&mut *look(&self.live))
    }

    /// Waits until so many requests have been tallied.
    pub async fn reach(&self, requests: u64) {
        while look(&self.live).requests < requests {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends nothing new, waits for what is under way.
    pub async fn stop(mut self) -> Tally {
        self.over.store(true, Ordering::Relaxed);
        self.finish().await
    }

    /// Waits until all requests of the plan are answered.
    pub async fn finish(&mut self) -> Tally {
        while self.tasks.join_next().await.is_some() {}
        look(&self.live).clone()
    }
}

/// Starts a load.
pub fn start(plan: Plan, live: Live) -> Running {
    let over = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..plan.connections {
        let (plan, sent, over, live) =
            (plan.clone(), Arc::clone(&sent), Arc::clone(&over), Arc::clone(&live));
        tasks.spawn(async move { caller(&plan, &sent, &over, &live).await });
    }
    Running { live, over, tasks }
}

async fn caller(plan: &Plan, sent: &AtomicU64, over: &AtomicBool, live: &Live) {
    let mut connection: Option<Connection> = None;
    while !over.load(Ordering::Relaxed) {
        let number = sent.fetch_add(1, Ordering::Relaxed);
        if plan.requests.is_some_and(|requests| number >= requests) {
            return;
        }
        let begun = Instant::now();
        let seen = tokio::time::timeout(PATIENCE, once(plan, number, &mut connection)).await;
        let seen = seen.unwrap_or(Err(hyper_gone())).unwrap_or(Seen::Broken);
        if matches!(seen, Seen::Broken) {
            connection = None;
            tokio::time::sleep(RECONNECT).await;
        }
        let marked = plan.headers.iter().any(|(_, _, each)| *each > 1 && number.is_multiple_of(*each));
        look(live).record(&seen, marked, begun.elapsed());
        if !plan.gap.is_zero() {
            tokio::time::sleep(plan.gap).await;
        }
    }
}

fn hyper_gone() -> anyhow::Error {
    anyhow::anyhow!("no answer after {PATIENCE:?}")
}

enum Connection {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

async fn connect(plan: &Plan) -> anyhow::Result<Connection> {
    let stream = TcpStream::connect(("127.0.0.1", plan.port)).await?;
    stream.set_nodelay(true)?;
    let io = TokioIo::new(stream);
    // How a connection ends is seen by the request on it.
    Ok(if plan.grpc {
        let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(async move { drop(driver.await) });
        Connection::Two(sender)
    } else {
        let (sender, driver) = http1::handshake(io).await?;
        tokio::spawn(async move { drop(driver.await) });
        Connection::One(sender)
    })
}

async fn once(plan: &Plan, number: u64, connection: &mut Option<Connection>) -> anyhow::Result<Seen> {
    let usable = match connection {
        Some(Connection::One(sender)) => sender.ready().await.is_ok(),
        Some(Connection::Two(sender)) => sender.ready().await.is_ok(),
        None => false,
    };
    if !usable {
        *connection = Some(connect(plan).await?);
    }
    let request = request(plan, number)?;
    let response = match connection {
        Some(Connection::One(sender)) => sender.send_request(request).await?,
        Some(Connection::Two(sender)) => sender.send_request(request).await?,
        None => anyhow::bail!("not connected"),
    };
    read(response, plan.grpc).await
}

fn request(plan: &Plan, number: u64) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut request = Request::builder().header("user-agent", "weirctl-demo");
    for (name, value, each) in &plan.headers {
        if number.is_multiple_of((*each).max(1)) {
            request = request.header(*name, *value);
        }
    }
    if plan.grpc {
        let uri = format!("http://{}/demo.Hello/Say", plan.host);
        let request = request
            .method("POST")
            .uri(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        // An empty message.
        return Ok(request.body(Full::new(Bytes::from_static(&[0; 5])))?);
    }
    Ok(request.uri("/").header("host", plan.host).body(Full::default())?)
}

async fn read(response: Response<Incoming>, grpc: bool) -> anyhow::Result<Seen> {
    let (head, body) = response.into_parts();
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let version = text("x-version").unwrap_or_else(|| "weir".to_owned());
    let overloaded = head.headers.contains_key("x-envoy-overloaded");
    let mut status = head.status.as_u16();
    let body = body.collect().await?;
    if grpc && status == 200 {
        let trailers = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
        let code = trailers.or_else(|| head.headers.get("grpc-status")).and_then(|code| code.to_str().ok());
        status = match code {
            Some("0") => 200,
            Some(code) => code.parse().unwrap_or(2),
            None => 2,
        };
    }
    Ok(Seen::Answer { status, version, overloaded })
}
