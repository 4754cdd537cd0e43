//! unlink, rmdir: a name goes, and with the last one, unless it is open, what it named (N5).

use crate::{
    blocks::reclaim,
    namespace::directory,
    tables::{rows::InodeRow, txn::Txn},
};
use dfs_proto::{
    attr::Attr, change::Changed, error::FsError, id::InodeId, name::Name, time::Timestamp,
};

/// Removes a name that is no directory's.
pub fn unlink(
    txn: &mut Txn<'_>,
    now: Timestamp,
    parent: InodeId,
    name: &Name,
) -> Result<Changed, FsError> {
    let mut above = directory::directory(txn, parent)?;
    let (dirent, row) = directory::named(txn, parent, name)?;
    if row.is_directory() {
        return Err(FsError::IsDirectory);
    }
    directory::remove(txn, parent, &mut above, name, dirent.cookie);
    above.modify(now);
    txn.put(parent, &above);
    Ok(Changed::Removed {
        attr: forget_name(txn, now, dirent.inode, row)?,
        parent: above.attr(parent),
    })
}

/// Removes an empty directory.
pub fn rmdir(
    txn: &mut Txn<'_>,
    now: Timestamp,
    parent: InodeId,
    name: &Name,
) -> Result<Changed, FsError> {
    let mut above = directory::directory(txn, parent)?;
    let (dirent, row) = directory::named(txn, parent, name)?;
    if !row.is_directory() {
        return Err(FsError::NotDirectory);
    }
    if directory::has_entries(txn, dirent.inode, &row)? {
        return Err(FsError::NotEmpty);
    }
    directory::remove(txn, parent, &mut above, name, dirent.cookie);
    above.links = above.links.saturating_sub(1);
    above.modify(now);
    txn.put(parent, &above);
    Ok(Changed::Removed {
        attr: forget_directory(txn, now, dirent.inode, row)?,
        parent: above.attr(parent),
    })
}

/// Counts one name of an inode less, whose entry is gone already. Gives its attributes afterwards.
pub fn forget_name(
    txn: &mut Txn<'_>,
    now: Timestamp,
    inode: InodeId,
    mut row: InodeRow,
) -> Result<Attr, FsError> {
    row.links = row.links.saturating_sub(1);
    row.touch(now);
    put_or_drop(txn, now, inode, row)
}

/// The same for a directory, which is empty and has no name any more.
pub fn forget_directory(
    txn: &mut Txn<'_>,
    now: Timestamp,
    inode: InodeId,
    mut row: InodeRow,
) -> Result<Attr, FsError> {
    row.links = 0;
    row.touch(now);
    put_or_drop(txn, now, inode, row)
}

fn put_or_drop(
    txn: &mut Txn<'_>,
    now: Timestamp,
    inode: InodeId,
    row: InodeRow,
) -> Result<Attr, FsError> {
    let attr = row.attr(inode);
    if row.links == 0 && row.opens == 0 {
        reclaim::drop_inode(txn, now, inode, row)?;
    } else {
        txn.put(inode, &row);
    }
    Ok(attr)
}
