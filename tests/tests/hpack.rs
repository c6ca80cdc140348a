//! The HPACK stories over live connections: request blocks to the listener, response blocks from an upstream.
//!
//! Every block of a story comes on the same connection, so that a table that has gone wrong shows in the next block.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use weir_tests::bootstrap::Plan;
use weir_tests::corpora;
use weir_tests::process::Proxy;
use weir_tests::suite::Suite;
use weir_tests::vectors::h2_upstream;
use weir_tests::vectors::live::{Live, in_parallel};
use weir_tests::wire::h1::{Request, exchange};
use weir_tests::wire::h2::{Connection, END_HEADERS, END_STREAM, End, HEADERS};

const WITHIN: Duration = Duration::from_secs(5);
/// The table size that a peer may use before it has read other SETTINGS (RFC 9113 6.5.2).
const DEFAULT_TABLE: u64 = 4096;
/// Fields that HTTP/2 forbids (RFC 9113 8.2.2): a message with one is malformed, whatever its coding.
const FORBIDDEN: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
/// Fields that the proxy itself writes.
const REWRITTEN: [&str; 6] = ["cookie", "host", "server", "date", "content-length", "te"];

struct Story {
    cases: Vec<Case>,
    /// The story's encoder uses a table larger than the default.
    large_table: bool,
}

struct Case {
    block: Vec<u8>,
    fields: Vec<(String, String)>,
}

