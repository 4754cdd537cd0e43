//! Contents: files opened, read, written and synced.

use super::shared::{Adapter, HeldFile, asked, done, named};
use crate::{
    answer, attr,
    forget::{Asks, Invalidator},
};
use bytes::Bytes;
use dfs_client::{Error, OpenHow, Opened, Seek, Waiting};
use dfs_proto::{change::Caller, error::FsError, extent::FileRange, id::InodeId};
use fuser::{
    Errno, FileHandle, FopenFlags, INodeNo, LockOwner, OpenFlags, ReplyCreate, ReplyData,
    ReplyEmpty, ReplyLseek, ReplyOpen, ReplyWrite, Request,
};
use std::ffi::OsStr;

/// A write(2) as the kernel asks for it.
pub(super) struct Write<'a> {
    pub(super) inode: INodeNo,
    pub(super) handle: FileHandle,
    pub(super) offset: u64,
    pub(super) data: &'a [u8],
    pub(super) kill_privileges: bool,
    /// The kernel writes back what was changed through a mapping.
    pub(super) from_cache: bool,
    pub(super) flags: OpenFlags,
}

/// A write that has yet to be answered.
struct Written {
    invalidator: Invalidator,
    inode: InodeId,
    /// How often the kernel had forgotten of the file when the write came; not known, if it had just
    /// then.
    forgot: Option<u64>,
    offset: u64,
    len: u32,
    /// Where it goes through the kernel's pages.
    waiting: Option<Waiting>,
}

impl Written {
    /// Whether the kernel has the bytes, where they went: it puts them into its pages before it asks,
    /// and to the offset that it asks for. A page that it has forgotten since, and read again before
    /// the bytes were taken in, is without them.
    fn is_in_cache(&self, at: u64) -> bool {
        let now = self.invalidator.forgot(self.inode);
        at == self.offset && now.is_some() && now == self.forgot
    }

    /// Has the kernel forget what it may have instead. A page that the write holds has nothing in it.
    async fn forget(&self, at: u64) {
        let len = u64::from(self.len);
        let mut range = FileRange::of(at, len);
        if at != self.offset {
            // It had another idea of where the file ends.
            range.start = range.start.min(self.offset);
            range.end = range.end.max(self.offset + len);
        }
        let may_hold = || self.waiting.as_ref().is_some_and(Waiting::may_hold);
        self.invalidator.written(self.inode, range, may_hold).await;
    }
}

impl Adapter {
    /// Opens a file.
    pub(super) fn open_file(
        &self,
        request: &Request,
        inode: INodeNo,
        flags: OpenFlags,
        reply: ReplyOpen,
    ) {
        let asked = asked("open", inode);
        let truncate = flags.0 & libc::O_TRUNC != 0;
        // The kernel does not ask for the size again before it appends: such writes go to the true
        // end, past the page cache, whatever offset it asks for.
        let append = flags.0 & libc::O_APPEND != 0;
        let how = OpenHow {
            append,
            truncate,
            kill_privileges: truncate && request.uid() != 0,
        };
        let reads_only = flags.0 & libc::O_ACCMODE == libc::O_RDONLY;
        let (synced, counted) = (sync_of(flags.0), self.counted.file(flags.0));
        let (dfs, files) = (self.dfs.clone(), self.files.clone());
        let invalidator = self.invalidator.clone();
        let work = async move {
            let opened = dfs.open(asked.inode, how).await?;
            let keeps = opens(&invalidator, &opened).await;
            Ok((opened, keeps))
        };
        self.answers
            .later(asked, reply, work, move |reply, (opened, keeps)| {
                let mut flags = FopenFlags::empty();
                flags.set(FopenFlags::FOPEN_KEEP_CACHE, keeps);
                let direct = append && !reads_only;
                flags.set(FopenFlags::FOPEN_DIRECT_IO, direct);
                // Who has written nothing need not wait for anything at close, but a close unlocks.
                let may_be_locked = opened.file.may_be_locked();
                flags.set(FopenFlags::FOPEN_NOFLUSH, reads_only && !may_be_locked);
                let held = HeldFile {
                    file: opened.file,
                    synced,
                    direct,
                    counted,
                };
                reply.opened(files.insert(held), flags);
            });
    }

