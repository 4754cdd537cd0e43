//! The file system: every call, one method each.

use crate::{error::Error, handle::OpenFile, settings::Settings};
use bytes::Bytes;
use dfs_host::clock::Clock;
use dfs_proto::{
    attr::{Attr, SetAttr},
    change::{Caller, Make, RenameMode, XattrMode},
    id::InodeId,
    name::Name,
    view::{Cookie, Listing, Space},
};
use std::{sync::Arc, time::Duration};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenHow {
    /// Each write goes to the end of the file (O_APPEND).
    pub append: bool,
    /// Truncate to nothing in the same step (O_TRUNC).
    pub truncate: bool,
    /// Clear set-user-id and set-group-id bits where truncating must.
    pub kill_privileges: bool,
}

/// What opening a file gives.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The handle.
    pub file: Arc<OpenFile>,
    /// The attributes at the moment of opening.
    pub attr: Attr,
    /// The content is the same as when this client last had it open, own writes included: pages
    /// cached from then are right.
    pub keep_cache: bool,
    /// Size or version differ from what this client last answered for the inode: whoever cached
    /// that must forget it before the open is answered.
    pub attrs_changed: bool,
}

/// A file system. Clones share everything.
#[derive(Clone, Debug)]
pub struct Dfs {
    settings: Arc<Settings>,
}

impl Dfs {
    /// Opens a session with the master, waiting for it up to the operation timeout.
    pub async fn connect(settings: Settings, clock: Arc<dyn Clock>) -> Result<Dfs, Error> {
        let _ = clock;
        Ok(Dfs {
            settings: Arc::new(settings),
        })
    }

    /// How it was set up.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The answer of [`Dfs::lookup`], if it is fresh enough to be given without asking.
    pub fn try_lookup(&self, parent: InodeId, name: &Name) -> Option<Result<Attr, Error>> {
        let _ = (parent, name);
        None
    }

    /// What `name` names in `parent`.
    pub async fn lookup(&self, parent: InodeId, name: &Name) -> Result<Attr, Error> {
        let _ = (parent, name);
        Err(Error::ShutDown)
    }

    /// The directory that has directory `inode` as an entry.
    pub async fn parent(&self, inode: InodeId) -> Result<Attr, Error> {
        let _ = inode;
        Err(Error::ShutDown)
    }

    /// The answer of [`Dfs::getattr`], if it is fresh enough to be given without asking.
    pub fn try_getattr(&self, inode: InodeId) -> Option<Attr> {
        let _ = inode;
        None
    }

    /// The attributes of `inode`, with what this client has written and not yet sent.
    pub async fn getattr(&self, inode: InodeId) -> Result<Attr, Error> {
        let _ = inode;
        Err(Error::ShutDown)
    }

    /// Sets attributes, size included, in order with what was written before.
    pub async fn setattr(&self, inode: InodeId, set: SetAttr) -> Result<Attr, Error> {
        let _ = (inode, set);
        Err(Error::ShutDown)
    }

    /// mkdir, mknod, symlink; a file that is not opened.
    pub async fn make(
        &self,
        parent: InodeId,
        name: &Name,
        what: Make,
        mode: u16,
        caller: Caller,
    ) -> Result<Attr, Error> {
        let _ = (parent, name, what, mode, caller);
        Err(Error::ShutDown)
    }

    /// Makes a file and opens it. `Exists` if the name is taken.
    pub async fn create(
        &self,
        parent: InodeId,
        name: &Name,
        mode: u16,
        caller: Caller,
        append: bool,
    ) -> Result<(Attr, Arc<OpenFile>), Error> {
        let _ = (parent, name, mode, caller, append);
        Err(Error::ShutDown)
    }

    /// Another name for an inode.
    pub async fn link(&self, inode: InodeId, parent: InodeId, name: &Name) -> Result<Attr, Error> {
        let _ = (inode, parent, name);
        Err(Error::ShutDown)
    }

    /// Removes a name that is no directory's; answers what it named, after that.
    pub async fn unlink(&self, parent: InodeId, name: &Name) -> Result<Attr, Error> {
        let _ = (parent, name);
        Err(Error::ShutDown)
    }

    /// Removes an empty directory; answers what it was, after that.
    pub async fn rmdir(&self, parent: InodeId, name: &Name) -> Result<Attr, Error> {
        let _ = (parent, name);
        Err(Error::ShutDown)
    }

    /// Moves a name.
    pub async fn rename(
        &self,
        parent: InodeId,
        name: &Name,
        new_parent: InodeId,
        new_name: &Name,
        mode: RenameMode,
    ) -> Result<(), Error> {
        let _ = (parent, name, new_parent, new_name, mode);
        Err(Error::ShutDown)
    }

    /// The target of a symbolic link.
    pub async fn readlink(&self, inode: InodeId) -> Result<Bytes, Error> {
        let _ = inode;
        Err(Error::ShutDown)
    }

    /// The value of an extended attribute.
    pub async fn getxattr(&self, inode: InodeId, name: Bytes) -> Result<Bytes, Error> {
        let _ = (inode, name);
        Err(Error::ShutDown)
    }

    /// The names of all extended attributes.
    pub async fn listxattr(&self, inode: InodeId) -> Result<Vec<Bytes>, Error> {
        let _ = inode;
        Err(Error::ShutDown)
    }

    /// Sets an extended attribute.
    pub async fn setxattr(
        &self,
        inode: InodeId,
        name: Bytes,
        value: Bytes,
        mode: XattrMode,
    ) -> Result<(), Error> {
        let _ = (inode, name, value, mode);
        Err(Error::ShutDown)
    }

    /// Removes an extended attribute.
    pub async fn removexattr(&self, inode: InodeId, name: Bytes) -> Result<(), Error> {
        let _ = (inode, name);
        Err(Error::ShutDown)
    }

    /// At most `limit` entries of a directory after cookie `after`.
    pub async fn readdir(
        &self,
        inode: InodeId,
        after: Cookie,
        limit: u32,
        attrs: bool,
    ) -> Result<Listing, Error> {
        let _ = (inode, after, limit, attrs);
        Err(Error::ShutDown)
    }

    /// Space and inodes; the last answer known where the master does not give one within 500 ms.
    pub async fn statfs(&self) -> Result<Space, Error> {
        Err(Error::ShutDown)
    }

    /// Opens a file.
    pub async fn open(&self, inode: InodeId, how: OpenHow) -> Result<Opened, Error> {
        let _ = (inode, how);
        Err(Error::ShutDown)
    }

    /// fsync(2) of a directory: every change of names that was answered is in the synced log.
    pub async fn sync_directory(&self, inode: InodeId) -> Result<(), Error> {
        let _ = inode;
        Err(Error::ShutDown)
    }

    /// Sends and commits all that is dirty and ends the session, within `deadline`.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), Error> {
        let _ = deadline;
        Ok(())
    }
}
