//! Where the shared test data is.

use std::path::PathBuf;

/// The folder of corpora, or `None`, loudly, when it is not there: the caller's test counts as skipped.
pub fn root(case: &str) -> Option<PathBuf> {
    let root = match std::env::var_os("WEIR_CORPORA") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
    };
    if root.is_dir() {
        return Some(root);
    }
    eprintln!(
        "SKIP weir-config/{case}: the corpora are not at {} (WEIR_CORPORA names another place)",
        root.display()
    );
    None
}
