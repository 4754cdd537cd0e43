//! A data folder belongs to one process at a time.
//!
//! The lock is flock(2) on the file `lock` in it, so that it ends with the process however that
//! ends. The file says who holds it, for the message to the second comer.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// The name of the lock file.
pub const LOCK_FILE: &str = "lock";

/// The right to use a folder; ends when it is dropped.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process has it.
    #[error("another {holder} uses {}; stop it first, or choose another folder", .path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who uses it: `dfs-master (pid 4711)`.
        holder: String,
    },
    /// It cannot be made or written to.
    #[error("cannot use the folder {}: {source}; is it there, and does it belong to this user?", .path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Locks a folder for this process; makes it if it is not there.
pub fn lock(path: &Path) -> Result<FolderLock, FolderError> {
    let unusable = |source| FolderError::Unusable {
        path: path.to_owned(),
        source,
    };
    fs::create_dir_all(path).map_err(unusable)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(path.join(LOCK_FILE)).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(FolderError::InUse {
                path: path.to_owned(),
                holder: holder(&mut file),
            });
        }
        Err(TryLockError::Error(source)) => return Err(unusable(source)),
    }
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_name);
    let program = program.map_or("process".into(), |name| name.to_string_lossy());
    file.set_len(0).map_err(unusable)?;
    writeln!(file, "{program} (pid {})", std::process::id()).map_err(unusable)?;
    Ok(FolderLock { _file: file })
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(200).read_to_string(&mut text);
    match (read, text.trim()) {
        (Ok(_), said) if !said.is_empty() => said.to_owned(),
        _ => "process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_for_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a/b");
        let first = lock(&path).expect("is free");
        let error = lock(&path).expect_err("is taken").to_string();
        let pid = format!("(pid {})", std::process::id());
        assert!(error.contains(&pid) && error.contains("a/b"), "{error}");
        drop(first);
        lock(&path).expect("is free again");
    }

    #[test]
    fn a_folder_that_cannot_be_is_named() {
        let error = lock(Path::new("/proc/nothing/here")).expect_err("cannot be");
        assert!(error.to_string().contains("/proc/nothing/here"), "{error}");
    }
}
