//! How a suite of many small cases counts and reports itself.
//!
//! A failed case prints `FAIL suite/case: why`, one that could not run `SKIP suite/case: why`; the last line is
//! `N passed, N failed, N skipped`. `scripts/summary.py` reads both. Programs that use this have `harness = false`.

use crate::open;
use std::fmt::Display;
use std::process::ExitCode;

/// The running count of one suite.
pub struct Suite {
    name: &'static str,
    filter: Option<String>,
    passed: usize,
    failed: usize,
    skipped: usize,
    open: usize,
}

impl Suite {
    /// A suite; its first argument that is not a flag chooses the cases whose name contains it.
    pub fn new(name: &'static str) -> Self {
        let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
        Self { name, filter, passed: 0, failed: 0, skipped: 0, open: 0 }
    }

    /// Whether the case was asked for.
    pub fn wants(&self, case: &str) -> bool {
        self.filter.as_ref().is_none_or(|part| case.contains(part.as_str()))
    }

    /// Runs and counts a case, if it was asked for.
    pub fn case<E: Display>(&mut self, case: &str, run: impl FnOnce() -> Result<(), E>) {
        if self.wants(case) {
            self.verdict(case, run());
        }
    }

    /// Counts a case that has run.
    pub fn verdict<E: Display>(&mut self, case: &str, verdict: Result<(), E>) {
        let case = format!("{}/{}", self.name, word(case));
        match (verdict, open::reason(&case)) {
            (Ok(()), None) => self.passed += 1,
            (Ok(()), Some(_)) => {
                self.failed += 1;
                println!("FAIL {case}: {}", open::CLOSED);
            }
            (Err(why), Some(missing)) => {
                self.open += 1;
                println!("OPEN {case} ({missing}): {why:#}");
            }
            (Err(why), None) => {
                self.failed += 1;
                println!("FAIL {case}: {why:#}");
            }
        }
    }

    /// Counts a case, or a group of cases, that cannot run here. Never silent.
    pub fn skip(&mut self, case: &str, reason: impl Display) {
        self.skipped += 1;
        println!("SKIP {}/{}: {reason}", self.name, word(case));
    }

    /// Prints the closing line; failure when a case failed, or when nothing ran at all and nothing was skipped.
    pub fn finish(self) -> ExitCode {
        if self.open > 0 {
            println!("{} open (tests/open.txt)", self.open);
        }
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped);
        let nothing = self.passed + self.failed + self.skipped + self.open == 0 && self.filter.is_none();
        if self.failed > 0 || nothing { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// A case's name as one word of at most 100 characters, so that a line can be read by a program.
fn word(case: &str) -> String {
    case.chars().take(100).map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c }).collect()
}
