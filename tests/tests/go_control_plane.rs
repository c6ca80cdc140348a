//! go-control-plane as the control plane: both dialects, aggregated and one stream per type, through snapshots, partial
//! updates, removals, refused resources and restarts. The program is in `tests/interop/go-control-plane`.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use weir_tests::oracle::binaries;
use weir_tests::suite::Suite;

/// The program's modes.
const MODES: [&str; 4] = ["ads-sotw", "ads-delta", "types-sotw", "types-delta"];

/// Cases of a mode.
const CASES: usize = 8;

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/go-control-plane")
}

/// Runs a mode: a verdict for each case that it came to.
fn run(mode: &str) -> anyhow::Result<Vec<(String, Result<(), String>)>> {
    let weir = binaries::weir().context("weir is not built (cargo build -p weir-proxy)")?;
    let out = Command::new(program())
        .arg("-weir")
        .arg(weir)
        .args(["-mode", mode])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("go-control-plane")?;
    let said = String::from_utf8_lossy(&out.stdout);
    let verdict = |line: &str| -> Option<(String, Result<(), String>)> {
        if let Some(rest) = line.strip_prefix("FAIL ") {
            let (name, why) = rest.split_once(": ")?;
            return Some((name.to_owned(), Err(why.to_owned())));
        }
        Some((line.strip_prefix("ok ")?.trim().to_owned(), Ok(())))
    };
    let verdicts: Vec<_> = said.lines().filter_map(verdict).collect();
    let passed = verdicts.iter().filter(|(_, verdict)| verdict.is_ok()).count();
    anyhow::ensure!(
        passed == CASES || verdicts.iter().any(|(_, verdict)| verdict.is_err()),
        "{passed} of {CASES} cases, {}: {said}",
        out.status
    );
    Ok(verdicts)
}

fn main() -> ExitCode {
    let mut suite = Suite::new("go-control-plane");
    if !program().is_file() {
        suite.skip("all", format!("{} is missing; run: make setup-test", program().display()));
        return suite.finish();
    }
    for mode in MODES.into_iter().filter(|mode| suite.wants(mode)).collect::<Vec<_>>() {
        match run(mode) {
            Err(error) => suite.verdict(mode, Err::<(), _>(error)),
            Ok(verdicts) => {
                for (name, verdict) in verdicts {
                    suite.verdict(&name, verdict);
                }
            }
        }
    }
    suite.finish()
}
