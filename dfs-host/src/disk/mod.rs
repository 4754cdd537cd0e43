//! Disks: the files of one data directory, as a seam that tests can replace.
//!
//! [`Disk`] is everything that the minion's store and the master's log ask of a file system. Two
//! implementations: [`RealDisk`], the kernel's files below one directory, and [`SimulatedDisk`],
//! memory that forgets what was not synced, tears, fails, fills and rots on request. All calls
//! block; the daemons make them on threads of their own. Names are relative to the directory and
//! may have one folder in front (`blocks/000000000000002a`).

mod broken;
mod real;
mod simulated;
mod syscalls;

pub use broken::is_broken;
pub use real::RealDisk;
pub use simulated::{Crash, Fault, SimulatedDisk};

use std::{io, sync::Arc};

/// Space of the file system that a disk stands on, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskSpace {
    /// In all.
    pub total: u64,
    /// Still to be had by this process.
    pub free: u64,
}

/// The files of one data directory.
pub trait Disk: Send + Sync + 'static {
    /// Makes a new empty file; `AlreadyExists` where there is one. Its name is durable only after [`Disk::sync_folder`].
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that is there, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Moves a file over another name of the same folder, in one step. Durable only after [`Disk::sync_folder`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable only after [`Disk::sync_folder`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes a folder, if it is not there, and makes its name durable.
    fn create_folder(&self, name: &str) -> io::Result<()>;

    /// Names of the files in a folder (`""` for the directory itself), without the folder, sorted.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Makes creations, renames and removals in a folder (`""` for the directory itself) durable.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;

    /// Free and total space.
    fn space(&self) -> io::Result<DiskSpace>;
}

/// An open file of a [`Disk`]. Reads and writes name their offset and move no cursor.
pub trait DiskFile: Send + Sync + 'static {
    /// Reads at `offset` until `into` is full or the file ends; says how much was read.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// As `read_at`, but only from memory: `WouldBlock` where the disk would have to be asked.
    fn read_cached_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `parts`, one after the other, from `offset` on.
    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()>;

    /// Makes all bytes written, and the length, durable. After an error the file must not be
    /// trusted any more: the kernel may have dropped what it could not write.
    fn sync(&self) -> io::Result<()>;

    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether there is no byte in it.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Cuts it, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves space for `[offset, offset + len)` without changing the length.
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Gives the space of `[offset, offset + len)` back; it reads as zeros.
    fn punch(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Tells the kernel that `[offset, offset + len)` will not be read again soon.
    fn forget_cached(&self, offset: u64, len: u64);
}

#[cfg(test)]
mod disk_tests;