    /// Makes a file and opens it.
    pub(super) fn create_file(
        &self,
        parent: INodeNo,
        name: &OsStr,
        (mode, caller): (u32, Caller),
        flags: i32,
        reply: ReplyCreate,
    ) {
        let Some((name, reply)) = named(name, reply) else {
            return;
        };
        let asked = asked("create", parent);
        let (mode, exclusive) = (attr::permissions(mode), flags & libc::O_EXCL != 0);
        let append = flags & libc::O_APPEND != 0;
        let (dfs, files, teller) = (self.dfs.clone(), self.files.clone(), self.teller.clone());
        let held = self.invalidator.holds(vec![asked.inode]);
        let (synced, counted) = (sync_of(flags), self.counted.file(flags));
        let name_here = name.clone();
        let work = async move {
            match dfs
                .create(asked.inode, &name_here, mode, caller, append)
                .await
            {
                // It came into being since the kernel looked. ESTALE makes the kernel look again
                // and open it as any other file, with the checks that belong to that.
                Err(Error::Refused(FsError::Exists)) if !exclusive => {
                    Err(Error::Refused(FsError::Stale(asked.inode)))
                }
                created => created,
            }
        };
        self.answers
            .later(asked, reply, work, move |reply, (attr, file)| {
                let direct = append;
                let handle = files.insert(HeldFile {
                    file,
                    synced,
                    direct,
                    counted,
                });
                let mut flags = FopenFlags::FOPEN_KEEP_CACHE;
                flags.set(FopenFlags::FOPEN_DIRECT_IO, append);
                let opened = (handle, flags);
                teller.created(reply, (asked.inode, &name), attr, opened);
                drop(held);
            });
    }

    /// Reads: at once what is at hand.
    pub(super) fn read_file(
        &self,
        inode: INodeNo,
        (handle, flags): (FileHandle, OpenFlags),
        offset: u64,
        size: u32,
        reply: ReplyData,
    ) {
        let asked = asked("read", inode);
        let Some(held) = self.files.get(handle) else {
            return reply.error(Errno::EBADF);
        };
        let kept = !held.direct && flags.0 & libc::O_DIRECT == 0;
        let len = if kept { u64::from(size) } else { 0 };
        let asks = Asks::Pages(FileRange::of(offset, len));
        let looking = self.invalidator.looks(asked.inode, asks);
        let counted = self.counted.file(flags.0);
        let at_hand = match kept {
            true => held.file.try_read_kept(offset, size),
            false => held.file.try_read(offset, size),
        };
        match at_hand {
            Some(Ok(bytes)) => {
                // Before it is answered, so that who asks next sees when it was.
                if counted {
                    self.dfs.accessed(asked.inode);
                }
                reply.data(&bytes);
            }
            Some(Err(error)) => answer::refuse(asked, reply, &error),
            None => {
                let dfs = self.dfs.clone();
                let work = async move {
                    match kept {
                        true => held.file.read_kept(offset, size).await,
                        false => held.file.read(offset, size).await,
                    }
                };
                self.answers.later(asked, reply, work, move |reply, bytes| {
                    if counted {
                        dfs.accessed(asked.inode);
                    }
                    reply.data(&bytes);
                    drop(looking);
                });
            }
        }
    }

    /// The target of a symbolic link.
    pub(super) fn read_link(&self, inode: INodeNo, reply: ReplyData) {
        let asked = asked("readlink", inode);
        let (dfs, counted) = (self.dfs.clone(), self.counted.link());
        let work = async move {
            let target = dfs.readlink(asked.inode).await?;
            if counted {
                dfs.accessed(asked.inode);
            }
            Ok(target)
        };
        self.answers
            .later(asked, reply, work, |reply, target| reply.data(&target));
    }

