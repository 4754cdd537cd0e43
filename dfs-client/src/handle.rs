//! An open file.

use crate::{
    core::Core,
    error::Error,
    file::{File, Seek, Use, Waiting},
    read::Window,
    table::Table,
};
use bytes::Bytes;
use dfs_proto::{attr::Attr, change::RangeMode, error::FsError, extent::FileRange, id::InodeId};
use parking_lot::Mutex;
use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How long fallocate waits to hear how much space is free: it is not what it is for.
const SPACE_WAIT: Duration = Duration::from_millis(500);

/// Bytes that are taken in at once, at the most.
const PART_BYTES: usize = 1 << 20;

/// An open file: reads, writes, and the promises of close and fsync.
///
/// Every call has its deadline inside and is not to be dropped before it answers.
pub struct OpenFile {
    pub(crate) core: Arc<Core>,
    table: Arc<Table>,
    pub(crate) file: Arc<File>,
    append: bool,
    window: Mutex<Window>,
    /// Errors of the file that this handle was told or need not be.
    seen: Mutex<u64>,
    released: AtomicBool,
    /// Its number among the handles that locked something.
    pub(crate) locks_as: OnceLock<u64>,
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenFile({})", self.file.inode)
    }
}

impl OpenFile {
    pub(crate) fn new(
        core: Arc<Core>,
        table: Arc<Table>,
        (file, seen): (Arc<File>, u64),
        append: bool,
    ) -> Arc<OpenFile> {
        let window = Window::new(core.settings.read_ahead_bytes);
        Arc::new(OpenFile {
            core,
            table,
            file,
            append,
            window: Mutex::new(window),
            seen: Mutex::new(seen),
            released: AtomicBool::new(false),
            locks_as: OnceLock::new(),
        })
    }

    /// Which inode.
    pub fn inode(&self) -> InodeId {
        self.file.inode
    }

    /// Whether nobody else of this client has the file open.
    pub fn is_alone(&self) -> bool {
        self.file.is_alone()
    }

    /// The attributes, with what is written and not yet committed, as they were last heard of.
    pub fn attr(&self) -> Attr {
        self.file.attr()
    }

    /// At most `len` bytes from `offset`, if they are at hand; shorter only at the end of the
    /// file. Never waits, so that it can be answered on a FUSE thread.
    pub fn try_read(&self, offset: u64, len: u32) -> Option<Result<Bytes, Error>> {
        self.try_read_for(Use::Once, offset, len)
    }

    /// As [`OpenFile::try_read`], of bytes that the audience keeps.
    pub fn try_read_kept(&self, offset: u64, len: u32) -> Option<Result<Bytes, Error>> {
        self.file.is_read(FileRange::of(offset, u64::from(len)));
        self.try_read_for(Use::Kept, offset, len)
    }

    fn try_read_for(&self, how: Use, offset: u64, len: u32) -> Option<Result<Bytes, Error>> {
        let range = FileRange::of(offset, u64::from(len));
        if let Err(lost) = self.file.check_lost() {
            return Some(Err(lost));
        }
        let bytes = self.file.try_read(range, how)?;
        self.look_ahead(range);
        Some(Ok(bytes))
    }

    /// At most `len` bytes from `offset`; shorter only at the end of the file.
    pub async fn read(&self, offset: u64, len: u32) -> Result<Bytes, Error> {
        self.read_for(Use::Once, offset, len).await
    }

    /// As [`OpenFile::read`], of bytes that the audience keeps.
    pub async fn read_kept(&self, offset: u64, len: u32) -> Result<Bytes, Error> {
        self.read_for(Use::Kept, offset, len).await
    }

    async fn read_for(&self, how: Use, offset: u64, len: u32) -> Result<Bytes, Error> {
        let range = FileRange::of(offset, u64::from(len));
        self.file.check_lost()?;
        let sequential = self.look_ahead(range);
        let read = self.file.read(range, how, sequential);
        self.in_time("a read", read).await
    }

    /// lseek(2) with SEEK_DATA or SEEK_HOLE: where what is looked for begins, from `offset` on. `None`
    /// at and beyond the end, and where no data follows.
    pub async fn seek(&self, offset: u64, what: Seek) -> Result<Option<u64>, Error> {
        self.file.check_lost()?;
        self.in_time("a seek", self.file.seek(offset, what)).await
    }

