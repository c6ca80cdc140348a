//! Reading files: the only place of this crate that touches the disk.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::diag::Diagnostic;
use crate::yaml::MAX_FILE_BYTES;

/// Most files that are read in one go.
pub const MAX_FILES: usize = 20_000;
/// Most levels of folders.
const MAX_FOLDERS: usize = 32;

/// What was found on disk.
#[derive(Debug, Default)]
pub struct Read {
    /// Name and text of each file, in the order of names.
    pub sources: Vec<(String, String)>,
    /// Files that could not be read.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads files, and all `*.yaml`, `*.yml` and `*.json` below folders. Hidden files and folders are left out, as are
/// links that lead back up. A file that is named itself is read whatever its name is.
#[must_use]
pub fn read_paths<P: AsRef<Path>>(paths: &[P]) -> Read {
    let mut read = Read::default();
    let mut files = BTreeSet::new();
    for path in paths {
        let path = path.as_ref();
        if path.is_dir() {
            walk(path, 0, &mut files, &mut read.diagnostics);
        } else {
            files.insert(path.to_owned());
        }
    }
    if files.len() > MAX_FILES {
        let message = format!("{} files; the limit is {MAX_FILES}", files.len());
        read.diagnostics
            .push(Diagnostic::error("too-many-files", message).remedy("name a folder with fewer files"));
        return read;
    }
    for file in files {
        match text(&file) {
            Ok(text) => read.sources.push((file.display().to_string(), text)),
            Err(diagnostic) => read.diagnostics.push(*diagnostic),
        }
    }
    read
}

fn walk(folder: &Path, depth: usize, files: &mut BTreeSet<PathBuf>, diagnostics: &mut Vec<Diagnostic>) {
    if depth > MAX_FOLDERS {
        let message = format!("{}: folders are nested more than {MAX_FOLDERS} deep", folder.display());
        diagnostics
            .push(Diagnostic::error("cannot-read", message).remedy("is there a link that leads back up?"));
        return;
    }
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            diagnostics.push(unreadable(folder, &error));
            return;
        }
    };
    for entry in entries {
        let path = match entry {
            Ok(entry) => entry.path(),
            Err(error) => {
                diagnostics.push(unreadable(folder, &error));
                continue;
            }
        };
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let wanted =
            path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml" || ending == "json");
        if files.len() > MAX_FILES || hidden {
            continue;
        }
        if path.is_dir() {
            walk(&path, depth.saturating_add(1), files, diagnostics);
        } else if wanted {
            files.insert(path);
        }
    }
}

fn text(file: &Path) -> Result<String, Box<Diagnostic>> {
    let size = std::fs::metadata(file).map_err(|error| Box::new(unreadable(file, &error)))?.len();
    if usize::try_from(size).is_ok_and(|size| size > MAX_FILE_BYTES) {
        let message = format!("{}: {size} bytes; the limit is {MAX_FILE_BYTES}", file.display());
        return Err(Box::new(Diagnostic::error("file-too-large", message).remedy("split the file")));
    }
    let bytes = std::fs::read(file).map_err(|error| Box::new(unreadable(file, &error)))?;
    String::from_utf8(bytes).map_err(|error| {
        let message = format!("{}: not UTF-8 at byte {}", file.display(), error.utf8_error().valid_up_to());
        Box::new(Diagnostic::error("not-utf8", message).remedy("save the file as UTF-8"))
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error("cannot-read", format!("{}: {error}", path.display()))
        .remedy("check the path and its permissions")
}
