//! What may be told to someone who keeps it.
//!
//! Whoever is told something to keep gets it while a [`Vouch`] is held: a recall that comes meanwhile
//! waits for that, and so finds it with whom it was told to.

use crate::{
    error::Error,
    fs::Dfs,
    link::{Source, Told},
};
use bytes::Bytes;
use dfs_proto::{
    attr::{AclKind, Attr},
    error::FsError,
    id::{InodeId, SessionId},
    name::Name,
    service::MasterClient,
};
use parking_lot::RwLockReadGuard;
use std::time::Duration;

/// How long the root may be answered as it was last known while nobody answers: asking each time
/// would be waiting each time.
const ROOT_IN_SILENCE: Duration = Duration::from_millis(700);

/// Something that may be kept, each part for so long; zero where it may not be kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// What the name names; nothing, if it is absent.
    pub attr: Option<Attr>,
    /// For how long the attributes.
    pub attr_for: Duration,
    /// For how long the name.
    pub name_for: Duration,
}

/// An access-control list as the master told it.
#[derive(Debug, Clone)]
pub struct FoundAcl {
    /// Its bytes, as an extended attribute.
    pub bytes: Bytes,
    inode: InodeId,
    source: Source,
}

/// As long as it is held, nothing is recalled. Held for a moment, and never over a wait.
pub struct Vouch<'a> {
    dfs: &'a Dfs,
    now: Duration,
    _gate: RwLockReadGuard<'a, ()>,
}

impl Dfs {
    /// Holds recalls back while something is told.
    pub fn vouch(&self) -> Vouch<'_> {
        Vouch {
            dfs: self,
            now: self.now(),
            _gate: self.core.gate.read(),
        }
    }

    /// An access-control list of an inode whose attributes say that it has one; `None` if it has lost
    /// it since.
    pub async fn acl(&self, inode: InodeId, kind: AclKind) -> Result<Option<FoundAcl>, Error> {
        let getxattr = |client: MasterClient, context, session: SessionId| async move {
            let name = Bytes::from_static(kind.name());
            client.getxattr(context, session, inode, name).await
        };
        let asked = self.core.master.ask("an access-control list", getxattr);
        match asked.await {
            Ok(Told { source, answer, .. }) => Ok(Some(FoundAcl {
                bytes: answer,
                inode,
                source,
            })),
            Err(Error::Refused(FsError::NoAttribute)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Vouch<'_> {
    /// The attributes of an inode, if they may be kept, and for how long.
    pub fn attr(&self, inode: InodeId) -> Option<(Attr, Duration)> {
        let (attr, left) = self.dfs.core.attrs.attr(inode, self.now)?;
        Some((self.dfs.overlaid(attr), left))
    }

    /// Attributes that were just answered, or newer ones, and for how long they may be kept.
    pub fn attr_or(&self, answered: Attr) -> (Attr, Duration) {
        let known = self.attr(answered.inode);
        known.unwrap_or_else(|| {
            let silent = self.dfs.core.master.lease.left(self.now).is_zero();
            let left = match silent && answered.inode == InodeId::ROOT {
                true => ROOT_IN_SILENCE,
                false => Duration::ZERO,
            };
            (answered, left)
        })
    }

    /// Whether it may be kept that an inode has no such access-control list.
    pub fn has_no_acl(&self, inode: InodeId, kind: AclKind) -> bool {
        let known = self.attr(inode);
        known.is_some_and(|(attr, _)| !attr.acls.has(kind))
    }

    /// Whether an access-control list may be kept.
    pub fn keeps_acl(&self, found: &FoundAcl) -> bool {
        let attrs = &self.dfs.core.attrs;
        attrs.keeps(found.inode, found.source, self.now)
    }

    /// What a name names, if that may be kept.
    pub fn name(&self, parent: InodeId, name: &Name) -> Option<Kept> {
        let attrs = &self.dfs.core.attrs;
        match attrs.name(parent, name, self.now) {
            Some((Some(inode), name_for)) => {
                let (attr, attr_for) = self.attr(inode)?;
                Some(Kept {
                    attr: Some(attr),
                    attr_for,
                    name_for,
                })
            }
            Some((None, name_for)) => Some(Kept {
                attr: None,
                attr_for: Duration::ZERO,
                name_for,
            }),
            None => {
                let (directory, name_for) = attrs.attr(parent, self.now)?;
                let absent = self.dfs.core.absences.is_absent(&directory, name);
                absent.then_some(Kept {
                    attr: None,
                    attr_for: Duration::ZERO,
                    name_for,
                })
            }
        }
    }

    /// What a name was just answered to name, and what of that may be kept.
    pub fn name_or(&self, parent: InodeId, name: &Name, answered: Option<Attr>) -> Kept {
        let inode = answered.as_ref().map(|attr| attr.inode);
        let known = self.name(parent, name);
        let same = |known: &Kept| known.attr.as_ref().map(|attr| attr.inode) == inode;
        known.filter(same).unwrap_or_else(|| {
            let attr = answered.map(|attr| self.attr_or(attr));
            Kept {
                attr_for: attr.as_ref().map_or(Duration::ZERO, |(_, left)| *left),
                attr: attr.map(|(attr, _)| attr),
                name_for: Duration::ZERO,
            }
        })
    }
}

/// A name that names nothing, as an answer and not as an error.
pub fn absence(looked_up: Result<Attr, Error>) -> Result<Option<Attr>, Error> {
    match looked_up {
        Err(Error::Refused(FsError::NotFound)) => Ok(None),
        other => other.map(Some),
    }
}
