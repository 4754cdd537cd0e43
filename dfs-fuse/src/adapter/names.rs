//! Names: looked up, made, moved and removed.

use super::shared::{Adapter, GENERATION, TTL, asked, done, entry, named};
use crate::{
    answer::{self, Request as Asked},
    attr,
};
use dfs_client::Error;
use dfs_proto::{
    attr::Attr,
    change::{Caller, Make, RenameMode},
    error::FsError,
    id::InodeId,
    name::Name,
};
use fuser::{Errno, INodeNo, RenameFlags, ReplyEmpty, ReplyEntry};
use std::ffi::OsStr;

impl Adapter {
    /// What a name names, or that it names nothing.
    pub(super) fn look_up(&self, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let Some((name, reply)) = named(name, reply) else {
            return;
        };
        let asked = asked("lookup", parent);
        if let Some(looked_up) = self.dfs.try_lookup(asked.inode, &name) {
            return match absence(looked_up) {
                Ok(found) => entry_or_absence(reply, found),
                Err(error) => answer::refuse(asked, reply, &error),
            };
        }
        let dfs = self.dfs.clone();
        let work = async move { absence(dfs.lookup(asked.inode, &name).await) };
        self.answers.later(asked, reply, work, entry_or_absence);
    }

    /// A name was removed from a directory: listings that still have it must not tell it.
    fn forget_name(&self, parent: InodeId, name: Name) -> impl FnOnce() + Send + 'static {
        let directories = self.directories.clone();
        move || {
            directories.each(|directory| {
                if directory.inode == parent {
                    directory.window().remove(&name);
                }
            });
        }
    }

    /// Makes something under a name.
    pub(super) fn make(
        &self,
        asked: Asked,
        name: Name,
        what: Make,
        mode: u32,
        caller: Caller,
        reply: ReplyEntry,
    ) {
        let dfs = self.dfs.clone();
        let mode = attr::permissions(mode);
        let work = async move { dfs.make(asked.inode, &name, what, mode, caller).await };
        self.answers.later(asked, reply, work, entry);
    }

    /// Removes a name that is no directory's.
    pub(super) fn unlink_name(&self, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let Some((name, reply)) = named(name, reply) else {
            return;
        };
        let asked = asked("unlink", parent);
        let (dfs, forget) = (
            self.dfs.clone(),
            self.forget_name(asked.inode, name.clone()),
        );
        let work = async move { dfs.unlink(asked.inode, &name).await.map(|_| forget()) };
        self.answers.later(asked, reply, work, done);
    }

    /// Removes an empty directory.
    pub(super) fn rmdir_name(&self, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let Some((name, reply)) = named(name, reply) else {
            return;
        };
        let asked = asked("rmdir", parent);
        let (dfs, forget) = (
            self.dfs.clone(),
            self.forget_name(asked.inode, name.clone()),
        );
        let work = async move { dfs.rmdir(asked.inode, &name).await.map(|_| forget()) };
        self.answers.later(asked, reply, work, done);
    }

    /// Moves a name.
    pub(super) fn rename_name(
        &self,
        from: (INodeNo, &OsStr),
        to: (INodeNo, &OsStr),
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (parent, name) = from;
        let (new_parent, new_name) = to;
        let mode = if flags.is_empty() {
            RenameMode::Replace
        } else if flags == RenameFlags::RENAME_NOREPLACE {
            RenameMode::NoReplace
        } else if flags == RenameFlags::RENAME_EXCHANGE {
            RenameMode::Exchange
        } else {
            return reply.error(Errno::EINVAL);
        };
        let Some((name, reply)) = named(name, reply) else {
            return;
        };
        let Some((new_name, reply)) = named(new_name, reply) else {
            return;
        };
        let (asked, to) = (asked("rename", parent), InodeId(new_parent.0));
        let forget = self.forget_name(asked.inode, name.clone());
        let forget_new = self.forget_name(to, new_name.clone());
        let dfs = self.dfs.clone();
        let work = async move {
            let renamed = dfs.rename(asked.inode, &name, to, &new_name, mode);
            renamed.await.map(|()| (forget(), forget_new()).0)
        };
        self.answers.later(asked, reply, work, done);
    }

    /// Gives an inode another name.
    pub(super) fn link_name(
        &self,
        inode: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        let Some((name, reply)) = named(new_name, reply) else {
            return;
        };
        let (asked, parent) = (asked("link", inode), InodeId(new_parent.0));
        let dfs = self.dfs.clone();
        let work = async move { dfs.link(asked.inode, parent, &name).await };
        self.answers.later(asked, reply, work, entry);
    }
}

/// What a node of this mode and device number is; `None` if there is no such kind.
pub(super) fn special(mode: u32, rdev: u32) -> Option<Make> {
    Some(match mode & libc::S_IFMT {
        libc::S_IFREG => Make::File { open: false },
        libc::S_IFIFO => Make::Fifo,
        libc::S_IFSOCK => Make::Socket,
        libc::S_IFCHR => Make::CharDevice(rdev),
        libc::S_IFBLK => Make::BlockDevice(rdev),
        _ => return None,
    })
}

/// A name that was looked up, or that is not there (`None`), which the kernel remembers too.
fn entry_or_absence(reply: ReplyEntry, found: Option<Attr>) {
    let told = found.as_ref().map_or_else(attr::absent, attr::to_kernel);
    reply.entry(&TTL, &told, GENERATION);
}

fn absence(looked_up: Result<Attr, Error>) -> Result<Option<Attr>, Error> {
    match looked_up {
        Err(Error::Refused(FsError::NotFound)) => Ok(None),
        other => other.map(Some),
    }
}
