//! Has inodes be counted as their directories are: at once where a name moves, in bounded steps
//! where a whole directory comes to be counted otherwise.

use super::account::{self, Growth, Shift};
use crate::tables::{
    damage::Damage,
    key::{Key, KeyRange, all},
    rows::{Counted, InodeRow, ListingRow, QuotaRow, UncountedRow},
    txn::{Rows, Txn},
};
use dfs_proto::{error::FsError, id::InodeId, view::Cookie};

/// A directory of which entries are still to be counted.
const UNCOUNTED: Counted = Counted {
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
    let waits = row.is_directory() && txn.has::<UncountedRow>(inode)?;
    if waits {
        what.uncounted = 1;
    }
    shift.take(txn, row.quota, what)?;
    shift.add(txn, quota, what)?;
    if row.is_directory() && row.size > 0 {
        // From the first entry again: those that were counted are of what it was counted in before.
        txn.put(inode, &UncountedRow::default());
        if !waits {
            shift.add(txn, quota, UNCOUNTED)?;
        }
    }
    row.quota = quota;
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

/// Counts at most `budget` entries as their directories are; says how many of the budget are left.
pub fn step(txn: &mut Txn<'_>, budget: u32) -> Result<u32, FsError> {
    let mut left = budget;
    while left > 0 {
        let next = txn.page(
            all::uncounted().prefix(),
            1,
            |key, row: UncountedRow| match key {
                Key::Uncounted(directory) => (directory, row.after),
                _ => unreachable!("the range is of uncounted directories"),
            },
        )?;
        let Some((directory, after)) = next.first().copied() else {
            return Ok(left);
        };
        left = entries(txn, directory, after, left)?;
    }
    Ok(0)
}

fn entries(
    txn: &mut Txn<'_>,
    directory: InodeId,
    after: Cookie,
    budget: u32,
) -> Result<u32, FsError> {
    let Some(row) = txn.row::<InodeRow>(directory)? else {
        return Err(FsError::Damaged(format!(
            "the entries of directory {directory} are to be counted, and it is not there"
        )));
    };
    let from = Key::Listing {
        parent: directory,
        cookie: after,
    };
    let range = KeyRange::after(all::listing(directory), from);
    let limit = usize::try_from(budget).expect("32 bits");
    let page = txn.page(range, limit, |key, row: ListingRow| match key {
        Key::Listing { cookie, .. } => (cookie, row.inode),
        _ => unreachable!("the range is of one listing"),
    })?;
    let mut shift = Shift::default();
    for (_, inode) in &page {
        follow(txn, &mut shift, *inode, row.quota)?;
    }
    match page.last() {
        Some((after, _)) if page.len() == limit => {
            txn.put(directory, &UncountedRow { after: *after });
        }
        _ => {
            txn.delete::<UncountedRow>(directory);
            shift.take(txn, row.quota, UNCOUNTED)?;
        }
    }
    shift.book(txn, Growth::Counted)?;
    // A directory that had nothing to count has cost something too.
    let spent = u32::try_from(page.len()).expect("below the budget").max(1);
    Ok(budget.saturating_sub(spent))
}

/// Has an entry be counted as its directory is.
fn follow(
    txn: &mut Txn<'_>,
    shift: &mut Shift,
    inode: InodeId,
    quota: Option<InodeId>,
) -> Result<(), FsError> {
    let Some(mut row) = txn.row::<InodeRow>(inode)? else {
        return Err(FsError::Damaged(format!(
            "inode {inode} is listed, and is not there"
        )));
    };
    if row.quota == Some(inode) {
        // Its own. Where it cannot be put below this one, the directory will be counted again.
        if let Some(own) = txn.row::<QuotaRow>(inode)? {
            put_below(txn, shift, inode, own, quota)?;
        }
    } else if row.quota != quota {
        recount(txn, shift, (inode, &mut row), quota)?;
        txn.put(inode, &row);
    }
    Ok(())
}

/// A directory goes for good: its quota, and what was to be counted of it, go with it.
pub fn forget(
    txn: &mut Txn<'_>,
    directory: InodeId,
    quota: Option<InodeId>,
) -> Result<(), FsError> {
    if txn.has::<UncountedRow>(directory)? {
        txn.delete::<UncountedRow>(directory);
        let mut shift = Shift::default();
        shift.take(txn, quota, UNCOUNTED)?;
        shift.book(txn, Growth::Counted)?;
    }
    if let Some(mut row) = txn.row::<QuotaRow>(directory)? {
        row.removed = true;
        row.limits = dfs_proto::view::Limits::default();
        txn.put(directory, &row);
    }
    Ok(())
}
