//! The cases that do not pass yet: `tests/open.txt`, one `suite/case  what is missing` a line. They are run, printed
//! as `OPEN` and counted apart; a listed case that passes is a failure, so that the list only shrinks. It is no list
//! of allowed differences: those stand, reviewed, in `tests/oracle/differences.yaml`.

use std::path::Path;

/// What is said of a listed case that passes.
pub const CLOSED: &str = "it passes; take it off tests/open.txt";

/// What is missing for a case, when it is listed.
pub fn reason(case: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("open.txt");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.find_map(|line| {
        let (name, why) = line.split_once(char::is_whitespace)?;
        (name == case).then(|| why.trim().to_owned())
    })
}
