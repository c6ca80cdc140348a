//! The loop: dials, opens the stream, hands on what comes, answers, and begins anew when the stream ends.

use crate::backoff::Backoff;
use crate::message::{Request, Response, Wire};
use crate::nack::Refusal;
use crate::session::{Incoming, Session};
use crate::types::ResourceType;
use futures_util::stream;
use http::Uri;
use http::uri::PathAndQuery;
use std::error::Error;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::client::Grpc;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::transport::{Channel, Endpoint};
use tower::Service;

/// Largest message that is taken from a server, in bytes.
pub const MAX_MESSAGE: usize = 256 * 1024 * 1024;

/// Most requests that wait within the gRPC stream.
const MAX_QUEUED: usize = 16;

/// With so many requests unsent nothing more is read: a server that does not read is not listened to.
const MAX_UNSENT: usize = 64;

/// Responses that come so close after each other may be a storm.
const CLOSE: Duration = Duration::from_millis(10);

/// So many of them are one.
const STORM: u32 = 16;

/// In a storm, what comes within this time is taken together.
const GATHER: Duration = Duration::from_millis(5);

/// Flow-control window of stream and connection, in bytes: a response of some megabytes needs few turns.
const WINDOW: u32 = 4 * 1024 * 1024;

/// How a stream is opened.
#[derive(Debug, Clone)]
pub struct Call {
    /// `:authority`
    pub authority: Box<str>,
    /// `:path`
    pub path: Box<str>,
    /// Further request headers.
    pub metadata: Vec<(Box<str>, Box<str>)>,
    /// HTTP/2 PINGs: interval and longest wait for the answer. None by default: a gRPC server of Go ends connections
    /// that are pinged more often than every five minutes; the transport's own keepalive finds dead peers.
    pub keepalive: Option<(Duration, Duration)>,
    /// Shortest and longest time between attempts.
    pub backoff: Backoff,
}

/// What happens to the stream.
#[derive(Debug)]
pub enum Event<'a> {
    /// An attempt begins.
    Attempt,
    /// The stream is open.
    Connected,
    /// The stream ended, or could not be opened; the next attempt begins after the wait.
    Lost {
        /// What went wrong.
        why: &'a str,
        /// Was it open?
        open: bool,
        /// Until the next attempt.
        wait: Duration,
    },
    /// A message of a type that nobody asked for: dropped.
    Unasked(&'a str),
}

/// What else is wanted of a type, and what no more.
#[derive(Debug)]
pub struct Wanted {
    /// The type.
    pub kind: &'static ResourceType,
    /// Wanted from now on.
    pub more: Vec<Arc<str>>,
    /// Wanted no more.
    pub less: Vec<Arc<str>>,
}

/// Who applies what a session brings.
pub trait Sink {
    /// Applies an update; gives what was refused.
    fn apply(&mut self, incoming: Incoming) -> impl Future<Output = Vec<Refusal>>;

    /// What has changed since the last call of what is wanted of the types that are asked for by name.
    fn wanted(&mut self) -> Vec<Wanted>;

    /// Waits until [`Sink::wanted`] may give something else. Cancel-safe; never ready when it cannot.
    fn changed(&mut self) -> impl Future<Output = ()>;

    /// Takes notice.
    fn note(&mut self, event: Event<'_>);
}

/// Drives a session until the future is dropped. `connector` gives a byte stream to the server for each attempt.
pub async fn drive<C, S>(mut session: Session, call: Call, connector: C, sink: &mut S)
where
    C: Service<Uri, Error = io::Error> + Clone + Send + 'static,
    C::Response: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    C::Future: Send,
    S: Sink,
{
    let mut backoff = call.backoff.clone();
    loop {
        sink.note(Event::Attempt);
        let mut stream = Stream { session: &mut session, sink, backoff: &mut backoff, open: false };
        let why = match stream.run(&call, connector.clone()).await {
            Ok(()) => "the server ended the stream".to_owned(),
            Err(why) => why,
        };
        let open = stream.open;
        session.disconnect();
        let wait = backoff.wait();
        sink.note(Event::Lost { why: &why, open, wait });
        pause(&mut session, sink, wait).await;
    }
}

/// Waits; what ends meanwhile ends.
async fn pause<S: Sink>(session: &mut Session, sink: &mut S, wait: Duration) {
    let until = tokio::time::Instant::now() + wait;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            () = sleep_until(session.next_expiry()) => expire(session, sink).await,
        }
    }
}

/// Never ready without a time.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

async fn expire<S: Sink>(session: &mut Session, sink: &mut S) {
    for incoming in session.expire(Instant::now()) {
        // Nothing is added, nothing can be refused.
        sink.apply(incoming).await;
    }
}

/// How fast responses follow each other. In a storm of small ones what comes within a few milliseconds is taken
/// together: a turn of the thread and an answer on the wire cost more than the update.
#[derive(Debug, Default)]
struct Pace {
    /// When the last one was taken.
    last: Option<Instant>,
    /// How many came close after the one before.
    quick: u32,
    /// Nothing is read before.
    rest: Option<Instant>,
}

impl Pace {
    fn is_storm(&self) -> bool {
        self.quick >= STORM
    }

    /// A response was taken.
    fn took(&mut self, now: Instant) {
        let close = self.last.is_some_and(|last| now.saturating_duration_since(last) < CLOSE);
        self.quick = if close { self.quick.saturating_add(1) } else { 0 };
        self.last = Some(now);
    }

    /// In a storm, and nothing is there: more is waited for, unless nothing has come since the last rest.
    fn nothing(&mut self, now: Instant) {
        match self.last {
            Some(last) if now.saturating_duration_since(last) < CLOSE => self.rest = now.checked_add(GATHER),
            _ => self.quick = 0,
        }
    }
}

