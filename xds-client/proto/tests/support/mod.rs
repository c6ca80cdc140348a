//! The recorded configurations of public projects, which are not part of this repository.

use std::path::{Path, PathBuf};

/// The folder `name` of the corpora: below `$WEIR_CORPORA`, or `../shared/corpora` beside the repository.
/// `None`, said loudly, when it is absent; the caller then counts itself as skipped.
pub fn corpus(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("WEIR_CORPORA").map_or_else(default_root, PathBuf::from);
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIP weir-proto/{name}: the corpora are not here: no {}; set WEIR_CORPORA", folder.display());
    None
}

/// Walks up from this crate to the first folder that has `shared/corpora` beside or above it.
fn default_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .map(|ancestor| ancestor.join("shared/corpora"))
        .find(|candidate| candidate.is_dir())
        .unwrap_or_else(|| here.join("../../../shared/corpora"))
}

/// Every file below `dir` whose name ends in one of `endings`, sorted.
pub fn files(dir: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                open.push(path);
            } else if endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
