//! The machine's own file system below one directory.
//!
//! Adds to the system calls what every caller would have to: short reads and writes go on,
//! interrupted calls start over, and errors name the file. A failed sync is passed on and never
//! tried again: the kernel reports it once and may have dropped the bytes.

use super::{Disk, DiskFile, DiskSpace, syscalls};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The files below one directory of the machine.
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// The disk of an existing directory.
    pub fn open(path: &Path) -> io::Result<Arc<dyn Disk>> {
        let root = fs::canonicalize(path).map_err(named("open", path))?;
        if !root.is_dir() {
            let why = io::Error::from(io::ErrorKind::NotADirectory);
            return Err(named("open", path)(why));
        }
        Ok(Arc::new(RealDisk { root }))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn file(&self, name: &str, options: &OpenOptions, verb: &'static str) -> io::Result<RealFile> {
        let path = self.path(name);
        let file = options.open(&path).map_err(named(verb, &path))?;
        Ok(RealFile { file, path })
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        Ok(Arc::new(self.file(name, &options, "create")?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        Ok(Arc::new(self.file(name, &options, "open")?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let path = self.path(from);
        fs::rename(&path, self.path(to)).map_err(named("rename", &path))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path(name);
        fs::remove_file(&path).map_err(named("remove", &path))
    }

    fn create_folder(&self, name: &str) -> io::Result<()> {
        let path = self.path(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            made => made.map_err(named("create folder", &path))?,
        }
        self.sync_folder("")
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let path = self.path(folder);
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(named("list", &path))? {
            let entry = entry.map_err(named("list", &path))?;
            if entry.file_type().map_err(named("list", &path))?.is_file() {
                // Names that are not text are none of ours: no daemon makes one.
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let path = self.path(folder);
        let opened = File::open(&path).map_err(named("sync", &path))?;
        opened.sync_all().map_err(named("sync", &path))
    }

    fn space(&self) -> io::Result<DiskSpace> {
        syscalls::space(&self.root).map_err(named("measure", &self.root))
    }
}

struct RealFile {
    file: File,
    path: PathBuf,
}

impl DiskFile for RealFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        fill(into, offset, |rest, at| self.file.read_at(rest, at))
            .map_err(named("read", &self.path))
    }

    fn read_cached_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        fill(into, offset, |rest, at| {
            syscalls::read_nowait(&self.file, rest, at)
        })
        .map_err(|error| match error.raw_os_error() {
            // A file system that cannot promise not to wait is asked the other way.
            Some(libc::EOPNOTSUPP) => io::ErrorKind::WouldBlock.into(),
            _ if error.kind() == io::ErrorKind::WouldBlock => error,
            _ => named("read", &self.path)(error),
        })
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        write_all(&self.file, parts, offset).map_err(named("write", &self.path))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data().map_err(named("sync", &self.path))
    }

    fn len(&self) -> io::Result<u64> {
        let metadata = self.file.metadata().map_err(named("measure", &self.path))?;
        Ok(metadata.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len).map_err(named("cut", &self.path))
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        syscalls::reserve(&self.file, offset, len).map_err(named("reserve", &self.path))
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        syscalls::punch(&self.file, offset, len).map_err(named("punch", &self.path))
    }

    fn forget_cached(&self, offset: u64, len: u64) {
        syscalls::drop_cached(&self.file, offset, len);
    }
}

/// Calls `read` until the buffer is full or the file ends.
fn fill(
    into: &mut [u8],
    offset: u64,
    read: impl Fn(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        match read(&mut into[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(more) => done += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn write_all(file: &File, parts: &[&[u8]], mut offset: u64) -> io::Result<()> {
    let mut rest: Vec<&[u8]> = parts.iter().copied().filter(|p| !p.is_empty()).collect();
    let mut first = 0;
    while first < rest.len() {
        let mut written = match syscalls::write_vectored(file, &rest[first..], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        offset += written as u64;
        while first < rest.len() && written >= rest[first].len() {
            written -= rest[first].len();
            first += 1;
        }
        if written > 0 {
            rest[first] = &rest[first][written..];
        }
    }
    Ok(())
}

/// An error of the kernel together with what was tried on which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}: {source}", .path.display())]
struct Named {
    verb: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Names the file in an error and keeps its kind, by which callers tell a full disk from a broken
/// one.
fn named(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.to_owned();
    move |source| io::Error::new(source.kind(), Named { verb, path, source })
}
