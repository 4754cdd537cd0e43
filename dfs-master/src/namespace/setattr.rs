//! chmod, chown, utimens, truncate: all that setattr can set, in one step. And the access times that
//! reads set, many in one step.

use crate::{
    blocks::truncate,
    namespace::{acl, directory},
    tables::{
        rows::InodeRow,
        txn::{Rows, Txn},
    },
};
use dfs_proto::{
    attr::{Attr, MODE_MASK, SetAttr, SetTime},
    change::Access,
    error::FsError,
    id::InodeId,
    time::Timestamp,
};

/// Sets attributes, and says what they are then. Even where nothing is asked for, the inode counts
/// as changed: chown(2) with -1 and -1 means that.
pub fn setattr(
    txn: &mut Txn<'_>,
    now: Timestamp,
    inode: InodeId,
    set: &SetAttr,
) -> Result<Attr, FsError> {
    let mut row = directory::inode(txn, inode)?;
    if let Some(size) = set.size {
        truncate::truncate(txn, now, inode, &mut row, size)?;
    }
    let new_owner = set.uid.is_some() || set.gid.is_some();
    // chown(2) takes the bits away for everyone; of a directory they mean something else.
    let kill = set.kill_privileges || (new_owner && !row.is_directory());
    if kill || set.size.is_some() {
        truncate::drop_privileges(txn, inode, &mut row, kill)?;
    }
    row.uid = set.uid.unwrap_or(row.uid);
    row.gid = set.gid.unwrap_or(row.gid);
    if let Some(mode) = set.mode {
        row.mode = mode & MODE_MASK;
        acl::chmod(txn, inode, &mut row)?;
    }
    row.touch(now);
    let moment = |time: SetTime| match time {
        SetTime::Now => row.ctime,
        SetTime::At(moment) => moment,
    };
    let (atime, mtime) = (set.atime.map(moment), set.mtime.map(moment));
    row.atime = atime.unwrap_or(row.atime);
    row.mtime = mtime.unwrap_or(row.mtime);
    txn.put(inode, &row);
    Ok(row.attr(inode))
}

/// Moves access times on. An inode counts as it was when it was read, by its change time: an access
/// time that was set since stays, whatever was read before.
pub fn access(txn: &mut Txn<'_>, now: Timestamp, accesses: &[Access]) -> Result<(), FsError> {
    for access in accesses {
        let Some(mut row) = txn.row::<InodeRow>(access.inode)? else {
            continue;
        };
        // The client's clock may be ahead of what it estimates.
        let atime = access.atime.min(row.moment(now));
        if row.ctime == access.ctime && row.atime < atime {
            row.atime = atime;
            txn.put(access.inode, &row);
        }
    }
    Ok(())
}
