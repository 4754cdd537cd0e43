//! One data directory in use: its files, its threads, its space, and whether it can be trusted.
//!
//! A drive that failed a read, a write or a sync, or is not where it was, is out of service for as long as
//! the process lives: what the kernel could not write it may have dropped, and asking again would only
//! seem to help.

use super::threads::DiskThreads;
use crate::marker;
use dfs_host::disk::{Disk, DiskSpace};
use dfs_proto::id::DiskId;
use parking_lot::Mutex;
use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// The folder with the block files.
pub(crate) const BLOCKS: &str = "blocks";

/// Bytes that must be free beyond the reserve for a new block to be taken.
const NEW_BLOCK_BYTES: u64 = 4 << 20;

/// A data directory in use.
pub(crate) struct Drive {
    /// Its id, from its marker.
    pub(crate) id: DiskId,
    /// Where it is, for people.
    pub(crate) path: String,
    /// Its files.
    pub(crate) disk: Arc<dyn Disk>,
    /// Who makes the blocking calls to it.
    pub(crate) threads: DiskThreads,
    /// Bytes of its block files.
    used: AtomicU64,
    /// Blocks on it.
    blocks: AtomicU64,
    reserve: u64,
    failed: Arc<OnceLock<String>>,
    space: Mutex<DiskSpace>,
    gone: AtomicU64,
    marked: AtomicBool,
}

impl Drive {
    /// Takes a data directory into use.
    pub(crate) fn new(
        id: DiskId,
        path: String,
        disk: Arc<dyn Disk>,
        threads: usize,
        reserve: Option<u64>,
    ) -> io::Result<Drive> {
        let space = disk.space()?;
        let failed = Arc::new(OnceLock::new());
        let panicked = {
            let (failed, path) = (Arc::clone(&failed), path.clone());
            move || fail(&failed, &path, "a thread that worked on it panicked")
        };
        let threads = DiskThreads::start("disk", threads, panicked)?;
        Ok(Drive {
            id,
            path,
            disk,
            threads,
            used: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
            reserve: reserve.unwrap_or_else(|| (space.total / 50).clamp(16 << 20, 1 << 30)),
            failed,
            space: Mutex::new(space),
            gone: AtomicU64::new(0),
            marked: AtomicBool::new(false),
        })
    }

    /// Whether its marker is written.
    pub(crate) fn is_marked(&self) -> bool {
        self.marked.load(Ordering::Relaxed)
    }

    /// Notes that its marker is written.
    pub(crate) fn set_marked(&self) {
        self.marked.store(true, Ordering::Relaxed);
    }

    /// Takes it out of service, for good.
    pub(crate) fn fail(&self, why: &str) {
        fail(&self.failed, &self.path, why);
    }

    /// Why it is out of service, if it is.
    pub(crate) fn failed(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// Looks whether it is still the disk that it was, and how much room there is. Blocks.
    pub(crate) fn measure(&self) {
        if self.failed().is_some() {
            return;
        }
        if let Err(why) = self.is_there() {
            return self.fail(&why);
        }
        match self.disk.space() {
            Ok(space) => {
                *self.space.lock() = space;
                self.gone.store(0, Ordering::Relaxed);
            }
            Err(error) => self.fail(&format!("its free space cannot be read: {error}")),
        }
    }

    /// An empty directory is left where a disk was unmounted or pulled out, and open files hide that.
    fn is_there(&self) -> Result<(), String> {
        if !self.is_marked() {
            return Ok(());
        }
        let seen =
            marker::look(&self.path, &*self.disk, false).map_err(|error| error.to_string())?;
        match seen.marker {
            Some(marker) if marker.disk == self.id => Ok(()),
            Some(marker) => Err(format!("another disk is in its place: {}", marker.disk)),
            None => Err("its marker is gone: it was unmounted, or pulled out".to_owned()),
        }
    }

    /// Bytes of its block files, and their number.
    pub(crate) fn held(&self) -> (u64, u64) {
        let used = self.used.load(Ordering::Relaxed);
        (used, self.blocks.load(Ordering::Relaxed))
    }

    /// Counts a file that had `before` bytes and has `after`.
    pub(crate) fn recount(&self, before: u64, after: u64) {
        self.used
            .fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Counts a block that came or went.
    pub(crate) fn count_block(&self, came: bool) {
        let one = if came { 1 } else { u64::MAX };
        self.blocks.fetch_add(one, Ordering::Relaxed);
    }

    /// Counts space that was taken since the last `measure`.
    pub(crate) fn taken(&self, bytes: u64) {
        self.gone.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that the file system said it is full: there is no room until `measure` finds some.
    pub(crate) fn note_full(&self) {
        self.gone.store(u64::MAX / 2, Ordering::Relaxed);
    }

    /// Total bytes, and those that blocks may still take.
    pub(crate) fn room(&self) -> (u64, u64) {
        let space = *self.space.lock();
        let gone = self.gone.load(Ordering::Relaxed);
        let free = space.free.saturating_sub(gone).saturating_sub(self.reserve);
        (space.total, free)
    }

    /// Whether a new block may be begun on it.
    pub(crate) fn takes_new(&self) -> bool {
        self.failed().is_none() && self.room().1 >= NEW_BLOCK_BYTES
    }
}

fn fail(failed: &OnceLock<String>, path: &str, why: &str) {
    if failed.set(why.to_owned()).is_ok() {
        tracing::error!(
            disk = path,
            "disk out of service: {why}; its blocks are lost here, copies are made elsewhere. Mend \
             it, or put an empty one in its place, and restart the minion; or take it out of --data"
        );
    }
}

/// Whether an error says no more than that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