impl Case {
    fn pseudo(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    fn is_malformed(&self) -> bool {
        self.fields.iter().any(|(name, _)| FORBIDDEN.contains(&name.as_str()))
    }

    /// Ordinary fields that must come through, values of a name joined.
    fn expected(&self) -> BTreeMap<String, String> {
        let mut out: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &self.fields {
            if name.starts_with(':') || name.starts_with("x-forwarded") || REWRITTEN.contains(&name.as_str())
            {
                continue;
            }
            let value = value.trim();
            out.entry(name.clone()).and_modify(|all| *all = format!("{all},{value}")).or_insert(value.into());
        }
        out
    }
}

fn story(file: &Path) -> anyhow::Result<Story> {
    let json = corpora::json(file)?;
    let cases = json.get("cases").and_then(Value::as_array).context("no cases")?;
    let mut out = Story { cases: Vec::new(), large_table: false };
    for case in cases {
        let wire = case.get("wire").and_then(Value::as_str).context("no wire")?;
        let size = case.get("header_table_size").and_then(Value::as_u64);
        out.large_table |= size.is_some_and(|size| size > DEFAULT_TABLE);
        let mut fields = Vec::new();
        for field in case.get("headers").and_then(Value::as_array).context("no headers")? {
            for (name, value) in field.as_object().context("a field that is no object")? {
                fields.push((name.clone(), value.as_str().context("a value that is no text")?.to_string()));
            }
        }
        out.cases.push(Case { block: corpora::hex(wire)?, fields });
    }
    Ok(out)
}

fn run(live: &mut Live, story: &Story) -> anyhow::Result<()> {
    let responses = story.cases.iter().any(|case| case.pseudo(":status").is_some());
    if responses { answers(story) } else { requests(live, story) }
}

fn requests(live: &mut Live, story: &Story) -> anyhow::Result<()> {
    let mut connection = Connection::connect(live.port, &[])?;
    connection.greet()?;
    let mut arrived = Vec::new();
    for (index, case) in story.cases.iter().enumerate() {
        let stream = u32::try_from(index)? * 2 + 1;
        let sent = connection.send(HEADERS, END_HEADERS | END_STREAM, stream, &case.block);
        let end = if sent.is_ok() { connection.response(stream, WITHIN) } else { End::Closed };
        match end {
            End::Status(200) => arrived.push(case),
            End::Goaway(_) | End::Closed if story.large_table => {
                live.judge()?;
                return Ok(());
            }
            End::Status(_) | End::Reset(_) if case.is_malformed() => {}
            // A server may give up the whole connection for a malformed request; the story ends there.
            End::Goaway(_) | End::Closed if case.is_malformed() => break,
            other => anyhow::bail!("block {index} ended with {other:?}: {:?}", case.fields),
        }
    }
    let got = live.judge()?;
    anyhow::ensure!(
        got.len() == arrived.len(),
        "{} requests arrived, {} were sent",
        got.len(),
        arrived.len()
    );
    for (request, case) in got.iter().zip(arrived) {
        compare(request, case)?;
    }
    Ok(())
}

fn compare(request: &Request, case: &Case) -> anyhow::Result<()> {
    anyhow::ensure!(Some(request.method.as_str()) == case.pseudo(":method"), "method {}", request.method);
    anyhow::ensure!(Some(request.target.as_str()) == case.pseudo(":path"), "target {}", request.target);
    let host = request.values("host").concat();
    anyhow::ensure!(case.pseudo(":authority").is_none_or(|own| own.as_bytes() == host), "host {host:?}");
    for (name, value) in case.expected() {
        let got = joined(request.values(&name));
        anyhow::ensure!(got == value, "{name}: '{value}' arrived as '{got}'");
    }
    let crumbs: Vec<&str> =
        case.fields.iter().filter(|(name, _)| name == "cookie").map(|(_, value)| value.as_str()).collect();
    let got = request.values("cookie").join(b"; ".as_slice());
    let got = String::from_utf8_lossy(&got);
    anyhow::ensure!(got == crumbs.join("; "), "cookie '{}' arrived as '{got}'", crumbs.join("; "));
    Ok(())
}

fn joined(values: Vec<&[u8]>) -> String {
    String::from_utf8_lossy(&values.join(b",".as_slice())).into_owned()
}

/// The story's blocks as responses: to HEAD, because their bodies are not recorded.
fn answers(story: &Story) -> anyhow::Result<()> {
    let upstream = h2_upstream::start(story.cases.iter().map(|case| case.block.clone()).collect())?;
    let port = weir_tests::ports::free()?;
    let mut plan = Plan::new(port, upstream);
    plan.upstream_h2 = true;
    let mut proxy = Proxy::start(&plan.bootstrap(), port)?;
    for (index, case) in story.cases.iter().enumerate() {
        let request = format!("HEAD /{index} HTTP/1.1\r\nHost: live.test\r\nConnection: close\r\n\r\n");
        let reply = exchange(port, request.as_bytes(), WITHIN)?;
        let status = reply.status().map(|status| status.to_string());
        if status.as_deref().is_some_and(|status| status.starts_with("50")) {
            if story.large_table {
                return proxy.alive();
            }
            if case.is_malformed() {
                // Some proxies give up the connection for it; the blocks that follow would need its table.
                return proxy.alive();
            }
        }
        anyhow::ensure!(status.as_deref() == case.pseudo(":status"), "block {index}: status {status:?}");
        let text = String::from_utf8_lossy(&reply.bytes).into_owned();
        let mut got: BTreeMap<String, String> = BTreeMap::new();
        for line in text.lines().skip(1).take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').context("a header line without a colon")?;
            let value = value.trim();
            got.entry(name.to_ascii_lowercase())
                .and_modify(|all| *all = format!("{all},{value}"))
                .or_insert(value.into());
        }
        for (name, value) in case.expected() {
            let own = got.get(&name).cloned().unwrap_or_default();
            anyhow::ensure!(own == value, "block {index}: {name}: '{value}' arrived as '{own}'");
        }
    }
    proxy.alive()
}

fn stories(folder: &Path) -> anyhow::Result<Vec<(String, Story)>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for encoder in std::fs::read_dir(folder)?.flatten().filter(|entry| entry.path().is_dir()) {
        files.extend(std::fs::read_dir(encoder.path())?.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let mut out = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "json")) {
        let name = file.strip_prefix(folder)?.display().to_string();
        out.push((name.clone(), story(file).context(name)?));
    }
    Ok(out)
}

fn main() -> ExitCode {
    let mut suite = Suite::new("hpack");
    match corpora::folder("hpack") {
        Err(reason) => suite.skip("hpack", reason),
        Ok(folder) => match stories(&folder) {
            Err(error) => suite.verdict("read", Err::<(), _>(error)),
            Ok(cases) => {
                let wanted = cases.into_iter().filter(|(name, _)| suite.wants(name)).collect();
                for (name, verdict) in in_parallel(wanted, run) {
                    suite.verdict(&name, verdict);
                }
            }
        },
    }
    suite.finish()
}
