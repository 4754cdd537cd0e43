//! A directory gets a policy, another one, or none of its own any more.

use super::inherit;
use crate::{
    quota::{
        account::{self, Growth, Shift},
        count,
    },
    tables::{
        rows::{InodeRow, PolicyRow, QuotaRow},
        txn::{Rows, Txn},
    },
};
use dfs_proto::{
    block::{COPIES_MAX, Copies},
    error::FsError,
    id::InodeId,
};

/// Gives a directory a policy. What is there follows in steps.
pub fn set(txn: &mut Txn<'_>, directory: InodeId, copies: Copies) -> Result<(), FsError> {
    check(copies)?;
    let row = directory_row(txn, directory)?;
    txn.put(directory, &PolicyRow { copies });
    put_under(txn, directory, row, Some(copies))
}

/// Takes the policy of a directory away: that of the one above counts again.
pub fn remove(txn: &mut Txn<'_>, directory: InodeId) -> Result<(), FsError> {
    let row = directory_row(txn, directory)?;
    if !txn.has::<PolicyRow>(directory)? {
        return Err(FsError::Invalid(
            "it has no policy of its own; `dfs policy list` shows which directories have"
                .to_owned(),
        ));
    }
    txn.delete::<PolicyRow>(directory);
    let above = match directory {
        InodeId::ROOT => None,
        _ => txn.row::<InodeRow>(row.parent)?,
    };
    put_under(txn, directory, row, above.and_then(|above| above.policy))
}

/// Has a directory be counted, and be under a policy, as it should be by its own rules and by the
/// directory above it, whatever it says. Where quotas lead nowhere it is left as it is.
pub fn settle(txn: &mut Txn<'_>, directory: InodeId) -> Result<(), FsError> {
    let row = txn.row::<InodeRow>(directory)?;
    let Some(mut row) = row.filter(|row| row.is_directory() && row.links > 0) else {
        return Ok(());
    };
    let above = match directory {
        InodeId::ROOT => None,
        _ => txn.row::<InodeRow>(row.parent)?,
    };
    let above = above.map_or((None, None), |above| (above.quota, above.policy));
    let own = txn.row::<QuotaRow>(directory)?.filter(|own| !own.removed);
    for quota in [row.quota, above.0, own.and_then(|own| own.above)] {
        if !account::leads_up(txn, quota)? {
            return Ok(());
        }
    }
    let mut shift = Shift::default();
    let quota = own.map_or(above.0, |_| Some(directory));
    if row.quota != quota {
        count::recount(txn, &mut shift, (directory, &mut row), quota)?;
    }
    if let Some(own) = own {
        count::put_below(txn, &mut shift, directory, own, above.0)?;
    }
    let policy = txn.row::<PolicyRow>(directory)?;
    let policy = policy.map_or(above.1, |own| Some(own.copies));
    inherit::put_under(txn, &mut shift, (directory, &mut row), policy)?;
    txn.put(directory, &row);
    shift.book(txn, Growth::Counted)
}

/// A directory goes for good, and its policy with it.
pub fn forget(txn: &mut Txn<'_>, directory: InodeId) -> Result<(), FsError> {
    if txn.has::<PolicyRow>(directory)? {
        txn.delete::<PolicyRow>(directory);
    }
    Ok(())
}

fn check(copies: Copies) -> Result<(), FsError> {
    let Copies { wanted, least } = copies;
    match () {
        () if !(1..=COPIES_MAX).contains(&wanted) => Err(FsError::Invalid(format!(
            "{wanted} copies: from 1 to {COPIES_MAX} can be asked for"
        ))),
        () if !(1..=wanted).contains(&least) => Err(FsError::Invalid(format!(
            "at least {least} of {wanted} copies: that must be from 1 to {wanted}"
        ))),
        () => Ok(()),
    }
}

fn directory_row(txn: &Txn<'_>, directory: InodeId) -> Result<InodeRow, FsError> {
    let row = txn.row::<InodeRow>(directory)?;
    match row.filter(|row| row.links > 0) {
        None => Err(FsError::Stale(directory)),
        Some(row) if !row.is_directory() => Err(FsError::NotDirectory),
        Some(row) => Ok(row),
    }
}

fn put_under(
    txn: &mut Txn<'_>,
    directory: InodeId,
    mut row: InodeRow,
    policy: Option<Copies>,
) -> Result<(), FsError> {
    let mut shift = Shift::default();
    inherit::put_under(txn, &mut shift, (directory, &mut row), policy)?;
    txn.put(directory, &row);
    shift.book(txn, Growth::Counted)
}
