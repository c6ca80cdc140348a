//! The whole demo, unattended: `weirctl demo --once --json` ends in time, with every step held.
//!
//! Each step of its report is a case of this suite. It leaves no process behind.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use weir_tests::oracle::binaries;
use weir_tests::suite::Suite;

/// The demo ends within this time.
const WITHIN: Duration = Duration::from_secs(90);
/// The steps that issue and README promise, at least.
const STEPS: usize = 12;

/// `weirctl`, which cargo builds next to `weir`.
fn weirctl() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(|deps| deps.parent()).context("a test runs from a target folder")?;
    let built = folder.join("weirctl");
    anyhow::ensure!(built.is_file(), "weirctl is not built (cargo build -p weirctl): {}", built.display());
    Ok(built)
}

fn play() -> anyhow::Result<Value> {
    let weir = binaries::weir().context("weir is not built (cargo build -p weir-proxy)")?;
    let begun = Instant::now();
    let output = Command::new(weirctl()?)
        .args(["demo", "--once", "--json"])
        .env("WEIR_BIN", weir)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value =
        serde_json::from_slice(&output.stdout).with_context(|| format!("no report: {said}"))?;
    anyhow::ensure!(begun.elapsed() < WITHIN, "it took {:?}", begun.elapsed());
    let held = report.get("held").and_then(Value::as_bool).context("the report has no verdict")?;
    anyhow::ensure!(output.status.success() == held, "{} while held is {held}: {said}", output.status);
    Ok(report)
}

fn judge(step: &Value) -> anyhow::Result<()> {
    let text = |field: &str| step.get(field).and_then(Value::as_str).unwrap_or_default();
    anyhow::ensure!(!text("condition").is_empty(), "no condition");
    anyhow::ensure!(step.get("figures").is_some_and(Value::is_object), "no figures");
    let held = step.get("held").and_then(Value::as_bool).context("no verdict")?;
    anyhow::ensure!(held, "wanted {}; measured {}", text("condition"), text("measured"));
    Ok(())
}

fn main() -> ExitCode {
    let mut suite = Suite::new("demo");
    match play() {
        Ok(report) => {
            let steps = report.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
            suite.case("all steps are there", || {
                anyhow::ensure!(steps.len() >= STEPS, "{} steps of {STEPS}", steps.len());
                Ok(())
            });
            for step in &steps {
                let name = step.get("name").and_then(Value::as_str).unwrap_or("a step without a name");
                suite.case(name, || judge(step));
            }
        }
        Err(error) => suite.verdict("runs", Err::<(), _>(error)),
    }
    suite.finish()
}
