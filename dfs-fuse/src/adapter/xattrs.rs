//! Extended attributes but for access-control lists, and space.

use super::shared::{Adapter, STATFS_BLOCK_BYTES, asked, done};
use bytes::Bytes;
use dfs_proto::{change::XattrMode, id::InodeId};
use fuser::{Errno, INodeNo, ReplyEmpty, ReplyStatfs, ReplyXattr, Request};
use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

/// Names of this kind are shown to nobody but root; the kernel looks after their values itself.
const TRUSTED: &[u8] = b"trusted.";

/// A label that only SELinux gives a meaning. `ls -l` asks for that of every file, unless it is told
/// once that there can be none.
const LABEL: &[u8] = b"security.selinux";

impl Adapter {
    /// Sets an attribute.
    pub(super) fn set_xattr(
        &self,
        inode: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        reply: ReplyEmpty,
    ) {
        let mode = match flags {
            0 => XattrMode::Any,
            libc::XATTR_CREATE => XattrMode::Create,
            libc::XATTR_REPLACE => XattrMode::Replace,
            _ => return reply.error(Errno::EINVAL),
        };
        let asked = asked("setxattr", inode);
        let name = Bytes::copy_from_slice(name.as_bytes());
        let value = Bytes::copy_from_slice(value);
        let dfs = self.dfs.clone();
        let work = async move { dfs.setxattr(asked.inode, name, value, mode, false).await };
        self.answers.later(asked, reply, work, done);
    }

    /// The value of an attribute; at once that there is none.
    pub(super) fn get_xattr(&self, inode: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let asked = asked("getxattr", inode);
        let known = self.dfs.try_getattr(asked.inode);
        if known.is_some_and(|attr| attr.xattrs == attr.acls.count()) {
            return reply.error(match name.as_bytes() == LABEL && !self.labels {
                true => Errno::EOPNOTSUPP,
                false => Errno::ENODATA,
            });
        }
        let name = Bytes::copy_from_slice(name.as_bytes());
        let (dfs, root) = (self.dfs.clone(), self.root.clone());
        let work = async move { root.getxattr(&dfs, asked.inode, name).await };
        self.answers.later(asked, reply, work, move |reply, value| {
            sized(reply, &value, size)
        });
    }

    /// The names of all attributes that the caller may see; at once that there are none.
    pub(super) fn list_xattrs(
        &self,
        request: &Request,
        inode: INodeNo,
        size: u32,
        reply: ReplyXattr,
    ) {
        let asked = asked("listxattr", inode);
        let known = self.dfs.try_getattr(asked.inode);
        if known.is_some_and(|attr| attr.xattrs == 0) {
            return sized(reply, &[], size);
        }
        let (dfs, root) = (self.dfs.clone(), self.root.clone());
        let work = async move { root.listxattr(&dfs, asked.inode).await };
        let privileged = request.uid() == 0;
        self.answers.later(asked, reply, work, move |reply, names| {
            let told = names
                .iter()
                .filter(|name| privileged || !name.starts_with(TRUSTED));
            let list: Vec<u8> = told.flat_map(|name| [name, &b"\0"[..]].concat()).collect();
            sized(reply, &list, size);
        });
    }

    /// Space and inodes.
    pub(super) fn space(&self, inode: INodeNo, reply: ReplyStatfs) {
        let dfs = self.dfs.clone();
        let work = async move { dfs.statfs(InodeId(inode.0)).await };
        self.answers
            .later(asked("statfs", inode), reply, work, |reply, space| {
                let blocks = |bytes: u64| bytes / u64::from(STATFS_BLOCK_BYTES);
                let inodes = space.inodes_used.saturating_add(space.inodes_free);
                let name_bytes = u32::try_from(dfs_proto::name::NAME_BYTES_MAX).expect("is 255");
                let unit = STATFS_BLOCK_BYTES;
                reply.statfs(
                    blocks(space.bytes_total),
                    blocks(space.bytes_spare),
                    blocks(space.bytes_free),
                    inodes,
                    space.inodes_free,
                    unit,
                    name_bytes,
                    unit,
                );
            });
    }
}

/// A value of `len` bytes for a caller with room for `room`; no room asks for the length.
pub(super) fn sized(reply: ReplyXattr, value: &[u8], room: u32) {
    match u32::try_from(value.len()) {
        Ok(len) if room == 0 => reply.size(len),
        Ok(len) if len <= room => reply.data(value),
        _ => reply.error(Errno::ERANGE),
    }
}
