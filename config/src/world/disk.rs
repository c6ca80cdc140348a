//! Reading files: the only place of this crate that touches the disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::{MeshOptions, World};
use crate::diag::{Diagnostic, has_errors};
use crate::yaml::MAX_FILE_BYTES;

/// Most files that are read in one go.
pub const MAX_FILES: usize = 20_000;
/// Most bytes of all files that are read in one go.
pub const MAX_BYTES: usize = 256 << 20;
/// Most levels of folders.
const MAX_FOLDERS: usize = 32;

/// What was found on disk.
#[derive(Debug, Default, PartialEq)]
pub struct Read {
    /// Name and text of each file, in the order of names.
    pub sources: Vec<(String, String)>,
    /// Files that could not be read.
    pub diagnostics: Vec<Diagnostic>,
}

impl Read {
    /// The world of what was read, and every mistake that reading has found. Without any resource it is a mistake of its
    /// own: what is empty now may be about to be written, and nobody is to lose what they have by that.
    #[must_use]
    pub fn world(&self, mesh: MeshOptions) -> (World, Vec<Diagnostic>) {
        let (world, mut found) = World::read_with(mesh, &self.sources);
        found.extend(self.diagnostics.iter().cloned());
        if world.metas().next().is_none() && !has_errors(&found) {
            let message = match self.sources.as_slice() {
                [] => "there is no *.yaml, *.yml or *.json file".to_owned(),
                files => format!("there is no resource in any file ({} were read)", files.len()),
            };
            let remedy = "put the resources there; to take all of them out of force, stop the process";
            found.push(Diagnostic::error("nothing-there", message).remedy(remedy));
        }
        (world, found)
    }
}

/// Reads files, and all `*.yaml`, `*.yml` and `*.json` below folders. Hidden files and folders are left out, as are
/// links that lead back up (with a warning). A file that is named itself is read whatever its name is; pipes and
/// devices are never opened.
#[must_use]
pub fn read_paths<P: AsRef<Path>>(paths: &[P]) -> Read {
    let mut read = Read::default();
    let mut files = BTreeSet::new();
    for path in paths {
        let path = path.as_ref();
        if path.is_dir() {
            walk(path, &mut Vec::new(), &mut files, &mut read.diagnostics);
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
    let mut left = MAX_BYTES;
    for file in files {
        match text(&file, left) {
            Ok(text) => {
                left = left.saturating_sub(text.len());
                read.sources.push((file.display().to_string(), text));
            }
            Err(diagnostic) => read.diagnostics.push(*diagnostic),
        }
    }
    read
}

/// `above` holds the true paths of the folders that lead here.
fn walk(
    folder: &Path,
    above: &mut Vec<PathBuf>,
    files: &mut BTreeSet<PathBuf>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    if above.len() > MAX_FOLDERS {
        let message = format!("{}: folders are nested more than {MAX_FOLDERS} deep", folder.display());
        diagnostics.push(Diagnostic::error("cannot-read", message).remedy("move the files up"));
        return;
    }
    let own = match folder.canonicalize() {
        Ok(own) => own,
        Err(error) => {
            diagnostics.push(unreadable(folder, &error));
            return;
        }
    };
    if above.contains(&own) {
        let message = format!("{}: leads back up to {}; it is left out", folder.display(), own.display());
        diagnostics.push(Diagnostic::warning("link-loop", message).remedy("remove the link"));
        return;
    }
    above.push(own);
    entries(folder, above, files, diagnostics);
    above.pop();
}

fn entries(
    folder: &Path,
    above: &mut Vec<PathBuf>,
    files: &mut BTreeSet<PathBuf>,
    diagnostics: &mut Vec<Diagnostic>,
) {
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
            walk(&path, above, files, diagnostics);
        } else if wanted {
            files.insert(path);
        }
    }
}

/// The text of a file, if it has at most `left` bytes.
fn text(file: &Path, left: usize) -> Result<String, Box<Diagnostic>> {
    let found = std::fs::metadata(file).map_err(|error| Box::new(unreadable(file, &error)))?;
    if !found.is_file() {
        let message = format!("{}: a folder, pipe, socket or device, not a file", file.display());
        let found = Diagnostic::error("cannot-read", message).remedy("put a file in its place, or remove it");
        return Err(Box::new(found));
    }
    let limit = MAX_FILE_BYTES.min(left);
    let size = found.len();
    let most = u64::try_from(limit).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    if size <= most {
        // The size that a file tells is not trusted: it may grow, and some tell none.
        File::open(file)
            .and_then(|open| open.take(most.saturating_add(1)).read_to_end(&mut bytes))
            .map_err(|error| Box::new(unreadable(file, &error)))?;
    }
    if size > most || bytes.len() > limit {
        return Err(Box::new(if left < MAX_FILE_BYTES {
            let message =
                format!("{}: {size} bytes; all files together have over {MAX_BYTES}", file.display());
            Diagnostic::error("too-many-files", message).remedy("name a folder with fewer files")
        } else {
            let message = format!("{}: {size} bytes; the limit is {MAX_FILE_BYTES}", file.display());
            Diagnostic::error("file-too-large", message).remedy("split the file")
        }));
    }
    if bytes.is_empty() {
        let message = format!("{}: the file is empty: it may be about to be written", file.display());
        let found = Diagnostic::error("empty-file", message).remedy("write it, or remove it");
        return Err(Box::new(found));
    }
    String::from_utf8(bytes).map_err(|error| {
        let message = format!("{}: not UTF-8 at byte {}", file.display(), error.utf8_error().valid_up_to());
        Box::new(Diagnostic::error("not-utf8", message).remedy("save the file as UTF-8"))
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error("cannot-read", format!("{}: {error}", path.display()))
        .remedy("check the path and its permissions")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_is_a_mistake() {
        let codes = |sources: &[(&str, &str)]| -> Vec<&str> {
            let sources =
                sources.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
            let read = Read { sources, diagnostics: Vec::new() };
            read.world(MeshOptions::default()).1.iter().map(|found| found.code).collect()
        };
        let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";
        assert_eq!(codes(&[]), ["nothing-there"]);
        assert_eq!(codes(&[("a.yaml", "# nothing yet\n")]), ["nothing-there"]);
        assert_eq!(codes(&[("a.yaml", "# nothing yet\n"), ("b.yaml", service)]), [""; 0]);
    }

    #[test]
    fn a_file_of_no_bytes_is_a_mistake() {
        let file = std::env::temp_dir().join(format!("weir-empty-{}.yaml", std::process::id()));
        std::fs::write(&file, "").unwrap();
        let read = read_paths(&[&file]);
        std::fs::remove_file(&file).unwrap();
        assert!(read.sources.is_empty());
        assert!(matches!(read.diagnostics.as_slice(), [one] if one.code == "empty-file"), "{read:?}");
    }
}
