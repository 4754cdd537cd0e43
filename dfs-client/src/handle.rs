//! An open file.

use crate::error::Error;
use bytes::Bytes;
use dfs_proto::id::InodeId;

/// An open file: reads, writes, and the promises of close and fsync.
#[derive(Debug)]
pub struct OpenFile {
    inode: InodeId,
}

impl OpenFile {
    /// Which inode.
    pub fn inode(&self) -> InodeId {
        self.inode
    }

    /// At most `len` bytes from `offset`, if they are at hand; shorter only at the end of the
    /// file. Never waits, so that it can be answered on a FUSE thread.
    pub fn try_read(&self, offset: u64, len: u32) -> Option<Result<Bytes, Error>> {
        let _ = (offset, len);
        None
    }

    /// At most `len` bytes from `offset`; shorter only at the end of the file.
    pub async fn read(&self, offset: u64, len: u32) -> Result<Bytes, Error> {
        let _ = (offset, len);
        Err(Error::ShutDown)
    }

    /// Copies `data` into the bytes to be sent, if there is room for them now. The offset is
    /// ignored and the end of the file taken where the file was opened to append. Answers the
    /// offset that was written at.
    pub fn try_write(
        &self,
        offset: u64,
        data: &[u8],
        kill_privileges: bool,
    ) -> Option<Result<u64, Error>> {
        let _ = (offset, data, kill_privileges);
        None
    }

    /// As [`OpenFile::try_write`], waiting for room.
    pub async fn write(
        &self,
        offset: u64,
        data: &[u8],
        kill_privileges: bool,
    ) -> Result<u64, Error> {
        let _ = (offset, data, kill_privileges);
        Err(Error::ShutDown)
    }

    /// Whether [`OpenFile::flush`] has nothing to do now (it can be answered without a task).
    pub fn try_flush(&self) -> Option<Result<(), Error>> {
        None
    }

    /// close(2): what was written is sent and committed, so that other machines see it; an error of
    /// an earlier write-behind is told, once for each handle.
    pub async fn flush(&self) -> Result<(), Error> {
        Err(Error::ShutDown)
    }

    /// fsync(2), fdatasync(2) with `data_only`: what was written is on disk on every live replica
    /// and in the master's synced log.
    pub async fn fsync(&self, data_only: bool) -> Result<(), Error> {
        let _ = data_only;
        Err(Error::ShutDown)
    }

    /// The last close of this handle. Never waits: what is dirty goes on being sent, and the master
    /// is told with others within 100 ms.
    pub fn release(&self) {}
}
