//! HTTP/2 where peers go away: requests that were surely not looked at are sent again, once; GOAWAY lets streams finish;
//! a peer that does not answer a PING is given up; what the codec refuses by itself is logged.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_tests::bootstrap::Plan;
use weir_tests::process::Proxy;
use weir_tests::restart::{Client, Ended};
use weir_tests::scripted::{Act, Seen, Upstream};
use weir_tests::suite::Suite;
use weir_tests::wire::h2::{
    ACK, CONTINUATION, Connection, END_HEADERS, END_STREAM, End, GOAWAY, HEADERS, PING, Silence, request,
};
use weir_tests::wire::hpack;

const WITHIN: Duration = Duration::from_secs(5);
/// Largest frame before SETTINGS say more.
const FRAME: usize = 16_384;
/// RST_STREAM code (RFC 9113 section 7).
const INTERNAL_ERROR: u32 = 2;
const POST: (&str, &str) = ("POST", "Content-Length: 0\r\n");
const GET: (&str, &str) = ("GET", "");

/// A proxy before a scripted upstream.
struct Scene {
    upstream: Upstream,
    proxy: Proxy,
    port: u16,
}

impl Scene {
    fn new(script: &[Act], manager: Value, options: Value) -> anyhow::Result<Self> {
        let upstream = Upstream::start(script)?;
        let port = weir_tests::ports::free()?;
        let plan = Plan { upstream_h2: true, manager, options, ..Plan::new(port, upstream.port) };
        Ok(Self { proxy: Proxy::start(&plan.bootstrap(), port)?, upstream, port })
    }

    fn plain(script: &[Act]) -> anyhow::Result<Self> {
        Self::new(script, json!({}), json!({}))
    }

    fn expect(&mut self, seen: Seen) -> anyhow::Result<()> {
        self.proxy.alive()?;
        let found = Seen { pings: 0, ..self.upstream.seen() };
        anyhow::ensure!(found == seen, "the upstream saw {found:?}, not {seen:?}");
        Ok(())
    }
}

fn asked(client: &mut Client, (method, extra): (&str, &str), status: u16) -> anyhow::Result<()> {
    let ended = client.request(method, extra);
    anyhow::ensure!(ended == Ended::Status(status), "the {method} ended with {ended:?}, not {status}");
    Ok(())
}

fn refused_stream(kind: (&str, &str)) -> anyhow::Result<()> {
    let mut scene = Scene::plain(&[Act::Answer, Act::Refuse, Act::Answer])?;
    let mut client = Client::new(scene.port);
    asked(&mut client, kind, 200)?;
    asked(&mut client, kind, 200)?;
    // Not again on the connection that refused.
    scene.expect(Seen { connections: 2, streams: 3, answered: 2, pings: 0 })
}

fn refused_again() -> anyhow::Result<()> {
    let mut scene = Scene::plain(&[Act::Answer, Act::Refuse])?;
    let mut client = Client::new(scene.port);
    asked(&mut client, POST, 200)?;
    asked(&mut client, POST, 503)?;
    scene.expect(Seen { connections: 2, streams: 3, answered: 1, pings: 0 })
}

fn goaway_below(kind: (&str, &str)) -> anyhow::Result<()> {
    let mut scene = Scene::plain(&[Act::Answer, Act::GoawayBelow, Act::Answer])?;
    let mut client = Client::new(scene.port);
    asked(&mut client, kind, 200)?;
    asked(&mut client, kind, 200)?;
    scene.expect(Seen { connections: 2, streams: 3, answered: 2, pings: 0 })
}

fn goaway_above() -> anyhow::Result<()> {
    let slow = Duration::from_millis(300);
    let mut scene = Scene::plain(&[Act::GoawayThenAnswer(slow), Act::Answer])?;
    let mut client = Client::new(scene.port);
    asked(&mut client, POST, 200)?;
    asked(&mut client, POST, 200)?;
    scene.expect(Seen { connections: 2, streams: 2, answered: 2, pings: 0 })
}

