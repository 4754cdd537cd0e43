//! Access-control lists. The kernel obeys them, and asks for those of each inode that it has to
//! let somebody in to.
//!
//! It keeps what it is told until it is told to forget the attributes of the inode, also that there
//! is no list. So what may not be kept is answered after the kernel was told to forget: then it
//! takes the answer for this once.

use super::{
    groups,
    shared::{Adapter, asked, done},
    xattrs::sized,
};
use bytes::Bytes;
use dfs_proto::{attr::AclKind, change::XattrMode};
use fuser::{Errno, INodeNo, ReplyEmpty, ReplyXattr, Request};

impl Adapter {
    /// Sets a list, and the mode with it.
    pub(super) fn set_acl(
        &self,
        request: &Request,
        inode: INodeNo,
        kind: AclKind,
        value: &[u8],
        reply: ReplyEmpty,
    ) {
        if !self.acls {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let asked = asked("setxattr", inode);
        let who = groups::Asker::of(request);
        let (name, value) = (
            Bytes::from_static(kind.name()),
            Bytes::copy_from_slice(value),
        );
        let (dfs, invalidator) = (self.dfs.clone(), self.invalidator.clone());
        let work = async move {
            let group = dfs.getattr(asked.inode).await?.gid;
            let stranger = kind == AclKind::Access && !who.may_set_group(group);
            let set = dfs.setxattr(asked.inode, name, value, XattrMode::Any, stranger);
            set.await?;
            // The kernel forgets the mode by itself when it is answered, but takes in one that was
            // told before and that it has not looked at yet; not after this.
            invalidator.attributes(asked.inode);
            Ok(())
        };
        self.answers.later(asked, reply, work, done);
    }

    /// A list; at once that there is none.
    pub(super) fn get_acl(&self, inode: INodeNo, kind: AclKind, size: u32, reply: ReplyXattr) {
        if !self.acls {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let asked = asked("getxattr", inode);
        let inode = asked.inode;
        let vouch = self.dfs.vouch();
        if vouch.has_no_acl(inode, kind) {
            return reply.error(Errno::ENODATA);
        }
        drop(vouch);
        let (dfs, root) = (self.dfs.clone(), self.root.clone());
        let work = async move { root.acl(&dfs, inode, kind).await };
        let (dfs, root) = (self.dfs.clone(), self.root.clone());
        let invalidator = self.invalidator.clone();
        self.answers.later(asked, reply, work, move |reply, found| {
            let vouch = dfs.vouch();
            let kept = match &found {
                Some(list) => vouch.keeps_acl(list),
                None => vouch.has_no_acl(inode, kind),
            };
            let _nothing_is_recalled = kept.then_some(vouch);
            // What the root is told in silence goes with its attributes, in less than a second.
            if !kept && !root.is_silent(inode) {
                invalidator.attributes(inode);
            }
            match found {
                Some(list) => sized(reply, &list.bytes, size),
                None => reply.error(Errno::ENODATA),
            }
        });
    }
}
