//! Names: looked up, made, moved and removed.

use super::shared::{Adapter, asked, done, named};
use crate::{answer::Request as Asked, attr};
use dfs_client::{Error, absence};
use dfs_proto::{
    attr::Attr,
    change::{Caller, Make, RenameMode},
    id::InodeId,
    name::Name,
};
use fuser::{Errno, INodeNo, RenameFlags, ReplyAttr, ReplyEmpty, ReplyEntry};
use std::{ffi::OsStr, future::Future, os::unix::ffi::OsStrExt};

impl Adapter {
    /// What a name names, or that it names nothing.
    pub(super) fn look_up(&self, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name.as_bytes() {
            b"." => return self.look_up_id(parent, false, reply),
            b".." => return self.look_up_id(parent, true, reply),
            _ => {}
        }
        let Some((name, reply)) = named(name, reply) else {
            return;
        };
        let asked = asked("lookup", parent);
        let Some(reply) = self.teller.entry_at_hand(reply, (asked.inode, &name)) else {
            return;
        };
        let (dfs, teller) = (self.dfs.clone(), self.teller.clone());
        let looked_up = name.clone();
        let work = async move { absence(dfs.lookup(asked.inode, &looked_up).await) };
        let tell = move |reply, found| teller.entry(reply, (asked.inode, &name), found);
        self.answers.later(asked, reply, work, tell);
    }

    /// An inode known by its id alone, or the directory above a directory. The kernel asks so for file
    /// handles (open_by_handle_at(2)), for those that it does not know any more.
    fn look_up_id(&self, inode: INodeNo, above: bool, reply: ReplyEntry) {
        let asked = asked("lookup by id", inode);
        let (dfs, teller) = (self.dfs.clone(), self.teller.clone());
        let work = async move {
            match above {
                true => dfs.getattr(dfs.parent(asked.inode).await?).await,
                false => dfs.getattr(asked.inode).await,
            }
        };
        let tell = move |reply, attr| teller.found(reply, attr);
        self.answers.later(asked, reply, work, tell);
    }

    /// Answers with attributes that are yet to come.
    pub(super) fn attributes_later(
        &self,
        asked: Asked,
        reply: ReplyAttr,
        work: impl Future<Output = Result<Attr, Error>> + Send + 'static,
    ) {
        let teller = self.teller.clone();
        let tell = move |reply, attr| teller.attributes(reply, attr);
        self.answers.later(asked, reply, work, tell);
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
        let (dfs, teller) = (self.dfs.clone(), self.teller.clone());
        let held = self.invalidator.holds(vec![asked.inode]);
        let (mode, made) = (attr::permissions(mode), name.clone());
        let work = async move { dfs.make(asked.inode, &made, what, mode, caller).await };
        self.answers.later(asked, reply, work, move |reply, attr| {
            teller.entry(reply, (asked.inode, &name), Some(attr));
            drop(held);
        });
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
        let held = self.invalidator.holds(vec![asked.inode]);
        let work = async move {
            let _held = held;
            dfs.unlink(asked.inode, &name).await.map(|_| forget())
        };
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
        let held = self.invalidator.holds(vec![asked.inode]);
        let work = async move {
            let _held = held;
            dfs.rmdir(asked.inode, &name).await.map(|_| forget())
        };
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
        let held = self.invalidator.holds(vec![asked.inode, to]);
        let (teller, moved) = (self.teller.clone(), new_name.clone());
        let exchanged = (mode == RenameMode::Exchange).then(|| name.clone());
        let work = async move {
            let _held = held;
            let renamed = dfs.rename(asked.inode, &name, to, &new_name, mode);
            renamed.await.map(|()| (forget(), forget_new()).0)
        };
        self.answers.later(asked, reply, work, move |reply, ()| {
            teller.moved(reply, (to, &moved), (asked.inode, exchanged.as_ref()));
        });
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
        let (dfs, teller) = (self.dfs.clone(), self.teller.clone());
        let held = self.invalidator.holds(vec![parent]);
        let linked = name.clone();
        let work = async move { dfs.link(asked.inode, parent, &linked).await };
        self.answers.later(asked, reply, work, move |reply, attr| {
            teller.entry(reply, (parent, &name), Some(attr));
            drop(held);
        });
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