/// A keepalive that asks every 200 ms and waits 300.
fn keepalive() -> Value {
    json!({"connection_keepalive": {
        "interval": "0.2s", "timeout": "0.3s", "interval_jitter": {"value": 0},
    }})
}

fn upstream_answers_pings() -> anyhow::Result<()> {
    let mut scene = Scene::new(&[Act::Answer], json!({}), keepalive())?;
    let mut client = Client::new(scene.port);
    asked(&mut client, GET, 200)?;
    std::thread::sleep(Duration::from_millis(1500));
    asked(&mut client, GET, 200)?;
    let pings = scene.upstream.seen().pings;
    anyhow::ensure!((3..=8).contains(&pings), "{pings} PINGs in 1.5 s");
    scene.expect(Seen { connections: 1, streams: 2, answered: 2, pings: 0 })
}

fn upstream_is_silent() -> anyhow::Result<()> {
    let mut scene = Scene::new(&[Act::Silence, Act::Answer], json!({}), keepalive())?;
    let start = Instant::now();
    // A GET whose answer had not begun is sent again.
    asked(&mut Client::new(scene.port), GET, 200)?;
    let took = start.elapsed();
    anyhow::ensure!(took < Duration::from_secs(2), "the silent connection was given up after {took:?}");
    scene.expect(Seen { connections: 2, streams: 2, answered: 1, pings: 0 })?;
    let mut scene = Scene::new(&[Act::Silence, Act::Answer], json!({}), keepalive())?;
    asked(&mut Client::new(scene.port), POST, 503)?;
    scene.expect(Seen { connections: 1, streams: 1, answered: 0, pings: 0 })
}

fn client_is_asked(answers: bool) -> anyhow::Result<()> {
    let manager = json!({"http2_protocol_options": keepalive()});
    let mut scene = Scene::new(&[Act::Answer], manager, json!({}))?;
    let mut client = Connection::connect(scene.port, &[])?;
    client.greet()?;
    let end = Instant::now() + Duration::from_millis(1500);
    let mut pings = 0;
    let closed = loop {
        match client.next(end.saturating_duration_since(Instant::now())) {
            Ok(frame) if frame.kind == PING && frame.flags & ACK == 0 => {
                pings += 1;
                if answers {
                    client.send(PING, ACK, 0, &frame.payload)?;
                }
            }
            Ok(_) => {}
            Err(Silence::Closed) => break true,
            Err(Silence::Quiet) => break false,
        }
    };
    if !answers {
        anyhow::ensure!(closed && pings == 1, "{pings} PINGs, closed: {closed}");
        return scene.proxy.alive();
    }
    anyhow::ensure!(!closed && (3..=8).contains(&pings), "{pings} PINGs, closed: {closed}");
    let ended = client.get(1, "/", WITHIN);
    anyhow::ensure!(ended == End::Status(200), "then the GET ended with {ended:?}");
    scene.proxy.alive()
}

