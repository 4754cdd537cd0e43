//! Names: what they name, and everything that changes that.

use crate::{
    error::Error,
    fs::Dfs,
    link::{Source, Told},
};
use bytes::Bytes;
use dfs_proto::{
    attr::{Attr, FileKind},
    change::{Caller, Change, Changed, Make, RenameMode, XattrMode},
    error::FsError,
    id::{InodeId, SessionId},
    name::Name,
    service::MasterClient,
};
use tokio::time::Instant;

impl Dfs {
    /// The answer of [`Dfs::lookup`], if it may be given without asking.
    pub fn try_lookup(&self, parent: InodeId, name: &Name) -> Option<Result<Attr, Error>> {
        let now = self.now();
        match self.core.attrs.name(parent, name, now) {
            Some((Some(inode), _)) => self.try_getattr(inode).map(Ok),
            Some((None, _)) => Some(Err(FsError::NotFound.into())),
            None => {
                let (directory, _) = self.core.attrs.attr(parent, now)?;
                let absent = self.core.absences.is_absent(&directory, name);
                absent.then(|| Err(FsError::NotFound.into()))
            }
        }
    }

    /// What `name` names in `parent`.
    pub async fn lookup(&self, parent: InodeId, name: &Name) -> Result<Attr, Error> {
        if let Some(answer) = self.try_lookup(parent, name) {
            return answer;
        }
        let lookup = |client: MasterClient, context, session: SessionId| {
            let name = name.clone();
            async move { client.lookup(context, session, parent, name).await }
        };
        let asked = self.core.master.ask("a name", lookup).await;
        let Told { source, answer, .. } =
            asked.inspect_err(|_| self.core.attrs.forget_name(parent, name))?;
        let (now, named) = (self.now(), answer.as_ref().map(|attr| attr.inode));
        let attrs = &self.core.attrs;
        attrs.learn_name(parent, name, named, source, now);
        let found = self.learn(answer.ok_or(FsError::NotFound)?, source);
        attrs.learn_parent(found.inode, parent);
        Ok(found)
    }

    /// The directory that has directory `inode` as an entry.
    pub async fn parent(&self, inode: InodeId) -> Result<InodeId, Error> {
        if let Some(parent) = self.core.attrs.parent(inode, self.now()) {
            return Ok(parent);
        }
        let parent = |client: MasterClient, context, session: SessionId| async move {
            client.parent(context, session, inode).await
        };
        let Told { source, answer, .. } = self.core.master.ask("a parent", parent).await?;
        Ok(self.learn(answer, source).inode)
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
        let name_here = name.clone();
        let change = Change::Make {
            parent,
            name: name_here,
            what,
            mode,
            caller,
        };
        let made = self.change(change).await;
        let (attr, source) = self.made(parent, name, made)?;
        if attr.kind == FileKind::Directory {
            self.core.absences.made(&attr);
        }
        let made = self.learn(attr, source);
        self.core.attrs.learn_parent(made.inode, parent);
        Ok(made)
    }

    /// Another name for an inode.
    pub async fn link(&self, inode: InodeId, parent: InodeId, name: &Name) -> Result<Attr, Error> {
        let name_here = name.clone();
        let change = Change::Link {
            inode,
            parent,
            name: name_here,
        };
        let made = self.change(change).await;
        let (attr, source) = self.made(parent, name, made)?;
        Ok(self.learn(attr, source))
    }

    /// Takes in that something was put under a name; answers what, and when.
    pub(crate) fn made(
        &self,
        parent: InodeId,
        name: &Name,
        made: Result<Told<Changed>, Error>,
    ) -> Result<(Attr, Source), Error> {
        self.core.attrs.forget_name(parent, name);
        let Told { source, answer, .. } = made.inspect_err(|e| self.doubt(e, &[parent]))?;
        let Changed::Made { attr, parent: dir } = answer else {
            return Err(Error::Unfitting("to Make or Link".to_owned()));
        };
        let (now, named) = (self.now(), Some(attr.inode));
        self.core.absences.changed(&dir, Some(name));
        let attrs = &self.core.attrs;
        attrs.learn_name(parent, name, named, source, now);
        self.learn(dir, source);
        Ok((attr, source))
    }

    /// A change of these directories failed: unless it was refused for another reason than what is
    /// in them, nobody knows what they are now.
    fn doubt(&self, error: &Error, directories: &[InodeId]) {
        let known = matches!(error, Error::Refused(why) if *why != FsError::Exists);
        if !known {
            for directory in directories {
                self.core.absences.doubt(*directory);
            }
        }
    }

    /// Removes a name that is no directory's; answers what it named, after that.
    pub async fn unlink(&self, parent: InodeId, name: &Name) -> Result<Attr, Error> {
        let change = Change::Unlink {
            parent,
            name: name.clone(),
        };
        let removed = self.change(change).await;
        self.removed(parent, name, removed)
    }

    /// Removes an empty directory; answers what it was, after that.
    pub async fn rmdir(&self, parent: InodeId, name: &Name) -> Result<Attr, Error> {
        let change = Change::Rmdir {
            parent,
            name: name.clone(),
        };
        let removed = self.change(change).await;
        self.removed(parent, name, removed)
    }

