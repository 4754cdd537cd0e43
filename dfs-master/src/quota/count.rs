//! Has inodes be counted as their directories are: at once where a name moves, and in bounded steps,
//! which are noted here, where a whole directory comes to be counted otherwise.

use super::account::{self, Growth, Shift};
use crate::tables::{
    damage::Damage,
    rows::{Counted, InodeRow, QuotaRow, UncountedRow},
    txn::{Rows, Txn},
};
use dfs_proto::{error::FsError, id::InodeId};

/// An inode of which something is still to be looked at.
pub const UNCOUNTED: Counted = Counted {
    inodes: 0,
    bytes: 0,
    uncounted: 1,
};

/// Has an inode be counted in `quota`; the caller writes its row and books the shift. What is in a
/// directory follows in steps.
pub fn recount(
    txn: &mut Txn<'_>,
    shift: &mut Shift,
    (inode, row): (InodeId, &mut InodeRow),
    quota: Option<InodeId>,
) -> Result<(), Damage> {
    let mut what = account::one(row.stored);
    if txn.has::<UncountedRow>(inode)? {
        what.uncounted = 1;
    }
    shift.take(txn, row.quota, what)?;
    shift.add(txn, quota, what)?;
    if row.is_directory() && row.size > 0 {
        again(txn, shift, inode, quota, false)?;
    }
    row.quota = quota;
    Ok(())
}

/// Has all that is in an inode counted in `quota` be looked at, from the first on: what was before is
/// of what the inode was then. Whether a `policy` is passed on, and not only counted.
pub fn again(
    txn: &mut Txn<'_>,
    shift: &mut Shift,
    inode: InodeId,
    quota: Option<InodeId>,
    policy: bool,
) -> Result<(), Damage> {
    let before = txn.row::<UncountedRow>(inode)?;
    if before.is_none() {
        shift.add(txn, quota, UNCOUNTED)?;
    }
    let row = UncountedRow {
        after: 0,
        policy: policy || before.is_some_and(|before| before.policy),
    };
    txn.put(inode, &row);
    Ok(())
}

/// Has all that is counted in the quota of a directory be counted in the quota `above` too, instead
/// of in the one above it before. Answers `false`, and changes nothing, where that would lead in a
/// ring: directories that are not counted yet may still say what they were counted in.
pub fn put_below(
    txn: &mut Txn<'_>,
    shift: &mut Shift,
    directory: InodeId,
    mut quota: QuotaRow,
    above: Option<InodeId>,
) -> Result<bool, Damage> {
    if quota.above == above {
        return Ok(true);
    }
    if account::chain(txn, above)?.contains(&directory) {
        return Ok(false);
    }
    let counted = shift.then(directory, quota.counted);
    shift.take(txn, quota.above, counted)?;
    shift.add(txn, above, counted)?;
    quota.above = above;
    txn.put(directory, &quota);
    Ok(true)
}

/// An inode goes for good, and with it what was to be looked at of it.
pub fn forget(txn: &mut Txn<'_>, inode: InodeId, quota: Option<InodeId>) -> Result<(), FsError> {
    if txn.has::<UncountedRow>(inode)? {
        txn.delete::<UncountedRow>(inode);
        let mut shift = Shift::default();
        shift.take(txn, quota, UNCOUNTED)?;
        shift.book(txn, Growth::Counted)?;
    }
    Ok(())
}

/// A directory goes for good, and its quota with it.
pub fn forget_quota(txn: &mut Txn<'_>, directory: InodeId) -> Result<(), FsError> {
    if let Some(mut row) = txn.row::<QuotaRow>(directory)? {
        row.removed = true;
        row.limits = dfs_proto::view::Limits::default();
        txn.put(directory, &row);
    }
    Ok(())
}
