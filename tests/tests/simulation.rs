//! Istio's traffic simulation against weir on real sockets, in a network namespace: `sim.py` of the shared tools plays
//! it, [`weir_tests::simulation`] judges what it saw.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use weir_tests::oracle::binaries;
use weir_tests::simulation::{Ended, Judged, judge, names};
use weir_tests::suite::Suite;
use weir_tests::{corpora, namespace};

/// Configurations that are refused: two equal chains, as Envoy refuses them, and two with a filter of a later release.
const REFUSED: [(&str, &str); 3] = [
    ("gateway-conflicts-duplicate-tls-gateway", ""),
    ("passthrough-traffic-allow-any-dynamic-dns-with-vip", "envoy.filters.http.dynamic_forward_proxy"),
    ("passthrough-traffic-allow-any-dynamic-dns-without-vip", "envoy.filters.http.dynamic_forward_proxy"),
];
const CASES: usize = 137;
const CALLS: usize = 526;
/// Least number of expectations that pass; those of the two cases with the filter of a later release are 70.
const PASSED: usize = 414;
/// The same with the starts, as `sim.py` counts.
const PASSED_AND_STARTED: usize = 430;

/// Plays everything once.
fn play(script: &Path, data: &Path) -> anyhow::Result<Judged> {
    let weir = binaries::weir().context("weir is not built")?;
    let folder = script.parent().context("no folder")?;
    let reference = folder.join("reference-envoy.json");
    let json = std::env::temp_dir().join(format!("weir-simulation-{}.json", std::process::id()));
    let proxy = format!(
        "'{}' -c CONFIG --concurrency 1 --disable-hot-restart -l warning --file-flush-interval-msec 50",
        weir.display()
    );
    let out = namespace::command("python3")
        .arg(script)
        .args(["--proxy", &proxy, "--quiet", "--start", "60", "--timeout", "10"])
        .arg("--data")
        .arg(data)
        .arg("--reference")
        .arg(&reference)
        .arg("--json")
        .arg(&json)
        .output()
        .context("python3")?;
    let ran = corpora::json(&json);
    // Left over only where it was never made.
    let _ = std::fs::remove_file(&json);
    let ran = ran.with_context(|| format!("{}: {}", out.status, namespace::told(&out)))?;
    judge(&ran, &corpora::json(&reference)?, data)
}

fn starts(judged: &Judged) -> anyhow::Result<()> {
    let wanted: BTreeSet<&str> = REFUSED.iter().map(|(case, _)| *case).collect();
    let found = names(judged.refused.keys());
    let more: Vec<_> = found.difference(&wanted).map(|case| (case, judged.refused.get(*case))).collect();
    anyhow::ensure!(found == wanted, "refused: {more:?}; started: {:?}", wanted.difference(&found));
    for (case, filter) in REFUSED {
        let why = judged.refused.get(case).map(String::as_str).unwrap_or_default();
        anyhow::ensure!(why.contains(filter), "{case}: {why}");
    }
    anyhow::ensure!(judged.started == CASES - REFUSED.len(), "{} cases started", judged.started);
    Ok(())
}

fn judged_all(judged: &Judged) -> anyhow::Result<()> {
    let passed = judged.count(&Ended::Passed);
    println!(
        "{} expectations: {passed} passed, {} need TLS, {} unjudged, {} of cases that do not start",
        judged.rows.len(),
        judged.count(&Ended::Exempt),
        judged.count(&Ended::Unjudged),
        judged.count(&Ended::NotStarted),
    );
    anyhow::ensure!(judged.rows.len() == CALLS, "{} expectations instead of {CALLS}", judged.rows.len());
    anyhow::ensure!(passed >= PASSED, "only {passed} pass, at least {PASSED} must");
    let all = passed + judged.started;
    anyhow::ensure!(
        all >= PASSED_AND_STARTED,
        "{all} pass with the starts, at least {PASSED_AND_STARTED} must"
    );
    Ok(())
}

fn main() -> ExitCode {
    let mut suite = Suite::new("simulation");
    let found = corpora::folder("istio-simulation").and_then(|data| {
        let script = namespace::beside_corpora("sim")?.join("sim.py");
        namespace::allowed().map(|()| (script, data))
    });
    let (script, data) = match found {
        Ok(found) => found,
        Err(reason) => {
            suite.skip("all", format!("{reason:#}"));
            return suite.finish();
        }
    };
    let judged = match play(&script, &data) {
        Ok(judged) => judged,
        Err(error) => {
            suite.verdict("played", Err(error));
            return suite.finish();
        }
    };
    suite.case("starts", || starts(&judged));
    suite.case("expectations", || judged_all(&judged));
    suite.case("no-call-goes-astray", || {
        anyhow::ensure!(judged.astray.is_empty(), "{}", judged.astray.join("; "));
        Ok(())
    });
    for row in &judged.rows {
        if let Ended::Failed(why) = &row.ended {
            suite.verdict(&row.name, Err(why));
        } else if row.ended == Ended::Passed {
            suite.verdict(&row.name, Ok::<(), String>(()));
        }
    }
    suite.finish()
}
