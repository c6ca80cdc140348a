//! The form for people: as a compiler prints it.

use std::fmt::{self, Write};

use super::{Diagnostic, Severity};

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}[{}]: {}", self.severity.word(), self.code, self.message)?;
        let digits = self.excerpt.as_ref().map_or(1, |excerpt| {
            let last =
                u64::from(excerpt.first_line).saturating_add(excerpt.lines.len() as u64).saturating_sub(1);
            last.to_string().len()
        });
        if let Some(at) = &self.at {
            writeln!(f, "{:digits$}--> {}:{}:{}", "", at.file, at.line, at.column)?;
        }
        if let Some(excerpt) = &self.excerpt {
            writeln!(f, "{:digits$} |", "")?;
            for (number, line) in (excerpt.first_line..).zip(&excerpt.lines) {
                writeln!(f, "{number:>digits$} | {line}")?;
                if number == excerpt.first_line {
                    self.underline(f, digits, line)?;
                }
            }
        }
        if let Some(remedy) = &self.remedy {
            writeln!(f, "{:digits$} = help: {remedy}", "")?;
        }
        Ok(())
    }
}

impl Diagnostic {
    /// The carets under the first line of the excerpt.
    fn underline(&self, f: &mut fmt::Formatter<'_>, digits: usize, line: &str) -> fmt::Result {
        let Some(at) = &self.at else { return Ok(()) };
        let width = line.trim_end().chars().count();
        let start = usize::try_from(at.column.saturating_sub(1)).unwrap_or(usize::MAX).min(width);
        let end = if at.end_line > at.line {
            width
        } else {
            usize::try_from(at.end_column.saturating_sub(1)).unwrap_or(width)
        };
        let carets = end.min(width).saturating_sub(start).max(1);
        let pad: String = line.chars().take(start).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        writeln!(f, "{:digits$} | {pad}{}", "", "^".repeat(carets))
    }
}

/// All of them, followed by a line that counts them.
#[must_use]
pub fn render_text(diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{diagnostic}");
    }
    let count = |severity| diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let _ = writeln!(
        out,
        "{} error(s), {} warning(s), {} note(s)",
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Note)
    );
    out
}
