//! The kernel's requests, one method each. It translates and decides nothing: arguments in, one call,
//! the answer out.

use super::{
    files::Write,
    locks::Wanted,
    names,
    shared::{
        ACL_CAPABILITIES, Adapter, BACKGROUND, CAPABILITIES, REQUEST_BYTES, asked, caller, done,
        named,
    },
};
use crate::{
    attr,
    forget::Asks,
    listing::{Names, OpenDirectory},
};
use bytes::Bytes;
use dfs_proto::{attr::AclKind, change::Make, extent::FileRange, id::InodeId};
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, INodeNo,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLock, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite,
    ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use std::{ffi::OsStr, io, os::unix::ffi::OsStrExt, path::Path, time::SystemTime};

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for capability in CAPABILITIES {
            if config.add_capabilities(capability).is_err() {
                tracing::debug!("the kernel does not offer {capability:?}");
            }
        }
        self.acls = config.add_capabilities(ACL_CAPABILITIES).is_ok();
        // The nearest value is as good where one of these is not possible.
        let _ = config.set_max_write(REQUEST_BYTES);
        let _ = config.set_max_background(BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.look_up(parent, name, reply);
    }

    fn forget(&self, _: &Request, _inode: INodeNo, _lookups: u64) {}

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let asked = asked("getattr", inode);
        let looking = self.invalidator.looks(asked.inode, Asks::Attributes);
        let Some(reply) = self.teller.attributes_at_hand(reply, asked.inode) else {
            return;
        };
        let (dfs, root) = (self.dfs.clone(), self.root.clone());
        let work = async move { root.getattr(&dfs, asked.inode).await };
        let teller = self.teller.clone();
        self.answers.later(asked, reply, work, move |reply, attr| {
            teller.looked_up(reply, attr);
            drop(looking);
        });
    }

    fn setattr(
        &self,
        request: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let asked = asked("setattr", inode);
        let set = attr::to_set((mode, uid, gid, size), atime, mtime, request.uid() == 0);
        let dfs = self.dfs.clone();
        let work = async move { dfs.setattr(asked.inode, set).await };
        self.attributes_later(asked, reply, work);
    }

    fn readlink(&self, _: &Request, inode: INodeNo, reply: ReplyData) {
        self.read_link(inode, reply);
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let Some((name, reply)) = named(name, reply) else {
            return;
        };
        match names::special(mode, rdev) {
            Some(what) => self.make(
                asked("mknod", parent),
                name,
                what,
                mode,
                caller(request, umask),
                reply,
            ),
            None => reply.error(Errno::EINVAL),
        }
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        if let Some((name, reply)) = named(name, reply) {
            let asked = asked("mkdir", parent);
            self.make(
                asked,
                name,
                Make::Directory,
                mode,
                caller(request, umask),
                reply,
            );
        }
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        if let Some((name, reply)) = named(name, reply) {
            let what = Make::Symlink(Bytes::copy_from_slice(target.as_os_str().as_bytes()));
            self.make(
                asked("symlink", parent),
                name,
                what,
                0o777,
                caller(request, 0),
                reply,
            );
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.unlink_name(parent, name, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.rmdir_name(parent, name, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.rename_name((parent, name), (new_parent, new_name), flags, reply);
    }

    fn link(
        &self,
        _: &Request,
        inode: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        self.link_name(inode, new_parent, new_name, reply);
    }

    fn open(&self, request: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.open_file(request, inode, flags, reply);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        self.create_file(parent, name, (mode, caller(request, umask)), flags, reply);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.read_file(inode, (handle, flags), offset, size, reply);
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = Write {
            inode,
            handle,
            offset,
            data,
            kill_privileges: write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID),
            from_cache: write_flags.contains(WriteFlags::FUSE_WRITE_CACHE),
            flags,
        };
        self.write_file(&write, reply);
    }

    fn flush(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.flush_file(inode, handle, owner, reply);
    }

    fn release(
        &self,
        _: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        // The file knows which owners locked through this handle; those of flock are among them.
        if let Some(held) = self.files.remove(handle) {
            held.file.release();
        }
        reply.ok();
    }

    fn fsync(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        let asked = asked("fsync", inode);
        let Some(held) = self.files.get(handle) else {
            return reply.error(Errno::EBADF);
        };
        let work = async move { held.file.fsync(data_only).await };
        self.answers.later(asked, reply, work, done);
    }

    fn opendir(&self, _: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let counted = self.counted.directory(flags.0);
        let inode = InodeId(inode.0);
        let flags = match self.reader.opens(inode) {
            Names::Asked => FopenFlags::empty(),
            Names::Kept => FopenFlags::FOPEN_CACHE_DIR,
            Names::Known => FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE,
        };
        let directory = OpenDirectory::new(inode, !flags.is_empty(), counted);
        reply.opened(self.directories.insert(directory), flags);
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        match self.directories.get(handle) {
            Some(directory) => self.reader.read(&self.answers, directory, offset, reply),
            None => reply.error(Errno::EBADF),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        match self.directories.get(handle) {
            Some(directory) => self.reader.read(&self.answers, directory, offset, reply),
            None => reply.error(Errno::EBADF),
        }
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.directories.remove(handle);
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        let asked = asked("fsyncdir", inode);
        let dfs = self.dfs.clone();
        let work = async move { dfs.sync_directory(asked.inode).await };
        self.answers.later(asked, reply, work, done);
    }

    fn statfs(&self, _: &Request, inode: INodeNo, reply: ReplyStatfs) {
        self.space(inode, reply);
    }

    fn setxattr(
        &self,
        request: &Request,
        inode: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        match AclKind::of(name.as_bytes()) {
            Some(kind) => self.set_acl(request, inode, kind, value, reply),
            None => self.set_xattr(inode, name, value, flags, reply),
        }
    }

    fn getxattr(&self, _: &Request, inode: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        match AclKind::of(name.as_bytes()) {
            Some(kind) => self.get_acl(inode, kind, size, reply),
            None => self.get_xattr(inode, name, size, reply),
        }
    }

    fn listxattr(&self, request: &Request, inode: INodeNo, size: u32, reply: ReplyXattr) {
        self.list_xattrs(request, inode, size, reply);
    }

    fn removexattr(&self, _: &Request, inode: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let asked = asked("removexattr", inode);
        let name = Bytes::copy_from_slice(name.as_bytes());
        let dfs = self.dfs.clone();
        let work = async move { dfs.removexattr(asked.inode, name).await };
        self.answers.later(asked, reply, work, done);
    }

    fn getlk(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        owner: LockOwner,
        start: u64,
        end: u64,
        typ: i32,
        pid: u32,
        reply: ReplyLock,
    ) {
        match Wanted::of(owner, (start, end), typ, pid) {
            Some(Wanted::Lock(wish)) => self.test_lock(inode, handle, wish, reply),
            _ => reply.error(Errno::EINVAL),
        }
    }

    fn setlk(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        owner: LockOwner,
        start: u64,
        end: u64,
        typ: i32,
        pid: u32,
        sleep: bool,
        reply: ReplyEmpty,
    ) {
        match Wanted::of(owner, (start, end), typ, pid) {
            Some(Wanted::Unlock(range)) => self.unlock(inode, handle, owner, range, reply),
            Some(Wanted::Lock(wish)) if sleep => {
                self.lock_or_wait(inode, handle, wish, request.pid(), reply);
            }
            Some(Wanted::Lock(wish)) => self.lock(inode, handle, wish, reply),
            None => reply.error(Errno::EINVAL),
        }
    }

    fn fallocate(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let range = FileRange::of(offset, length);
        self.fallocate_range(request, (inode, handle), range, mode, reply);
    }

    fn lseek(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        self.seek(inode, handle, offset, whence, reply);
    }

    fn copy_file_range(
        &self,
        request: &Request,
        inode_in: INodeNo,
        handle_in: FileHandle,
        offset_in: u64,
        inode_out: INodeNo,
        handle_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let from = (inode_in, handle_in, offset_in);
        let to = (inode_out, handle_out, offset_out);
        self.copy_range(request, from, to, len, reply);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _data: &[u8],
        _room: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _notifier: PollNotifier,
        _events: PollEvents,
        _flags: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }
}