/// GOAWAY for all streams at the connection's age, the stream that runs finishes, then the connection ends.
fn connection_grows_old() -> anyhow::Result<()> {
    let manager = json!({
        "common_http_protocol_options": {"max_connection_duration": "0.5s"}, "drain_timeout": "0.3s",
    });
    let slow = Act::AnswerAfter(Duration::from_millis(1200));
    let mut scene = Scene::new(&[slow, Act::Answer], manager, json!({}))?;
    let start = Instant::now();
    let mut client = Connection::connect(scene.port, &[])?;
    client.greet()?;
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, &request("GET", "/", &[]))?;
    let mut told: Vec<(u32, Duration)> = Vec::new();
    let mut answered = None;
    let end = loop {
        match client.next(WITHIN.saturating_sub(start.elapsed())) {
            Ok(frame) if frame.kind == GOAWAY => {
                let last = frame.payload.first_chunk().map(|last| u32::from_be_bytes(*last));
                anyhow::ensure!(frame.code() == Some(0), "GOAWAY with code {:?}", frame.code());
                told.push((last.unwrap_or(0), start.elapsed()));
            }
            Ok(frame) if frame.kind == PING && frame.flags & ACK == 0 => {
                client.send(PING, ACK, 0, &frame.payload)?;
            }
            Ok(frame) if frame.kind == HEADERS && frame.stream == 1 => {
                anyhow::ensure!(hpack::status(&frame.payload) == Some(200), "the stream was not answered");
                answered = Some(start.elapsed());
            }
            Ok(_) => {}
            Err(end) => break end,
        }
    };
    anyhow::ensure!(end == Silence::Closed, "the connection stayed open");
    let (first, last) = (told.first(), told.last());
    anyhow::ensure!(
        first.is_some_and(|(last, at)| *last == u32::MAX >> 1 && (400..1000).contains(&at.as_millis())),
        "the first of {told:?}"
    );
    anyhow::ensure!(told.len() > 1 && last.is_some_and(|(last, _)| *last == 1), "the last of {told:?}");
    anyhow::ensure!(answered.is_some_and(|at| at.as_millis() >= 1200), "answered {answered:?}");
    let mut next = Connection::connect(scene.port, &[])?;
    next.greet()?;
    let ended = next.get(1, "/", WITHIN);
    anyhow::ensure!(ended == End::Status(200), "the next connection's GET ended with {ended:?}");
    scene.proxy.alive()
}

/// A head far over the limit costs its stream, and is logged like any other.
fn head_far_too_large() -> anyhow::Result<()> {
    let log = std::env::temp_dir().join(format!("weir-h2-live-{}.log", std::process::id()));
    let format = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n";
    let manager = json!({"access_log": [{"name": "envoy.access_loggers.file", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": log, "log_format": {"text_format_source": {"inline_string": format}},
    }}]});
    let mut scene = Scene::new(&[Act::Answer], manager, json!({}))?;
    let mut client = Connection::connect(scene.port, &[])?;
    client.greet()?;
    let block = request("GET", "/", &[(b"x-large", &[b'v'; 150_000])]);
    let mut pieces = block.chunks(FRAME).peekable();
    let mut kind = HEADERS;
    while let Some(piece) = pieces.next() {
        let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        let flags = if kind == HEADERS { END_STREAM | end } else { end };
        client.send(kind, flags, 1, piece)?;
        kind = CONTINUATION;
    }
    let ended = client.response(1, WITHIN);
    anyhow::ensure!(ended == End::Reset(INTERNAL_ERROR), "the large head ended with {ended:?}");
    let ended = client.get(3, "/", WITHIN);
    anyhow::ensure!(ended == End::Status(200), "then the GET ended with {ended:?}");
    let until = Instant::now() + WITHIN;
    let expected = "0 DR http2.header_list_size_too_large\n200 - via_upstream\n";
    let logged = loop {
        let logged = std::fs::read_to_string(&log)?;
        if logged.len() >= expected.len() || Instant::now() > until {
            break logged;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    std::fs::remove_file(&log)?;
    anyhow::ensure!(logged == expected, "logged: {logged}");
    scene.proxy.alive()
}

fn main() -> ExitCode {
    let mut suite = Suite::new("h2_live");
    suite.case("refused-stream-get", || refused_stream(GET));
    suite.case("refused-stream-post", || refused_stream(POST));
    suite.case("refused-again", refused_again);
    suite.case("goaway-below-get", || goaway_below(GET));
    suite.case("goaway-below-post", || goaway_below(POST));
    suite.case("goaway-above", goaway_above);
    suite.case("keepalive-upstream-answers", upstream_answers_pings);
    suite.case("keepalive-upstream-is-silent", upstream_is_silent);
    suite.case("keepalive-client-answers", || client_is_asked(true));
    suite.case("keepalive-client-is-silent", || client_is_asked(false));
    suite.case("max-connection-duration", connection_grows_old);
    suite.case("head-far-too-large", head_far_too_large);
    suite.finish()
}
