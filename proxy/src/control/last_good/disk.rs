//! The folder and its file: private to the user, replaced as a whole.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Largest file that is written or read, in bytes.
pub(super) const MAX_FILE: usize = 256 * 1024 * 1024;

/// Bits of a mode that let others in.
const OTHERS: u32 = 0o077;
/// Bits of a mode that let others write.
const OTHERS_WRITE: u32 = 0o022;

const FILE: &str = "last-good";
/// Written first; one that a crash left behind is overwritten.
const DRAFT: &str = "last-good.new";

/// The folder of `--state-dir`.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Opens the folder; makes it when it is not there, and closes it to others.
    ///
    /// # Errors
    /// It is no folder of this user's, or cannot be made.
    pub(super) fn open(path: &Path) -> Result<Folder, String> {
        let shown = path.display();
        let told = |error: io::Error| format!("{shown}: {error}");
        match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().mode(0o700).create(path).map_err(told)?;
            }
            Err(error) => return Err(told(error)),
            Ok(found) if !found.is_dir() => return Err(format!("{shown} is no folder")),
            Ok(found) if found.uid() != weir_sys::effective_user() => {
                return Err(format!("{shown} belongs to another user; give weir a folder of its own"));
            }
            Ok(found) if found.mode() & OTHERS != 0 => {
                std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(told)?;
                tracing::warn!("{shown} was open to other users and has mode 0700 now");
            }
            Ok(_) => {}
        }
        Ok(Folder(path.to_owned()))
    }

    /// The file.
    pub(super) fn file(&self) -> PathBuf {
        self.0.join(FILE)
    }

    /// What the file holds; none: there is none.
    ///
    /// # Errors
    /// It cannot be read, or others may have written it.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, String> {
        let told = |error: io::Error| error.to_string();
        // A link is not followed: what it leads to is somebody else's.
        match std::fs::symlink_metadata(self.file()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(told(error)),
            Ok(found) if !found.is_file() => return Err("it is no regular file".into()),
            Ok(_) => {}
        }
        let file = File::open(self.file()).map_err(told)?;
        let found = file.metadata().map_err(told)?;
        if found.uid() != weir_sys::effective_user() {
            return Err("it belongs to another user".into());
        }
        if found.mode() & OTHERS_WRITE != 0 {
            return Err("other users may have written it (its mode is not 0600)".into());
        }
        if found.mode() & OTHERS != 0 {
            file.set_permissions(Permissions::from_mode(0o600)).map_err(told)?;
            tracing::warn!("{} was readable by other users and has mode 0600 now", self.file().display());
        }
        let size = usize::try_from(found.len()).unwrap_or(usize::MAX);
        if size > MAX_FILE {
            return Err(format!("it has {size} bytes, the limit is {MAX_FILE} (MAX_FILE)"));
        }
        let mut bytes = Vec::with_capacity(size);
        let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
        file.take(most).read_to_end(&mut bytes).map_err(told)?;
        Ok(Some(bytes))
    }

    /// Replaces the file: whoever reads it sees the old one or the new one, whatever happens meanwhile.
    ///
    /// # Errors
    /// It cannot be written; the old one is as it was.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let draft = self.0.join(DRAFT);
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        drop(file);
        let swapped = written.and_then(|()| std::fs::rename(&draft, self.file()));
        if swapped.is_err() {
            // A full disk is not filled further.
            let _ = std::fs::remove_file(&draft);
        }
        swapped?;
        File::open(&self.0)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("weir-disk-{name}-{}", std::process::id()))
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_and_private() {
        let path = place("private");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let folder = Folder::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700, "closed to others");
        assert_eq!(folder.read(), Ok(None));
        std::fs::write(path.join(DRAFT), "of a crash").unwrap();
        for text in ["one", "two"] {
            folder.write(text.as_bytes()).unwrap();
            assert_eq!(folder.read(), Ok(Some(text.as_bytes().to_vec())));
            assert_eq!(mode(&folder.file()), 0o600);
        }
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1, "no draft is left");
        let open = |mode| std::fs::set_permissions(folder.file(), Permissions::from_mode(mode)).unwrap();
        open(0o644);
        assert!(folder.read().unwrap().is_some());
        assert_eq!(mode(&folder.file()), 0o600, "closed to readers");
        open(0o620);
        assert!(folder.read().unwrap_err().contains("may have written it"));
        std::fs::remove_file(folder.file()).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.file()).unwrap();
        assert!(folder.read().unwrap_err().contains("no regular file"));
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        let path = place("file");
        std::fs::write(&path, "x").unwrap();
        assert!(Folder::open(&path).unwrap_err().ends_with("is no folder"));
        assert!(Folder::open(&path.join("below")).is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(Folder::open(&path.join("deep/er")).is_err(), "the parent must be there");
    }
}
