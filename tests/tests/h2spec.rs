//! h2spec (https://github.com/summerwind/h2spec), run against the listener.
//!
//! At least 133 of its 146 cases, and none lost that Envoy passes unless `data/h2spec-reasons.txt` says why.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use weir_tests::attack::Upstream;
use weir_tests::bootstrap::Plan;
use weir_tests::process::Proxy;
use weir_tests::suite::Suite;

/// Cases that must pass: as many as Envoy 1.40 passes.
const NEEDED: usize = 133;

fn tool() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/h2spec")
}

/// Lines of a list, `name` or `name | reason`; empty lines and comments left out.
fn list(file: &str) -> anyhow::Result<Vec<(String, String)>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines
        .map(|line| line.split_once('|').unwrap_or((line, "")))
        .map(|(name, reason)| (name.trim().to_string(), reason.trim().to_string()))
        .collect())
}

/// Runs the tool: all cases, and those that failed.
fn run(port: u16) -> anyhow::Result<(usize, BTreeSet<String>)> {
    let report = std::env::temp_dir().join(format!("weir-h2spec-{}.xml", std::process::id()));
    // The exit code tells only whether all passed; the report tells which did not.
    Command::new(tool())
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-o", "2", "-j"])
        .arg(&report)
        .stdout(Stdio::null())
        .status()
        .context("h2spec")?;
    let text = std::fs::read_to_string(&report).context("h2spec wrote no report")?;
    std::fs::remove_file(&report)?;
    let mut all = 0;
    let mut failed = BTreeSet::new();
    for case in text.split("<testcase ").skip(1) {
        let attribute = |name: &str| {
            let (_, rest) = case.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| value)
        };
        let name = format!(
            "{} {}",
            attribute("package").unwrap_or_default(),
            attribute("classname").unwrap_or_default()
        );
        all += 1;
        let own = case.split("</testcase>").next().unwrap_or(case);
        if own.contains("<failure") || own.contains("<error") {
            failed.insert(name);
        }
    }
    Ok((all, failed))
}

fn main() -> ExitCode {
    let mut suite = Suite::new("h2spec");
    if !tool().is_file() {
        suite.skip("all", format!("{} is missing; run: make setup", tool().display()));
        return suite.finish();
    }
    let outcome = (|| {
        let upstream = Upstream::start()?;
        let port = weir_tests::ports::free()?;
        let _proxy = Proxy::start(&Plan::new(port, upstream.port).bootstrap(), port)?;
        run(port)
    })();
    let (all, failed) = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            suite.verdict("run", Err::<(), _>(error));
            return suite.finish();
        }
    };
    println!("h2spec: {} of {all} cases pass", all - failed.len());
    suite.case("enough", || -> anyhow::Result<()> {
        anyhow::ensure!(
            all - failed.len() >= NEEDED,
            "{} of {all} pass, {NEEDED} are needed",
            all - failed.len()
        );
        Ok(())
    });
    let known = list("h2spec-envoy-failures.txt");
    let reasons = list("h2spec-reasons.txt");
    match (known, reasons) {
        (Ok(known), Ok(reasons)) => {
            for case in &failed {
                let envoy_too = known.iter().any(|(name, _)| name == case);
                let reason = reasons.iter().any(|(name, reason)| name == case && !reason.is_empty());
                suite.case(case, || {
                    if envoy_too || reason {
                        Ok(())
                    } else {
                        Err("Envoy passes it; no reason is written down")
                    }
                });
            }
        }
        (known, reasons) => {
            suite.verdict("lists", known.and(reasons).map(|_| ()));
        }
    }
    suite.finish()
}
