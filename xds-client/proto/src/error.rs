//! What is wrong with a text: every mistake of one run, each with its field path, line, column and excerpt.

use std::fmt;

use crate::path::FieldPath;
use crate::text::NOWHERE;

/// Most mistakes that one run reports.
pub const MAX_PROBLEMS: usize = 100;
/// Longest line of an excerpt, in characters; a longer one is cut around the column.
const EXCERPT_WIDTH: usize = 100;

/// One mistake.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The field; empty for a mistake of the whole text, such as a syntax error.
    pub path: FieldPath,
    /// Line from 1, or 0 when there is no text.
    pub line: usize,
    /// Column from 1 in characters, or 0 when there is no text.
    pub column: usize,
    /// The line in question with a mark below the column; empty when there is no text.
    pub excerpt: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// A text that is not the message it should be. It displays every problem.
#[derive(Debug, Clone, PartialEq)]
pub struct ParseError {
    /// The name that the options gave the text; may be empty.
    pub file: String,
    /// At least one, at most [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
}

impl std::error::Error for ParseError {}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.write(f, &self.file)?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "")
    }
}

impl Problem {
    fn write(&self, f: &mut fmt::Formatter<'_>, file: &str) -> fmt::Result {
        match (file, self.line) {
            ("", 0) => {}
            (file, 0) => write!(f, "{file}: ")?,
            ("", line) => write!(f, "{line}:{}: ", self.column)?,
            (file, line) => write!(f, "{file}:{line}:{}: ", self.column)?,
        }
        if !self.path.0.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if self.excerpt.is_empty() { Ok(()) } else { write!(f, "\n{}", self.excerpt) }
    }
}

/// A mistake before its position is worked out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub path: FieldPath,
    pub at: usize,
    pub message: String,
}

impl Finding {
    /// The problem it is in `text`.
    pub(crate) fn locate(self, text: &str) -> Problem {
        let Self { path, at, message } = self;
        if at == NOWHERE {
            return Problem { path, line: 0, column: 0, excerpt: String::new(), message };
        }
        let at = floor(text, at);
        let (before, after) = text.split_at_checked(at).unwrap_or((text, ""));
        let line = before.bytes().filter(|byte| *byte == b'\n').count().saturating_add(1);
        let lead = before.rsplit_once('\n').map_or(before, |(_, lead)| lead);
        let rest = after.split(['\n', '\r']).next().unwrap_or("");
        let column = lead.chars().count().saturating_add(1);
        Problem { path, line, column, excerpt: excerpt(line, lead, rest), message }
    }
}

/// `at`, or the start of the character that it lies in.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at = at.saturating_sub(1);
    }
    at
}

fn excerpt(line: usize, lead: &str, rest: &str) -> String {
    const LEAD: usize = EXCERPT_WIDTH * 2 / 3;
    let skip = lead.chars().count().saturating_sub(LEAD);
    // A tab would move the mark: it is shown as one space.
    let shown: String = lead.chars().skip(skip).map(|c| if c == '\t' { ' ' } else { c }).collect();
    let width = shown.chars().count();
    let tail: String = rest.chars().take(EXCERPT_WIDTH.saturating_sub(width)).collect();
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    format!("{number} | {shown}{tail}\n{gutter} | {}^", " ".repeat(width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_line_with_a_mark() {
        let text = "a: 1\n  \u{e9}b: nine\nc: 2\n";
        let mut path = FieldPath::default();
        path.field("b");
        path.index(2);
        let finding = Finding { path, at: text.find("nine").unwrap_or(0), message: "no number".to_owned() };
        let error = ParseError { file: "x.yaml".to_owned(), problems: vec![finding.locate(text)] };
        let shown = "x.yaml:2:7: b[2]: no number\n2 |   \u{e9}b: nine\n  |       ^";
        assert_eq!(error.to_string(), shown);
    }

    #[test]
    fn positions_beyond_or_inside_are_safe() {
        for at in [0, 1, 2, 3, 99] {
            let problem =
                Finding { path: FieldPath::default(), at, message: String::new() }.locate("\u{e9}\n");
            assert!(problem.line == 1 || problem.line == 2);
        }
    }
}
