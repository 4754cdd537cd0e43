//! A directory gets a policy, another one, or none of its own any more.

use super::inherit;
use crate::{
    quota::account::{Growth, Shift},
    tables::{
        rows::{InodeRow, PolicyRow},
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
