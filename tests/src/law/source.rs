//! Source files: found, read, without comments and tests.

use std::path::{Path, PathBuf};

use crate::oracle::binaries::root;

/// One Rust file.
#[derive(Clone, Debug)]
pub struct File {
    /// Path from the repository's root, with `/`.
    pub path: String,
    /// Whole text.
    pub text: String,
}

impl File {
    /// Lines of code that ship: numbered from 1, without comments, and without what follows the first
    /// `#[cfg(test)]` that stands at the margin before a module with a body.
    pub fn code(&self) -> Vec<(usize, &str)> {
        let mut lines = Vec::new();
        let all: Vec<&str> = self.text.lines().collect();
        for (index, line) in all.iter().enumerate() {
            let next = all.get(index + 1).copied().unwrap_or_default();
            if *line == "#[cfg(test)]" && next.starts_with("mod ") && next.ends_with('{') {
                break;
            }
            let code = line.split("//").next().unwrap_or_default();
            lines.push((index + 1, code));
        }
        lines
    }

    /// Whether the whole file is a test module.
    pub fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }
}

/// Every Rust file below a folder of the repository, in order of path.
///
/// # Errors
/// A folder or file is unreadable.
pub fn files(below: &str) -> anyhow::Result<Vec<File>> {
    let mut found = Vec::new();
    collect(&root(), &root().join(below), &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<File>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|e| anyhow::anyhow!("{}: {e}", folder.display()))?;
    for entry in entries {
        let path: PathBuf = entry?.path();
        let hidden =
            path.file_name().and_then(|n| n.to_str()).is_none_or(|n| n.starts_with('.') || n == "target");
        if hidden {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, found)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            let shown = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
            found.push(File { path: shown, text: std::fs::read_to_string(&path)? });
        }
    }
    Ok(())
}
