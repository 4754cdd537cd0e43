//! Lists set, removed, inherited, and changed by chmod: the list, the mode and what the inode's row
//! says of its lists change together.

use super::list::{List, PERMISSIONS};
use crate::{
    namespace::{directory, xattr},
    tables::{
        rows::{InodeRow, XattrRow},
        txn::{Rows, Txn},
    },
};
use bytes::Bytes;
use dfs_proto::{
    attr::{AclKind, Attr, FileKind},
    change::Caller,
    error::FsError,
    id::InodeId,
    time::Timestamp,
};

const SET_GROUP: u16 = 0o2000;

/// Sets a list. An access list sets the mode, and is not kept where it says no more than that.
pub fn set(
    txn: &mut Txn<'_>,
    now: Timestamp,
    inode: InodeId,
    kind: AclKind,
    value: &Bytes,
    kill_set_group: bool,
) -> Result<Attr, FsError> {
    let mut row = directory::inode(txn, inode)?;
    let Some(list) = List::parse(value)? else {
        return remove(txn, now, inode, kind);
    };
    if row.kind == FileKind::Symlink {
        return Err(FsError::Invalid("a list of a symbolic link".to_owned()));
    }
    let kept = match kind {
        AclKind::Default if !row.is_directory() => return Err(FsError::NoDefaultAcl),
        AclKind::Default => true,
        AclKind::Access => {
            row.mode = row.mode & !PERMISSIONS | list.mode();
            if kill_set_group {
                row.mode &= !SET_GROUP;
            }
            !list.is_mode()
        }
    };
    keep(txn, inode, &mut row, kind, kept.then_some(&list))?;
    row.touch(now);
    txn.put(inode, &row);
    Ok(row.attr(inode))
}

/// Removes a list. The mode stays what it is. That there is none is fine, and changes nothing.
pub fn remove(
    txn: &mut Txn<'_>,
    now: Timestamp,
    inode: InodeId,
    kind: AclKind,
) -> Result<Attr, FsError> {
    let mut row = directory::inode(txn, inode)?;
    if row.acls.has(kind) {
        keep(txn, inode, &mut row, kind, None)?;
        row.touch(now);
        txn.put(inode, &row);
    }
    Ok(row.attr(inode))
}

/// Has the access list say what the mode says, which was just set. The caller writes the row.
pub fn chmod(txn: &mut Txn<'_>, inode: InodeId, row: &mut InodeRow) -> Result<(), FsError> {
    if !row.acls.access {
        return Ok(());
    }
    let list = of(txn, inode, AclKind::Access)?.with_mode(row.mode);
    keep(txn, inode, row, AclKind::Access, Some(&list))
}

/// Gives a new inode what the default list of the directory above says, or where that has none,
/// takes away what the caller's umask says. The mode of the row is what was asked for; the caller
/// writes the row.
pub fn inherit(
    txn: &mut Txn<'_>,
    parent: (InodeId, &InodeRow),
    inode: InodeId,
    row: &mut InodeRow,
    caller: Caller,
) -> Result<(), FsError> {
    let (parent, above) = parent;
    // A link has all rights, and nobody asks.
    if row.kind == FileKind::Symlink {
        return Ok(());
    }
    if !above.acls.default {
        row.mode &= !(caller.umask & PERMISSIONS);
        return Ok(());
    }
    let default = of(txn, parent, AclKind::Default)?;
    if row.is_directory() {
        keep(txn, inode, row, AclKind::Default, Some(&default))?;
    }
    let access = default.inherited(row.mode);
    row.mode = row.mode & !PERMISSIONS | access.mode();
    let kept = (!access.is_mode()).then_some(&access);
    keep(txn, inode, row, AclKind::Access, kept)
}

/// A list that the inode's row says is there.
fn of(read: &impl Rows, inode: InodeId, kind: AclKind) -> Result<List, FsError> {
    let row = read.row::<XattrRow>((inode, kind.name()))?;
    let list = row.and_then(|row| List::parse(&row.0).ok().flatten());
    list.ok_or_else(|| {
        FsError::Contradictory(format!(
            "inode {inode} has a list of kind {kind:?} that is not there or is none"
        ))
    })
}

fn keep(
    txn: &mut Txn<'_>,
    inode: InodeId,
    row: &mut InodeRow,
    kind: AclKind,
    list: Option<&List>,
) -> Result<(), FsError> {
    let (name, there) = (kind.name(), row.acls.has(kind));
    match list {
        Some(list) => xattr::put(txn, inode, row, name, &list.bytes(), there)?,
        None if there => xattr::drop(txn, inode, row, name),
        None => {}
    }
    row.acls.set(kind, list.is_some());
    Ok(())
}