    /// Writes: at once where there is room and nothing to be synced.
    pub(super) fn write_file(&self, write: &Write<'_>, reply: ReplyWrite) {
        let Write {
            inode,
            handle,
            offset,
            data,
            kill_privileges: kill,
            from_cache,
            flags,
        } = *write;
        let asked = asked("write", inode);
        let Some(held) = self.files.get(handle) else {
            return reply.error(Errno::EBADF);
        };
        if from_cache {
            let data = Bytes::copy_from_slice(data);
            let len = u32::try_from(data.len()).expect("a request is at most a few MiB");
            let work = async move { held.file.write_back(offset, &data, kill).await };
            let wrote = move |reply: ReplyWrite, ()| reply.written(len);
            return self.answers.later(asked, reply, work, wrote);
        }
        let sync = sync_of(flags.0);
        let len = u32::try_from(data.len()).expect("a request is at most a few MiB");
        let direct = held.direct || flags.0 & libc::O_DIRECT != 0;
        let written = Written {
            invalidator: self.invalidator.clone(),
            inode: asked.inode,
            forgot: self.invalidator.forgot(asked.inode),
            offset,
            len,
            waiting: (!direct).then(|| held.file.waits(offset, len)),
        };
        let wrote = move |reply: ReplyWrite, ()| reply.written(len);
        if sync.is_none() {
            match held.file.try_write(offset, data, kill) {
                Some(Ok(at)) if written.is_in_cache(at) => return wrote(reply, ()),
                Some(Ok(at)) => {
                    let work = async move {
                        written.forget(at).await;
                        Ok(())
                    };
                    return self.answers.later(asked, reply, work, wrote);
                }
                Some(Err(error)) => return answer::refuse(asked, reply, &error),
                None => {}
            }
        }
        let data = Bytes::copy_from_slice(data);
        let work = async move {
            let at = held.file.write(offset, &data, kill).await?;
            if !written.is_in_cache(at) {
                written.forget(at).await;
            }
            match sync {
                Some(data_only) => held.file.fsync(data_only).await,
                None => Ok(()),
            }
        };
        self.answers.later(asked, reply, work, wrote);
    }

    /// Sends what was written, and then unlocks what the owner had locked, before a close returns.
    pub(super) fn flush_file(
        &self,
        inode: INodeNo,
        handle: FileHandle,
        owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        let asked = asked("flush", inode);
        let Some(held) = self.files.get(handle) else {
            return reply.error(Errno::EBADF);
        };
        if held.file.may_hold(owner.0) {
            let work = async move {
                let flushed = held.file.flush().await;
                let unlocked = held.file.closed_by(owner.0).await;
                flushed.and(unlocked)
            };
            return self.answers.later(asked, reply, work, done);
        }
        match held.file.try_flush() {
            Some(Ok(())) => reply.ok(),
            Some(Err(error)) => answer::refuse(asked, reply, &error),
            None => {
                let work = async move { held.file.flush().await };
                self.answers.later(asked, reply, work, done);
            }
        }
    }

    /// Where data or a hole begins.
    pub(super) fn seek(
        &self,
        inode: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let asked = asked("lseek", inode);
        let Some(held) = self.files.get(handle) else {
            return reply.error(Errno::EBADF);
        };
        let what = match whence {
            libc::SEEK_DATA => Seek::Data,
            libc::SEEK_HOLE => Seek::Hole,
            _ => return reply.error(Errno::EINVAL),
        };
        let Ok(offset) = u64::try_from(offset) else {
            return reply.error(Errno::ENXIO);
        };
        let work = async move { held.file.seek(offset, what).await };
        self.answers
            .later(asked, reply, work, |reply, found| match found {
                Some(at) => reply.offset(i64::try_from(at).unwrap_or(i64::MAX)),
                None => reply.error(Errno::ENXIO),
            });
    }
}

/// Has the kernel forget what is not so at an open; answers whether it keeps its pages then.
async fn opens(invalidator: &Invalidator, opened: &Opened) -> bool {
    let inode = opened.attr.inode;
    if opened.attrs_changed {
        invalidator.attributes(inode);
    } else if opened.keep_cache {
        return true;
    }
    // The kernel would forget its pages by itself, at a moment that is not known here, and somebody
    // else may be writing.
    if !opened.file.is_alone() && invalidator.pages_but_written(inode).await {
        return true;
    }
    invalidator.drops_pages(inode, opened.file.is_alone());
    false
}

/// Whether writes are to be synced, and then whether data only.
fn sync_of(flags: i32) -> Option<bool> {
    match flags & libc::O_SYNC {
        0 => None,
        bits => Some(bits != libc::O_SYNC),
    }
}
