//! The reviewed differences and the rows left out.

use serde::Deserialize;

use super::binaries::root;
use super::compare::{Difference, matches};

/// More listed differences than this fail the suite.
pub const MOST: usize = 25;

/// Why a difference is right.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// weir refuses what a specification forbids and Envoy lets pass.
    Stricter,
    /// Envoy does not do what its own documentation says.
    EnvoyBug,
    /// Chosen, and written down in the specification section named.
    DocumentedChoice,
}

/// One listed difference.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// `section/case` names; each must still differ.
    pub cases: Vec<String>,
    /// Patterns of the paths that differ.
    pub at: Vec<String>,
    /// Class.
    pub class: Class,
    /// Specification section that justifies it.
    pub spec: String,
    /// The reason in a sentence.
    pub why: String,
}

/// A row of the specification without a case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Table or mark.
    pub row: String,
    /// What it waits for.
    pub waits_for: String,
}

/// Reads `tests/oracle/differences.yaml`.
///
/// # Errors
/// The file is unreadable, or lists more than [`MOST`].
pub fn listed() -> anyhow::Result<Vec<Listed>> {
    let path = root().join("tests/oracle/differences.yaml");
    let list: Vec<Listed> = serde_saphyr::from_str(&std::fs::read_to_string(&path)?)?;
    anyhow::ensure!(
        list.len() <= MOST,
        "{} lists {} differences, at most {MOST}",
        path.display(),
        list.len()
    );
    Ok(list)
}

/// Reads `tests/oracle/left-out.yaml`.
///
/// # Errors
/// The file is unreadable.
pub fn left_out() -> anyhow::Result<Vec<LeftOut>> {
    let path = root().join("tests/oracle/left-out.yaml");
    Ok(serde_saphyr::from_str(&std::fs::read_to_string(path)?)?)
}

/// Splits the differences of a case: those that are not listed, and the listed ones that are gone.
pub fn judge(case: &str, found: &[Difference], listed: &[Listed]) -> (Vec<Difference>, Vec<String>) {
    let own: Vec<&Listed> = listed.iter().filter(|l| l.cases.iter().any(|c| c == case)).collect();
    let covered = |d: &Difference, l: &Listed| l.at.iter().any(|pattern| matches(pattern, &d.at));
    let unlisted = found.iter().filter(|d| !own.iter().any(|l| covered(d, l))).cloned().collect();
    let gone = own
        .iter()
        .filter(|l| !found.iter().any(|d| covered(d, l)))
        .map(|l| {
            format!(
                "listed as different at {}, and no longer is: strike it from the list ({})",
                l.at.join(", "),
                l.why
            )
        })
        .collect();
    (unlisted, gone)
}
