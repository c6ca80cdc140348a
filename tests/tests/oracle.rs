//! The oracle: every case of `tests/oracle/*.yaml` through the real Envoy and through weir.
//!
//! Arguments choose cases by a part of `section/case`. `WEIR_BIN` and `ENVOY` name the programs;
//! `ORACLE_ENVOY_ONLY=1` checks the stated facts on Envoy alone; `ORACLE_DIFF_ONLY=1` prints failures alone;
//! `ORACLE_KEEP=1` keeps bootstraps and logs of a good run.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use weir_tests::open;
use weir_tests::oracle::binaries;
use weir_tests::oracle::ledger::{self, Listed};
use weir_tests::oracle::run::{self, Outcome, Sides, Verdict};

/// Sections that run at once.
const AT_ONCE: usize = 3;

fn main() -> ExitCode {
    match suite() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("oracle: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn suite() -> anyhow::Result<ExitCode> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let files = section_files()?;
    let Some(envoy) = binaries::envoy() else {
        for file in &files {
            let name = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            println!(
                "SKIP oracle/{name}: the real Envoy is absent: `make test` installs it, or set ENVOY to its path"
            );
        }
        println!("0 passed, 0 failed, {} skipped", files.len());
        return Ok(ExitCode::SUCCESS);
    };
    let alone = std::env::var_os("ORACLE_ENVOY_ONLY").is_some();
    let weir = binaries::weir().filter(|_| !alone);
    if weir.is_none() {
        println!("oracle: weir's binary is absent; only the stated facts are checked, on Envoy");
    }
    let sides = Sides { envoy, weir };
    let listed = ledger::listed()?;
    let left_out = ledger::left_out()?;
    let folder = std::env::temp_dir().join(format!("weir-oracle-{}", std::process::id()));
    let verdicts = all(&files, &folder, &wanted, &sides, &listed);
    println!(
        "{} rows are left out (tests/oracle/left-out.yaml); bootstraps and logs: {}",
        left_out.len(),
        folder.display()
    );
    let code = report(&verdicts, &listed, wanted.is_empty() && sides.weir.is_some());
    // Logs and bootstraps of a failed run are worth a look; of a good one they are not.
    if code == ExitCode::SUCCESS && std::env::var_os("ORACLE_KEEP").is_none() {
        let _ = std::fs::remove_dir_all(&folder);
    }
    Ok(code)
}

fn section_files() -> anyhow::Result<Vec<PathBuf>> {
    let folder = binaries::root().join("tests/oracle");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .filter(|path| !path.file_stem().is_some_and(|s| s == "differences" || s == "left-out"))
        .collect();
    files.sort();
    Ok(files)
}

fn all(
    files: &[PathBuf],
    folder: &std::path::Path,
    wanted: &[String],
    sides: &Sides,
    listed: &[Listed],
) -> Vec<Verdict> {
    let waiting: Mutex<VecDeque<&PathBuf>> = Mutex::new(files.iter().collect());
    let done: Mutex<Vec<Verdict>> = Mutex::default();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(file) = next else { return };
                    let verdicts = match run::prepare(file, folder, chosen) {
                        Ok(ready) => ready.judge(sides, listed),
                        Err(error) => vec![Verdict {
                            name: file.display().to_string(),
                            outcome: Outcome::Failed(vec![format!("{error:#}")]),
                        }],
                    };
                    done.lock().unwrap_or_else(PoisonError::into_inner).extend(verdicts);
                }
            });
        }
    });
    let mut verdicts = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    verdicts.sort_by(|a, b| a.name.cmp(&b.name));
    verdicts
}

fn report(verdicts: &[Verdict], listed: &[Listed], whole: bool) -> ExitCode {
    let quiet = std::env::var_os("ORACLE_DIFF_ONLY").is_some();
    let (mut passed, mut failed, mut skipped, mut still_open) = (0, 0, 0, 0);
    for verdict in verdicts {
        let name = format!("oracle/{}", verdict.name);
        let missing = open::reason(&name);
        match &verdict.outcome {
            Outcome::Passed if missing.is_some() => {
                failed += 1;
                println!("FAIL {name}: {}", open::CLOSED);
            }
            Outcome::Passed => {
                passed += 1;
                if !quiet {
                    println!("ok   {name}");
                }
            }
            Outcome::Failed(reasons) => {
                let reasons = reasons.join("\n     ").replace('\n', "\n     ");
                match missing {
                    Some(missing) => {
                        still_open += 1;
                        println!("OPEN {name} ({missing}): {reasons}");
                    }
                    None => {
                        failed += 1;
                        println!("FAIL {name}: {reasons}");
                    }
                }
            }
            Outcome::Skipped(why) => {
                skipped += 1;
                if !quiet {
                    println!("SKIP {name}: {why}");
                }
            }
        }
    }
    if whole {
        for name in listed.iter().flat_map(|l| &l.cases).filter(|n| !verdicts.iter().any(|v| v.name == **n)) {
            failed += 1;
            println!("FAIL oracle/{name}: differences.yaml names it, and it is no case");
        }
    }
    if still_open > 0 {
        println!("{still_open} open (tests/open.txt)");
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
