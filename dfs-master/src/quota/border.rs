//! Names that move between directories that are counted otherwise.
//!
//! One inode is counted anew at once; what has more to it (a directory with entries, a file with
//! other names) would have to be counted first, and is refused: who moves it copies instead, as
//! between file systems. A directory with a quota of its own is known as a whole, and moves.

use super::{account::Shift, count, set::check_depth};
use crate::tables::{
    climb::climb,
    damage::Damage,
    rows::{InodeRow, QuotaRow},
    txn::{Rows, Txn},
};
use dfs_proto::{error::FsError, id::InodeId};
use std::ops::ControlFlow;

/// The directory whose quota what is in `directory` should be counted in: the nearest that has one,
/// from itself upwards. What it is counted in may be another while that is being counted.
fn home(read: &impl Rows, directory: InodeId) -> Result<Option<InodeId>, Damage> {
    climb(read, directory, |at| {
        let quota = read.row::<QuotaRow>(at)?;
        Ok(match quota.is_some_and(|quota| !quota.removed) {
            true => ControlFlow::Break(at),
            false => ControlFlow::Continue(()),
        })
    })
}

/// An entry of directory `from` becomes one of directory `to`, which is counted in `quota`. The
/// caller writes its row and books the shift.
pub fn moved(
    txn: &mut Txn<'_>,
    shift: &mut Shift,
    (inode, row): (InodeId, &mut InodeRow),
    from: InodeId,
    (to, quota): (InodeId, Option<InodeId>),
) -> Result<(), FsError> {
    if row.quota == Some(inode)
        && let Some(own) = txn.row::<QuotaRow>(inode)?
    {
        if own.above == quota {
            return Ok(());
        }
        check_depth(txn, quota)?;
        return match count::put_below(txn, shift, inode, own, quota)? {
            true => Ok(()),
            false => Err(FsError::CrossesQuota),
        };
    }
    if row.quota == quota {
        return Ok(());
    }
    let alone = match row.is_directory() {
        true => row.size == 0,
        false => row.links == 1,
    };
    if !alone && home(txn, from)? != home(txn, to)? {
        return Err(FsError::CrossesQuota);
    }
    count::recount(txn, shift, (inode, row), quota)?;
    Ok(())
}

/// An inode gets another name, in directory `to`, which is counted in `quota`. Refused across a
/// border; while one of the two sides is still being counted it is not known whether there is one.
pub fn linked(
    txn: &mut Txn<'_>,
    shift: &mut Shift,
    (inode, row): (InodeId, &mut InodeRow),
    (to, quota): (InodeId, Option<InodeId>),
) -> Result<(), FsError> {
    if row.quota == quota {
        return Ok(());
    }
    let home = home(txn, to)?;
    let same = row.quota == home || is_counting(txn, home)? || is_counting(txn, row.quota)?;
    if !same {
        return Err(FsError::CrossesQuota);
    }
    count::recount(txn, shift, (inode, row), quota)?;
    Ok(())
}

/// Whether inodes may still say that they are counted elsewhere, or here and are not.
fn is_counting(read: &impl Rows, quota: Option<InodeId>) -> Result<bool, Damage> {
    let Some(quota) = quota else {
        return Ok(false);
    };
    let row = read.row::<QuotaRow>(quota)?;
    Ok(row.is_some_and(|row| row.removed || row.counted.uncounted > 0))
}
