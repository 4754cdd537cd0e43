//! open, close: while a session holds an inode, it stays when its last name goes (N5), and can be
//! locked.

use crate::{
    blocks::{reclaim, truncate},
    locks::held,
    namespace::{directory, lookup},
    tables::{
        damage::Damage,
        rows::{InodeRow, OpenRow},
        txn::{Rows, Txn},
    },
};
use dfs_proto::{
    error::FsError,
    id::{InodeId, SessionId},
    time::Timestamp,
    view::View,
};

/// Counts a session among those that hold an inode open. The caller writes the inode's row.
pub fn hold(
    txn: &mut Txn<'_>,
    session: SessionId,
    inode: InodeId,
    row: &mut InodeRow,
) -> Result<(), Damage> {
    if !txn.has::<OpenRow>((session, inode))? {
        txn.insert((session, inode), &OpenRow);
        row.opens += 1;
    }
    Ok(())
}

/// Opens an inode, truncated to nothing if `truncated`. Gives what is in it then.
pub fn open(
    txn: &mut Txn<'_>,
    now: Timestamp,
    session: SessionId,
    inode: InodeId,
    truncated: bool,
    kill_privileges: bool,
) -> Result<View, FsError> {
    let mut row = directory::inode(txn, inode)?;
    hold(txn, session, inode, &mut row)?;
    if truncated {
        truncate::truncate(txn, now, inode, &mut row, 0)?;
    }
    if truncated || kill_privileges {
        truncate::drop_privileges(txn, inode, &mut row, kill_privileges)?;
        row.touch(now);
    }
    txn.put(inode, &row);
    lookup::view_of(txn, inode, &row)
}

/// Lets go of inodes, and of what is locked of them; those that have no name any more go. Unknown ones are passed over.
pub fn close(
    txn: &mut Txn<'_>,
    now: Timestamp,
    session: SessionId,
    inodes: &[InodeId],
) -> Result<(), FsError> {
    for &inode in inodes {
        if !txn.has::<OpenRow>((session, inode))? {
            continue;
        }
        txn.delete::<OpenRow>((session, inode));
        held::release(txn, session, inode)?;
        let Some(mut row) = txn.row::<InodeRow>(inode)? else {
            // The tables contradict themselves, and a session must be able to end.
            continue;
        };
        row.opens = row.opens.saturating_sub(1);
        if row.links == 0 && row.opens == 0 {
            reclaim::drop_inode(txn, now, inode, row)?;
        } else {
            txn.put(inode, &row);
        }
    }
    Ok(())
}
