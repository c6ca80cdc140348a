//! One request in, at most one request out: hundreds of mutations over HTTP/1 and HTTP/2 to an HTTP/1 upstream.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use weir_tests::suite::Suite;
use weir_tests::vectors::live::{Live, in_parallel};
use weir_tests::vectors::{h1_mutations, h2_mutations};
use weir_tests::wire::h1::Request;
use weir_tests::wire::h2::Connection;

/// How long a mutated stream may take to be answered or refused.
const WITHIN: Duration = Duration::from_millis(250);

enum Case {
    H1(Vec<u8>),
    H2(Vec<u8>),
}

fn at_most_one(requests: &[Request]) -> anyhow::Result<()> {
    anyhow::ensure!(requests.len() <= 1, "{} requests out of one: {}", requests.len(), targets(requests));
    anyhow::ensure!(
        !requests.iter().any(|r| r.target.contains("/smuggled")),
        "smuggled: {}",
        targets(requests)
    );
    let injected = requests.iter().any(|r| !r.values("x-injected").is_empty());
    anyhow::ensure!(!injected, "a header was injected");
    Ok(())
}

fn targets(requests: &[Request]) -> String {
    requests.iter().map(|r| format!("{} {}", r.method, r.target)).collect::<Vec<_>>().join(", ")
}

fn run(live: &mut Live, case: &Case) -> anyhow::Result<()> {
    match case {
        Case::H1(bytes) => at_most_one(&live.send(bytes)?.requests),
        Case::H2(frames) => {
            let mut connection = Connection::connect(live.port, &[])?;
            connection.greet()?;
            // The proxy may close in the middle of what is written; what it forwarded is what counts.
            let _ = connection.write(frames);
            connection.response(1, WITHIN);
            drop(connection);
            at_most_one(&live.judge()?)
        }
    }
}

fn main() -> ExitCode {
    let mut suite = Suite::new("smuggling");
    let h1 = h1_mutations::all().into_iter().map(|m| (m.name, Case::H1(m.bytes)));
    let h2 = h2_mutations::all().into_iter().map(|m| (format!("h2 {}", m.name), Case::H2(m.frames)));
    let cases = h1.chain(h2).filter(|(name, _)| suite.wants(name)).collect();
    for (name, verdict) in in_parallel(cases, run) {
        suite.verdict(&name, verdict);
    }
    suite.finish()
}
