//! Inodes come under the policy of the directory that they are in.

use crate::{
    quota::{account::Shift, count},
    tables::{
        damage::Damage,
        rows::{InodeRow, PolicyRow},
        txn::{Rows, Txn},
    },
};
use dfs_proto::{block::Copies, id::InodeId};

/// An inode is in a directory that is under `policy`: so is it, unless it has its own. The caller
/// writes its row and books the shift.
pub fn inherit(
    txn: &mut Txn<'_>,
    shift: &mut Shift,
    (inode, row): (InodeId, &mut InodeRow),
    policy: Option<Copies>,
) -> Result<(), Damage> {
    let own = row.policy != policy && row.is_directory() && txn.has::<PolicyRow>(inode)?;
    match own {
        true => Ok(()),
        false => put_under(txn, shift, (inode, row), policy),
    }
}

/// Puts an inode under a policy; what is in it follows in steps. The caller writes its row and books
/// the shift.
pub fn put_under(
    txn: &mut Txn<'_>,
    shift: &mut Shift,
    (inode, row): (InodeId, &mut InodeRow),
    policy: Option<Copies>,
) -> Result<(), Damage> {
    if row.policy == policy {
        return Ok(());
    }
    row.policy = policy;
    let has_more = match row.is_directory() {
        true => row.size > 0,
        false => row.extents > 0,
    };
    match has_more {
        true => count::again(txn, shift, inode, row.quota, true),
        false => Ok(()),
    }
}
