//! A file fits a mind.

use super::Breach;
use super::source::File;

/// Lines of code that a file may have; tests at its end do not count.
pub const MOST: usize = 500;

/// Files that may be longer, each with its reason.
pub const LONGER: [(&str, &str); 0] = [];

/// Breaches in any files.
pub fn breaches(files: &[File]) -> Vec<Breach> {
    let mut found: Vec<Breach> = Vec::new();
    for file in files {
        let lines = file.code().len();
        let listed = LONGER.iter().any(|(path, _)| *path == file.path);
        if lines > MOST && !listed {
            let what = format!(
                "{lines} lines, at most {MOST}: split it by what its parts are, or list it with a reason"
            );
            found.push(Breach { at: file.path.clone(), what });
        }
        if lines <= MOST && listed {
            let what = "listed as longer, and no longer is: strike it from the list".to_owned();
            found.push(Breach { at: file.path.clone(), what });
        }
    }
    for (path, _) in LONGER.iter().filter(|(path, _)| !files.iter().any(|f| f.path == *path)) {
        found.push(Breach { at: (*path).to_owned(), what: "listed as longer, and is no file".to_owned() });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_a_breach_and_its_tests_do_not_count() {
        let long = File { path: "a.rs".to_owned(), text: "x\n".repeat(MOST + 1) };
        assert_eq!(breaches(&[long]).len(), 1);
        let text = "x\n".repeat(MOST) + "#[cfg(test)]\nmod tests {\n" + &"x\n".repeat(300);
        assert_eq!(breaches(&[File { path: "b.rs".to_owned(), text }]), Vec::new());
    }
}
