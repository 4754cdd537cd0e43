//! The root of the mount, which answers even when nobody else does.
//!
//! `df`, `ls` of the mount point and `umount` must not hang with every daemon down: a machine with a
//! hanging mount point cannot even be looked after. So what the root is asked for is waited for a
//! short while only, and then told as it was last known.

use crate::errno;
use bytes::Bytes;
use dfs_client::{Dfs, Error, FoundAcl};
use dfs_proto::{
    attr::{AclKind, Attr},
    error::FsError,
    id::InodeId,
    view::{Cookie, ENTRIES_PER_ANSWER_MAX, Listing},
};
use parking_lot::Mutex;
use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// How long an answer about the root is waited for.
const PATIENCE: Duration = Duration::from_millis(600);

/// How long once the cluster has been silent: `ls` asks several times, and is to end within a second.
const PATIENCE_IN_SILENCE: Duration = Duration::from_millis(100);

/// What was last known of the root.
#[derive(Debug)]
pub(crate) struct Root {
    attr: Mutex<Attr>,
    /// Its first entries, with attributes.
    listing: Mutex<Listing>,
    /// Its access-control lists, if it has them and was asked for them.
    access: Mutex<Option<FoundAcl>>,
    default: Mutex<Option<FoundAcl>>,
    /// The last question was not answered in time.
    silent: AtomicBool,
}

impl Root {
    /// Asks for the root a first time.
    pub(crate) async fn learn(dfs: &Dfs) -> Result<Root, Error> {
        let attr = dfs.getattr(InodeId::ROOT).await?;
        let listing = dfs
            .readdir(InodeId::ROOT, 0, ENTRIES_PER_ANSWER_MAX, true)
            .await?;
        Ok(Root {
            attr: Mutex::new(attr),
            listing: Mutex::new(listing),
            access: Mutex::default(),
            default: Mutex::default(),
            silent: AtomicBool::new(false),
        })
    }

    /// The attributes of an inode; those last known of the root where no answer comes.
    pub(crate) async fn getattr(&self, dfs: &Dfs, inode: InodeId) -> Result<Attr, Error> {
        if inode != InodeId::ROOT {
            return dfs.getattr(inode).await;
        }
        match self.answer(dfs.getattr(inode)).await {
            Some(attr) => {
                let attr = attr?;
                self.attr.lock().clone_from(&attr);
                Ok(attr)
            }
            None => Ok(self.attr.lock().clone()),
        }
    }

    /// Entries of a directory; those last known of the root where no answer comes.
    pub(crate) async fn readdir(
        &self,
        dfs: &Dfs,
        inode: InodeId,
        after: Cookie,
        limit: u32,
        attrs: bool,
    ) -> Result<Listing, Error> {
        if inode != InodeId::ROOT {
            return dfs.readdir(inode, after, limit, attrs).await;
        }
        match self.answer(dfs.readdir(inode, after, limit, attrs)).await {
            Some(listing) => {
                let listing = listing?;
                if after == 0 && attrs {
                    self.listing.lock().clone_from(&listing);
                }
                Ok(listing)
            }
            None => {
                let mut known = self.listing.lock().clone();
                known.entries.retain(|entry| entry.cookie > after);
                known.complete = true;
                Ok(known)
            }
        }
    }

    /// An extended attribute of an inode; where no answer comes, that the root has none, if that is
    /// what was last known. `ls -l` asks before it prints anything.
    pub(crate) async fn getxattr(
        &self,
        dfs: &Dfs,
        inode: InodeId,
        name: Bytes,
    ) -> Result<Bytes, Error> {
        if inode != InodeId::ROOT || self.attr.lock().xattrs > 0 {
            return dfs.getxattr(inode, name).await;
        }
        let none = Err(Error::Refused(FsError::NoAttribute));
        self.answer(dfs.getxattr(inode, name)).await.unwrap_or(none)
    }

    /// An access-control list of an inode; the one last known of the root where no answer comes.
    pub(crate) async fn acl(
        &self,
        dfs: &Dfs,
        inode: InodeId,
        kind: AclKind,
    ) -> Result<Option<FoundAcl>, Error> {
        if !self.getattr(dfs, inode).await?.acls.has(kind) {
            return Ok(None);
        }
        if inode != InodeId::ROOT {
            return dfs.acl(inode, kind).await;
        }
        let known = || match kind {
            AclKind::Access => &self.access,
            AclKind::Default => &self.default,
        };
        match self.answer(dfs.acl(inode, kind)).await {
            Some(found) => {
                let found = found?;
                known().lock().clone_from(&found);
                Ok(found)
            }
            None => Ok(known().lock().clone()),
        }
    }

    /// Whether this is the root and its last question was not answered in time.
    pub(crate) fn is_silent(&self, inode: InodeId) -> bool {
        inode == InodeId::ROOT && self.silent.load(Ordering::Relaxed)
    }

    /// The names of the extended attributes of an inode, in the same way.
    pub(crate) async fn listxattr(&self, dfs: &Dfs, inode: InodeId) -> Result<Vec<Bytes>, Error> {
        if inode != InodeId::ROOT || self.attr.lock().xattrs > 0 {
            return dfs.listxattr(inode).await;
        }
        let none = Ok(Vec::new());
        self.answer(dfs.listxattr(inode)).await.unwrap_or(none)
    }

    /// The answer, unless none comes in time or it is that the cluster cannot give one.
    async fn answer<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Option<Result<T, Error>> {
        let patience = match self.silent.load(Ordering::Relaxed) {
            true => PATIENCE_IN_SILENCE,
            false => PATIENCE,
        };
        let answer = tokio::time::timeout(patience, work).await.ok();
        let answer = answer.filter(|answer| !answer.as_ref().is_err_and(errno::is_alarming));
        self.silent.store(answer.is_none(), Ordering::Relaxed);
        answer
    }
}
