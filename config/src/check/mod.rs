//! Checks over a whole world: one file each, one line each in the table below.

use crate::diag::{self, Diagnostic};
use crate::world::World;

/// Runs all checks.
#[must_use]
pub fn check(world: &World) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    for (_, check) in CHECKS {
        check(world, &mut diagnostics);
    }
    diag::sort(&mut diagnostics);
    diagnostics
}

/// A check: its name and what it does.
pub type Check = (&'static str, fn(&World, &mut Vec<Diagnostic>));

/// All checks.
pub static CHECKS: &[Check] = &[];
