//! Has what is in a directory follow it, in bounded steps: into its quota, and under its policy.

use super::{blocks, inherit::inherit};
use crate::{
    quota::{
        account::{self, Growth, Shift},
        count,
    },
    tables::{
        key::{Key, KeyRange, all},
        rows::{InodeRow, ListingRow, QuotaRow, UncountedRow},
        txn::{Rows, Txn},
    },
};
use dfs_proto::{error::FsError, id::InodeId, view::Cookie};

/// Has at most `budget` entries be counted as their directories are and be under their policy, and
/// blocks want what their files want; says how many of the budget are left.
pub fn step(txn: &mut Txn<'_>, budget: u32) -> Result<u32, FsError> {
    let mut left = budget;
    while left > 0 {
        let next = txn.page(
            all::uncounted().prefix(),
            1,
            |key, row: UncountedRow| match key {
                Key::Uncounted(inode) => (inode, row),
                _ => unreachable!("the range is of uncounted inodes"),
            },
        )?;
        let Some((inode, UncountedRow { after, policy })) = next.first().copied() else {
            return Ok(blocks::judge(txn, left)?);
        };
        let Some(row) = txn.row::<InodeRow>(inode)? else {
            // What contradicts itself must not keep the others from being looked at.
            txn.delete::<UncountedRow>(inode);
            left = left.saturating_sub(1);
            continue;
        };
        let limit = usize::try_from(left).expect("32 bits");
        let mut shift = Shift::default();
        let (looked_at, more) = match row.is_directory() {
            true => entries(txn, &mut shift, (inode, &row), (after, policy), limit)?,
            false => blocks::tell(txn, (inode, &row), after, limit)?,
        };
        match more {
            Some(after) => txn.put(inode, &UncountedRow { after, policy }),
            None => {
                txn.delete::<UncountedRow>(inode);
                shift.take(txn, row.quota, count::UNCOUNTED)?;
            }
        }
        shift.book(txn, Growth::Counted)?;
        // What had nothing to look at has cost something too.
        let spent = u32::try_from(looked_at).expect("within the budget").max(1);
        left = left.saturating_sub(spent);
    }
    Ok(0)
}

/// Looks at entries of a directory after a cookie: how many, and up to which one if there are more.
fn entries(
    txn: &mut Txn<'_>,
    shift: &mut Shift,
    (directory, row): (InodeId, &InodeRow),
    (after, policy): (Cookie, bool),
    limit: usize,
) -> Result<(usize, Option<Cookie>), FsError> {
    let from = Key::Listing {
        parent: directory,
        cookie: after,
    };
    let range = KeyRange::after(all::listing(directory), from);
    let page = txn.page(range, limit, |key, row: ListingRow| match key {
        Key::Listing { cookie, .. } => (cookie, row.inode),
        _ => unreachable!("the range is of one listing"),
    })?;
    for (_, inode) in &page {
        follow(txn, shift, *inode, row, policy)?;
    }
    let last = page.last().map(|(cookie, _)| *cookie);
    Ok((page.len(), last.filter(|_| page.len() == limit)))
}

/// Has an entry be counted as its directory is, and be under the same policy: a file with several names
/// only if that has changed.
fn follow(
    txn: &mut Txn<'_>,
    shift: &mut Shift,
    inode: InodeId,
    above: &InodeRow,
    policy: bool,
) -> Result<(), FsError> {
    let Some(mut row) = txn.row::<InodeRow>(inode)? else {
        // As above.
        return Ok(());
    };
    // What contradicts itself is left for the check.
    if !account::leads_up(txn, above.quota)? || !account::leads_up(txn, row.quota)? {
        return Ok(());
    }
    let was = (row.quota, row.policy);
    if row.quota == Some(inode) {
        // Its own. Where it cannot be put below this one, the directory will be counted again.
        if let Some(own) = txn.row::<QuotaRow>(inode)? {
            count::put_below(txn, shift, inode, own, above.quota)?;
        }
    } else if row.quota != above.quota {
        count::recount(txn, shift, (inode, &mut row), above.quota)?;
    }
    if policy || row.is_directory() || row.links == 1 {
        inherit(txn, shift, (inode, &mut row), above.policy)?;
    }
    if was != (row.quota, row.policy) {
        txn.put(inode, &row);
    }
    Ok(())
}
