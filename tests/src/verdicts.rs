//! Suites that are programs in another language: they print `ok NAME` and `FAIL NAME: why`, a line for each case.

use std::process::{Command, Stdio};

use anyhow::Context;

/// A case and what became of it.
pub type Verdict = (String, Result<(), String>);

/// Runs a program to its end, with weir's own as the last argument.
///
/// # Errors
/// It cannot be started, or told of less than `cases` passed ones without a failure: something was left out.
pub fn of(command: &mut Command, cases: usize) -> anyhow::Result<Vec<Verdict>> {
    let weir = crate::oracle::binaries::weir().context("weir is not built (cargo build -p weir-proxy)")?;
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.arg(weir).stdin(Stdio::null()).stderr(Stdio::inherit()).output().context(name)?;
    let said = String::from_utf8_lossy(&out.stdout);
    let verdicts: Vec<Verdict> = said.lines().filter_map(verdict).collect();
    let failed = verdicts.iter().any(|(_, verdict)| verdict.is_err());
    anyhow::ensure!(failed || verdicts.len() == cases, "{cases} cases, {}: {said}", out.status);
    Ok(verdicts)
}

fn verdict(line: &str) -> Option<Verdict> {
    if let Some(rest) = line.strip_prefix("FAIL ") {
        let (name, why) = rest.split_once(": ")?;
        return Some((name.to_owned(), Err(why.to_owned())));
    }
    Some((line.strip_prefix("ok ")?.trim().to_owned(), Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_verdicts() {
        assert_eq!(verdict("ok   a/b"), Some(("a/b".to_owned(), Ok(()))));
        assert_eq!(verdict("FAIL a/b: why: so"), Some(("a/b".to_owned(), Err("why: so".to_owned()))));
        assert_eq!(verdict("okay"), None);
    }
}
