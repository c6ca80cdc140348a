//! The form for scripts.

use serde_json::json;

use super::{Diagnostic, Severity};

/// `{"diagnostics": [...], "errors": N, "warnings": N, "notes": N}`, indented.
#[must_use]
pub fn render_json(diagnostics: &[Diagnostic]) -> String {
    let count = |severity| diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let report = json!({
        "diagnostics": diagnostics,
        "errors": count(Severity::Error),
        "warnings": count(Severity::Warning),
        "notes": count(Severity::Note),
    });
    format!("{report:#}\n")
}
