//! link: another name for an inode.

use crate::{
    namespace::directory,
    policy::inherit::inherit,
    quota::{
        account::{Growth, Shift},
        border,
    },
    tables::txn::Txn,
};
use dfs_proto::{change::Changed, error::FsError, id::InodeId, name::Name, time::Timestamp};

/// Gives `inode` another name.
pub fn link(
    txn: &mut Txn<'_>,
    now: Timestamp,
    inode: InodeId,
    parent: InodeId,
    name: &Name,
) -> Result<Changed, FsError> {
    let mut row = directory::inode(txn, inode)?;
    let mut above = directory::growing(txn, parent)?;
    if row.is_directory() {
        return Err(FsError::NotPermitted);
    }
    // Its last name is gone: what was removed does not come back.
    if row.links == 0 {
        return Err(FsError::NotFound);
    }
    if directory::entry(txn, parent, name)?.is_some() {
        return Err(FsError::Exists);
    }
    directory::link_one(&mut row)?;
    let mut shift = Shift::default();
    border::linked(txn, &mut shift, (inode, &mut row), (parent, above.quota))?;
    inherit(txn, &mut shift, (inode, &mut row), above.policy)?;
    shift.book(txn, Growth::Limited)?;
    row.touch(now);
    directory::add(txn, parent, &mut above, name, inode, row.kind)?;
    above.modify(now);
    txn.put(inode, &row);
    txn.put(parent, &above);
    Ok(Changed::Made {
        attr: row.attr(inode),
        parent: above.attr(parent),
    })
}
