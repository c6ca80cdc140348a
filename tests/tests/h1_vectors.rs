//! The HTTP/1 vectors of llhttp and gunicorn over live connections, judged by what the upstream receives.
//!
//! Never more requests than the vector's own count, never an odd byte; and a request that a strict reader takes whole,
//! with a host and an ordinary method, must arrive with its method, target and body.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use serde_json::Value;
use weir_tests::corpora;
use weir_tests::suite::Suite;
use weir_tests::vectors::live::{Live, in_parallel};
use weir_tests::wire::h1::{Request, Step, read};

struct Vector {
    bytes: Vec<u8>,
    /// Requests that the vector's authors see in it.
    messages: usize,
}

/// Methods that every proxy forwards.
const ORDINARY: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"];

fn vectors(corpus: &str) -> anyhow::Result<Vec<(String, Vector)>> {
    let list = corpora::json(&corpora::folder(corpus)?.join("vectors.json"))?;
    let Value::Array(list) = list else { anyhow::bail!("{corpus}/vectors.json is not a list") };
    let mut out = Vec::new();
    for (index, case) in list.iter().enumerate() {
        let text = |field: &str| case.get(field).and_then(Value::as_str);
        if text("type").is_some_and(|kind| !kind.starts_with("request")) {
            continue;
        }
        let wire = text("wire_b64").ok_or_else(|| anyhow::anyhow!("{corpus} {index}: no wire_b64"))?;
        let bytes = corpora::base64(wire)?;
        let name = format!("{corpus} {index} {}", text("name").unwrap_or_default());
        let stated = case.get("messages_complete").and_then(Value::as_u64);
        // RFC 9112 5.2 lets a proxy replace a folded line by one line: both readings count.
        let messages = [&bytes, &unfolded(&bytes)].iter().map(|bytes| strict(bytes).len()).max().unwrap_or(0);
        let messages = messages.max(usize::try_from(stated.unwrap_or(0))?).max(1);
        if let Some(with_host) = with_host(&bytes) {
            out.push((format!("{name} (host added)"), Vector { bytes: with_host, messages }));
        }
        out.push((name, Vector { bytes, messages }));
    }
    Ok(out)
}

/// The requests that a strict reader finds, up to the first thing that is none.
fn strict(bytes: &[u8]) -> Vec<Request> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Step::Request(request, used) = read(rest) {
        out.push(*request);
        rest = rest.get(used..).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
    }
    out
}

/// Folded lines made one line each.
fn unfolded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        if rest.starts_with(b"\r\n ") || rest.starts_with(b"\r\n\t") {
            rest = rest.get(2..).unwrap_or_default();
            continue;
        }
        out.push(*byte);
        rest = after;
    }
    out
}

/// The same with a Host after the request line, where the vector has none: most have none, and no proxy takes them.
fn with_host(bytes: &[u8]) -> Option<Vec<u8>> {
    let lower = bytes.to_ascii_lowercase();
    let end = bytes.windows(2).position(|pair| pair == b"\r\n").filter(|end| *end > 0)?;
    let one = strict(bytes).len() <= 1;
    let has = lower.windows(7).any(|window| window == b"\r\nhost:");
    (one && !has).then(|| [&bytes[..end], b"\r\nHost: live.test".as_slice(), &bytes[end..]].concat())
}

/// Whether the vector must arrive as it is: one strict request, complete, of an ordinary kind.
fn must_arrive(bytes: &[u8]) -> Option<Request> {
    let Step::Request(request, used) = read(bytes) else { return None };
    let ordinary = ORDINARY.contains(&request.method.as_str())
        && request.version == "HTTP/1.1"
        && request.target.starts_with('/')
        && request.target.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\|<>".contains(&byte))
        && request.values("host").len() == 1
        && request.values("host").iter().all(|host| {
            !host.is_empty() && host.iter().all(|b| b.is_ascii_alphanumeric() || b".:-".contains(b))
        })
        && ["upgrade", "expect", "te", "trailer"].iter().all(|name| request.values(name).is_empty())
        && bytes.len() < 8_000
        && used == bytes.len();
    ordinary.then_some(*request)
}

fn run(live: &mut Live, vector: &Vector) -> anyhow::Result<()> {
    let outcome = live.send(&vector.bytes)?;
    let arrived = outcome.requests;
    anyhow::ensure!(
        arrived.len() <= vector.messages,
        "{} requests arrived, {} were sent",
        arrived.len(),
        vector.messages
    );
    if let Some(sent) = must_arrive(&vector.bytes) {
        let status = outcome.reply.status();
        let Some(got) = arrived.first() else { anyhow::bail!("did not arrive; answered with {status:?}") };
        anyhow::ensure!(got.method == sent.method, "{} arrived as {}", sent.method, got.method);
        anyhow::ensure!(got.target == sent.target, "{} arrived as {}", sent.target, got.target);
        anyhow::ensure!(got.body == sent.body, "the body changed");
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut suite = Suite::new("h1_vectors");
    for corpus in ["llhttp-http1", "gunicorn-http1"] {
        match vectors(corpus) {
            Ok(cases) => {
                let wanted = cases.into_iter().filter(|(name, _)| suite.wants(name)).collect();
                for (name, verdict) in in_parallel(wanted, run) {
                    suite.verdict(&name, verdict);
                }
            }
            Err(error) if corpora::folder(corpus).is_err() => suite.skip(corpus, error),
            Err(error) => suite.verdict(corpus, Err::<(), _>(error)),
        }
    }
    suite.finish()
}