/// One attempt.
struct Stream<'a, S> {
    session: &'a mut Session,
    sink: &'a mut S,
    backoff: &'a mut Backoff,
    open: bool,
}

impl<S: Sink> Stream<'_, S> {
    async fn run<C>(&mut self, call: &Call, connector: C) -> Result<(), String>
    where
        C: Service<Uri, Error = io::Error> + Send + 'static,
        C::Response: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
        C::Future: Send,
    {
        let channel = endpoint(call)?.connect_with_connector(connector).await.map_err(|e| told(&e))?;
        let (requests, queue) = mpsc::channel(MAX_QUEUED);
        self.session.connect();
        self.subscribe().await;
        // Servers may send the head of the response with its first message only: what they wait for goes first.
        let opening = open(call, channel, Wire(self.session.dialect()), queue);
        tokio::pin!(opening);
        let mut responses = loop {
            let unsent = self.session.pending();
            tokio::select! {
                opened = &mut opening => break opened?,
                sent = send(self.session, &requests), if unsent > 0 => sent?,
            }
        };
        self.open = true;
        self.sink.note(Event::Connected);
        let mut pace = Pace::default();
        loop {
            let (unsent, expiry, rest) = (self.session.pending(), self.session.next_expiry(), pace.rest);
            tokio::select! {
                // What is there is taken before anything else is done.
                biased;
                sent = send(self.session, &requests), if unsent > 0 => sent?,
                response = responses.message(), if unsent < MAX_UNSENT && rest.is_none() => match response {
                    Ok(Some(response)) => {
                        self.take(response).await;
                        pace.took(Instant::now());
                    }
                    Ok(None) => return Ok(()),
                    Err(status) => return Err(format!("{:?}: {}", status.code(), status.message())),
                },
                () = self.sink.changed() => self.subscribe().await,
                () = sleep_until(expiry) => expire(self.session, self.sink).await,
                () = sleep_until(rest), if rest.is_some() => pace.rest = None,
                () = std::future::ready(()), if rest.is_none() && pace.is_storm() => pace.nothing(Instant::now()),
            }
        }
    }

    async fn take(&mut self, response: Response) {
        self.backoff.reset();
        let Some(incoming) = self.session.receive(&response, Instant::now()) else {
            return self.sink.note(Event::Unasked(&response.type_url));
        };
        // The message goes when its last piece does.
        drop(response);
        let refused = self.sink.apply(incoming).await;
        self.session.settle(refused);
        self.subscribe().await;
    }

    /// Asks for what is wanted now; what nobody wants any more goes.
    async fn subscribe(&mut self) {
        for Wanted { kind, more, less } in self.sink.wanted() {
            let unwanted = self.session.want(kind, more, less);
            if !unwanted.is_empty() {
                self.sink.apply(Incoming::unwanted(kind, unwanted)).await;
            }
        }
    }
}

/// Sends the next request. Cancel-safe: it is taken only when there is room.
async fn send(session: &mut Session, requests: &mpsc::Sender<Request>) -> Result<(), String> {
    let room = requests.reserve().await.map_err(|_| "the stream takes no more requests".to_owned())?;
    if let Some(request) = session.next_request() {
        room.send(request);
    }
    Ok(())
}

fn endpoint(call: &Call) -> Result<Endpoint, String> {
    let uri = format!("http://{}", call.authority);
    let endpoint = Endpoint::from_shared(uri).map_err(|error| {
        format!("'{}' cannot be an authority ({error}); set envoy_grpc.authority", call.authority)
    })?;
    let endpoint = endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    Ok(match call.keepalive {
        None => endpoint,
        Some((interval, timeout)) => endpoint
            .http2_keep_alive_interval(interval)
            .keep_alive_timeout(timeout)
            .keep_alive_while_idle(true),
    })
}

async fn open(
    call: &Call,
    channel: Channel,
    codec: Wire,
    queue: mpsc::Receiver<Request>,
) -> Result<Streaming<Response>, String> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE);
    grpc.ready().await.map_err(|error| told(&error))?;
    let requests =
        stream::unfold(queue, async |mut queue| queue.recv().await.map(|request| (request, queue)));
    let mut request = tonic::Request::new(requests);
    for (name, value) in &call.metadata {
        let name = name.parse::<AsciiMetadataKey>().map_err(|_| format!("'{name}' is no header name"))?;
        let value =
            value.parse::<AsciiMetadataValue>().map_err(|_| format!("a value of '{name:?}' is none"))?;
        request.metadata_mut().append(name, value);
    }
    let path = PathAndQuery::try_from(&*call.path).map_err(|error| error.to_string())?;
    let response = grpc.streaming(request, path, codec).await;
    response
        .map(tonic::Response::into_inner)
        .map_err(|status| format!("{:?}: {}", status.code(), status.message()))
}

/// An error with its causes.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_storm_is_gathered_and_it_ends_with_the_first_silence() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut pace = Pace::default();
        for n in 0..u64::from(STORM) {
            pace.took(at(n));
            assert!(!pace.is_storm(), "{n}");
        }
        pace.took(at(16));
        assert!(pace.is_storm());
        pace.nothing(at(17));
        assert_eq!(pace.rest, Some(at(17) + GATHER));
        pace.rest = None;
        pace.took(at(22));
        assert!(pace.is_storm(), "what was gathered goes on with it");
        pace.nothing(at(22) + CLOSE);
        assert!(pace.rest.is_none() && !pace.is_storm());
        pace.took(at(60));
        assert!(!pace.is_storm());
    }
}
