//! Which function carries out which change.

use crate::{
    blocks::{allocate, commit, range, seal},
    engine::command::Grant,
    locks::held,
    namespace::{acl, link, lookup, make, open, rename, session, setattr, unlink, xattr},
    policy::blocks::want,
    tables::{
        rows::InodeRow,
        txn::{Rows, Txn},
    },
};
use dfs_proto::{
    attr::AclKind,
    change::{Change, Changed},
    error::FsError,
    id::SessionId,
    session::LockOwner,
    time::Timestamp,
};

/// Carries out a change of a session. On an error the transaction is to be dropped.
pub fn operate(
    txn: &mut Txn<'_>,
    now: Timestamp,
    session: SessionId,
    change: &Change,
    grant: &Grant,
) -> Result<Changed, FsError> {
    match change {
        Change::Make { .. }
        | Change::Link { .. }
        | Change::Unlink { .. }
        | Change::Rmdir { .. }
        | Change::Rename { .. } => names(txn, now, session, change, grant),
        Change::SetAttr { inode, set } => {
            setattr::setattr(txn, now, *inode, set).map(Changed::Attr)
        }
        Change::SetXattr {
            inode,
            name,
            value,
            mode,
            kill_set_group,
        } => match AclKind::of(name) {
            Some(kind) => acl::set(txn, now, *inode, kind, value, *kill_set_group),
            None => xattr::set(txn, now, *inode, name, value, *mode),
        }
        .map(Changed::Attr),
        Change::RemoveXattr { inode, name } => match AclKind::of(name) {
            Some(kind) => acl::remove(txn, now, *inode, kind),
            None => xattr::remove(txn, now, *inode, name),
        }
        .map(Changed::Attr),
        Change::Open {
            inode,
            truncate,
            kill_privileges,
        } => {
            open::open(txn, now, session, *inode, *truncate, *kill_privileges).map(Changed::Opened)
        }
        Change::Close { inodes } => open::close(txn, now, session, inodes).map(|()| Changed::Done),
        Change::Allocate { inode, .. } => match grant {
            Grant::Block {
                block,
                replicas,
                copies,
                wants,
            } => {
                let place = allocate::allocate(txn, session, *block, replicas, *wants)?;
                // It may have changed since that was granted. One that is gone gets no more bytes.
                if let Some(row) = txn.row::<InodeRow>(*inode)? {
                    want(txn, *block, row.policy)?;
                }
                let copies = *copies;
                Ok(Changed::Placed { place, copies })
            }
            Grant::Nothing | Grant::Inode(_) => Err(no_grant("block")),
        },
        Change::Commit { files, synced, .. } => {
            commit::commit(txn, now, session, files, synced).map(Changed::Committed)
        }
        Change::Seal { block, length } => {
            seal::by_writer(txn, now, session, *block, *length).map(|()| Changed::Done)
        }
        Change::Sync => Ok(Changed::Done),
        Change::EndSession => session::end(txn, now, session).map(|()| Changed::Done),
        Change::Fallocate { .. } | Change::CloneRange { .. } => ranges(txn, now, session, change),
        Change::Lock { .. } | Change::Unlock { .. } | Change::Locks { .. } => {
            locks(txn, session, change)
        }
        Change::Access { accesses } => setattr::access(txn, now, accesses).map(|()| Changed::Done),
    }
}

/// The changes of names.
fn names(
    txn: &mut Txn<'_>,
    now: Timestamp,
    session: SessionId,
    change: &Change,
    grant: &Grant,
) -> Result<Changed, FsError> {
    match change {
        Change::Make {
            parent,
            name,
            what,
            mode,
            caller,
        } => {
            let Grant::Inode(inode) = grant else {
                return Err(no_grant("inode"));
            };
            let request = make::Request {
                session,
                inode: *inode,
                parent: *parent,
                name,
                what,
                mode: *mode,
                caller: *caller,
            };
            make::make(txn, now, request)
        }
        Change::Link {
            inode,
            parent,
            name,
        } => link::link(txn, now, *inode, *parent, name),
        Change::Unlink { parent, name } => unlink::unlink(txn, now, *parent, name),
        Change::Rmdir { parent, name } => unlink::rmdir(txn, now, *parent, name),
        Change::Rename {
            parent,
            name,
            new_parent,
            new_name,
            mode,
        } => {
            let from = rename::Place {
                parent: *parent,
                name,
            };
            let to = rename::Place {
                parent: *new_parent,
                name: new_name,
            };
            rename::rename(txn, now, from, to, *mode)
        }
        _ => unreachable!("the caller sends only changes of names"),
    }
}

/// The changes of ranges that move no bytes.
fn ranges(
    txn: &mut Txn<'_>,
    now: Timestamp,
    session: SessionId,
    change: &Change,
) -> Result<Changed, FsError> {
    match change {
        Change::Fallocate {
            inode,
            range,
            mode,
            kill_privileges,
        } => range::fallocate(txn, now, *inode, *range, *mode, *kill_privileges)
            .map(|(attr, until)| Changed::Ranged { attr, until }),
        Change::CloneRange {
            source,
            from,
            inode,
            at,
            len,
            kill_privileges,
        } => {
            let request = range::CloneRequest {
                source: *source,
                from: *from,
                inode: *inode,
                at: *at,
                len: *len,
                kill_privileges: *kill_privileges,
            };
            range::clone(txn, now, session, request)
        }
        _ => unreachable!("the caller sends only changes of ranges"),
    }
}

/// The changes of locks.
fn locks(txn: &mut Txn<'_>, session: SessionId, change: &Change) -> Result<Changed, FsError> {
    match change {
        Change::Lock { inode, wish, known } => {
            held::lock(txn, session, *inode, wish)?;
            let attr = lookup::getattr(txn, *inode)?;
            match *known == Some(attr.data_version) {
                true => Ok(Changed::Attr(attr)),
                false => lookup::view(txn, *inode).map(Changed::Opened),
            }
        }
        Change::Unlock {
            inode,
            owner,
            range,
        } => {
            let owner = LockOwner {
                session,
                number: *owner,
            };
            held::unlock(txn, *inode, owner, *range).map(|()| Changed::Done)
        }
        Change::Locks { inode, held } => {
            held::replace(txn, session, *inode, held).map(|()| Changed::Done)
        }
        _ => unreachable!("the caller sends only changes of locks"),
    }
}

fn no_grant(what: &str) -> FsError {
    FsError::Invalid(format!("the leader granted no {what}"))
}
