//! Whoever keeps what this client told: the kernel, behind a mount.

use dfs_proto::{extent::FileRange, id::InodeId, name::Name, session::Recall};
use futures::future::BoxFuture;
use std::fmt;

/// Whoever keeps what this client told, and has to forget it when the client does.
pub trait Audience: Send + Sync + fmt::Debug {
    /// Forgets the attributes and names that these name; done when nothing that was told before is
    /// answered any more.
    fn forget(&self, recalls: Vec<Recall>) -> BoxFuture<'static, ()>;

    /// Waits a moment until what is being asked about a file has been answered.
    fn settle(&self, inode: InodeId) -> BoxFuture<'static, ()>;

    /// Forgets the bytes of a range of a file, once reads of them have been answered; answers `false`
    /// if a write that has not been answered holds some of them: then there is nothing in those, and
    /// what comes after them in the range may not be forgotten yet.
    fn forget_bytes(&self, inode: InodeId, range: FileRange) -> BoxFuture<'static, bool>;

    /// Forgets the attributes of these inodes, and these names by their directories.
    fn forget_all(
        &self,
        inodes: Vec<InodeId>,
        names: Vec<(InodeId, Vec<Name>)>,
    ) -> BoxFuture<'static, ()>;

    /// The attributes of an inode are not quite what was told. Never waits.
    fn forget_attributes(&self, inode: InodeId);

    /// The bytes of a file that are being told may not be kept. Never waits.
    fn forget_content(&self, inode: InodeId);

    /// What a name names is not remembered here any more. Never waits.
    fn forget_name(&self, parent: InodeId, name: &Name);
}

/// Keeps nothing.
#[derive(Debug)]
pub(crate) struct Nobody;

impl Audience for Nobody {
    fn forget(&self, _: Vec<Recall>) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn settle(&self, _: InodeId) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn forget_bytes(&self, _: InodeId, _: FileRange) -> BoxFuture<'static, bool> {
        Box::pin(async { true })
    }

    fn forget_all(&self, _: Vec<InodeId>, _: Vec<(InodeId, Vec<Name>)>) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn forget_attributes(&self, _: InodeId) {}

    fn forget_content(&self, _: InodeId) {}

    fn forget_name(&self, _: InodeId, _: &Name) {}
}