    fn removed(
        &self,
        parent: InodeId,
        name: &Name,
        removed: Result<Told<Changed>, Error>,
    ) -> Result<Attr, Error> {
        self.core.attrs.forget_name(parent, name);
        let Told { source, answer, .. } = removed.inspect_err(|e| self.doubt(e, &[parent]))?;
        let Changed::Removed { attr, parent: dir } = answer else {
            return Err(Error::Unfitting("to Unlink or Rmdir".to_owned()));
        };
        self.core.absences.changed(&dir, None);
        let (attrs, now) = (&self.core.attrs, self.now());
        attrs.learn_name(parent, name, None, source, now);
        if attr.kind == FileKind::Directory {
            self.core.absences.doubt(attr.inode);
        }
        self.learn(dir, source);
        if attr.links == 0 {
            self.table.let_go(attr.inode);
        }
        Ok(self.learn(attr, source))
    }

    /// Moves a name. What stands under the new one is never replaced by bytes that are less safe
    /// than its own: where it must, the source is synced first (D3).
    pub async fn rename(
        &self,
        parent: InodeId,
        name: &Name,
        new_parent: InodeId,
        new_name: &Name,
        mode: RenameMode,
    ) -> Result<(), Error> {
        let moving = self.core.attrs.name(parent, name, self.now());
        let moving = moving.and_then(|(inode, _)| inode);
        if let Some(file) = moving.and_then(|inode| self.table.get(inode)) {
            file.flush().await?;
        }
        let change = Change::Rename {
            parent,
            name: name.clone(),
            new_parent,
            new_name: new_name.clone(),
            mode,
        };
        let until = Instant::now() + self.core.settings.operation_timeout;
        let renamed = loop {
            match self.change(change.clone()).await {
                Err(Error::Refused(FsError::SyncFirst(blocks))) if Instant::now() < until => {
                    let session = self.core.master.session().await?;
                    self.core.blocks.sync_first(&session, blocks).await?;
                }
                renamed => break renamed,
            }
        };
        self.core.attrs.forget_name(parent, name);
        self.core.attrs.forget_name(new_parent, new_name);
        let both = [parent, new_parent];
        let Told { source, answer, .. } = renamed.inspect_err(|e| self.doubt(e, &both))?;
        let Changed::Renamed {
            attr,
            parent: dir,
            new_parent: new_dir,
            other,
        } = answer
        else {
            return Err(Error::Unfitting("to Rename".to_owned()));
        };
        let (now, named) = (self.now(), Some(attr.inode));
        let absences = &self.core.absences;
        if parent != new_parent {
            // Exchanged, the other's name stays where it was.
            absences.changed(&dir, None);
        }
        absences.changed(&new_dir, Some(new_name));
        self.learn(dir, source);
        self.learn(new_dir, source);
        let attrs = &self.core.attrs;
        attrs.learn_name(new_parent, new_name, named, source, now);
        let left = match (mode, &other) {
            (RenameMode::Exchange, Some(other)) => Some(other.inode),
            _ => None,
        };
        // Renamed onto another name of itself, a file keeps both.
        let may_have_both = attr.kind != FileKind::Directory && attr.links > 1 && other.is_none();
        if (parent, name) != (new_parent, new_name) && !may_have_both {
            attrs.learn_name(parent, name, left, source, now);
        }
        let moved = self.learn(attr, source);
        attrs.learn_parent(moved.inode, new_parent);
        if let Some(other) = other {
            attrs.learn_parent(other.inode, parent);
            self.core.absences.doubt(other.inode);
            if other.links == 0 {
                self.table.let_go(other.inode);
            }
            self.learn(other, source);
        }
        Ok(())
    }

    /// The value of an extended attribute.
    pub async fn getxattr(&self, inode: InodeId, name: Bytes) -> Result<Bytes, Error> {
        let getxattr = |client: MasterClient, context, session: SessionId| {
            let name = name.clone();
            async move { client.getxattr(context, session, inode, name).await }
        };
        let value = self.core.master.ask("an extended attribute", getxattr);
        Ok(value.await?.answer)
    }

    /// The names of all extended attributes.
    pub async fn listxattr(&self, inode: InodeId) -> Result<Vec<Bytes>, Error> {
        let listxattr = |client: MasterClient, context, session: SessionId| async move {
            client.listxattr(context, session, inode).await
        };
        let names = self.core.master.ask("extended attributes", listxattr);
        Ok(names.await?.answer)
    }

    /// Sets an extended attribute. `kill_set_group` says of an access-control list that who sets it
    /// does not belong to the group of the inode.
    pub async fn setxattr(
        &self,
        inode: InodeId,
        name: Bytes,
        value: Bytes,
        mode: XattrMode,
        kill_set_group: bool,
    ) -> Result<(), Error> {
        let change = Change::SetXattr {
            inode,
            name,
            value,
            mode,
            kill_set_group,
        };
        self.changed_attr(change).await
    }

    /// Removes an extended attribute.
    pub async fn removexattr(&self, inode: InodeId, name: Bytes) -> Result<(), Error> {
        self.changed_attr(Change::RemoveXattr { inode, name }).await
    }

    async fn changed_attr(&self, change: Change) -> Result<(), Error> {
        let Told { source, answer, .. } = self.change(change).await?;
        let Changed::Attr(attr) = answer else {
            return Err(Error::Unfitting("to a change of attributes".to_owned()));
        };
        self.learn(attr, source);
        Ok(())
    }
}
