//! A directory gets a quota, another limit, or none any more.

use super::{
    account::{self, Growth, Shift},
    count,
};
use crate::tables::{
    rows::{InodeRow, QuotaRow},
    txn::{Rows, Txn},
};
use dfs_proto::{error::FsError, id::InodeId, view::Limits};

/// Quotas that may be above one, when it is set or moved: each costs a row for each change below.
pub const ABOVE_MAX: usize = 8;

/// Refuses to put a quota below `above` where too many are above each other already.
pub fn check_depth(read: &impl Rows, above: Option<InodeId>) -> Result<(), FsError> {
    match account::chain(read, above)?.len() < ABOVE_MAX {
        true => Ok(()),
        false => Err(FsError::Invalid(format!(
            "at most {ABOVE_MAX} quotas may be above a directory; remove one of them"
        ))),
    }
}

/// Gives a directory a quota, or another limit. What is there is counted from now on, in steps.
pub fn set(txn: &mut Txn<'_>, directory: InodeId, limits: Limits) -> Result<(), FsError> {
    let row = txn.row::<InodeRow>(directory)?;
    let Some(mut row) = row.filter(|row| row.links > 0) else {
        return Err(FsError::Stale(directory));
    };
    if !row.is_directory() {
        return Err(FsError::NotDirectory);
    }
    let known = txn.row::<QuotaRow>(directory)?;
    if let Some(mut quota) = known.filter(|quota| !quota.removed) {
        quota.limits = limits;
        txn.put(directory, &quota);
        return Ok(());
    }
    if known.is_none() && row.quota == Some(directory) {
        // It has lost the quota that it had, and gets one below that of the directory above. What is in it
        // says that it is counted here already: the check puts the sum right.
        row.quota = match directory {
            InodeId::ROOT => None,
            _ => txn
                .row::<InodeRow>(row.parent)?
                .and_then(|above| above.quota),
        };
    }
    check_depth(txn, row.quota)?;
    let mut shift = Shift::default();
    let mut quota = known.unwrap_or(QuotaRow {
        above: row.quota,
        ..QuotaRow::default()
    });
    quota.limits = limits;
    quota.removed = false;
    txn.put(directory, &quota);
    // One that was taken away before, and of which something is left.
    if !count::put_below(txn, &mut shift, directory, quota, row.quota)? {
        return Err(FsError::Unavailable(
            "the quota that this directory had is still being taken away".to_owned(),
        ));
    }
    count::recount(txn, &mut shift, (directory, &mut row), Some(directory))?;
    txn.put(directory, &row);
    shift.book(txn, Growth::Counted)
}

/// Takes the quota of a directory away.
pub fn remove(txn: &mut Txn<'_>, directory: InodeId) -> Result<(), FsError> {
    let quota = txn.row::<QuotaRow>(directory)?;
    let row = txn.row::<InodeRow>(directory)?;
    let (Some(mut quota), Some(mut row)) = (quota.filter(|quota| !quota.removed), row) else {
        return Err(FsError::Invalid(
            "it has no quota of its own; `dfs quota list` shows which directories have".to_owned(),
        ));
    };
    quota.removed = true;
    quota.limits = Limits::default();
    txn.put(directory, &quota);
    let mut shift = Shift::default();
    count::recount(txn, &mut shift, (directory, &mut row), quota.above)?;
    txn.put(directory, &row);
    shift.book(txn, Growth::Counted)
}