    /// One deadline over all that `work` waits for; dropping it leaves nothing half done.
    async fn in_time<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let after = self.core.settings.operation_timeout;
        let done = tokio::time::timeout(after, work).await;
        done.unwrap_or_else(|_| {
            let waited_for = format!("inode {}: {what}", self.file.inode);
            Err(Error::TimedOut { waited_for, after })
        })
    }

    /// Begins to read ahead of who reads `range`, if they go through the file in order.
    fn look_ahead(&self, range: FileRange) -> bool {
        let size = self.file.size();
        let (ahead, sequential) = {
            let mut window = self.window.lock();
            (window.read(range, size), window.is_sequential())
        };
        if let Some(ahead) = ahead {
            self.file.read_ahead(ahead);
        }
        sequential
    }

    /// Copies `data` into the bytes to be sent, if that is possible now. The offset is ignored and
    /// the end of the file taken where the file was opened to append. Answers the offset that was
    /// written at.
    pub fn try_write(
        &self,
        offset: u64,
        data: &[u8],
        kill_privileges: bool,
    ) -> Option<Result<u64, Error>> {
        let len = u32::try_from(data.len()).ok()?;
        let may = self.file.may_write() && !self.file.is_between_sessions();
        if !may || !self.core.try_room(len) {
            return None;
        }
        let offset = self.place(offset);
        let put = self.file.put(offset, data, kill_privileges, true);
        put.transpose()
    }

    /// A write has come, into bytes that the audience may keep; it is not answered before what is
    /// returned is dropped.
    pub fn waits(&self, offset: u64, len: u32) -> Waiting {
        self.file.waits(FileRange::of(offset, u64::from(len)))
    }

    /// As [`OpenFile::try_write`], for bytes that were changed through a mapping some time ago and
    /// that nobody is told to be written yet. The kernel may send them in order to forget them, and
    /// waits: so they are taken in whoever else has the file.
    pub async fn write_back(
        &self,
        offset: u64,
        data: &[u8],
        kill_privileges: bool,
    ) -> Result<(), Error> {
        for (at, part) in (offset..).step_by(PART_BYTES).zip(data.chunks(PART_BYTES)) {
            let len = u32::try_from(part.len()).expect("at most 1 MiB");
            self.file.settled().await?;
            self.core.room(len).await?;
            self.file.put(Some(at), part, kill_privileges, false)?;
        }
        Ok(())
    }

    /// As [`OpenFile::try_write`], waiting for room and until nobody else reads or writes the file.
    pub async fn write(
        &self,
        offset: u64,
        data: &[u8],
        kill_privileges: bool,
    ) -> Result<u64, Error> {
        let mut at = None;
        // A bounded part at a time, so that the budget can be smaller than one write.
        for part in data.chunks(PART_BYTES) {
            let next = at.map_or(offset, |(_, next)| next);
            let place = self.place(next);
            let wrote = self.file.write(place, part, kill_privileges).await?;
            let first = at.map_or(wrote, |(first, _)| first);
            at = Some((first, wrote + part.len() as u64));
        }
        Ok(at.map_or(offset, |(first, _)| first))
    }

    /// Where a write is asked to go; nowhere in particular, if that is the end.
    fn place(&self, offset: u64) -> Option<u64> {
        (!self.append).then_some(offset)
    }

    /// fallocate(2) without punching: says whether there is room, and has the file reach to the end of
    /// `range` unless its size is to be kept. Nothing is set aside: every write takes new space.
    pub async fn allocate(
        &self,
        range: FileRange,
        keep_size: bool,
        kill_privileges: bool,
    ) -> Result<(), Error> {
        self.file.check_lost()?;
        let space = self.core.master.statfs(self.inode(), SPACE_WAIT).await;
        // What is stored already may all be in the range.
        let needed = range.len().saturating_sub(self.attr().stored);
        if let Some(Ok(space)) = space
            && needed > space.bytes_free
        {
            let free = space.bytes_free;
            if let Some((directory, limit)) = space.quota {
                return Err(FsError::QuotaOfBytes { directory, limit }.into());
            }
            let why = format!("{needed} bytes are asked for and {free} are free");
            return Err(FsError::NoSpace(why).into());
        }
        if keep_size {
            return Ok(());
        }
        let extend = RangeMode::Extend;
        self.file.fallocate(range, extend, kill_privileges).await
    }

    /// fallocate(2) with PUNCH_HOLE or ZERO_RANGE: the bytes of `range` are given up and it reads as
    /// zeros; the file reaches to its end afterwards, if `extend`.
    pub async fn punch(
        &self,
        range: FileRange,
        extend: bool,
        kill_privileges: bool,
    ) -> Result<(), Error> {
        self.file.check_lost()?;
        let mode = match extend {
            true => RangeMode::Zero,
            false => RangeMode::Punch,
        };
        self.file.fallocate(range, mode, kill_privileges).await
    }

    /// copy_file_range(2): copies at most `len` bytes from `from` of `source` to `at` of this file, of
    /// the same file system, without moving them where that can be. Answers how many were copied;
    /// none at the end of the source.
    pub async fn copy_from(
        &self,
        source: &OpenFile,
        (from, at, len): (u64, u64, u64),
        kill_privileges: bool,
    ) -> Result<u64, Error> {
        source.file.check_lost()?;
        self.file.check_lost()?;
        let range = (from, at, len);
        self.file
            .copy_from(&source.file, range, kill_privileges)
            .await
    }

    /// The answer of [`OpenFile::flush`], if nothing is to be sent.
    pub fn try_flush(&self) -> Option<Result<(), Error>> {
        match self.file.is_unsent() {
            true => None,
            false => Some(self.told()),
        }
    }

    /// close(2): what was written is sent and committed, so that other machines see it; an error of
    /// an earlier write-behind is told, once for each handle.
    pub async fn flush(&self) -> Result<(), Error> {
        let flushed = self.in_time("a flush", self.file.flush()).await;
        // What was noted at the file says more, and is told only once.
        self.told()?;
        flushed
    }

    /// fsync(2), fdatasync(2) with `data_only`: what was written is on disk on every live replica
    /// and in the master's synced log.
    pub async fn fsync(&self, data_only: bool) -> Result<(), Error> {
        // A commit carries size and times along, so there is less to sync only in name.
        let _ = data_only;
        let synced = self.in_time("an fsync", self.file.fsync()).await;
        self.told()?;
        synced
    }

    fn told(&self) -> Result<(), Error> {
        self.file.check(&mut self.seen.lock())
    }

    /// The last close of this handle. Never waits: what is dirty goes on being sent, and the master
    /// is told with others within 100 ms. Dropping the handle does the same.
    pub fn release(&self) {
        if self.released.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(number) = self.locks_as.get() {
            self.file.unlock_with(*number);
        }
        if self.file.let_go() {
            if self.file.is_unsent() {
                self.file.kick();
            }
            self.table.release(self.file.inode);
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.release();
    }
}
